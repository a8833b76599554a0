// Real servers that go down, come back, are drained and taken out while a session of theirs is hot: it does
// at once what its service says, and then it is hot again.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { type Rig, type RigConfig, until } from './harness.ts';
import {
  assertAllRight,
  assertCounted,
  assertRightClients,
  Client,
  goingFast,
  hotCount,
  KINDS,
  type Kind,
  overBoth,
  sessionOf,
  startHot,
} from './hot.ts';
import { PAIRS } from './pairs.ts';

/** The servers of these tests echo whatever comes. */
const ECHO_CHECK = {
  type: 'udp',
  send: 'are you there?',
  expect: 'are you there?',
  interval: '300ms',
  timeout: '2s',
  rise: 2,
  fall: 2,
};
/** One family each: they differ in nothing of this. */
const PAIR_OF = { xdp: PAIRS[6], tc: PAIRS[4] } as const;
const COUNT = 30;
/** Of packets of both directions; the others confirm neighbors. */
const MOST = 48;

const nameOf = ({ ip, port }: { ip: string; port: number }) =>
  ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`;

/** What comes from LIPs to the real server's address vanishes there without a word, until `fill`. */
function blackHole(rig: Rig, ip: string): { fill(): void } {
  const nft = (command: string) => rig.topology.exec('rs', ['nft', command]);
  nft('add table inet hole; add chain inet hole in { type filter hook input priority 0; }');
  nft(`add rule inet hole in ${ip.includes(':') ? 'ip6' : 'ip'} daddr ${ip} udp length > 0 drop`);
  return { fill: () => nft('delete table inet hole') };
}

async function startTwo(t: Parameters<typeof startHot>[0], kind: Kind, service: Record<string, unknown>) {
  const pair = PAIR_OF[kind];
  const { rig, servers } = await startHot(t, kind, {
    pair,
    servers: 2,
    service: { health: ECHO_CHECK, ...service },
  });
  await until('both are up', async () => (await rig.metric('server_up')) === 2);
  const client = await Client.start(rig);
  await client.heat(rig);
  const rs = await serverOf(rig, client);
  const index = rig.realServers.findIndex((one) => nameOf(one) === rs);
  const own = rig.realServers[index]!;
  return { rig, servers, client, rs, own, ownServer: servers[index]!, otherServer: servers[1 - index]! };
}

/** The real server that has a client's session, by its name. */
async function serverOf(rig: Rig, client: Client): Promise<string> {
  const { rs, rsPort } = await sessionOf(rig, client);
  return nameOf({ ip: rs, port: rsPort });
}

const isUp = (rig: Rig, rs: string) => rig.metric('server_up', { rs });

overBoth(
  'onDown move: the session goes on with another real server, which is told the client',
  async (t, kind) => {
    const { rig, client, rs, own, otherServer } = await startTwo(t, kind, { onDown: 'move' });
    const hole = blackHole(rig, own.ip);
    await until('it is down', async () => (await isUp(rig, rs)) === 0);
    await until('the session is hot no more', async () => (await hotCount(rig)) === 0);
    await client.exchange(COUNT);
    assert.equal(await rig.metric('sessions_moved_total'), 1);
    await client.heat(rig);
    await goingFast(rig, MOST, () => client.exchange(COUNT));
    hole.fill();
    await until('it is up again', async () => (await isUp(rig, rs)) === 1);
    await goingFast(rig, MOST, () => client.exchange(COUNT));
    assert.notEqual(await serverOf(rig, client), rs, 'it stays where it is');
    const [{ clients, received }] = await assertAllRight(rig, [otherServer], client);
    assert.equal(Object.values(clients as object).length, 1);
    assert.ok(Number(received) > 3 * COUNT);
  },
);

overBoth('onDown reset: the client is told, and its new session is hot in its turn', async (t, kind) => {
  const { rig, client, rs, own, otherServer } = await startTwo(t, kind, { onDown: 'reset' });
  blackHole(rig, own.ip);
  await until('it is down', async () => (await isUp(rig, rs)) === 0);
  await until('the session is hot no more', async () => (await hotCount(rig)) === 0);
  const told = await client.tell({ do: 'exchange', count: 2 });
  assert.deepEqual(told, { ECONNREFUSED: 1, missing: 1, same: 1 });
  client.answered++;
  await client.heat(rig);
  assert.notEqual(await serverOf(rig, client), rs);
  assert.equal(await rig.metric('sessions_reset_total'), 1);
  await client.assertQuiet();
  await assertRightClients([otherServer]);
});

overBoth(
  'onDown keep: the session waits for its real server, hot, which is told it again',
  async (t, kind) => {
    const { rig, client, rs, own, servers } = await startTwo(t, kind, { onDown: 'keep' });
    const hole = blackHole(rig, own.ip);
    await until('it is down', async () => (await isUp(rig, rs)) === 0);
    const { missing } = await client.tell({ do: 'exchange', count: 20, waitMs: 100 });
    assert.equal(missing, 20);
    assert.equal(await hotCount(rig), 1);
    const told = () => rig.metric('uoa_sent_total');
    const before = await told();
    hole.fill();
    await until('it is up again', async () => (await isUp(rig, rs)) === 1);
    await until('it is told the client again', async () => {
      await client.exchange(COUNT);
      return (await told()) > before;
    });
    await client.heat(rig);
    await goingFast(rig, MOST, () => client.exchange(COUNT));
    assert.equal(await serverOf(rig, client), rs);
    await assertAllRight(rig, servers, client, client.answered + 20, client.answered);
  },
);

overBoth(
  'a real server that is drained and given weights keeps its hot sessions, and new ones go elsewhere',
  async (t, kind) => {
    const { rig, client, rs, servers } = await startTwo(t, kind, {});
    await rig.post(`/services/test/servers/${encodeURIComponent(rs)}/drain`);
    await goingFast(rig, MOST, () => client.exchange(COUNT));
    const others = await Promise.all([1, 2, 3].map(() => Client.start(rig)));
    for (const other of others) {
      await other.heat(rig);
      assert.notEqual(await serverOf(rig, other), rs);
    }
    await rig.post(`/services/test/servers/${encodeURIComponent(rs)}/enable`);
    await goingFast(rig, MOST, () => client.exchange(COUNT));
    assert.equal(await serverOf(rig, client), rs);
    const all = [client, ...others];
    for (const one of all) await one.assertQuiet();
    await assertCounted(
      rig,
      all.reduce((sum, { answered }) => sum + answered, 0),
    );
    await assertRightClients(servers);
  },
);

async function reload(rig: Rig, change: (config: RigConfig) => void): Promise<void> {
  const count = () => rig.metric('config_reloads_total', { result: 'ok' });
  const before = await count();
  rig.rewriteConfig(change);
  rig.proxy.child.kill('SIGHUP');
  await until('it is reloaded', async () => (await count()) > before);
}

overBoth(
  'a reload that takes the real server out at once ends its sessions, and the client has another',
  async (t, kind) => {
    const { rig, client, rs, otherServer } = await startTwo(t, kind, { drainTimeout: 0 });
    await reload(rig, ({ services: [service] }) => {
      service!.realServers = service!.realServers.filter((one) => nameOf(one) !== rs);
    });
    assert.equal(await hotCount(rig), 0, 'at once');
    await client.exchange(COUNT);
    assert.notEqual(await serverOf(rig, client), rs);
    await client.heat(rig);
    await client.assertQuiet();
    // Not by the books, which have no real server that is gone.
    const counted = () => rig.metric('forwarded_packets_total');
    await until('all are counted', async () => (await counted()) >= 2 * client.answered);
    assert.equal(await counted(), 2 * client.answered);
    await assertRightClients([otherServer]);
  },
);

overBoth(
  'reloads of all else lose nothing of hot sessions, and a service that goes takes its own only',
  async (t, kind) => {
    const { rig, client, servers } = await startTwo(t, kind, {});
    const load = rig.startSteadyClients({ portsPerAddress: 4, rate: 400 });
    await load.ready;
    await until('all are hot', async () => (await hotCount(rig)) === 1 + 2 * 4);
    for (const scheduler of ['wlc', 'rr', 'wrr']) {
      await reload(rig, ({ services: [service] }) => {
        service!.scheduler = scheduler;
        service!.realServers[0]!.weight = scheduler.length;
      });
      await goingFast(rig, MOST, () => client.exchange(COUNT));
    }
    await reload(rig, ({ services }) => {
      const [service] = services;
      services.push({ ...service!, name: 'second', vport: 7000 });
    });
    const second = await Client.start(rig, { to: [rig.vip, 7000] });
    await second.heat(rig);
    await until('theirs is hot, too', async () => (await hotCount(rig)) === 10);
    await reload(rig, ({ services }) => void services.pop());
    assert.equal(await hotCount(rig), 9);
    const { same = 0 } = await second.tell({ do: 'exchange', count: 3, waitMs: 100 });
    assert.equal(same, 0, 'nobody serves it any more');
    await goingFast(rig, MOST, () => client.exchange(COUNT));
    const { lost, unexpected, answered } = await load.end();
    assert.deepEqual({ lost, unexpected }, { lost: 0, unexpected: 0 });
    assert.equal(await rig.metric('sessions_created_total', { service: 'test' }), 9);
    await assertCounted(rig, client.answered + Number(answered));
    await assertRightClients(servers);
  },
);

for (const kind of KINDS) {
  test(`${kind}: a proxy that drains keeps hot sessions until they are silent, and ends`, async (t) => {
    const timeouts = { normal: '3s', oneway: '3s' };
    const { rig, client, servers } = await startTwo(t, kind, { timeouts });
    await rig.post('/drain?timeout=10m');
    const exited = once(rig.proxy.child, 'exit');
    // Longer than its timeout: what the fast path forwards keeps it.
    const end = performance.now() + 5_000;
    while (performance.now() < end) await client.exchange(COUNT, { pauseMs: 10 });
    await goingFast(rig, MOST, () => client.exchange(COUNT));
    assert.equal(await rig.metric('sessions_created_total'), 1);
    assert.deepEqual(await exited, [10, null], 'drained');
    assert.equal((await client.tell({ do: 'exchange', count: 1, waitMs: 100 })).same, undefined);
    await assertRightClients(servers);
  });
}
