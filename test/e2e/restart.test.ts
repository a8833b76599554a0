// The proxy is restarted or taken out of service: sessions that go on, what is lost meanwhile, and the end
// after a drain.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { nodeArgv } from '../../src/lab/programs.ts';
import { IO, MAIN, type Rig, type RigOptions, startRig, until } from './harness.ts';
import { listedIn, mappingsOf } from './listed.ts';

const CLIENTS = 5;
const PORTS = 4;
const ALL = CLIENTS * PORTS;
/** Datagrams per second. */
const RATE = 1000;

const mappings = async (proxy: Rig['proxy']): Promise<string[]> =>
  mappingsOf(listedIn((await proxy.get('/sessions?limit=1000')).body));

async function startWithState(t: TestContext, options: RigOptions = {}) {
  const rig = await startRig(t, { clients: CLIENTS, servers: 2, ...options });
  const stateFile = join(rig.topology.scratch, 'sessions');
  await rig.proxy.stop();
  rig.rewriteConfig((config) => {
    config.sessions = { stateFile };
  });
  return { rig, stateFile };
}

for (const io of [IO, { mode: 'ring' as const, workers: 2 }]) {
  test(`a restart under load keeps every LIP:lport of every client (io ${JSON.stringify(io)})`, async (t) => {
    const { rig, stateFile } = await startWithState(t, { io });
    let proxy = rig.startProxy();
    await proxy.ready();
    const servers = await rig.startServers();
    const clients = rig.startSteadyClients({ portsPerAddress: PORTS, rate: RATE });
    await until('every client has a session', async () => (await mappings(proxy)).length === ALL);
    const before = await mappings(proxy);

    assert.equal(await proxy.stop(), 0);
    assert.ok(existsSync(stateFile), 'they are saved');
    assert.match(proxy.log, new RegExp(`"msg":"${ALL} sessions saved"`));
    proxy = rig.startProxy();
    await proxy.ready();
    clients.child.stdin!.write('ready\n');
    assert.match(proxy.log, new RegExp(`"msg":"saved sessions: ${ALL} go on"`));
    assert.ok(!existsSync(stateFile), 'a state is used once');
    await sleep(500);
    assert.deepEqual(await mappings(proxy), before);

    const counted = await clients.end();
    t.diagnostic(
      `at ${RATE} datagrams/s ${counted.lost} lost, for ${counted.longestGapMs} ms no client had an answer`,
    );
    assert.equal(counted.sent, (counted.answered as number) + (counted.lost as number));
    assert.ok((counted.sentAfterMark as number) > 0);
    assert.equal(counted.lostAfterMark, 0, 'once it says that it is ready nothing is lost any more');
    const heard = await Promise.all(servers.map((server) => server.end()));
    const addresses = heard.reduce((sum, { learned }) => sum + (learned as number), 0);
    assert.equal(addresses, ALL, 'the real servers saw no new address');
    assert.equal(counted.unexpected, 0);
  });
}

for (const [before, after] of [
  [1, 2],
  [2, 1],
  [2, 3],
] as const) {
  test(`a restart with ${after} workers instead of ${before} keeps every LIP:lport of every client`, async (t) => {
    const { rig } = await startWithState(t, { io: { mode: 'ring', workers: before } });
    let proxy = rig.startProxy();
    await proxy.ready();
    const servers = await rig.startServers();
    const clients = rig.startSteadyClients({ portsPerAddress: PORTS, rate: RATE });
    await until('every client has a session', async () => (await mappings(proxy)).length === ALL);
    const listed = await mappings(proxy);
    assert.equal(await proxy.stop(), 0);
    rig.rewriteConfig((config) => {
      (config.io as { workers: number }).workers = after;
    });
    proxy = rig.startProxy();
    await proxy.ready();
    clients.child.stdin!.write('ready\n');
    assert.match(proxy.log, new RegExp(`"msg":"saved sessions: ${ALL} go on"`));
    await sleep(500);
    assert.deepEqual(await mappings(proxy), listed);
    assert.equal((await clients.end()).lostAfterMark, 0);
    const heard = await Promise.all(servers.map((server) => server.end()));
    const addresses = heard.reduce((sum, { learned }) => sum + (learned as number), 0);
    assert.equal(addresses, ALL, 'the real servers saw no new address');
  });
}

