// The edges of what a datagram can be: TTL, path MTU, no checksum, nothing inside, everything that fits, super packets,
// and UOA turned off.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Answer, type Rig, startRig } from './harness.ts';

const ICMP_TIME_EXCEEDED = 11;
const ICMP_UNREACHABLE = 3;
const FRAGMENTATION_NEEDED = 4;

/** The servers' counts added up, and their tables joined. */
async function endAll(servers: Awaited<ReturnType<Rig['startServers']>>) {
  const results: Answer[] = await Promise.all(servers.map((server) => server.end()));
  const sum = (key: string) => results.reduce((total, result) => total + Number(result[key] ?? 0), 0);
  const join = (key: string) =>
    Object.assign({}, ...results.map((result) => result[key])) as Record<string, unknown>;
  return { sum, join };
}

test('a datagram with TTL 1 gets ICMP time exceeded and is not forwarded', async (t) => {
  const rig = await startRig(t);
  const servers = await rig.startServers();
  const { type, code } = await rig.probe('ttl', { ttl: 1 });
  assert.deepEqual({ type, code }, { type: ICMP_TIME_EXCEEDED, code: 0 });
  assert.equal((await rig.probe('ttl', { ttl: 2 })).reply, 'same', 'TTL 2 passes');
  assert.equal((await endAll(servers)).sum('received'), 1);
  assert.equal(await rig.metric('drops_total', { reason: 'ttl_exceeded' }), 1);
});

test('a DF datagram above the LAN MTU teaches the client its path MTU', async (t) => {
  const rig = await startRig(t, { lanMtu: 1400 });
  const servers = await rig.startServers();
  const wan = await rig.watch('client', 'eth0', 'icmp', 'in');
  const { first, second, mtu } = await rig.probe('pmtu', { size: 1472 });
  assert.deepEqual({ first, second, mtu }, { first: 'EMSGSIZE', second: 'EMSGSIZE', mtu: 1400 });
  const needed = `icmp.type == ${ICMP_UNREACHABLE} and icmp.code == ${FRAGMENTATION_NEEDED} and icmp.mtu == 1400`;
  assert.equal((await wan.matching(needed)).count, 1);
  // 1,372 bytes fill the MTU that was learned.
  assert.deepEqual((await rig.probe('exchange', { sizes: [1372] })).results, ['same']);
  assert.equal((await endAll(servers)).sum('received') >= 1, true);
  assert.equal(await rig.metric('drops_total', { reason: 'too_big' }), 1);
});

test('where no server listens, the socket of the client gets ECONNREFUSED', async (t) => {
  const rig = await startRig(t);
  const wan = await rig.watch('client', 'eth0', 'icmp', 'in');
  assert.deepEqual((await rig.probe('exchange', { sizes: [64] })).results, ['ECONNREFUSED']);
  const { count } = await wan.matching('icmp.type == 3 and icmp.code == 3 and icmp.checksum.status == 1');
  assert.equal(count, 1);
  assert.equal(await rig.metric('icmp_translated_total', {}), 1);
});

test('a datagram that fills the MTU passes unharmed, behind a carrier with the client address', async (t) => {
  const rig = await startRig(t);
  const servers = await rig.startServers();
  const { results, unexpected, client } = await rig.probe('exchange', { sizes: [1472, 1472, 1472, 1472] });
  assert.deepEqual(results, ['same', 'same', 'same', 'same']);
  assert.equal(unexpected, 0, 'the echoes of the carriers do not reach the client');
  assert.equal(await rig.metric('uoa_sent_total', { carriage: 'carrier' }), 3);
  const { sum, join } = await endAll(servers);
  assert.deepEqual(Object.values(join('clients')), [client]);
  assert.deepEqual(
    { full: Number(join('sizes')['1472']), carriers: sum('empty'), attributed: sum('attributed') },
    { full: 4, carriers: 3, attributed: 4 },
  );
});

test('zero-length datagrams pass in both directions', async (t) => {
  const rig = await startRig(t);
  const servers = await rig.startServers();
  const { results, unexpected, client } = await rig.probe('exchange', { sizes: [0, 0, 0, 0, 0] });
  assert.deepEqual(results, ['same', 'same', 'same', 'same', 'same']);
  assert.equal(unexpected, 0);
  const { sum, join } = await endAll(servers);
  assert.equal(sum('empty'), 5);
  assert.deepEqual(Object.values(join('clients')), [client]);
});

test('a datagram without UDP checksum passes', async (t) => {
  const rig = await startRig(t);
  const servers = await rig.startServers();
  const arrived = await rig.watch('rs', 'eth0', 'udp', 'in');
  const { results } = await rig.probe('exchange', { sizes: [64, 0, 1472, 64], noChecksum: true });
  assert.deepEqual(results, ['same', 'same', 'same', 'same']);
  await arrived.none('ip.checksum.status == 0 or udp.checksum.status == 0', 'no checksum is bad');
  assert.equal((await endAll(servers)).sum('wrong'), 0);
});

test('with maxTrials 0 there is no UOA at all', async (t) => {
  const rig = await startRig(t, { uoa: { maxTrials: 0 } });
  const servers = await rig.startServers();
  const arrived = await rig.watch('rs', 'eth0', 'ip', 'in');
  const { results } = await rig.probe('exchange', { sizes: [64, 1472, 64, 0] });
  assert.deepEqual(results, ['same', 'same', 'same', 'same']);
  await arrived.none('ip.hdr_len > 20 or ip.proto == 248', 'nothing but plain UDP');
  const { sum } = await endAll(servers);
  assert.deepEqual({ uoas: sum('uoas'), received: sum('received') }, { uoas: 0, received: 4 });
});

test('a super packet of a UDP_SEGMENT sender is dropped with its reason and not truncated', async (t) => {
  const rig = await startRig(t);
  const servers = await rig.startServers();
  const { replies } = await rig.probe('segment', { size: 1000, segments: 5 });
  const dropped = await rig.metric('drops_total', { reason: 'super_packet' });
  const { join } = await endAll(servers);
  assert.deepEqual({ dropped, replies, sizes: join('sizes') }, { dropped: 1, replies: [], sizes: {} });
});
