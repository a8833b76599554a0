// A program for tests, in a namespace of its own with an interface wan0: opens the fast path, closes it in
// one way and another, and prints what it saw each time.
import { execFileSync } from 'node:child_process';
import { chownSync, existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { pino } from 'pino';
import { FastPath } from '../../src/control/fast-path.ts';
import { FastPathStatus } from '../../src/control/fast-path-status.ts';
import { proxyName } from '../../src/fast/pins.ts';
import { SIDE } from '../../src/io/packet-io.ts';

const BPFFS = '/sys/fs/bpf';
const ROOT = `${BPFFS}/uoa-proxy`;
const KEY = [1, 2, 3];

const lines: string[] = [];
const log = pino({}, { write: (line: string) => void lines.push((JSON.parse(line) as { msg: string }).msg) });
const name = proxyName('/etc/uoa-proxy/a.name.yaml');
const mac = readFileSync('/sys/class/net/wan0/address', 'utf8').trim();
const ports = [{ name: 'wan0', side: SIDE.both, mtu: 1500, mac, loopback: false }];

const IPV4 = [{ vips: ['192.0.2.1'] }];
const BOTH = [{ vips: ['192.0.2.1', '2001:db8::1'] }];

async function open(wanted: 'auto' | 'off' = 'auto', sessions = 100, services = BOTH) {
  const status = new FastPathStatus({ fastPath: wanted, mode: 'ring' }, log);
  const request = { ports, workers: 2, sessions, services, name, guards: [] };
  const fast = await FastPath.open(request, status);
  return { fast, status };
}
const pinned = () => (existsSync(ROOT) ? readdirSync(ROOT, { recursive: true }).map(String).sort() : []);
const say = (what: string, value: unknown) =>
  console.log(JSON.stringify({ what, value, lines: lines.splice(0) }));

const first = await open();
say('without a bpffs', { kind: first.fast.kind });
first.fast.attach(() => {});
first.fast.close();
say('attached', first.status.why);

execFileSync('mount', ['-t', 'bpf', 'bpf', BPFFS]);
mkdirSync(`${ROOT}/${name}/layout-0`, { recursive: true });
const { fast } = await open();
fast.noteSteeringKey(KEY);
say('leftovers', { found: fast.found !== undefined });
fast.attach(() => {});
say(
  'pinned',
  pinned().map((path) => path.replace(name, 'NAME').replace(/\d+$/, 'N')),
);
const rival = await open();
say('while it lives', { kind: rival.fast.kind, why: rival.status.why });
rival.fast.close();
fast.close({ keep: true });
say('kept', pinned().length);

const next = await open();
say('next', {
  isAtWork: next.fast.found?.isAtWork,
  key: next.fast.steeringKey(2),
  other: next.fast.steeringKey(3),
});
next.fast.attach(() => {});
next.fast.close({ keep: true });

const without = await open('auto', 100, IPV4);
say('without IPv6', without.fast.found?.sessions6);
without.fast.attach(() => {});
lines.length = 0;
for (const services of [IPV4, BOTH, BOTH]) without.fast.note(services);
say('the first of IPv6', lines.length);
without.fast.close({ keep: true });
const again = await open('auto', 100, BOTH);
say('with IPv6 again', [again.fast.found?.isAtWork, again.fast.found?.sessions6]);
again.fast.attach(() => {});
lines.length = 0;
again.fast.note(BOTH);
say('nothing to say', lines.length);
again.fast.close({ keep: true });

const larger = await open('auto', 200);
say('larger', { isAtWork: larger.fast.found?.isAtWork, sessions: larger.fast.found?.sessions });
larger.fast.attach(() => {});
larger.fast.close({ keep: true });

const turnedOff = await open('auto', 200);
turnedOff.fast.turnOff('so that nothing is left');
turnedOff.fast.attach(() => {});
const rivalOfIt = await open('auto', 200);
say('while one that was turned off lives', { kind: rivalOfIt.fast.kind, pinned: pinned().length });
rivalOfIt.fast.close();
turnedOff.fast.close();
const itsNext = await open('auto', 200);
itsNext.fast.attach(() => {});
itsNext.fast.close({ keep: true });

const off = await open('off');
say('off', { isAtWork: off.fast.found?.isAtWork, sessions: off.fast.found?.sessions });
off.fast.attach(() => {});
off.fast.close();
say('nothing is left', pinned());

mkdirSync(ROOT, { recursive: true });
chownSync(ROOT, 12345, 12345);
const squatted = await open();
squatted.fast.attach(() => {});
say("another user's folder", pinned());
squatted.fast.close();
process.exit(0);
