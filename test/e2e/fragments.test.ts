// Datagrams that are larger than a packet: the kernels of the clients and of the servers cut them and put
// them together again, and a raw socket sends the pieces as an unruly network would deliver them.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startRig } from './harness.ts';
import { ALL_PAIRS, PAIRS, STRANGE_TO_CLIENTS } from './pairs.ts';
import { endAll, sumOf } from './tally.ts';

const ORDERS = ['forward', 'reversed', 'first last', 'shuffled', 'twice'];
/**
 * Bytes of a fragment and of a datagram that is cut into such: at most 64 pieces, which is the proxy's bound.
 */
const CUTS = [
  { fragment: 1440, size: 4000 },
  { fragment: 1440, size: 60_000 },
  { fragment: 512, size: 30_000 },
];

for (const pair of [PAIRS[4], PAIRS.nat46]) {
  test(`${pair.name}: a datagram without DF that is too large for the LAN goes there in fragments`, async (t) => {
    const rig = await startRig(t, { pair, lanMtu: 1300, servers: 1, uoa: { dialect: pair.dialect } });
    const servers = await rig.startServers();
    const arrived = await rig.watch('rs', 'eth0', 'ip or ip6', 'in');
    const sizes = [1472, 1400, 1472, 64, 1472, 1472];
    const { results, unexpected } = await rig.probe('exchange', { sizes, noDf: true });
    assert.deepEqual([results, unexpected], [sizes.map(() => 'same'), 0]);
    assert.deepEqual(sumOf(await endAll(servers), 'attributed'), sizes.length);
    assert.equal(await rig.metric('datagrams_fragmented_total'), 10, 'and the answers likewise');
    await arrived.noBadChecksum();
  });
}

for (const pair of ALL_PAIRS) {
  test(`${pair.name}: fragmented datagrams pass both ways, cut and put together by the kernels`, async (t) => {
    const rig = await startRig(t, { pair, clients: 5, uoa: { dialect: pair.dialect } });
    const servers = await rig.startServers();
    const wan = await rig.watch('client', 'eth0', STRANGE_TO_CLIENTS);
    const arrived = await rig.watch('rs', 'eth0', 'ip or ip6', 'in');
    // 1,473 bytes are the fewest that the kernels of both families cut.
    const sizes = [4000, 100, 60_000, 0, 1600, 1473, 20_000];
    const clients = await rig.clients({ portsPerAddress: 2, count: 210, window: 5, sizes });
    const ended = await endAll(servers);
    const { answered, altered, missing, unexpected, named } = clients;
    assert.deepEqual(
      { answered, altered, missing, unexpected },
      { answered: 210, altered: 0, missing: 0, unexpected: 0 },
    );
    assert.deepEqual(
      { attributed: sumOf(ended, 'attributed'), wrong: sumOf(ended, 'wrong') },
      { attributed: named, wrong: 0 },
    );
    await wan.none('frame', 'no UOA and no ICMP error reaches the clients');
    await arrived.noBadChecksum(); // nor one of a datagram that tshark put together
  });

  test(`${pair.name}: fragments in any order, and twice, make the datagram that was sent`, async (t) => {
    const rig = await startRig(t, { pair, uoa: { dialect: pair.dialect } });
    const servers = await rig.startServers();
    const wan = await rig.watch('client', 'eth0', STRANGE_TO_CLIENTS, 'in');
    const { results, unexpected } = await rig.probe('fragments', { cuts: CUTS, orders: ORDERS });
    const expected = CUTS.flatMap(({ fragment }) => ORDERS.map((order) => `${order} of ${fragment}: same`));
    assert.deepEqual([results, unexpected], [expected, 0]);
    const ended = await endAll(servers);
    assert.deepEqual(
      [sumOf(ended, 'attributed'), sumOf(ended, 'unattributed'), sumOf(ended, 'wrong')],
      [expected.length, 0, 0],
    );
    await wan.none('frame', 'no UOA and no ICMP error reaches the clients');
  });
}
