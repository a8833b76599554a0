// The receiver end to end: servers that know nothing of UOA see their clients, and answer them.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { LabDialect } from '../../src/lab/family.ts';
import type { Answer, Rig } from './harness.ts';
import { PAIRS, type Pair } from './pairs.ts';
import { startReceiverRig } from './receiver-rig.ts';

const DIALECTS: readonly (readonly [Pair, LabDialect])[] = [
  [PAIRS[4], 'ipo'],
  [PAIRS[4], 'elb'],
  [PAIRS[4], 'unified'],
  [PAIRS[6], 'elb'],
  [PAIRS[6], 'unified'],
];
const PORTS = 100;
const SIZES = [10, 64, 1200];

/** Nothing was lost or altered, and nobody got what was not for him. */
function assertWell(clients: Answer): void {
  const { missing, altered, unexpected, refused } = clients;
  assert.deepEqual(
    { missing, altered, unexpected, refused },
    { missing: 0, altered: 0, unexpected: 0, refused: 0 },
    JSON.stringify(clients).slice(0, 1000),
  );
}

/** The server saw each client, nobody else, and no carrier. */
function assertSeen(server: Answer, clients: Answer): void {
  const { received, attributed, wrong, empty } = server;
  assert.deepEqual(
    { received, attributed, wrong, empty, clients: server.clients },
    { received: clients.sent, attributed: clients.named, wrong: 0, empty: 0, clients: clients.clients },
    JSON.stringify(server.others),
  );
}

/** One UOA for each session, and each acknowledged. */
async function assertAcknowledged(rig: Rig, sessions: unknown): Promise<void> {
  const metrics = ['uoa_sent_total', 'uoa_acked_total', 'uoa_ack_rejected_total', 'uoa_ack_repeated_total'];
  const found = await Promise.all(metrics.map((name) => rig.metric(name)));
  assert.deepEqual(found, [sessions, sessions, 0, 0], metrics.join());
}

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
