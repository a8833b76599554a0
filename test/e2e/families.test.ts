// Every family pair with every form of UOA that a plain kernel hands to a program: each datagram arrives
// unchanged both ways, each server knows each client, and the witnesses see nothing that may not be there.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { LabDialect } from '../../src/lab/family.ts';
import { VIPS, VPORT } from '../../src/lab/topology.ts';
import { formatEndpoint } from '../../src/wire/address.ts';
import { rightChecksums, startRig } from './harness.ts';
import { ICMP_ERRORS, PAIRS, STRANGE_TO_CLIENTS } from './pairs.ts';
import { assertAllRight, endAll, sumOf } from './tally.ts';

const COUNT = 4000;
const CLIENTS = 20;
const PORTS = 15;
/** No packet is longer here, and the witnesses keep all of them on a busy machine. */
const SNAP_LEN = 2048;
const MAX_TRIALS = 3;

/** `form`: option type, and bytes behind type and length. */
const scenarios: { pair: keyof typeof PAIRS; dialect: LabDialect; unifiedType?: 30; form: string }[] = [
  { pair: 4, dialect: 'ipo', form: '31/6' },
  { pair: 4, dialect: 'elb', form: '31/6' },
  { pair: 4, dialect: 'unified', form: '31/14' },
  { pair: 6, dialect: 'elb', form: '31/18' },
  { pair: 6, dialect: 'unified', form: '31/36' },
  { pair: 'nat64', dialect: 'ipo', form: '31/18' },
  { pair: 'nat64', dialect: 'unified', form: '31/38' },
  { pair: 'nat64', dialect: 'unified', unifiedType: 30, form: '30/38' },
  { pair: 'nat46', dialect: 'elb', form: '31/6' },
  { pair: 'nat46', dialect: 'unified', unifiedType: 30, form: '30/12' },
];

for (const { pair: key, dialect, unifiedType, form } of scenarios) {
  const pair = PAIRS[key];
  const option = `option ${form.replace('/', ' of ')}+2 bytes`;
  test(`${pair.name}, ${dialect}: ${COUNT} datagrams of ${CLIENTS * PORTS} clients, ${option}`, async (t) => {
    const rig = await startRig(t, {
      pair,
      clients: CLIENTS,
      uoa: { dialect, ...(unifiedType && { unifiedType }), maxTrials: MAX_TRIALS },
    });
    const servers = await rig.startServers();
    const wan = await rig.watch('client', 'eth0', STRANGE_TO_CLIENTS);
    const lanErrors = await rig.watch('rs', 'eth0', ICMP_ERRORS);
    const arrived = await rig.watch('rs', 'eth0', 'ip or ip6', 'in', SNAP_LEN);
    const returned = await rig.watch('client', 'eth0', 'ip or ip6', 'in', SNAP_LEN);

    // Eleven, so that they do not fall to the same clients each time.
    const sizes = [64, 0, 1, 7, 25, 26, 500, 1200, pair.full - 40, pair.full - 1, pair.full];
    const clients = await rig.clients({ portsPerAddress: PORTS, count: COUNT, sizes });
    const results = await endAll(servers);

    assertAllRight(clients, results, COUNT);
    const uoas = sumOf(results, 'uoas');
    assert.equal(uoas, MAX_TRIALS * CLIENTS * PORTS, 'each client is named in maxTrials packets');
    const virtual = dialect === 'unified' ? [formatEndpoint(rig.vip, VPORT)] : [];
    for (const { forms, virtuals } of results) {
      assert.deepEqual([Object.keys(forms as object), virtuals], [[form], virtual]);
    }
    await wan.none('frame', 'no UOA and no ICMP error reaches the clients');
    await lanErrors.none('frame', 'no ICMP error is about what the servers send or get');
    for (const [side, witness] of Object.entries({ servers: arrived, clients: returned })) {
      const checksums = await witness.checksums();
      assert.equal(checksums.bad, 0, `all checksums that reach the ${side} verify`);
      const right = rightChecksums(checksums);
      assert.ok(right >= COUNT, `tshark verified ${right} checksums that reached the ${side}`);
    }
    assert.equal(await rig.metric('drops_total'), 0);
    assert.equal(await rig.metric('io_lost_total'), 0);
  });
}

test('clients of both families meet real servers of both families in one service, all at once', async (t) => {
  const rig = await startRig(t, {
    pair: PAIRS[6],
    clients: 10,
    realServers: [
      { ip: '10.2.0.11', port: VPORT, dialect: 'ipo' },
      { ip: 'fd00:2::11', port: VPORT, dialect: 'elb' },
      { ip: '10.2.0.12', port: VPORT, dialect: 'unified' },
      { ip: 'fd00:2::12', port: VPORT, dialect: 'unified' },
    ],
    uoa: { dialect: 'opp' },
  });
  const servers = await rig.startServers();
  const wan = await rig.watch('client', 'eth0', STRANGE_TO_CLIENTS);
  const lan = await rig.watch('rs', 'eth0', STRANGE_TO_CLIENTS, 'in');
  const load = { portsPerAddress: 10, count: 3000, sizes: [26, 64, 1200, PAIRS[6].full, 4000] };
  const both = await Promise.all(
    ([4, 6] as const).map((family) =>
      rig.clients({ ...load, addresses: rig.topology.clientIps[family], vip: VIPS[family] }),
    ),
  );
  const ended = await endAll(servers);
  for (const { answered, altered, missing, unexpected } of both) {
    assert.deepEqual(
      { answered, altered, missing, unexpected },
      { answered: 3000, altered: 0, missing: 0, unexpected: 0 },
    );
  }
  assert.deepEqual(
    [sumOf(ended, 'attributed'), sumOf(ended, 'unattributed'), sumOf(ended, 'wrong')],
    [6000, 0, 0],
  );
  // Each server has clients of each family: two forms of its dialect.
  assert.deepEqual(
    ended.map(({ forms }) => Object.keys(forms as object).sort()),
    [
      ['31/18', '31/6'],
      ['31/18', '31/6'],
      ['31/14', '31/38'],
      ['31/12', '31/36'],
    ],
  );
  await wan.none('frame', 'no UOA and no ICMP error reaches the clients');
  const { count } = await lan.matching('frame');
  assert.equal(count, sumOf(ended, 'uoas'), 'where they belong, the witness sees them all');
});
