// Each scheduler, one after the other in one proxy, by reload: which real server new sessions of real clients
// get. And health checks over TCP of servers that listen beside the game.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Rig, startRig, until } from './harness.ts';

/** Answers 200 at / and 404 elsewhere. */
const HTTP_SERVER = `require('node:http').createServer((request, response) => {
  response.statusCode = request.url === '/' ? 200 : 404;
  response.end();
}).listen(8080, process.argv[1])`;

/** Changes the service's keys and waits until the proxy has them. */
async function reload(rig: Rig, keys: Record<string, unknown>): Promise<void> {
  const reloads = () => rig.proxy.log.match(/"reloaded"/g)?.length ?? 0;
  const before = reloads();
  rig.rewriteConfig(({ services: [service] }) => Object.assign(service, keys));
  rig.proxy.child.kill('SIGHUP');
  await until('it is reloaded', () => reloads() > before);
}

/** Opens sessions from these addresses: by real server the client address of each that there is. */
async function sessionsFrom(rig: Rig, addresses: readonly string[], portsPerAddress: number) {
  const count = addresses.length * portsPerAddress;
  const { missing } = await rig.clients({ addresses, portsPerAddress, count, sizes: [64] });
  assert.equal(missing, 0);
  const { body } = await rig.proxy.get('/sessions?limit=1000');
  const { sessions } = JSON.parse(body) as { sessions: { client: string; rs: string }[] };
  const theirs = sessions.filter(({ client }) => addresses.includes(client));
  return rig.realServers.map(({ ip }) => theirs.filter(({ rs }) => rs === ip).map(({ client }) => client));
}

test('schedulers share new sessions out as they say, none of them to weight 0', async (t) => {
  const rig = await startRig(t, { clients: 100, servers: 3, io: { mode: 'ring', workers: 1 } });
  const servers = await rig.startServers();
  const realServers = rig.realServers.map((server, index) => ({ ...server, weight: [100, 200, 0][index] }));
  const totals = [0, 0, 0];
  let used = 0;
  /** New addresses each time, so that no socket has the port of one before. */
  const addresses = (count: number) => {
    used += count;
    return rig.clientIps.slice(used - count, used);
  };
  const counts = async (scheduler: string): Promise<number[]> => {
    await reload(rig, { realServers, scheduler });
    const got = (await sessionsFrom(rig, addresses(10), 6)).map(({ length }) => length);
    for (const [index, count] of got.entries()) totals[index] += count;
    assert.equal(got[2], 0, `${scheduler}: weight 0`);
    return got;
  };

  assert.deepEqual(await counts('rr'), [30, 30, 0]);
  assert.deepEqual(await counts('wrr'), [20, 40, 0]);
  await counts('lc');
  assert.deepEqual(totals, [90, 90, 0], 'lc: as many here as there');
  await counts('wlc');
  assert.deepEqual(totals, [90, 150, 0], 'wlc: all to the one that has fewer for its weight');
  const random = await counts('random');
  assert.ok(random[0] > 0 && random[1] > 0);
  for (const scheduler of ['sh', 'mh']) {
    await reload(rig, { realServers, scheduler });
    const some = addresses(25);
    for (let round = 0; round < 2; round++) {
      const sets = (await sessionsFrom(rig, some, 2)).map((clients) => new Set(clients));
      assert.ok(sets[0].size > 0 && sets[1].size > 0, `${scheduler}: both are used`);
      assert.equal(sets[2].size, 0, `${scheduler}: weight 0`);
      assert.equal(sets[0].size + sets[1].size, some.length, `${scheduler}: a client has one real server`);
    }
  }
  await Promise.all(servers.map((server) => server.end()));
});

test('checks by tcp and http, on a port of their own, take a real server out and back', async (t) => {
  const rig = await startRig(t, { clients: 1, servers: 2 });
  const [a, b] = rig.realServers.map(({ ip, port }) => `${ip}:${port}`) as [string, string];
  const serve = ({ ip }: { ip: string }) =>
    rig.topology.spawn('rs', [process.execPath, '-e', HTTP_SERVER, ip], { stdio: 'ignore' });
  const up = (rs: string) => rig.metric('server_up', { rs });
  // The first check after a kill may meet a program that is about to end, the third does not.
  const times = { port: 8080, interval: '500ms', timeout: '5s', rise: 1, fall: 3 };
  let first = serve(rig.realServers[0]);
  serve(rig.realServers[1]);
  for (const [health, reason] of [
    [{ type: 'tcp' }, /connection refused/i],
    [{ type: 'http', path: '/', status: '200' }, /connection refused/i],
  ] as const) {
    await reload(rig, { health: { ...health, ...times } });
    await until('both are up', async () => (await up(a)) === 1 && (await up(b)) === 1);
    const from = rig.proxy.log.length;
    first.kill('SIGKILL');
    await until(
      `${health.type} finds one down and the other up`,
      async () => (await up(a)) === 0 && (await up(b)) === 1,
    );
    assert.match(rig.proxy.log.slice(from), reason);
    first = serve(rig.realServers[0]);
    await until('it is up again', async () => (await up(a)) === 1);
  }
  await reload(rig, { health: { type: 'http', path: '/missing', status: '200', ...times } });
  await until('both are down', async () => (await up(a)) === 0 && (await up(b)) === 0);
  assert.match(rig.proxy.log, /status 404, expected 200/);
  assert.equal((await rig.proxy.get('/readyz')).status, 503);
});
