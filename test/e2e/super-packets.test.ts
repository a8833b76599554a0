// Super packets through ring mode with offloads on all the way, between ordinary sockets: they arrive whole,
// and wherever they cannot, each of their datagrams does.
import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { VPORT } from '../../src/lab/topology.ts';
import { type Rig, type RigOptions, startPython, startRig } from './harness.ts';
import { PAIRS } from './pairs.ts';

const ROUNDS = 10;
/** 15 datagrams of 1,200 bytes and one of 300 in each; each is answered by two datagrams in one. */
const ASKED = { rounds: ROUNDS, length: 1200, segments: 15, tail: 300, copies: 2, waitMs: 30_000 };
const ALL_ANSWERED = Array(ROUNDS).fill(32);
const RING = { mode: 'ring', workers: 1 } as const;
/** For tcpdump: several datagrams in one, as the kernel hands them over. */
const TO_SERVER = 'udp and greater 15000';
const TO_CLIENT = 'udp and greater 2000';

async function start(t: TestContext, options: RigOptions): Promise<Rig> {
  const rig = await startRig(t, { servers: 1, clients: 1, io: RING, ...options });
  const server = startPython(rig.topology, 'rs', '../../fast/answer.py', {
    ...rig.realServers[0],
    copies: 2,
  });
  await server.ready;
  return rig;
}

/** How many answers came in each round. */
async function ask(rig: Rig): Promise<unknown> {
  const { vip, clientIps } = rig;
  const asking = { ...ASKED, ip: clientIps[0], port: 4000, to: [vip, VPORT] };
  return (await startPython(rig.topology, 'client', '../../fast/ask.py', asking).result).answers;
}

const wholeOnes = (rig: Rig): Promise<number> => rig.metric('io_sent_in_super_total');

for (const pair of [PAIRS[4], PAIRS[6]]) {
  for (const kind of ['two-arm', 'one-arm'] as const) {
    test(`${pair.name}, ${kind}: super packets pass whole once nothing is to be decided`, async (t) => {
      const rig = await start(t, { pair, kind, uoa: { dialect: pair.dialect } });
      const atServer = await rig.watch('rs', 'eth0', TO_SERVER, 'in');
      const atClient = await rig.watch('client', 'eth0', TO_CLIENT, 'in');
      assert.deepEqual(await ask(rig), ALL_ANSWERED);
      assert.ok((await wholeOnes(rig)) > 0);
      assert.ok((await atServer.matching('udp')).count > 0, 'the real server gets them whole');
      assert.ok((await atClient.matching('udp')).count > 0, 'and so does the client');
      assert.equal(await rig.metric('drops_total'), 0);
      const forwarded = await rig.metric('forwarded_packets_total');
      assert.equal(forwarded, ROUNDS * (16 + 32), 'each of their datagrams counts');
    });
  }
}

const OFFLOADS = fileURLToPath(new URL('../fast/offloads.py', import.meta.url));
for (const [what, switchOff] of [
  ['part them', (device: string) => ['ip', 'link', 'set', device, 'gso_max_size', '2000']],
  ['finish checksums', (device: string) => ['python3', OFFLOADS, JSON.stringify({ device, tx: 0 })]],
] as const) {
  test(`through a device that cannot ${what} each datagram arrives by itself`, async (t) => {
    const rig = await start(t, { uoa: { dialect: 'ipo' } });
    const { topology } = rig;
    for (const device of [topology.wan, topology.lan]) {
      topology.exec('lb', switchOff(device));
      topology.exec('lb', ['tc', 'qdisc', 'replace', 'dev', device, 'root', 'pfifo']);
    }
    const whole = await rig.watch('rs', 'eth0', TO_SERVER, 'in');
    const datagrams = await rig.watch('rs', 'eth0', `udp port ${VPORT}`, 'in');
    assert.deepEqual(await ask(rig), ALL_ANSWERED);
    assert.ok((await wholeOnes(rig)) > 0, 'the kernel took them');
    await whole.none('udp', 'none arrives whole');
    const { unfinished, bad } = await datagrams.checksums();
    assert.deepEqual([what === 'part them' || unfinished === 0, bad], [true, 0]);
  });
}

for (const pair of [PAIRS.nat64, PAIRS.nat46]) {
  test(`${pair.name}: super packets are taken apart`, async (t) => {
    const rig = await start(t, { pair, uoa: { dialect: pair.dialect } });
    assert.deepEqual(await ask(rig), ALL_ANSWERED);
    assert.equal(await wholeOnes(rig), 0);
  });
}

test('a sidecar, whose interface knows no neighbors, passes on each datagram by itself', async (t) => {
  const realServers = [{ ip: '127.0.0.1', port: 7000 }];
  const rig = await start(t, { kind: 'sidecar', realServers, uoa: { dialect: 'ipo' } });
  assert.deepEqual(await ask(rig), ALL_ANSWERED);
  assert.equal(await rig.metric('drops_total'), 0);
});
