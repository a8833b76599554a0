// The edges of what a datagram can be, for every family pair: TTL, path MTU, closed port, nothing inside,
// everything that fits, no checksum, super packets, and UOA turned off.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { uoaCarriage } from '../../src/lab/family.ts';
import { startRig } from './harness.ts';
import { ALL_PAIRS, icmp, PAIRS } from './pairs.ts';
import { endAll, joined, sumOf } from './tally.ts';

const TIME_EXCEEDED = { 4: 11, 6: 3 } as const;
const UDP_HEADER_LEN = 8;
const IP_HEADER_LEN = { 4: 20, 6: 40 } as const;

for (const pair of ALL_PAIRS) {
  const { name, client, dialect, full, mtuOf1400 } = pair;

  test(`${name}: TTL, closed port and path MTU are told to the client in its own words`, async (t) => {
    const rig = await startRig(t, { pair, uoa: { dialect }, lanMtu: 1400 });
    const wan = await rig.watch('client', 'eth0', 'icmp or icmp6', 'in');
    assert.deepEqual((await rig.probe('exchange', { sizes: [64] })).results, ['ECONNREFUSED']);
    assert.equal(await rig.metric('icmp_translated_total'), 1);

    const servers = await rig.startServers();
    const { type, code, offender } = await rig.probe('ttl', { ttl: 1 });
    assert.deepEqual({ type, code, offender }, { type: TIME_EXCEEDED[client], code: 0, offender: rig.vip });
    assert.equal(await rig.metric('drops_total', { reason: 'ttl_exceeded' }), 1);
    assert.equal((await rig.probe('ttl', { ttl: 2 })).reply, 'same', 'TTL 2 passes');

    const { first, second, mtu } = await rig.probe('pmtu', { size: full });
    assert.deepEqual({ first, second, mtu }, { first: 'EMSGSIZE', second: 'EMSGSIZE', mtu: mtuOf1400 });
    const fills = mtuOf1400 - IP_HEADER_LEN[client] - UDP_HEADER_LEN;
    assert.deepEqual((await rig.probe('exchange', { sizes: [fills] })).results, ['same']);
    assert.equal(await rig.metric('drops_total', { reason: 'too_big' }), 1);
    assert.equal(sumOf(await endAll(servers), 'wrong'), 0);

    const portUnreachable = await wan.matching(icmp.portUnreachable(client));
    assert.equal(portUnreachable.count, 1, 'with a right checksum');
    assert.equal((await wan.matching(icmp.tooBig(client, mtuOf1400))).count, 1, 'with a right checksum');
  });

  test(`${name}: datagrams of every size around the MTU pass, the UOA inside or in a carrier ahead`, async (t) => {
    const rig = await startRig(t, { pair, uoa: { dialect } });
    const servers = await rig.startServers();
    const arrived = await rig.watch('rs', 'eth0', 'ip or ip6', 'in');
    const sizes = Array.from({ length: 64 }, (_, index) => full - index);
    const { results, unexpected } = await rig.probe('exchange', { sizes, fresh: true });
    assert.deepEqual(new Set(results as string[]), new Set(['same']));
    assert.equal(unexpected, 0, 'the echoes of the carriers do not reach the client');
    const ended = await endAll(servers);
    const carriers = sizes.filter((size) => uoaCarriage(dialect, pair, size) === 'carrier').length;
    assert.deepEqual(
      { attributed: sumOf(ended, 'attributed'), uoas: sumOf(ended, 'uoas'), empty: sumOf(ended, 'empty') },
      { attributed: sizes.length, uoas: sizes.length, empty: carriers },
    );
    assert.equal(await rig.metric('uoa_sent_total', { carriage: 'carrier' }), carriers);
    await arrived.none('ip.len > 1500 or ipv6.plen > 1460', 'no packet is larger than the MTU');
    await arrived.noBadChecksum();
  });

  test(`${name}: empty and full datagrams in turn come back one for one`, async (t) => {
    const rig = await startRig(t, { pair, uoa: { dialect } });
    const servers = await rig.startServers();
    const sizes = [0, 0, full, 0, full, full, 0, 64];
    const { results, unexpected, client: sender } = await rig.probe('exchange', { sizes });
    assert.deepEqual([results, unexpected], [sizes.map(() => 'same'), 0]);
    assert.deepEqual(Object.values(joined(await endAll(servers), 'clients')), [sender]);
  });
}

