// Real servers that are killed, restarted and black-holed under load: what is said, where sessions go, what
// is lost.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LIPS } from '../../src/lab/topology.ts';
import { type PythonProgram, type Rig, startPython, startRig, until } from './harness.ts';
import { PAIRS } from './pairs.ts';

const CLIENTS = 5;
const PORTS = 4;
const ALL = CLIENTS * PORTS;
/** After which a client takes a datagram for lost and sends its next. */
const CLIENT_TIMEOUT_MS = 300;
/** The servers of these tests echo whatever comes. */
const ECHO_CHECK = {
  type: 'udp',
  send: 'are you there?',
  expect: 'are you there?',
  interval: '300ms',
  timeout: '1s',
  rise: 2,
  fall: 3,
};

/** Whether it is said from now on. */
function says(rig: Rig, text: string): () => boolean {
  const from = rig.proxy.log.length;
  return () => rig.proxy.log.includes(text, from);
}

/** Kills the real server's program; what its kernel then answers is ICMP port unreachable. */
function kill(server: PythonProgram | undefined): void {
  server?.child.kill('SIGKILL');
}

/** On the host of the real servers. */
const nft = (rig: Rig, command: string) => rig.topology.exec('rs', ['nft', command]);

/** What comes to the address vanishes there without a word, until the table `hole` is deleted. */
function blackHole(rig: Rig, ip: string): void {
  nft(rig, 'add table ip hole; add chain ip hole in { type filter hook input priority 0; }');
  nft(rig, `add rule ip hole in ip daddr ${ip} drop`);
}

/** By client, the LIP:lport of the sessions that a real server has. */
async function locals(rig: Rig, rs: string): Promise<Map<string, string>> {
  const { body } = await rig.proxy.get(`/sessions?rs=${rs}&limit=1000`);
  const { sessions } = JSON.parse(body) as {
    sessions: { client: string; clientPort: number; lip: string; lport: number }[];
  };
  return new Map(
    sessions.map(({ client, clientPort, lip, lport }) => [`${client}:${clientPort}`, `${lip}:${lport}`]),
  );
}

const sessionsOf = (rig: Rig, rs: string): Promise<number> => rig.metric('server_sessions', { rs });

async function startUnderLoad(t: Parameters<typeof startRig>[0], service: Record<string, unknown>) {
  const rig = await startRig(t, {
    clients: CLIENTS,
    servers: 2,
    service: { health: ECHO_CHECK, ...service },
  });
  const servers = await rig.startServers();
  const [a, b] = rig.realServers.map(({ ip, port }) => `${ip}:${port}`) as [string, string];
  await until('both are up', async () => (await rig.metric('server_up')) === 2);
  const clients = rig.startClients({ portsPerAddress: PORTS, sizes: [64], timeoutMs: CLIENT_TIMEOUT_MS });
  await until('every client has a session', async () => {
    return (await rig.metric('sessions', { state: 'normal' })) === ALL;
  });
  return { rig, servers, a, b, clients };
}

test('onDown move: when a real server is killed its sessions go on with another one, which learns the clients', async (t) => {
  const { rig, servers, a, b, clients } = await startUnderLoad(t, { onDown: 'move' });
  const before = await locals(rig, a);
  assert.equal(before.size, ALL / 2);
  const isDown = says(rig, `real server ${a} of test is down`);
  const killedAt = performance.now();
  kill(servers[0]);
  await until('it is said', isDown);
  await until('all sessions moved', async () => (await sessionsOf(rig, b)) === ALL);
  const deadMs = performance.now() - killedAt;
  const after = await locals(rig, b);
  assert.equal(await rig.metric('server_up', { rs: a }), 0);
  assert.equal(await rig.metric('sessions_moved_total'), ALL / 2);
  assert.equal(await rig.metric('ready'), 1);
  const moved = await rig.metric('server_packets_total', { rs: b, direction: 'outbound' });
  await until('they are answered', async () => {
    return (await rig.metric('server_packets_total', { rs: b, direction: 'outbound' })) > moved + 10 * ALL;
  });

  const isUp = says(rig, `real server ${a} of test is up again`);
  const again = startPython(rig.topology, 'rs', 'server.py', rig.realServers[0]);
  await again.ready;
  await until('it is said', isUp);
  await until('new sessions go to it again, and lose nothing', async () => {
    const probe = await rig.clients({ portsPerAddress: PORTS, count: 2 * ALL, sizes: [64] });
    assert.equal(probe.missing, 0);
    return (await sessionsOf(rig, a)) > 0;
  });

  const counted = await clients.end();
  const { clients: known, wrong, unattributed } = await servers[1].end();
  for (const client of before.keys()) {
    const local = after.get(client)!;
    assert.equal((known as Record<string, string>)[local], client, `whose ${local} is, says the other one`);
  }
  assert.deepEqual([wrong, unattributed], [0, 0], 'from the first datagram on');
  assert.deepEqual([counted.altered, counted.unexpected], [0, 0]);
  t.diagnostic(`${counted.missing} of ${counted.sent} lost, from the kill until the check found out`);
  const most = (deadMs / CLIENT_TIMEOUT_MS + 3) * (ALL / 2);
  assert.ok((counted.missing as number) <= most, `only what went to the dead one is lost, at most ${most}`);
});

