// A program for tests, in a namespace of its own with interfaces wan0 and lan0: one fast path takes over from
// another, which goes on where that fails. Prints what it saw.
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { pino } from 'pino';
import { FastPath } from '../../src/control/fast-path.ts';
import { FastPathStatus } from '../../src/control/fast-path-status.ts';
import type { FastPathBefore } from '../../src/control/takeover-protocol.ts';
import type { FastPathKind } from '../../src/fast/attachment.ts';
import { proxyName } from '../../src/fast/pins.ts';
import { SIDE } from '../../src/io/packet-io.ts';
import { xdpProgramOf } from '../../src/sys/bpf-attachment.ts';
import { interfaceIndex } from '../../src/sys/packet-socket.ts';

const ROOT = '/sys/fs/bpf/uoa-proxy';
const { kind, isPinned } = JSON.parse(process.argv[2]!) as { kind: FastPathKind; isPinned: boolean };
if (isPinned) execFileSync('mount', ['-t', 'bpf', 'bpf', '/sys/fs/bpf']);

const log = pino({}, { write: () => {} });
const name = proxyName('/etc/uoa-proxy/proxy.yaml');
const wan = interfaceIndex('wan0');

async function open(devices: readonly string[], before?: FastPathBefore, workers = 2) {
  const ports = devices.map((device) => ({
    name: device,
    side: SIDE.both,
    mtu: 1500,
    mac: readFileSync(`/sys/class/net/${device}/address`, 'utf8').trim(),
    loopback: false,
  }));
  return await FastPath.open(
    { ports, workers, sessions: 100, name, services: [], guards: [] },
    new FastPathStatus({ fastPath: kind, mode: 'ring' }, log),
    before,
  );
}
const pinned = () => (existsSync(ROOT) ? readdirSync(ROOT, { recursive: true }).map(String).sort() : []);
/** Without an id for tc. */
const program = () => (kind === 'xdp' ? xdpProgramOf(wan) : -1);
const say = (what: string, value: unknown) => console.log(JSON.stringify({ what, value }));

const first = await open(['wan0']);
first.attach(() => {});
first.noteSteeringKey([1, 2, 3]);
const before = { pinned: pinned(), program: program() };
say('pinned', before.pinned.length);

const failing = await open(['wan0', 'lan0'], first.description);
say('keeps', failing.succession);
say(
  'is as it was when it is ready',
  JSON.stringify({ pinned: pinned(), program: program() }) === JSON.stringify(before),
);
failing.standBy();
first.stepAside(failing.succession);
say('attached when it has stepped aside', program() !== 0);
execFileSync('ip', ['link', 'delete', 'lan0']);
try {
  failing.takePlace();
} catch (error) {
  say('refused', (error as Error).message);
}
failing.standDown();
await first.goOn();
failing.close();
say('attached when it goes on', [first.kind, program() !== 0, program() !== before.program || kind === 'tc']);
say('pinned when it goes on', JSON.stringify(pinned()) === JSON.stringify(before.pinned));

const other = await open(['wan0'], first.description, 1);
say('keeps with another number of workers', other.succession);
other.close();

const next = await open(['wan0'], first.description);
say('its key', next.steeringKey(2) ?? 'none');
next.standBy();
first.stepAside(next.succession);
next.takePlace();
const [taken, left] = [program(), pinned()];
first.leave();
say('left', [program() === taken, JSON.stringify(pinned()) === JSON.stringify(left) || !isPinned]);
await next.own(() => {});
next.serve();
say('owned', [next.kind, program() === taken, pinned().length]);
const rival = await open(['wan0']);
say('has the lock', rival.kind === 'off');
rival.close();
next.close();
say('ended', [program() === 0 || kind === 'tc', pinned()]);
process.exit(0);
