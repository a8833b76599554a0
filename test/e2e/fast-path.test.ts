// The fast path at tc in front of the whole proxy: busy sessions go by the kernel, and nobody notices but the
// counters.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startRig, until } from './harness.ts';
import { PAIRS } from './pairs.ts';
import { assertAllRight, endAll } from './tally.ts';

const COUNT = 40_000;
const SIZES = [26, 64, 200, 512, 1200];

for (const pair of [PAIRS[4], PAIRS[6]]) {
  for (const workers of [1, 2]) {
    test(`${pair.name}, ${workers} workers: busy sessions go by the fast path, and nothing is lost`, async (t) => {
      const io = { mode: 'ring', workers, fastPath: 'tc' } as const;
      const rig = await startRig(t, { pair, clients: 5, servers: 2, io, uoa: { dialect: pair.dialect } });
      const servers = await rig.startServers();
      const clients = await rig.clients({ portsPerAddress: 10, count: COUNT, sizes: SIZES });
      assertAllRight(clients, await endAll(servers), COUNT);
      // What the kernel forwarded counts within a second.
      const counted = () => rig.metric('forwarded_packets_total', { direction: 'inbound' });
      await until('all are counted', async () => (await counted()) >= COUNT);
      const fast = await rig.metric('fast_path_forwarded_packets_total');
      assert.ok(fast > COUNT, `${fast} of ${2 * COUNT} by the fast path`);
      assert.equal(await counted(), COUNT);
      assert.equal(await rig.metric('drops_total'), 0);
      assert.equal(await rig.metric('fast_path_passed_total', { reason: 'bad_checksum' }), 0);
    });
  }
}

test('where it is off, all goes by the datapath', async (t) => {
  const io = { mode: 'ring', workers: 1, fastPath: 'off' } as const;
  const rig = await startRig(t, { clients: 2, servers: 1, io });
  const servers = await rig.startServers();
  const clients = await rig.clients({ portsPerAddress: 5, count: 5_000, sizes: SIZES });
  assertAllRight(clients, await endAll(servers), 5_000);
  assert.equal(await rig.metric('fast_path_forwarded_packets_total'), 0);
  const { sessions } = JSON.parse((await rig.get('/sessions')).body) as { sessions: { fastPath: unknown }[] };
  assert.ok(sessions.length > 0);
  for (const { fastPath } of sessions) assert.equal(fastPath, null);
});
