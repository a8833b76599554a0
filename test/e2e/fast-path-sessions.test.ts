// What a session goes through while it is hot: its UOA is sent anew, it ends and comes again, one side is
// silent, new sessions flood the proxy. No datagram is lost, and the real server knows its client.
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { until } from './harness.ts';
import {
  assertAllRight,
  assertCounted,
  assertRightClients,
  Client,
  fastCount,
  hotCount,
  overAll,
  overBoth,
  passed,
  startHot,
} from './hot.ts';
import { PAIRS } from './pairs.ts';

/** One family each: they differ in nothing of this. */
const PAIR_OF = { xdp: PAIRS[6], tc: PAIRS[4] } as const;
const MAX_TRIALS = 3;

overAll(
  'with refresh the real server is told again and again, between what the fast path forwards',
  async (t, kind, pair) => {
    const { rig, servers } = await startHot(t, kind, { pair, uoa: { maxTrials: MAX_TRIALS, refresh: '2s' } });
    const client = await Client.start(rig);
    await client.heat(rig);
    const told = () => rig.metric('uoa_sent_total');
    const rounds = async () => Math.floor((await told()) / MAX_TRIALS);
    const [first, before] = [await rounds(), await fastCount(rig)];
    let sent = 0;
    await until('it was told three times more', async () => {
      await client.exchange(20, { pauseMs: 5 });
      sent += 2 * 20;
      return (await rounds()) >= first + 3;
    });
    await client.heat(rig);
    assert.ok((await fastCount(rig)) - before > sent / 4, 'most of the time it is hot');
    await client.assertQuiet();
    await assertCounted(rig, client.answered);
    const uoas = await told();
    const [server] = await assertRightClients(servers);
    assert.equal(server!.uoas, uoas);
    assert.equal(server!.received, client.answered);
  },
);

overBoth('with idleRefresh the first datagram after a silence brings the UOA', async (t, kind) => {
  const pair = PAIR_OF[kind];
  const { rig, servers } = await startHot(t, kind, { pair, uoa: { maxTrials: 1, idleRefresh: '3s' } });
  const client = await Client.start(rig);
  await client.heat(rig);
  const told = await rig.metric('uoa_sent_total');
  const idle = await passed(rig, 'idle');
  await sleep(4_500); // and then it is hot still
  assert.equal(await hotCount(rig), 1);
  await client.exchange(1);
  assert.equal(await rig.metric('uoa_sent_total'), told + 1);
  assert.equal(await passed(rig, 'idle'), idle + 1);
  await client.heat(rig);
  const [server] = await assertAllRight(rig, servers, client);
  assert.equal(server!.uoas, told + 1);
});

overAll(
  'a hot session lasts as long as it is used, ends by its timeout, and comes anew',
  async (t, kind, pair) => {
    const service = { timeouts: { oneway: '5s', normal: '5s' } };
    const { rig, servers } = await startHot(t, kind, { pair, service });
    const client = await Client.start(rig);
    await client.heat(rig);
    const end = performance.now() + 10_000;
    while (performance.now() < end) await client.exchange(20, { pauseMs: 10 });
    assert.equal(await rig.metric('sessions_created_total'), 1);
    await until('it is over', async () => (await rig.metric('sessions')) === 0);
    assert.equal(await hotCount(rig), 0);
    assert.equal(await rig.metric('sessions_expired_total'), 1);
    await client.heat(rig);
    assert.equal(await rig.metric('sessions_created_total'), 2);
    const [server] = await assertAllRight(rig, servers, client);
    assert.equal(await rig.metric('drops_total'), 0);
    assert.equal(server!.received, client.answered);
  },
);

overBoth(
  'clients of two workers whose real server says nothing for a while stay hot, and nothing is lost',
  async (t, kind) => {
    const pair = PAIR_OF[kind];
    const service = { timeouts: { normal: '5s', oneway: '5s' } };
    const { rig, servers } = await startHot(t, kind, { pair, service, clients: 4 }, 2);
    const load = rig.startSteadyClients({ portsPerAddress: 5, rate: 400 });
    await until('all are hot', async () => (await hotCount(rig)) === 20);
    servers[0]!.child.kill('SIGSTOP');
    const before = await fastCount(rig, { direction: 'inbound' });
    await until('clients go on for longer than the timeout', async () => {
      return (await fastCount(rig, { direction: 'inbound' })) - before >= 400 * 7;
    });
    assert.equal(await hotCount(rig), 20);
    servers[0]!.child.kill('SIGCONT');
    const { sent, lost, unexpected } = await load.end();
    assert.deepEqual({ lost, unexpected }, { lost: 0, unexpected: 0 });
    assert.equal(await rig.metric('sessions_created_total'), 20);
    await assertCounted(rig, Number(sent));
    await assertRightClients(servers);
  },
);