test('onDown keep: sessions of a real server in a black hole wait for it, and new ones go elsewhere', async (t) => {
  const { rig, servers, a, b, clients } = await startUnderLoad(t, { onDown: 'keep' });
  const isDown = says(rig, `real server ${a} of test is down: no reply within 1s`);
  blackHole(rig, rig.realServers[0].ip);
  await until('it is said', isDown);
  const probe = await rig.clients({ portsPerAddress: PORTS, count: 400, sizes: [64] });
  assert.equal(probe.missing, 0, 'new sessions lose nothing');
  assert.equal(await sessionsOf(rig, a), ALL / 2, 'its own stay');
  assert.equal(await sessionsOf(rig, b), ALL / 2 + ALL);
  const isUp = says(rig, `real server ${a} of test is up again`);
  nft(rig, 'delete table ip hole');
  await until('it is said', isUp);
  const before = await rig.metric('server_packets_total', { rs: a, direction: 'outbound' });
  await until('they are answered again', async () => {
    return (await rig.metric('server_packets_total', { rs: a, direction: 'outbound' })) > before + 5 * ALL;
  });
  assert.equal(await rig.metric('sessions_moved_total'), 0);
  await clients.end();
  await Promise.all(servers.map((server) => server.end()));
});

test('onDown reset: the clients of a real server in a black hole are told, and open new sessions elsewhere', async (t) => {
  const { rig, a, b, clients } = await startUnderLoad(t, { onDown: 'reset' });
  const isDown = says(rig, `real server ${a} of test is down`);
  blackHole(rig, rig.realServers[0].ip); // one that is killed has a kernel that would tell them
  await until('it is said', isDown);
  await until('all have sessions elsewhere', async () => (await sessionsOf(rig, b)) === ALL);
  assert.equal(await sessionsOf(rig, a), 0);
  assert.equal(await rig.metric('sessions_reset_total'), ALL / 2);
  const counted = await clients.end();
  assert.equal(counted.refused, ALL / 2, 'each of them saw ECONNREFUSED');
});

test('all down: new sessions go to the fallback, or are dropped with their reason; /readyz says so', async (t) => {
  const { rig, servers, a, clients } = await startUnderLoad(t, { onDown: 'reset' });
  const noneIsUp = says(rig, 'service test: no real server is up');
  for (const server of servers) kill(server);
  await until('it is noticed', async () => (await rig.metric('ready')) === 0);
  await until('it is said', noneIsUp);
  const { status, body } = await rig.proxy.get('/readyz');
  assert.deepEqual([status, JSON.parse(body).reason], [503, 'service test: no real server is up']);
  await until(
    'drops are counted',
    async () => (await rig.metric('drops_total', { reason: 'no_real_server' })) > 0,
  );
  const fallback = startPython(rig.topology, 'rs', 'server.py', { ip: rig.realServers[0].ip, port: 7000 });
  await fallback.ready; // before the proxy, which looks at its config by itself, asks it
  const isReloaded = says(rig, '"reloaded"');
  rig.rewriteConfig(({ services: [service] }) => {
    service.fallback = `${rig.realServers[0].ip}:7000`;
  });
  rig.proxy.child.kill('SIGHUP');
  await until('it is reloaded', isReloaded);
  const before = (await clients.end()).answered as number;
  assert.ok(before > 0);
  const probe = await rig.clients({ portsPerAddress: PORTS, count: 200, sizes: [64] });
  assert.equal(probe.missing, 0);
  const served = await rig.proxy.get('/readyz');
  assert.deepEqual(
    [served.status, JSON.parse(served.body).reason],
    [200, 'serving 1 service, test: only the fallback'],
  );
  assert.notEqual(a, '');
  await fallback.end();
});

