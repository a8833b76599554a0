// Ring I/O and packets that are longer than a frame of the ring: they come whole through the queue of the
// socket, which must stay in step with the ring.
import assert from 'node:assert/strict';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { ask, startEndpoint } from '../host/endpoint.ts';
import type { ReceivedDatagram } from '../host/endpoint-program.ts';
import {
  assertPass,
  BOTH_FAMILIES,
  CIP,
  flood,
  pattern,
  RING,
  RIP,
  RIP6,
  report,
  reportOnce,
  rowOfMtu,
  startWalk,
  VIP,
  VIP6,
  VPORT,
} from '../steer/relay.ts';
import { type Program, sh, startProgram } from './namespaces.ts';

const MTU = 65_535;
const BURST = { ip: VIP, port: VPORT, rate: 0, durationMs: 60_000 };
const hex16 = (value: number) => value.toString(16).padStart(4, '0');

/** It does not use the processor all the time, as it would if poll(2) never waited. */
async function assertIdle(relay: Program): Promise<void> {
  for (let tries = 0; tries < 20; tries++) {
    const before = performance.now();
    const { cpuMs } = await report(relay);
    await sleep(500);
    const used = (await report(relay)).cpuMs - cpuMs;
    if (used < (performance.now() - before) / 20) return;
  }
  assert.fail('it is never idle');
}

test('packets larger than a frame come whole through the queue of the socket, in order among the others', async (t) => {
  const { client, relay, endpoint } = await startWalk(t, { ...RING, burdenUs: 20_000 }, MTU);
  await assertPass(endpoint, VIP, [64, 1900, 1960, 2000, 3000, 40_000, 64, 65_507]);
  const before = await report(relay);
  // They wait while the relay is busy: more than a socket's queue holds by default.
  await flood(t, client, { ...BURST, payloadLen: 60_000, count: 40 });
  await flood(t, client, { ...BURST, payloadLen: 64, count: 10 });
  const after = await reportOnce(relay, (r) => r.counters[0].received === before.counters[0].received + 50);
  assert.equal(after.relayed[0] - before.relayed[0], 50);
  assert.equal(after.counters[0].lostBacklog, 0);
  const isWhole = (packet: string) => packet.length === 2 * Number.parseInt(packet.slice(4, 8), 16);
  assert.deepEqual(
    after.captured.filter((packet) => !isWhole(packet)).map((packet) => packet.length / 2),
    [],
    'none is cut',
  );
  await relay.stop();
});

/** Sends one super packet and prints the replies to its datagrams as hexadecimal digits. */
const SEGMENT_SENDER = `
import json, socket, sys
ip, port, size, data = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), bytes.fromhex(sys.argv[4])
sock = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(17, 103, size)  # UDP_SEGMENT
sock.connect((ip, port))
sock.send(data)
sock.settimeout(60)
replies = []
while len(replies) < -(-len(data) // size):
    replies.append(sock.recv(65536).hex())
print(json.dumps(replies))
`;

test('super packets of a UDP_SEGMENT sender are taken apart, whether they fit into a frame or not', async (t) => {
  const { client, server, relay } = await startWalk(t, BOTH_FAMILIES);
  await startEndpoint(t, server, { ip: RIP6, port: VPORT, echo: true });
  for (const vip of [VIP, VIP6]) {
    for (const [size, total] of [
      [100, 450],
      [1, 3],
      [1000, 5000],
      [1400, 60_000],
      [1452, 1453],
    ] as const) {
      const data = pattern(total);
      const argv = `${vip} ${VPORT} ${size} ${data}`;
      const replies = JSON.parse(sh(`ip netns exec ${client} python3 - ${argv}`, SEGMENT_SENDER)) as string[];
      assert.ok(
        replies.slice(0, -1).every((reply) => reply.length === 2 * size),
        `${size} to ${vip}`,
      );
      assert.equal(replies.join(''), data, `${total} bytes in datagrams of ${size} to ${vip}`);
    }
  }
  await relay.stop();
});

