// Who may open sessions and how many, where a client's next session goes, and checks of other kinds than udp,
// with the real proxy between real sockets.
import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Rig, type RigOptions, startRig, until } from './harness.ts';

const CLIENTS = 3;
/** Of datagrams that are dropped too, so that it costs time. */
const TIMEOUT_MS = 3000;

/**
 * Starts a rig and its servers, lets `ports` sockets of each client send `each` datagrams, and returns what
 * they saw.
 */
async function exchange(t: Parameters<typeof startRig>[0], options: RigOptions, ports: number, each = 3) {
  const rig = await startRig(t, { clients: CLIENTS, servers: 2, ...options });
  await rig.startServers();
  const count = CLIENTS * ports * each;
  const seen = await rig.clients({ portsPerAddress: ports, count, sizes: [64], timeoutMs: TIMEOUT_MS });
  return { rig, seen };
}

async function clientsOf(rig: Rig): Promise<{ client: string; rs: string }[]> {
  const { body } = await rig.proxy.get('/sessions?limit=1000');
  return (JSON.parse(body) as { sessions: { client: string; rs: string }[] }).sessions;
}

test('deny and allow: the longest prefix that matches decides, and who is denied gets nothing', async (t) => {
  const rig = await startRig(t, { clients: CLIENTS, servers: 1 });
  await rig.startServers();
  const [first, second, third] = rig.clientIps as [string, string, string];
  const network = `${first.replace(/\d+$/, '0')}/24`;
  rig.rewriteConfig(({ services: [one] }) => {
    one.deny = [network];
    one.allow = [`${first}/32`, `${third}/32`];
  });
  rig.proxy.child.kill('SIGHUP');
  await until('it is reloaded', () => rig.proxy.log.includes('"reloaded"'));
  for (const [address, missing] of [
    [first, 0],
    [second, 4],
    [third, 0],
  ] as const) {
    const seen = await rig.clients({
      addresses: [address],
      portsPerAddress: 2,
      count: 4,
      sizes: [64],
      timeoutMs: TIMEOUT_MS,
    });
    assert.equal(seen.missing, missing, address);
  }
  assert.equal(await rig.metric('drops_total', { reason: 'denied' }), 4);
});

test('limits.sessionsPerClient: further sockets of a client get no session, others are not hurt', async (t) => {
  const limits = { sessionsPerClient: 2 };
  const { rig, seen } = await exchange(t, { service: { limits } }, 5);
  assert.equal(await rig.metric('sessions'), 2 * CLIENTS);
  const perClient = new Map<string, number>();
  for (const { client } of await clientsOf(rig)) perClient.set(client, (perClient.get(client) ?? 0) + 1);
  assert.deepEqual([...perClient.values()], Array(CLIENTS).fill(2));
  const dropped = await rig.metric('drops_total', { reason: 'client_session_limit' });
  assert.equal(dropped, seen.missing);
  await until('it is said', () => rig.proxy.log.includes('clients reach limits.sessionsPerClient'));
});

test('limits.sessions bounds a service', async (t) => {
  const { rig, seen } = await exchange(
    t,
    { service: { limits: { sessions: 4 } }, io: { mode: 'ring', workers: 1 } },
    5,
  );
  assert.equal(await rig.metric('sessions'), 4);
  assert.equal(await rig.metric('drops_total', { reason: 'session_limit' }), seen.missing);
});

test('limits.newSessions: a burst opens a second of them, the rest is dropped with its reason', async (t) => {
  const { rig, seen } = await exchange(t, { service: { limits: { newSessions: 5 } } }, 20, 1);
  const opened = await rig.metric('sessions');
  assert.ok(opened >= 5 && opened < CLIENTS * 20, `${opened} sessions`);
  assert.equal(await rig.metric('drops_total', { reason: 'new_session_limit' }), seen.missing);
});

test('persistence: all sockets of a client address go to one real server, with several workers too', async (t) => {
  const io = { mode: 'ring' as const, workers: 2 };
  // One first: of two that come in the same microsecond each worker may choose for its own.
  const { rig } = await exchange(t, { service: { persistence: '300s' }, clients: 8, io }, 1);
  const seen = await rig.clients({ portsPerAddress: 6, count: 48, sizes: [64] });
  assert.equal(seen.missing, 0);
  const serversOf = new Map<string, Set<string>>();
  for (const { client, rs } of await clientsOf(rig))
    serversOf.set(client, (serversOf.get(client) ?? new Set()).add(rs));
  assert.ok([...serversOf.values()].every((servers) => servers.size === 1));
  assert.equal(new Set([...serversOf.values()].flatMap((servers) => [...servers])).size, 2, 'both are used');
});

test('checks by exec and by icmp take a real server out and back', async (t) => {
  const rig = await startRig(t, { clients: 1, servers: 2 });
  const [a, b] = rig.realServers.map(({ ip, port }) => `${ip}:${port}`) as [string, string];
  const flag = join(rig.topology.scratch, 'works');
  writeFileSync(flag, '');
  const health = { interval: '500ms', timeout: '3s', rise: 1, fall: 2 };
  const oneIsDown = async () =>
    (await rig.metric('server_up', { rs: a })) === 0 && (await rig.metric('server_up', { rs: b })) === 1;
  rig.rewriteConfig(({ services: [one] }) => {
    const command = ['sh', '-c', `test "$UOA_PROXY_RS_IP" = ${rig.realServers[1].ip} || test -e ${flag}`];
    one.health = { ...health, type: 'exec', command };
  });
  rig.proxy.child.kill('SIGHUP');
  await until('it is reloaded', () => rig.proxy.log.includes('"reloaded"'));
  rmSync(flag);
  await until('one is down, the other up', oneIsDown);
  assert.match(rig.proxy.log, /is down: exit code 1/);
  writeFileSync(flag, '');
  await until('it is up again', async () => (await rig.metric('server_up', { rs: a })) === 1);

  rig.rewriteConfig(({ services: [one] }) => {
    one.health = { ...health, type: 'icmp' };
  });
  rig.proxy.child.kill('SIGHUP');
  await until('it is reloaded', () => rig.proxy.log.match(/"reloaded"/g)?.length === 2);
  rig.topology.exec('rs', [
    'nft',
    'add table ip hole; add chain ip hole in { type filter hook input priority 0; }',
  ]);
  rig.topology.exec('rs', ['nft', `add rule ip hole in ip daddr ${rig.realServers[0].ip} drop`]);
  await until('one is down, the other up', oneIsDown);
  rig.topology.exec('rs', ['nft', 'delete table ip hole']);
  await until('it is up again', async () => (await rig.metric('server_up', { rs: a })) === 1);
});
