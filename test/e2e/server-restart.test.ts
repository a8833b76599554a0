// A real server starts again while its clients go on sending, as an action game's players do. The new program
// knows nobody: it is told of everybody again, whether checks found it down, its port was unreachable, or an
// operator says so; also where sessions went by the fast path.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import {
  IO,
  type IoUnderTest,
  type PythonProgram,
  type Rig,
  startPython,
  startRig,
  until,
} from './harness.ts';
import { ioOf } from './hot.ts';

const SESSIONS = 60;
const CLIENTS = { portsPerAddress: SESSIONS / 3, rate: 900 };
const ECHO_CHECK = {
  type: 'udp',
  send: 'are you there?',
  expect: 'are you there?',
  interval: '300ms',
  timeout: '2s',
  rise: 2,
  fall: 2,
};

const WAYS: [name: string, io: IoUnderTest, isFast: boolean][] = [
  ['by the datapath', IO, false],
  ['fast path xdp', ioOf('xdp'), true],
  ['fast path tc', ioOf('tc'), true],
];

async function begin(t: Parameters<typeof startRig>[0], io: IoUnderTest, isFast: boolean, service = {}) {
  const rig = await startRig(t, { servers: 1, io, service });
  const server = (await rig.startServers())[0]!;
  const clients = rig.startSteadyClients(CLIENTS);
  await clients.ready;
  await until('every session is told', async () => (await rig.metric('uoa_sent_total')) >= 3 * SESSIONS);
  if (isFast) await until('all are hot', async () => (await rig.metric('fast_path_sessions')) === SESSIONS);
  return { rig, server, clients };
}

async function kill({ child }: PythonProgram): Promise<void> {
  child.kill('SIGKILL');
  await once(child, 'close');
}

async function startAgain(rig: Rig): Promise<PythonProgram> {
  const server = startPython(rig.topology, 'rs', 'server.py', rig.realServers[0]!);
  await server.ready;
  return server;
}

/** All sessions have told the new program who they are, since the UOAs that were sent `before`. */
async function isTold(rig: Rig, before: number): Promise<void> {
  await until('every session begins a round', async () => {
    const more = (await rig.metric('uoa_sent_total')) - before;
    return more >= 3 * SESSIONS;
  });
}

for (const [way, io, isFast] of WAYS) {
  test(`${way}: without checks, by ICMP alone, no datagram that the new program reads is anonymous`, async (t) => {
    const { rig, server, clients } = await begin(t, io, isFast);
    await kill(server);
    const before = await rig.metric('uoa_sent_total');
    await until('its port is unreachable', async () => (await rig.metric('server_unreachable_total')) > 0);
    await until('no session is hot', async () => (await rig.metric('fast_path_sessions')) === 0);
    await isTold(rig, before);
    const again = await startAgain(rig);
    await isTold(rig, await rig.metric('uoa_sent_total'));
    if (isFast)
      await until('all are hot again', async () => (await rig.metric('fast_path_sessions')) === SESSIONS);
    await clients.end();
    const { learned, attributed, unattributed, wrong } = await again.end();
    assert.deepEqual({ learned, unattributed, wrong }, { learned: SESSIONS, unattributed: 0, wrong: 0 });
    assert.ok((attributed as number) > SESSIONS);
  });

  test(`${way}: found down and up by checks, every session is attributed again`, async (t) => {
    const { rig, server, clients } = await begin(t, io, isFast, { health: ECHO_CHECK });
    const nft = (command: string) => rig.topology.exec('rs', ['nft', command]);
    nft('add table inet mute; add chain inet mute out { type filter hook output priority 0; }');
    nft('add rule inet mute out meta l4proto icmp drop');
    await kill(server);
    await until('it is down', async () => (await rig.metric('server_up')) === 0);
    const before = await rig.metric('uoa_sent_total');
    const again = await startAgain(rig);
    await until('it is up', async () => (await rig.metric('server_up')) === 1);
    await isTold(rig, before);
    await clients.end();
    const { learned, wrong } = await again.end();
    assert.deepEqual({ learned, wrong }, { learned: SESSIONS, wrong: 0 });
  });
}

test('ctl server announce tells a real server that forgot without a sign', async (t) => {
  const { rig, server, clients } = await begin(t, ioOf('tc'), true);
  const before = await rig.metric('uoa_sent_total');
  const { ip, port } = rig.realServers[0]!;
  await rig.post(`/services/test/servers/${ip}:${port}/announce`);
  await isTold(rig, before);
  await until('all are hot again', async () => (await rig.metric('fast_path_sessions')) === SESSIONS);
  const { answered, sent } = await clients.end();
  assert.equal(answered, sent);
  await server.end();
  assert.match(rig.proxy.log, /is told of its clients again/);
});
