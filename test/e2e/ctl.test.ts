// What an operator does to real servers by the real `ctl`, against a real proxy: what it answers, with which
// exit code, and where new sessions go then.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { nodeArgv } from '../../src/lab/programs.ts';
import { MAIN, type Rig, startPython, startRig, until } from './harness.ts';

const PORTS = 10;
const FALLBACK_PORT = 7000;

async function ctl(rig: Rig, ...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const child = rig.topology.spawn('lb', nodeArgv(MAIN, 'ctl', '--config', rig.configPath, ...args), {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const out = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const)
    child[name]!.setEncoding('utf8').on('data', (text: string) => {
      out[name] += text;
    });
  const [code] = (await once(child, 'close')) as [number];
  return { code, ...out };
}

/** Runs it and checks that it is done, or with `refusal` that it is not. */
async function does(rig: Rig, args: string[], says: RegExp): Promise<void> {
  const { code, stdout, stderr } = await ctl(rig, 'server', ...args);
  assert.deepEqual([code, stderr], [0, ''], args.join(' '));
  assert.match(stdout, says);
}

async function refuses(rig: Rig, args: string[], says: RegExp): Promise<void> {
  const { code, stdout, stderr } = await ctl(rig, 'server', ...args);
  assert.deepEqual([code, stdout], [1, ''], args.join(' '));
  assert.match(stderr, says);
}

async function readyz(rig: Rig): Promise<[status: number, reason: string]> {
  const { status, body } = await rig.proxy.get('/readyz');
  return [status, JSON.parse(body).reason];
}

/** How many sessions each real server was chosen for. */
async function created(rig: Rig): Promise<Map<string, number>> {
  const { services } = JSON.parse((await rig.proxy.get('/services')).body) as {
    services: { realServers: { ip: string; port: number; counters: { sessionsCreated: number } }[] }[];
  };
  const all = services.flatMap(({ realServers }) => realServers);
  return new Map(all.map(({ ip, port, counters }) => [`${ip}:${port}`, counters.sessionsCreated]));
}

/**
 * Opens new sessions of an address: how many went to each of these real servers, and how many datagrams had
 * no answer.
 */
async function opens(
  rig: Rig,
  address: string,
  ...servers: string[]
): Promise<{ counts: number[]; missing: number }> {
  const before = await created(rig);
  const { missing } = await rig.clients({
    addresses: [address],
    portsPerAddress: PORTS,
    count: PORTS,
    sizes: [64],
    timeoutMs: 3000,
  });
  const after = await created(rig);
  const counts = servers.map((rs) => (after.get(rs) ?? 0) - (before.get(rs) ?? 0));
  return { counts, missing: missing as number };
}

test('drain, weight and enable by ctl: new sessions follow, and what would have no effect is refused', async (t) => {
  const rig = await startRig(t, { clients: 4, servers: 2, service: { drainTimeout: '60s' } });
  await rig.startServers();
  // Another address each time, so that no socket has the port of one before, whose session would go on.
  const [first, second, third, fourth] = rig.clientIps as [string, string, string, string];
  const [a, b] = rig.realServers.map(({ ip, port }) => `${ip}:${port}`) as [string, string];

  await does(rig, ['drain', 'test', a], /drained by an operator, weight 0\/100/);
  assert.deepEqual(await opens(rig, first, a, b), { counts: [0, PORTS], missing: 0 });
  assert.deepEqual(await readyz(rig), [200, 'serving 1 service']);

  // With the other one gone too, a new session gets no real server.
  const NONE = 'service test: no real server takes new sessions';
  await does(rig, ['weight', 'test', b, '0'], /up, weight 0\/100/);
  assert.deepEqual(await readyz(rig), [503, NONE]);
  assert.equal(await rig.metric('ready'), 0);
  assert.deepEqual(await opens(rig, second, a, b), { counts: [0, 0], missing: PORTS });
  assert.ok((await rig.metric('drops_total', { reason: 'no_real_server' })) >= PORTS);
  await does(rig, ['drain', 'test', b], /drained/);
  assert.deepEqual(await readyz(rig), [503, NONE]);
  assert.ok(rig.proxy.log.includes(NONE), 'it is logged');

  await does(rig, ['enable', 'test', a], /: up, weight 100/);
  await does(rig, ['enable', 'test', b], /: up, weight 100/);
  assert.deepEqual(await readyz(rig), [200, 'serving 1 service']);
  const { counts, missing } = await opens(rig, third, a, b);
  assert.ok(missing === 0 && counts.every((count) => count > 0), `both are chosen: ${counts.join()}`);

  // One leaves, with sessions, so that it is still there; in its place there is a fallback.
  const c = `${rig.realServers[0].ip}:${FALLBACK_PORT}`;
  await startPython(rig.topology, 'rs', 'server.py', { ip: rig.realServers[0].ip, port: FALLBACK_PORT })
    .ready;
  rig.rewriteConfig(({ services: [service] }) => {
    service.realServers.pop();
    service.fallback = c;
  });
  assert.equal((await ctl(rig, 'reload')).code, 0);
  const removed = /was removed from test: only the config can bring it back/;
  await refuses(rig, ['enable', 'test', b], removed);
  await refuses(rig, ['weight', 'test', b, '50'], removed);
  await refuses(rig, ['drain', 'test', b], removed);
  for (const weight of ['0', '5'])
    await refuses(rig, ['weight', 'test', c, weight], /is the fallback of test: a fallback has no weight/);
  const { stdout } = await ctl(rig, 'services', '--no-rate');
  assert.match(stdout, /7000 fallback +0 +up/);

  await does(rig, ['drain', 'test', a], /drained/);
  assert.deepEqual(await readyz(rig), [200, 'serving 1 service, test: only the fallback']);
  assert.deepEqual(await opens(rig, fourth, a, b, c), { counts: [0, 0, PORTS], missing: 0 });
  await does(rig, ['drain', 'test', c], /drained/);
  assert.deepEqual(await readyz(rig), [503, NONE]);
  await does(rig, ['enable', 'test', c], /: up/);
  assert.deepEqual(await readyz(rig), [200, 'serving 1 service, test: only the fallback']);
});

test('one real server down and the other at weight 0: /readyz says that none takes new sessions', async (t) => {
  const rig = await startRig(t, {
    clients: 1,
    servers: 2,
    service: {
      health: { type: 'udp', send: 'x', expect: 'x', interval: '500ms', timeout: '5s', rise: 1, fall: 2 },
    },
  });
  const servers = await rig.startServers();
  const [a, b] = rig.realServers.map(({ ip, port }) => `${ip}:${port}`) as [string, string];
  await does(rig, ['weight', 'test', b, '0'], /weight 0\/100/);
  // Their checks began before they were there.
  await until('both are up', async () => (await rig.metric('server_up')) === 2);
  servers[0].child.kill('SIGKILL');
  await until('it is down', async () => (await rig.metric('server_up', { rs: a })) === 0);
  assert.deepEqual(await readyz(rig), [503, 'service test: no real server takes new sessions']);
});

test('another user of the host can read over TCP, and changes nothing: no drain, no end of the proxy', async (t) => {
  const rig = await startRig(t, { clients: 1, servers: 1 });
  const asNobody = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', process.execPath, '-e'];
  const script = `const ask = async (method, path, headers) => {
      const { status } = await fetch('http://127.0.0.1:9464' + path, { method, headers });
      return status;
    };
    const header = { 'x-uoa-proxy': '1', 'content-type': 'application/json' };
    Promise.all([
      ask('GET', '/stats', {}),
      ask('POST', '/drain?timeout=0s', header),
      ask('POST', '/services/test/servers/10.2.0.11:6000/drain', header),
      ask('POST', '/reload', header),
    ]).then((all) => console.log(JSON.stringify(all)));`;
  assert.deepEqual(JSON.parse(rig.topology.exec('lb', [...asNobody, script])), [200, 403, 403, 403]);
  assert.deepEqual(await readyz(rig), [200, 'serving 1 service']);
  const { mode } = statSync(join(rig.topology.scratch, 'admin.sock'));
  assert.equal(mode & 0o777, 0o600);
  assert.equal((await ctl(rig, 'reload')).code, 0);
});