interface StatedServer {
  state: string;
  effectiveWeight: number;
}

/** State and weight of each real server. */
async function stated({ proxy }: Pick<Rig, 'proxy'>): Promise<[string, number][]> {
  const { services } = JSON.parse((await proxy.get('/services')).body) as {
    services: { realServers: StatedServer[] }[];
  };
  return services[0].realServers.map(({ state, effectiveWeight }) => [state, effectiveWeight]);
}

test('drains and weights that an operator set outlive a restart and a kill -9, until he takes them back', async (t) => {
  const { rig, stateFile } = await startWithState(t, { servers: 3 });
  let proxy = rig.startProxy();
  await proxy.ready();
  const [first, second, third] = rig.realServers.map(({ ip, port }) => `${ip}:${port}`);
  const ctl = async (...args: string[]) => assert.equal(await runCtl(rig, ...args), 0);
  await ctl('server', 'drain', 'test', first);
  await ctl('server', 'weight', 'test', second, '7');
  await ctl('server', 'weight', 'test', third, '9');
  const set = await stated({ proxy });
  assert.deepEqual(set, [
    ['drained', 0],
    ['up', 7],
    ['up', 9],
  ]);
  await proxy.stop();
  proxy = rig.startProxy();
  await proxy.ready();
  assert.deepEqual(await stated({ proxy }), set);
  const exited = once(proxy.child, 'exit');
  proxy.child.kill('SIGKILL');
  await exited;
  // Meanwhile the config says another weight of one, and does not name another one any more.
  rig.rewriteConfig((config) => {
    const [service] = config.services as { realServers: { ip: string; weight?: number }[] }[];
    service.realServers = service.realServers.slice(0, 2);
    service.realServers[1].weight = 3;
  });
  proxy = rig.startProxy();
  await proxy.ready();
  assert.deepEqual(await stated({ proxy }), [
    ['drained', 0],
    ['up', 3],
  ]);
  assert.match(proxy.log, new RegExp(`${second} of test.*weight 7.*is dropped`));
  assert.match(proxy.log, new RegExp(`${third} of test.*is dropped`));
  await ctl('server', 'enable', 'test', first);
  assert.ok(!existsSync(stateFile), 'nothing is left to be remembered');
});

test('with persistence new sessions of a client go where its restored ones are', async (t) => {
  const { rig } = await startWithState(t, { clients: 4, service: { persistence: '300s', scheduler: 'rr' } });
  const first = rig.startProxy();
  await first.ready();
  const servers = await rig.startServers();
  const count = rig.clientIps.length;
  await rig.clients({ portsPerAddress: 1, firstPort: 20_000, count, sizes: [64] });
  const before = await mappings(first);
  assert.equal(before.length, count);
  await first.stop();
  const proxy = rig.startProxy();
  await proxy.ready();
  // From the last one to the first, or taking turns could come to the same.
  await rig.clients({
    portsPerAddress: 2,
    firstPort: 21_000, // new sessions
    count: 2 * count,
    sizes: [64],
    addresses: rig.clientIps.toReversed(),
  });
  const pairs = (lines: string[]) =>
    new Set(lines.map((line) => line.split(' ')).map((at) => `${at[0]} -> ${at[4]}`));
  const after = await mappings(proxy);
  assert.equal(after.length, 3 * count);
  assert.deepEqual([...pairs(after)].sort(), [...pairs(before)].sort());
  await Promise.all(servers.map((server) => server.end()));
});

/** LIP:lport and real server of each session. */
const outsides = (lines: string[]): string[] => lines.map((line) => line.split(' ').slice(2).join(' '));

/** Both begin each pool at a random place: that the same lports come again is possible, but not twice. */
async function assertOtherLports(t: TestContext, rig: Rig, restart: () => Promise<Rig['proxy']>) {
  const servers = await rig.startServers();
  let proxy = rig.proxy;
  const before = new Set<string>();
  const shared: number[] = [];
  for (let start = 0; start < 3; start++) {
    const answered = await rig.clients({ portsPerAddress: PORTS, count: ALL, sizes: [64] });
    assert.equal(answered.missing, 0);
    const now = outsides(await mappings(proxy));
    assert.ok(now.length === ALL && new Set(now).size === ALL);
    shared.push(now.filter((one) => before.has(one)).length);
    for (const one of now) before.add(one);
    if (start < 2) proxy = await restart();
  }
  t.diagnostic(`shared with those before: ${shared.join(', ')}`);
  assert.ok(shared.filter((count) => count > 0).length <= 1, `${shared.join(', ')} of ${ALL}`);
  await Promise.all(servers.map((server) => server.end()));
}

