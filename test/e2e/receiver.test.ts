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