test('IPv6 to IPv4: a server learns its path MTU from an answer that only translation makes too large', async (t) => {
  const pair = PAIRS.nat64;
  const rig = await startRig(t, { pair, servers: 1, uoa: { dialect: pair.dialect } });
  const servers = await rig.startServers();
  const lan = await rig.watch('rs', 'eth0', 'icmp', 'in');
  // In fragments there; the answer fits the server's MTU, not its translation the clients'.
  const { results } = await rig.probe('exchange', { sizes: [pair.full + 1, pair.full + 1], waitMs: 3000 });
  assert.deepEqual(results, ['nothing', 'same']);
  assert.equal((await lan.matching(icmp.tooBig(4, 1480))).count, 1);
  await endAll(servers);
});

test('IPv4 to IPv6: a client learns its path MTU from a datagram that only translation makes too large', async (t) => {
  const pair = PAIRS.nat46;
  const rig = await startRig(t, { pair, uoa: { dialect: pair.dialect } });
  const servers = await rig.startServers();
  const { first, second, mtu } = await rig.probe('pmtu', { size: pair.full + 1 });
  assert.deepEqual({ first, second, mtu }, { first: 'EMSGSIZE', second: 'EMSGSIZE', mtu: 1480 });
  assert.deepEqual(
    (await rig.probe('exchange', { sizes: [pair.full + 1] })).results,
    ['same'],
    'in fragments',
  );
  await endAll(servers);
});

for (const { name, dialect, ...pair } of [PAIRS[4], PAIRS[6]]) {
  test(`${name}: with maxTrials 0 there is no UOA at all`, async (t) => {
    const rig = await startRig(t, { pair, uoa: { dialect, maxTrials: 0 } });
    const servers = await rig.startServers();
    const arrived = await rig.watch('rs', 'eth0', 'ip or ip6', 'in');
    const { results } = await rig.probe('exchange', { sizes: [64, pair.full, 64, 0] });
    assert.deepEqual(results, ['same', 'same', 'same', 'same']);
    const any = 'ip.hdr_len > 20 or ip.proto == 248 or ipv6.nxt == 60 or ipv6.nxt == 248';
    await arrived.none(any, 'nothing but plain UDP');
    const ended = await endAll(servers);
    assert.deepEqual([sumOf(ended, 'uoas'), sumOf(ended, 'received')], [0, 4]);
  });
}

for (const pair of [PAIRS[4], PAIRS.nat46]) {
  test(`${pair.name}: a datagram without UDP checksum passes`, async (t) => {
    const rig = await startRig(t, { pair, uoa: { dialect: pair.dialect } });
    const servers = await rig.startServers();
    const arrived = await rig.watch('rs', 'eth0', 'ip or ip6', 'in');
    const sizes = [64, 0, pair.full, 64];
    const { results } = await rig.probe('exchange', { sizes, noChecksum: true });
    assert.deepEqual(results, ['same', 'same', 'same', 'same']);
    await arrived.noBadChecksum();
    assert.equal(sumOf(await endAll(servers), 'wrong'), 0);
  });
}

for (const pair of [PAIRS[4], PAIRS[6]]) {
  test(`${pair.name}: a super packet of a UDP_SEGMENT sender is delivered in datagrams`, async (t) => {
    const rig = await startRig(t, { pair, uoa: { dialect: pair.dialect } });
    const servers = await rig.startServers();
    const { replies } = await rig.probe('segment', { size: 1000, segments: 5 });
    const dropped = await rig.metric('drops_total', { reason: 'super_packet' });
    const ended = await endAll(servers);
    assert.deepEqual({ dropped, replies }, { dropped: 0, replies: Array(5).fill(1000) });
    assert.deepEqual([sumOf(ended, 'received'), sumOf(ended, 'attributed'), sumOf(ended, 'uoas')], [5, 5, 3]);
  });
}