test('passive: a real server that answers with ICMP unreachable is taken out without any check', async (t) => {
  const rig = await startRig(t, {
    clients: CLIENTS,
    servers: 2,
    service: { onDown: 'move', health: { unreachable: 3, window: '2s' } },
  });
  const servers = await rig.startServers();
  const clients = rig.startClients({ portsPerAddress: PORTS, sizes: [64], timeoutMs: 300 });
  await until(
    'every client has a session',
    async () => (await rig.metric('sessions', { state: 'normal' })) === ALL,
  );
  const a = `${rig.realServers[0].ip}:${rig.realServers[0].port}`;
  kill(servers[0]);
  await until('it is said', () => /is down: \d+ ICMP unreachable errors within 2s/.test(rig.proxy.log));
  await until('all sessions moved', async () => (await sessionsOf(rig, a)) === 0);
  await clients.end();
});

test('silent: a real server whose new sessions vanish is taken out, though an old client is answered and its check succeeds', async (t) => {
  const rig = await startRig(t, {
    clients: CLIENTS,
    servers: 2,
    service: {
      timeouts: { oneway: '1s' },
      health: { ...ECHO_CHECK, silent: 5, window: '4s' },
    },
  });
  const servers = await rig.startServers();
  const [a, b] = rig.realServers.map(({ ip, port }) => `${ip}:${port}`) as [string, string];
  await until('both are up', async () => (await rig.metric('server_up')) === 2);
  const old = rig.startClients({ portsPerAddress: 2, sizes: [64] });
  await until('both have old sessions', async () => {
    return (await rig.metric('sessions', { state: 'normal' })) === 2 * CLIENTS;
  });
  const known = [...(await locals(rig, a)).values()].map((local) => local.split(':').reverse().join(' . '));
  assert.equal(known.length, CLIENTS);
  nft(rig, 'add table ip hole; add chain ip hole in { type filter hook input priority 0; }');
  const { ip } = rig.realServers[0];
  const lips = `ip saddr { ${LIPS[4].join(', ')} } ip daddr ${ip}`;
  nft(rig, `add rule ip hole in ${lips} udp sport . ip saddr != { ${known.join(', ')} } drop`);
  const isUp = says(rig, `real server ${a} of test is up again`);
  const answered = () => rig.metric('server_packets_total', { rs: a, direction: 'outbound' });
  const before = await answered();
  await until('it is said', async () => {
    await rig.clients({ portsPerAddress: 4, count: 4 * CLIENTS, sizes: [64], timeoutMs: 200 });
    return new RegExp(`${a} of test is down: \\d+ sessions ended without an answer`).test(rig.proxy.log);
  });
  assert.ok((await answered()) > before, 'old sessions were answered all the time');
  assert.ok(
    (await rig.metric('server_sessions_answered_total', { rs: b })) > CLIENTS,
    'new ones elsewhere, too',
  );
  assert.doesNotMatch(rig.proxy.log, new RegExp(`${b} of test is down: \\d+ sessions`));
  await until('its check lets it in again', isUp);
  const { missing } = await old.end();
  assert.equal(missing, 0);
  await Promise.all(servers.map((server) => server.end()));
});

test('IPv6: checks are asked from an address of the host, not from a LIP that was assigned', async (t) => {
  const pair = PAIRS[6];
  const service = { health: ECHO_CHECK };
  const rig = await startRig(t, { pair, servers: 2, uoa: { dialect: pair.dialect }, service });
  await until('nobody answers', async () => (await rig.metric('server_up')) === 0);
  const servers = await rig.startServers();
  await until('they answer', async () => (await rig.metric('server_up')) === 2);
  await Promise.all(servers.map((server) => server.end()));
});
