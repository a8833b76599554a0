// Hot sessions beside a flood of new ones.
import assert from 'node:assert/strict';
import { HIGHEST_RATE, ignoreFlood, lostByLinks, prepareFlood } from './flooding.ts';
import { until } from './harness.ts';
import { assertRightClients, fastCount, hotCount, overBoth, startHot } from './hot.ts';

const FLOOD_SECONDS = 8;
const PORTS = 20;

overBoth('a flood as fast as it can be made beside hot sessions: they lose nothing', async (t, kind) => {
  const config = { sessions: { max: 80_000 } };
  const { rig, servers } = await startHot(t, kind, { clients: 1, config, beforeProxy: ignoreFlood });
  const flood = await prepareFlood(rig, HIGHEST_RATE, FLOOD_SECONDS);
  const load = rig.startSteadyClients({ portsPerAddress: PORTS, rate: 400 });
  await until('all are hot', async () => (await hotCount(rig)) === PORTS);
  const before = await fastCount(rig);
  const made = await flood();
  assert.equal(await hotCount(rig), PORTS, 'they are hot still');
  const { lost, unexpected, sent } = await load.end();
  const byLinks = lostByLinks(rig.topology);
  t.diagnostic(`${made.sent} flooded; ${lost} of ${sent} lost, ${byLinks} by links`);
  assert.ok(Number(made.sent) > 100_000, 'the flood was one');
  assert.ok((await fastCount(rig)) - before > 400 * FLOOD_SECONDS, 'they go by the fast path');
  assert.ok(Number(lost) <= byLinks, `${lost} lost, ${byLinks} by links`);
  assert.equal(unexpected, 0);
  await assertRightClients(servers);
});
