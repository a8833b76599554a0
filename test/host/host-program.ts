// A program for tests: inspects the host in its namespace. Prints { facts } or { error: { message, hint } };
// with `assign` it also adds what is missing, prints { assigned } and removes it when its input ends. Given
// { missing }, it only adds these. `stopsClock` keeps performance.now() where it is, so that nothing that
// goes by it ever has waited long enough.
import { type HostRequest, inspectHost } from '../../src/host/host.ts';
import { assignAddresses, type MissingAddress, removeAddresses } from '../../src/host/host-addresses.ts';
import { IoError } from '../../src/sys/io-error.ts';

const { assign, missing, stopsClock, ...request } = JSON.parse(process.argv[2]) as HostRequest & {
  assign?: boolean;
  missing?: MissingAddress[];
  stopsClock?: boolean;
};
if (stopsClock) performance.now = () => 0;
try {
  if (missing !== undefined) {
    await assignAll(missing);
    process.exit(0);
  }
  const facts = await inspectHost(request);
  console.log(JSON.stringify({ facts }));
  if (assign) {
    await assignAll(facts.missing);
    console.log(JSON.stringify({ assigned: facts.missing.length }));
    process.stdin.resume().once('end', () => void removeAddresses(facts.missing));
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