test('after a kill -9 new clients get other lports than those before: a server may know its peers by address', async (t) => {
  const rig = await startRig(t, { clients: CLIENTS, servers: 2 });
  let { proxy } = rig;
  await assertOtherLports(t, rig, async () => {
    const exited = once(proxy.child, 'exit');
    proxy.child.kill('SIGKILL');
    await exited;
    proxy = rig.startProxy();
    await proxy.ready();
    return proxy;
  });
});

test('after a restart new clients get the lports behind those that were in use, however many restarts', async (t) => {
  const { rig } = await startWithState(t, { service: { lports: '20000-20199' } });
  const servers = await rig.startServers();
  const seen = new Set<string>();
  let proxy = rig.startProxy();
  await proxy.ready();
  // Two LIPs towards two real servers, with 800 lports in all: a random start would soon meet those before.
  for (let start = 0; start < 6; start++) {
    const answered = await rig.clients({ portsPerAddress: PORTS, count: ALL, sizes: [64] });
    assert.equal(answered.missing, 0);
    for (const one of outsides(await mappings(proxy))) seen.add(one);
    await proxy.stop();
    proxy = rig.startProxy();
    await proxy.ready();
  }
  assert.equal(seen.size, 6 * ALL, 'nobody got what somebody had before');
  await Promise.all(servers.map((server) => server.end()));
});

test('so do those after the end of a worker, when the sessions before are over', async (t) => {
  const rig = await startRig(t, {
    clients: CLIENTS,
    servers: 2,
    service: { timeouts: { oneway: '1s', normal: '2s' } },
  });
  await assertOtherLports(t, rig, async () => {
    await until('sessions are over', async () => (await mappings(rig.proxy)).length === 0);
    const { body } = await rig.proxy.get('/stats');
    const ends = (JSON.parse(body) as { workers: { pid: number; restarts: number }[] }).workers;
    for (const { pid } of ends) process.kill(pid, 'SIGKILL');
    await until('each works again', async () => {
      const stats = JSON.parse((await rig.proxy.get('/stats')).body) as { workers: { restarts: number }[] };
      const isAnew = stats.workers.every(({ restarts }, index) => restarts > ends[index].restarts);
      return isAnew && (await rig.proxy.get('/readyz')).status === 200;
    });
    return rig.proxy;
  });
});

test('a state file that is damaged is said and ignored', async (t) => {
  const { rig, stateFile } = await startWithState(t);
  writeFileSync(stateFile, 'no sessions');
  const proxy = rig.startProxy();
  await proxy.ready();
  assert.match(proxy.log, /saved sessions: .* is ignored: /);
});

