// A program for tests: inspects the host in its namespace. Prints { facts }, with what it found of the first
// service's real servers and its ports apart, or { error: { message, hint } };
// with `assign` it also adds what is missing, prints { assigned } and removes it when its input ends. Given
// { missing }, it only adds these. `stopsClock` keeps performance.now() where it is, so that nothing that
// goes by it ever has waited long enough.
import {
  type HostFacts,
  type HostRequest,
  inspectHost,
  isTurnedOff,
  portsDown,
} from '../../src/host/host.ts';
import { assignAddresses, type MissingAddress, removeAddresses } from '../../src/host/host-addresses.ts';
import { IoError } from '../../src/sys/io-error.ts';

export type Asked = Omit<HostRequest, 'services'> &
  Partial<HostRequest['services'][number]> & {
    /** Where not one that has the addresses above. */
    services?: HostRequest['services'];
    assign?: boolean;
    missing?: MissingAddress[];
    stopsClock?: boolean;
  };
export interface Found extends HostFacts {
  mtuTowards: Record<string, number>;
  unreachable: Record<string, string>;
  onHost: string[];
  down: string[];
  turnedOff: string[];
}

const asked = JSON.parse(process.argv[2]) as Asked;
const { assign, missing, stopsClock, vips = [], lips = [], rips = [], ...rest } = asked;
if (stopsClock) performance.now = () => 0;
try {
  if (missing !== undefined) {
    await assignAll(missing);
    process.exit(0);
  }
  const facts = await inspectHost({ services: [{ vips, lips, rips }], ...rest });
  console.log(JSON.stringify({ facts: withMore(facts) }));
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

function withMore(facts: HostFacts): Found {
  const servers = Object.entries(facts.reach[0]);
  const reached = servers.filter(([, { unreachable }]) => unreachable === '');
  const others = servers.filter(([, { unreachable }]) => unreachable !== '');
  const names = facts.ports.map(({ name }) => name);
  return {
    ...facts,
    down: portsDown(facts.ports),
    turnedOff: names.filter(isTurnedOff),
    mtuTowards: Object.fromEntries(reached.map(([rip, { mtu }]) => [rip, mtu])),
    unreachable: Object.fromEntries(others.map(([rip, { unreachable }]) => [rip, unreachable])),
    onHost: reached.flatMap(([rip, { isOnHost }]) => (isOnHost ? [rip] : [])),
  };
}
