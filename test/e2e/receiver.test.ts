// The receiver end to end: servers that know nothing of UOA see their clients, and answer them.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { LabDialect } from '../../src/lab/family.ts';
import { PAIRS, type Pair } from './pairs.ts';
import { assertAcknowledged, assertSeen, assertWell, startReceiverRig } from './receiver-rig.ts';

const DIALECTS: readonly (readonly [Pair, LabDialect])[] = [
  [PAIRS[4], 'ipo'],
  [PAIRS[4], 'elb'],
  [PAIRS[4], 'unified'],
  [PAIRS[6], 'elb'],
  [PAIRS[6], 'unified'],
];
const PORTS = 100;
const SIZES = [10, 64, 1200];

for (const [pair, dialect] of DIALECTS)
  test(`${pair.name}, ${dialect}: an unmodified server sees its clients, also those with carriers`, async (t) => {
    const receiving = await startReceiverRig(t, { pair, uoa: { dialect } });
    const server = await receiving.startServer();
    const load = { portsPerAddress: PORTS, count: 4 * 5 * PORTS, sizes: [...SIZES, pair.full] };
    const clients = await receiving.rig.clients(load);
    assertWell(clients);
    assertSeen(await server.end(), clients);
    await assertAcknowledged(receiving.rig, clients.clients);
    assert.equal(await receiving.receiver.end(), 0);
  });

const MANY = 2000;

for (const fastPath of ['off', 'tc', 'xdp'] as const)
  for (const pair of [PAIRS[4], PAIRS[6]])
    test(`${pair.name}, fast path ${fastPath}: 10,000 clients are seen, and those that go by it`, async (t) => {
      const io = { mode: 'ring', workers: 1, fastPath } as const;
      const receiving = await startReceiverRig(t, { pair, io, uoa: { dialect: pair.dialect } });
      const { rig } = receiving;
      const server = await receiving.startServer();
      const many = await rig.clients({
        portsPerAddress: MANY,
        firstPort: 20_000,
        count: 2 * 5 * MANY,
        sizes: SIZES,
      });
      assertWell(many);
      assert.equal(many.clients, 10_000);
      // A few that are busy become hot.
      const busy = await rig.clients({ portsPerAddress: 2, firstPort: 30_000, count: 5000, sizes: SIZES });
      assertWell(busy);
      const sum = (name: string) => Number(many[name]) + Number(busy[name]);
      const seen = await server.end();
      assertSeen(seen, { event: 'both', sent: sum('sent'), named: sum('named'), clients: sum('clients') });
      await assertAcknowledged(rig, sum('clients'));
      if (fastPath !== 'off') assert.ok((await rig.metric('fast_path_forwarded_packets_total')) > 1000);
    });
