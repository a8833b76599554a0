// The fast path over the end of the proxy and its next start: what is hot goes on by the kernel alone, and
// the next process finds it as it was.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { run } from '../../src/lab/namespace.ts';
import { mountBpffs, pinnedIn, withBpffs, withoutBpffs } from '../sys/bpffs.ts';
import { type Rig, type RigOptions, startRig, until } from './harness.ts';
import { type Listed, listedIn } from './listed.ts';
import { PAIRS } from './pairs.ts';

const CLIENTS = 5;
const PORTS = 4;
const ALL = CLIENTS * PORTS;

interface Told extends Listed {
  uoa: { state: string; sent: number };
}

async function sessionsOf(rig: Rig, proxy: Rig['proxy'] = rig.proxy): Promise<string[]> {
  return listedIn<Told>((await proxy.get('/sessions?limit=1000')).body)
    .map(({ client, clientPort, lip, lport, rs, uoa }) =>
      [client, clientPort, lip, lport, rs, uoa.state, uoa.sent].join(' '),
    )
    .sort();
}

async function kill9({ child }: Rig['proxy']): Promise<void> {
  const exited = once(child, 'exit');
  child.kill('SIGKILL');
  await exited;
}

const areHot = (rig: Rig, count = ALL) =>
  until('all are hot', async () => (await rig.metric('fast_path_sessions')) === count);

async function startPinned(
  t: TestContext,
  { workers, fastPath = 'tc', ...others }: RigOptions & { workers: number; fastPath?: 'tc' | 'xdp' },
) {
  const path = mountBpffs(t);
  const under = withBpffs(path);
  const io = { mode: 'ring', workers, fastPath } as const;
  const rig = await startRig(t, { clients: CLIENTS, servers: 2, ...others, io, under });
  return { rig, path };
}

for (const [pair, workers, fastPath] of [
  [PAIRS[4], 1, 'tc'],
  [PAIRS[4], 2, 'tc'],
  [PAIRS[6], 2, 'tc'],
  [PAIRS[4], 2, 'xdp'],
] as const) {
  test(`${fastPath}, ${pair.name}, ${workers} workers: kill -9 and another start under load lose no datagram of a hot session`, async (t) => {
    const { rig, path } = await startPinned(t, { pair, workers, fastPath, uoa: { dialect: pair.dialect } });
    const servers = await rig.startServers();
    const startedAt = performance.now();
    const clients = rig.startClients({ portsPerAddress: PORTS, sizes: [64] });
    await areHot(rig);
    const before = await sessionsOf(rig);
    await kill9(rig.proxy);
    await sleep(1000);
    const next = rig.startProxy();
    await next.ready();
    assert.match(next.log, new RegExp(`"msg":"fast path: ${ALL} sessions go on"`));
    assert.deepEqual(await sessionsOf(rig, next), before);
    await areHot(rig);
    await sleep(500);
    const counted = await clients.end();
    const seconds = (performance.now() - startedAt) / 1000;
    t.diagnostic(`${Math.round((counted.sent as number) / seconds)} datagrams/s, ${counted.missing} lost`);
    // XDP takes one finished checksum in 65,536 for one that is not, and leaves it to who is not there.
    const odd = fastPath === 'xdp' ? await rig.metric('fast_path_passed_total', { reason: 'unfinished' }) : 0;
    assert.ok((counted.missing as number) <= odd, `${counted.missing} of ${odd}`);
    const heard = await Promise.all(servers.map((server) => server.end()));
    assert.equal(
      heard.reduce((sum, { learned }) => sum + (learned as number), 0),
      ALL,
      'the real servers saw no new address',
    );
    assert.equal(await next.stop(), 0);
    assert.deepEqual(pinnedIn(path), [], 'who stops for good leaves nothing');
  });
}

const addressesOf = ({ topology }: Rig): string =>
  run(['ip', '-n', topology.namespaces.lb, '-brief', 'address']);