test('a second proxy with the same state file is refused, and one that cannot save says so at its start', async (t) => {
  const { rig, stateFile } = await startWithState(t);
  const first = rig.startProxy();
  await first.ready();
  const copy = join(rig.topology.scratch, 'copy.yaml');
  const config = JSON.parse(readFileSync(rig.configPath, 'utf8'));
  config.admin = { listen: '127.0.0.1:9465' };
  writeFileSync(copy, JSON.stringify(config));
  const second = rig.topology.spawn('lb', nodeArgv(MAIN, 'run', '--config', copy), {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let said = '';
  second.stderr!.on('data', (text) => {
    said += text;
  });
  assert.deepEqual(await once(second, 'close'), [1, null]);
  assert.match(said, new RegExp(`another uoa-proxy has sessions\\.stateFile ${stateFile}`));
  assert.equal(await first.stop(), 0);
  assert.deepEqual(
    readdirSync(rig.topology.scratch).filter((name) => name.startsWith('sessions')),
    ['sessions'],
    'no lock is left',
  );
  rig.rewriteConfig((other) => {
    other.sessions = { stateFile: join(rig.topology.scratch, 'missing', 'sessions') };
  });
  const third = rig.startProxy();
  await third.ready();
  assert.match(third.log, /"level":"error".*sessions will not be saved: .*missing\/sessions: ENOENT/);
});

/** `uoa-proxy ctl ARGS` beside the proxy: its exit code. */
async function runCtl({ topology, configPath }: Rig, ...args: string[]): Promise<number | null> {
  const argv = nodeArgv(MAIN, 'ctl', '--config', configPath, ...args);
  const child = topology.spawn('lb', argv, { stdio: ['ignore', 'ignore', 'inherit'] });
  const [code] = await once(child, 'close');
  return code as number | null;
}

/** `uoa-proxy ctl drain ARGS` beside the proxy, and what it printed when it has ended. */
function ctlDrain({ topology, configPath }: Rig, ...args: string[]) {
  const argv = nodeArgv(MAIN, 'ctl', '--config', configPath, 'drain', ...args);
  const child = topology.spawn('lb', argv, { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  child.stdout!.setEncoding('utf8').on('data', (more) => {
    text += more;
  });
  return { child, ended: once(child, 'close').then(([code]) => ({ code: code as number | null, text })) };
}

const SHORT = { timeouts: { normal: '6s', oneway: '6s' } };

test('ctl drain: no new sessions, the others go on, and it returns when they are over and the proxy is gone', async (t) => {
  const rig = await startRig(t, { clients: CLIENTS, servers: 1, service: SHORT });
  const servers = await rig.startServers();
  const clients = rig.startClients({ portsPerAddress: PORTS, sizes: [64] });
  await until(
    'every client has a session',
    async () => (await rig.metric('sessions', { state: 'normal' })) === ALL,
  );
  const ctl = ctlDrain(rig, '--timeout', '60s');
  await until('it drains', async () => (await rig.proxy.get('/readyz')).body.includes('draining'));
  const longer = await ctlDrain(rig, '--timeout', '120s', '--no-wait').ended;
  assert.equal(longer.code, 0);
  assert.match(longer.text, /at the latest in 2m 0s/);
  assert.equal((await rig.proxy.get('/readyz')).status, 503);
  const late = await rig.clients({ portsPerAddress: 1, count: CLIENTS, sizes: [64], timeoutMs: 200 });
  assert.equal(late.missing, CLIENTS);
  assert.equal(await rig.metric('drops_total', { reason: 'draining' }), CLIENTS);
  assert.equal(ctl.child.exitCode, null, 'it waits');
  const exited = once(rig.proxy.child, 'exit');
  let isGone = false;
  void exited.then(() => {
    isGone = true;
  });
  const counted = await clients.end();
  assert.equal(counted.missing, 0, 'sessions that were there lose nothing');
  const { code, text } = await ctl.ended;
  assert.equal(code, 0);
  assert.match(text, new RegExp(`^${ALL} sessions left$`, 'm'));
  assert.match(
    text,
    /^(drained, and the proxy has ended|the proxy has ended; \d+ sessions? a moment before)$/m,
  );
  // What ctl sees is that nobody answers any more, which is so a moment before the process ends.
  await until('the proxy ends', () => isGone);
  assert.deepEqual(await exited, [10, null], 'an exit code of its own');
  assert.match(rig.proxy.log, /"msg":"drained"/);
  await Promise.all(servers.map((server) => server.end()));
});

test('ctl drain --cancel: new sessions again, ready again, and who waited hears of it', async (t) => {
  const rig = await startRig(t, { clients: CLIENTS, servers: 1 });
  const servers = await rig.startServers();
  const clients = rig.startClients({ portsPerAddress: PORTS, sizes: [64] });
  await until(
    'every client has a session',
    async () => (await rig.metric('sessions', { state: 'normal' })) === ALL,
  );
  const waiting = ctlDrain(rig);
  await until('it drains', async () => (await rig.proxy.get('/readyz')).status === 503);
  const cancelled = await ctlDrain(rig, '--cancel').ended;
  assert.deepEqual(cancelled, { code: 0, text: 'not draining any more: new sessions are taken\n' });
  assert.equal((await waiting.ended).code, 1);
  assert.equal((await rig.proxy.get('/readyz')).status, 200);
  assert.match(rig.proxy.log, /"msg":"the drain is taken back: new sessions again"/);
  const late = await rig.clients({ portsPerAddress: 1, count: CLIENTS, sizes: [64] });
  assert.equal(late.missing, 0);
  assert.equal((await clients.end()).missing, 0);
  await Promise.all(servers.map((server) => server.end()));
});
