// What hot sessions carry: all sizes, super packets, datagrams without checksum; and packets that the fast
// path leaves to the datapath, between those that it forwards. Each arrives as it was, once.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VPORT } from '../../src/lab/topology.ts';
import { addressOption, elbHeader, udp } from '../packets/uoa-builder.ts';
import { until } from './harness.ts';
import {
  assertAllRight,
  assertCounted,
  assertRightClients,
  Client,
  goingFast,
  hotCount,
  overAll,
  overBoth,
  passed,
  sendRaw,
  sessionOf,
  startHot,
} from './hot.ts';
import { PAIRS } from './pairs.ts';

/** The others confirm neighbors, one each 5 s and hop, also where a machine stands still. */
const most = (packets: number) => Math.floor(0.8 * packets);

overAll('datagrams of all sizes pass', async (t, kind, pair) => {
  const { rig, servers } = await startHot(t, kind, { pair });
  const client = await Client.start(rig);
  await client.heat(rig);
  // Without an empty one: see below.
  const sizes = [1, 2, 25, 26, 63, 64, 65, 1199, 1200, pair.full - 1, pair.full];
  await goingFast(rig, most(2 * 10 * sizes.length), async () => {
    for (const size of sizes) await client.exchange(10, { size });
  });
  const [server] = await assertAllRight(rig, servers, client);
  assert.equal(await rig.metric('drops_total'), 0);
  assert.equal(server!.received, client.answered);
});

overBoth('IPv4: datagrams without a UDP checksum pass, between those that have one', async (t, kind) => {
  const { rig, servers } = await startHot(t, kind);
  const client = await Client.start(rig);
  await client.heat(rig);
  const arrived = await rig.watch('rs', 'eth0', 'udp', 'in');
  await goingFast(rig, most(2 * 80), async () => {
    for (const noChecksum of [true, false, true, false])
      for (const size of [1, 1200]) await client.exchange(10, { size, noChecksum });
  });
  assert.equal((await arrived.matching('udp.checksum == 0')).count, 40, 'they arrive without');
  await assertCounted(rig, client.answered);
  await assertRightClients(servers);
});

/** A router alert; over IPv6 padding. */
const OPTIONS = { 4: '94040000', 6: '0000010400000000' };

overAll(
  'packets with options between others pass, by the datapath, and the session stays hot',
  async (t, kind, pair) => {
    const { rig, servers } = await startHot(t, kind, { pair });
    const client = await Client.start(rig);
    await client.heat(rig);
    const reason = pair.client === 4 ? 'options' : 'extension';
    const before = await passed(rig, reason);
    const [first, last] = [2, 1];
    await client.exchange(first, { options: OPTIONS[pair.client] });
    await goingFast(rig, most(2 * 30), () => client.exchange(30));
    await client.exchange(last, { options: OPTIONS[pair.client] });
    // At tc the steering program looks at UDP right behind the header only, and offers no others.
    const isOffered = kind === 'xdp' || pair.client === 4;
    assert.equal((await passed(rig, reason)) - before, isOffered ? first + last : 0);
    const [server] = await assertAllRight(rig, servers, client);
    assert.equal(server!.received, client.answered);
  },
);

overAll("a real server's empty replies reach the client, its echo ACKs end here", async (t, kind, pair) => {
  const { rig, servers } = await startHot(t, kind, { pair });
  const client = await Client.start(rig);
  await client.heat(rig);
  const { lip, lport } = await sessionOf(rig, client);
  const { ip: rip } = rig.realServers[0]!;
  const before = await passed(rig, 'empty');
  await client.exchange(3, { size: 0 });
  assert.equal((await passed(rig, 'empty')) - before, 3);
  const ack = { src: rip, sport: VPORT, dst: lip, dport: lport, payload: new Uint8Array(0) };
  const echo = udp(
    pair.server === 4
      ? { ...ack, options: addressOption(client.ip, client.port) }
      : { ...ack, extensions: [elbHeader(client.ip, client.port)] },
  );
  await sendRaw(rig, 'rs', lip, [echo, echo]);
  await until('both are consumed', async () => (await rig.metric('consumed_packets_total')) >= 2);
  await client.assertQuiet();
  await goingFast(rig, most(2 * 30), () => client.exchange(30));
  assert.equal((await rig.metric('uoa_acked_total')) + (await rig.metric('uoa_ack_repeated_total')), 2);
  assert.equal(await rig.metric('uoa_ack_rejected_total'), 0);
  await assertCounted(rig, client.answered);
  await assertRightClients(servers);
});

overAll(
  'datagrams that are too long for the link pass in fragments, by the datapath',
  async (t, kind, pair) => {
    const { rig, servers } = await startHot(t, kind, { pair });
    const client = await Client.start(rig);
    await client.heat(rig);
    await client.exchange(2, { size: 4000 });
    await goingFast(rig, most(2 * 30), () => client.exchange(30));
    await client.exchange(1, { size: 60_000 });
    await assertAllRight(rig, servers, client);
  },
);

for (const pair of [PAIRS[4], PAIRS[6]]) {
  test(`tc, ${pair.name}: super packets of a hot session pass whole, and arrive as their segments`, async (t) => {
    const { rig, servers } = await startHot(t, 'tc', { pair });
    const client = await Client.start(rig);
    await client.heat(rig);
    const longer = `greater ${14 + 1501} and udp`;
    const whole = await rig.watch('rs', 'eth0', longer, 'in', 128);
    const pieces = [
      [16, 1200],
      [10, 1452],
      [40, 901],
      [60, 1],
    ] as const;
    const all = pieces.reduce((sum, [segments]) => sum + 5 * segments, 0);
    await goingFast(rig, most(all), async () => {
      for (const [segments, size] of pieces) await client.segment(5, segments, size);
    });
    const { count } = await whole.matching('frame');
    // Of four kinds the last one is shorter than a packet may be.
    assert.ok(count >= 10 && count <= 15, `${count} of 15 came whole`);
    const [server] = await assertAllRight(rig, servers, client);
    assert.deepEqual(
      pieces.map(([, size]) => (server!.sizes as Record<number, number>)[size]),
      pieces.map(([segments]) => 5 * segments),
    );
  });
}

for (const pair of [PAIRS.nat64, PAIRS.nat46]) {
  overBoth(`${pair.name}: sessions between families never become hot`, async (t, kind) => {
    const { rig, servers } = await startHot(t, kind, { pair });
    const client = await Client.start(rig);
    for (let round = 0; round < 5; round++) {
      await client.exchange(100);
      assert.equal(await hotCount(rig), 0);
    }
    assert.equal(await rig.metric('fast_path_forwarded_packets_total'), 0);
    await assertCounted(rig, client.answered);
    await assertRightClients(servers);
  });
}