test('a long VLAN-tagged packet is counted as foreign, and is not taken for the next one', async (t) => {
  const { client, relay, endpoint } = await startWalk(t, RING, MTU);
  const { ports } = await report(relay);
  const length = 5000;
  const headers = `4500${hex16(length)}00004000401100000a0100020a01000103e81770${hex16(length - 20)}0000`;
  const packet = headers + 'ee'.repeat(length - 28);
  const link = `${ports[0].mac.replaceAll(':', '')}020000000002`;
  await startProgram(t, client, 'io/frame-program.ts', {
    device: 'c0',
    frames: [`${link}810000050800${packet}`],
  }).stop();
  await reportOnce(relay, (r) => r.counters[0].foreign === 1);
  await assertIdle(relay);
  await assertPass(endpoint, VIP, [3000, 5000]);
  const { captured, counters } = await report(relay);
  assert.ok(captured.every((each) => !each.endsWith('eeee')));
  assert.deepEqual([counters[0].received, counters[0].lostBacklog], [3, 0]);
  await relay.stop();
});

test('long packets that wait while their interface goes down are relayed, and that it went down is reported', async (t) => {
  const { lb, client, relay, endpoint } = await startWalk(t, { ...RING, burdenUs: 50_000 }, MTU);
  await flood(t, client, { ...BURST, payloadLen: 60_000, count: 40 });
  sh(`ip -n ${lb} link set wan0 down && ip -n ${lb} link set wan0 up`);
  const { counters, relayed } = await reportOnce(relay, (r) => r.counters[0].received === 40);
  assert.deepEqual([relayed[0], counters[0].lostBacklog], [40, 0]);
  await reportOnce(relay, ({ failures }) => failures.some((each) => /interface wan0 went down/.test(each)));
  await assertIdle(relay);
  await assertPass(endpoint, VIP, [5000]);
  await relay.stop();
});

test('long packets for which the queue has no room are counted as lost, and none is cut', async (t) => {
  const { client, relay } = await startWalk(t, { ...RING, burdenUs: 5000 }, MTU);
  const count = 800;
  await flood(t, client, { ...BURST, payloadLen: 60_000, count });
  const { counters, relayed } = await reportOnce(relay, (r) => r.counters[0].received === count);
  const { lostBacklog } = counters[0];
  assert.ok(lostBacklog > 0);
  assert.equal(relayed[0] + lostBacklog, count);
  await relay.stop();
});

test('a long packet that a predecessor left goes also where packets never cease', async (t) => {
  const { lb, client, server } = rowOfMtu(t, MTU);
  await startEndpoint(t, server, { ip: RIP, port: VPORT });
  const endpoint = await startEndpoint(t, client, { ip: CIP });
  const relay = startProgram(t, lb, 'steer/relay-program.ts', { ...RING, succeedsAt: 20 });
  await relay.next('waiting');
  await ask(endpoint, { send: { hex: 'ab'.repeat(3000), ip: VIP, port: VPORT } });
  startProgram(t, client, 'io/flood-program.ts', { ...BURST, payloadLen: 64, rate: 100 });
  await relay.next('ready');
  await assertIdle(relay);
  await relay.stop();
});

for (const packets of [1, 5]) {
  test(`a long packet that a predecessor had begun is lost and no other, with ${packets - 1} behind it`, async (t) => {
    const { lb, client, server } = rowOfMtu(t, MTU);
    await startEndpoint(t, server, { ip: RIP, port: VPORT, echo: true });
    const endpoint = await startEndpoint(t, client, { ip: CIP });
    const relay = startProgram(t, lb, 'steer/relay-program.ts', { ...RING, succeedsAt: packets });
    await relay.next('waiting');
    const payloads = Array.from({ length: packets }, (_, index) => `${index}0`.repeat(3000));
    for (const hex of payloads) await ask(endpoint, { send: { hex, ip: VIP, port: VPORT } });
    await relay.next('ready');
    for (const hex of payloads.slice(1)) {
      const echo = await ask<ReceivedDatagram | null>(endpoint, { receive: { timeoutMs: 60_000 } });
      assert.ok(echo?.hex === hex, `${echo?.hex.slice(0, 8)} instead of ${hex.slice(0, 8)}`);
    }
    await assertIdle(relay);
    await assertPass(endpoint, VIP, [3000, 5000]);
    const { counters } = await report(relay);
    assert.deepEqual([counters[0].received, counters[0].lostBacklog], [packets + 2, 1]);
    await relay.stop();
  });
}
