// A program for tests: plans the host in its namespace. Prints { plan } or { error: { message, hint } }; with
// `assign` it also adds what is missing, prints { assigned } and removes it when its input ends. Given {
// missing }, it only adds these.
import { type HostRequest, planHost } from '../../src/host/host.ts';
import { assignAddresses, type MissingAddress, removeAddresses } from '../../src/host/host-addresses.ts';
import { IoError } from '../../src/sys/io-error.ts';

const { assign, missing, ...request } = JSON.parse(process.argv[2]) as HostRequest & {
  assign?: boolean;
  missing?: MissingAddress[];
};
try {
  if (missing !== undefined) {
    await assignAll(missing);
    process.exit(0);
  }
  const plan = await planHost(request);
  console.log(JSON.stringify({ plan }));
  if (assign) {
    await assignAll(plan.missing);
    console.log(JSON.stringify({ assigned: plan.missing.length }));
    process.stdin.resume().once('end', () => void removeAddresses(plan.missing));
  }
} catch (error) {
  if (!(error instanceof IoError)) throw error;
  console.log(JSON.stringify({ error: { message: error.message, hint: error.hint } }));
}

/** As the proxy does where none of them can be done without. */
async function assignAll(missing: readonly MissingAddress[]): Promise<void> {
  const { added, troubles } = await assignAddresses(missing);
  const [first] = troubles;
  if (first === undefined) return;
  await removeAddresses(added);
  throw new IoError(first.text, first.hint);
}