for (const [pair, workers, fastPath] of [
  [PAIRS[4], 2, 'tc'],
  [PAIRS[6], 1, 'tc'],
  [PAIRS[4], 1, 'xdp'],
] as const) {
  test(`${fastPath}, ${pair.name}, ${workers} workers: SIGUSR2 and another start under load lose no datagram of a hot session, and the next stop leaves nothing`, async (t) => {
    const { rig, path } = await startPinned(t, { pair, workers, fastPath, uoa: { dialect: pair.dialect } });
    const servers = await rig.startServers();
    await rig.proxy.stop();
    rig.rewriteConfig((config) => {
      config.sessions = { stateFile: join(rig.topology.scratch, 'sessions') };
    });
    const first = rig.startProxy();
    await first.ready();
    const clients = rig.startClients({ portsPerAddress: PORTS, sizes: [64] });
    await areHot(rig);
    const before = await sessionsOf(rig, first);
    const addresses = addressesOf(rig);
    // As a container's hook and its runtime do one after the other.
    first.child.kill('SIGUSR2');
    assert.equal(await first.stop('SIGTERM'), 0);
    assert.match(first.log, new RegExp(`"msg":"${ALL} sessions saved"`));
    assert.equal(addressesOf(rig), addresses, 'VIPs and LIPs can be found meanwhile');
    assert.notDeepEqual(pinnedIn(path), []);
    await sleep(500);
    const next = rig.startProxy();
    await next.ready();
    assert.match(next.log, new RegExp(`"msg":"fast path: ${ALL} sessions go on"`));
    assert.deepEqual(await sessionsOf(rig, next), before);
    await areHot(rig);
    const counted = await clients.end();
    t.diagnostic(`${counted.sent} datagrams, ${counted.missing} lost`);
    // See above.
    const odd = fastPath === 'xdp' ? await rig.metric('fast_path_passed_total', { reason: 'unfinished' }) : 0;
    assert.ok((counted.missing as number) <= odd, `${counted.missing} of ${odd}`);
    assert.equal(await next.stop(), 0);
    assert.deepEqual(pinnedIn(path), []);
    for (const ip of [rig.vip, before[0]!.split(' ')[2]!])
      assert.ok(!addressesOf(rig).includes(`${ip}/`), `${ip} is gone`);
    await Promise.all(servers.map((server) => server.end()));
  });
}

test('SIGUSR2 where nothing can be pinned stops the proxy as SIGTERM does', async (t) => {
  const io = { mode: 'ring', workers: 1, fastPath: 'tc' } as const;
  const rig = await startRig(t, { clients: 1, servers: 1, io, under: withoutBpffs });
  assert.equal(await rig.proxy.stop('SIGUSR2'), 0);
  assert.match(rig.proxy.log, /nothing of it outlives this process/);
  assert.ok(!addressesOf(rig).includes(`${rig.vip}/`));
});

test('SIGUSR2 without a state file, which would say whose they are, removes the addresses that it added', async (t) => {
  const { rig, path } = await startPinned(t, { workers: 1, clients: 1, servers: 1 });
  assert.equal(await rig.proxy.stop('SIGUSR2'), 0);
  assert.notDeepEqual(pinnedIn(path), []);
  assert.ok(!addressesOf(rig).includes(`${rig.vip}/`));
});

for (const mode of ['ring', 'pcap'] as const)
  test(`${mode}: what came while nobody lived counts for the session that goes on`, async (t) => {
    const COUNT = 4_000;
    const { rig } = await startPinned(t, { workers: mode === 'ring' ? 2 : 1 });
    const servers = await rig.startServers();
    const load = { portsPerAddress: PORTS, firstPort: 20_000, count: COUNT, sizes: [64] };
    const counted = () => rig.metric('forwarded_packets_total', { direction: 'inbound' });
    // Who did not become hot while datagrams came does not without them.
    let rounds = 0;
    await until('all are hot', async () => {
      await rig.clients(load);
      rounds++;
      await until('all are counted', async () => (await counted()) === rounds * COUNT);
      return (await rig.metric('fast_path_sessions')) === ALL;
    });
    await kill9(rig.proxy);
    await sleep(1000); // while workers and rings go, one that confirms a neighbor may be lost
    const alone = await rig.clients(load);
    assert.equal(alone.missing, 0, 'the kernel forwards alone');
    rig.rewriteConfig(({ io }) => {
      (io as { mode: string }).mode = mode;
    });
    const next = rig.startProxy();
    await next.ready();
    await until('they are counted', async () => (await counted()) >= COUNT);
    assert.equal(await counted(), COUNT);
    assert.equal(await rig.metric('forwarded_packets_total', { direction: 'outbound' }), COUNT);
    assert.equal(await rig.metric('fast_path_forwarded_packets_total'), 2 * COUNT);
    await Promise.all(servers.map((server) => server.end()));
  });

for (const [change, ioOf] of [
  ['another number of workers', (io: object) => ({ ...io, workers: 2 })],
  ['another sessions.max', (io: object) => io],
  ['no fast path any more', (io: object) => ({ ...io, fastPath: 'off' })],
] as const) {
  test(`kill -9, and a start with ${change}: sessions go on as they were`, async (t) => {
    const { rig, path } = await startPinned(t, { workers: 1 });
    const servers = await rig.startServers();
    const clients = rig.startClients({ portsPerAddress: PORTS, sizes: [64] });
    await areHot(rig);
    const before = await sessionsOf(rig);
    await kill9(rig.proxy);
    rig.rewriteConfig((config) => {
      config.io = ioOf(config.io as object);
      if (change === 'another sessions.max') config.sessions = { max: 100_000 };
    });
    await sleep(500);
    const next = rig.startProxy();
    await next.ready();
    assert.match(next.log, new RegExp(`"msg":"fast path: ${ALL} sessions go on"`));
    assert.deepEqual(await sessionsOf(rig, next), before);
    if (change !== 'no fast path any more') await areHot(rig);
    else assert.equal(pinnedIn(path).length, 2, 'the folder of the proxy, which its lock is on');
    const counted = await clients.end();
    t.diagnostic(`${counted.sent} datagrams, ${counted.missing} lost`);
    assert.equal(counted.missing, 0);
    await Promise.all(servers.map((server) => server.end()));
  });
}

test('a start that fails leaves what it found to the next one', async (t) => {
  const { rig } = await startPinned(t, { workers: 1 });
  const servers = await rig.startServers();
  const clients = rig.startClients({ portsPerAddress: PORTS, sizes: [64] });
  await areHot(rig);
  const before = await sessionsOf(rig);
  await kill9(rig.proxy);
  let admin: unknown;
  rig.rewriteConfig((config) => {
    admin = config.admin;
    config.admin = { ...(config.admin as object), listen: '192.0.2.1:9464' };
  });
  const failing = rig.startProxy();
  const [code] = await once(failing.child, 'exit');
  assert.equal(code, 1);
  assert.match(failing.log, new RegExp(`"msg":"fast path: ${ALL} sessions go on"`));
  rig.rewriteConfig((config) => {
    config.admin = admin;
  });
  const next = rig.startProxy();
  await next.ready();
  assert.match(next.log, new RegExp(`"msg":"fast path: ${ALL} sessions go on"`));
  assert.deepEqual(await sessionsOf(rig, next), before);
  const counted = await clients.end();
  assert.equal(counted.missing, 0, `of ${counted.sent}`);
  await Promise.all(servers.map((server) => server.end()));
});

test('a reload under load loses nothing, and what is hot stays so', async (t) => {
  const { rig } = await startPinned(t, { workers: 2 });
  const servers = await rig.startServers();
  const clients = rig.startClients({ portsPerAddress: PORTS, sizes: [64] });
  await areHot(rig);
  for (let n = 0; n < 5; n++) {
    rig.rewriteConfig((config) => {
      config.services[0]!.realServers[0]!.weight = 2 + n;
    });
    rig.proxy.child.kill('SIGHUP');
    const last = n + 1;
    await until(
      'it is reloaded',
      async () => (await rig.metric('config_reloads_total', { result: 'ok' })) >= last,
    );
  }
  await areHot(rig);
  const counted = await clients.end();
  t.diagnostic(`${counted.sent} datagrams, ${counted.missing} lost`);
  assert.equal(counted.missing, 0);
  await Promise.all(servers.map((server) => server.end()));
});
