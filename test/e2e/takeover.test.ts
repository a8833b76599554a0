// `run --takeover`: another process takes over from a proxy at work, under load.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, existsSync, readdirSync, rmSync } from 'node:fs';
import { createServer, request } from 'node:http';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { ProcessIdentity } from '../../src/control/process-identity.ts';
import {
  Conversation,
  type FastPathSuccession,
  type FromPredecessor,
  PROTOCOL,
  TAKEOVER_PATH,
} from '../../src/control/takeover-protocol.ts';
import { nodeArgv, type ProxyProcess } from '../../src/lab/programs.ts';
import { lockFile } from '../../src/sys/file-lock.ts';
import { mountBpffs, withBpffs } from '../sys/bpffs.ts';
import { type IoUnderTest, MAIN, type Rig, startRig, until } from './harness.ts';
import { listedIn, mappingsOf } from './listed.ts';
import { workersOf } from './processes.ts';

const CLIENTS = 5;
const PORTS = 4;
const ALL = CLIENTS * PORTS;
/** Datagrams per second. */
const RATE = 1000;
const TOOK_OVER = /"msg":"took over"/;

async function mappings(proxy: ProxyProcess): Promise<string[]> {
  const { body } = await proxy.get('/sessions?limit=1000');
  return body === '' ? [] : mappingsOf(listedIn(body));
}

/** Another process takes over from `before`, which ends. */
async function takeOver(rig: Rig, before: ProxyProcess): Promise<ProxyProcess> {
  const exited = once(before.child, 'exit');
  const after = rig.startProxy('--takeover');
  const failed = once(after.child, 'exit').then(() => assert.fail(after.log));
  await Promise.race([until('it has taken over', () => TOOK_OVER.test(after.log)), failed]);
  assert.deepEqual(await exited, [11, null], before.log);
  await after.ready();
  return after;
}

/** Where datagrams may have been lost. */
async function losses({ topology }: Rig, proxy: ProxyProcess): Promise<string> {
  const { drops, io, counters } = JSON.parse((await proxy.get('/stats')).body) as Record<string, object>;
  const nonzero = (all: object) => Object.entries(all).filter(([, count]) => count !== 0);
  const sockets = (['client', 'rs', 'lb'] as const).map((role) => udpCounters(topology, role));
  return JSON.stringify([nonzero(drops), nonzero(io), nonzero(counters), sockets]);
}

/** The kernel's UDP counters that are not 0. */
function udpCounters(topology: Rig['topology'], role: 'client' | 'rs' | 'lb'): Record<string, number> {
  const lines = topology.exec(role, ['cat', '/proc/net/snmp']).match(/^Udp: .*$/gm) ?? [];
  const [names = [], counts = []] = lines.map((line) => line.split(' ').slice(1));
  const all = names.map((name, at): [string, number] => [name, Number(counts[at])]);
  return Object.fromEntries(all.filter(([, count]) => count !== 0));
}

async function underLoad(t: TestContext, ios: readonly [before: IoUnderTest, after: IoUnderTest]) {
  const rig = await startRig(t, { clients: CLIENTS, servers: 2, io: ios[0] });
  const servers = await rig.startServers();
  const noPort = await rig.watch('client', 'eth0', 'icmp', 'in');
  const clients = rig.startSteadyClients({ portsPerAddress: PORTS, rate: RATE });
  await until('every client has a session', async () => (await mappings(rig.proxy)).length === ALL);
  const before = await mappings(rig.proxy);
  rig.rewriteConfig((config) => {
    config.io = { ...(config.io as object), ...ios[1] };
  });
  const after = await takeOver(rig, rig.proxy);
  clients.child.stdin!.write('ready\n');
  await sleep(500);
  assert.deepEqual(await mappings(after), before, 'every session, with its LIP:lport and real server');
  const counted = await clients.end();
  t.diagnostic(
    `at ${RATE} datagrams/s ${counted.lost} lost, for ${counted.longestGapMs} ms no client had an answer`,
  );
  if (counted.lost !== 0) t.diagnostic(await losses(rig, after));
  for (const line of [rig.proxy.log, after.log].flatMap((log) => log.match(/"ms":\{[^}]*\}/g) ?? []))
    t.diagnostic(line);
  const heard = await Promise.all(servers.map((server) => server.end()));
  const addresses = heard.reduce((sum, { learned }) => sum + (learned as number), 0);
  assert.equal(addresses, ALL, 'the real servers saw no new address');
  assert.equal(counted.unexpected, 0, 'nothing came twice');
  assert.equal(counted.lostAfterMark, 0);
  await noPort.none('icmp.type == 3', 'the kernel answered a client');
  // On a machine that stands still for long a client's own kernel may have no room for what it makes up for.
  const { SndbufErrors: unsent = 0 } = udpCounters(rig.topology, 'client');
  return { ...counted, lost: (counted.lost as number) - unsent };
}

const ring = (workers: number): IoUnderTest => ({ mode: 'ring', workers });

for (const [before, after] of [
  [1, 1],
  [2, 2],
  [2, 1],
  [1, 2],
]) {
  test(`a takeover under load loses nothing and keeps all sessions (ring, workers ${before} -> ${after})`, async (t) => {
    const { lost } = await underLoad(t, [ring(before), ring(after)]);
    assert.equal(lost, 0);
  });
}

test('a takeover by pcap keeps all sessions; what comes meanwhile is lost', async (t) => {
  await underLoad(t, [
    { mode: 'pcap', workers: 1 },
    { mode: 'pcap', workers: 1 },
  ]);
});

test('a takeover of pcap by ring keeps all sessions', async (t) => {
  await underLoad(t, [{ mode: 'pcap', workers: 1 }, ring(1)]);
});

test('a takeover with a fast path loses nothing of hot sessions, which stay hot', async (t) => {
  const bpffs = mountBpffs(t);
  const rig = await startRig(t, {
    clients: CLIENTS,
    servers: 2,
    io: { ...ring(2), fastPath: 'tc' },
    under: withBpffs(bpffs),
  });
  const servers = await rig.startServers();
  const clients = rig.startSteadyClients({ portsPerAddress: PORTS, rate: RATE });
  const hot = async (proxy: ProxyProcess) =>
    (await proxy.get('/sessions?limit=1000')).body.match(/"fastPath":"hot"/g)?.length ?? 0;
  await until('every session is hot', async () => (await hot(rig.proxy)) === ALL);
  const before = await mappings(rig.proxy);
  const after = await takeOver(rig, rig.proxy);
  assert.deepEqual(await mappings(after), before);
  await until('every session is hot again', async () => (await hot(after)) === ALL);
  const counted = await clients.end();
  t.diagnostic(`${counted.lost} lost, for ${counted.longestGapMs} ms no client had an answer`);
  const { SndbufErrors: unsent = 0 } = udpCounters(rig.topology, 'client');
  assert.equal((counted.lost as number) - unsent, 0);
  assert.equal(counted.unexpected, 0);
  await Promise.all(servers.map((server) => server.end()));
});

/** Not to be found, so that nobody ends it. */
const NOBODY: ProcessIdentity = { pid: process.pid, started: '', namespace: '' };

const socketOf = ({ topology }: Rig) => join(topology.scratch, 'admin.sock');

/** What a process that is refused says, and its exit code. */
async function refused(rig: Rig): Promise<string> {
  const after = rig.startProxy('--takeover');
  await once(after.child, 'close');
  assert.equal(after.child.exitCode, 1, after.log);
  return after.log;
}

/** Speaks as a process that takes over does, until the proxy has stepped aside, or is prepared to. */
async function halfATakeover(
  rig: Rig,
  fastPath: FastPathSuccession = { keeps: 'nothing', hasPins: false },
  until: 'prepared' | 'stepped aside' = 'stepped aside',
): Promise<Conversation<FromPredecessor>> {
  const asked = request({
    socketPath: socketOf(rig),
    path: TAKEOVER_PATH,
    headers: { connection: 'Upgrade', upgrade: PROTOCOL },
  });
  asked.end();
  const [, socket, head] = (await once(asked, 'upgrade')) as [unknown, never, Buffer];
  const conversation = new Conversation<FromPredecessor>(socket, head);
  assert.equal((await conversation.hear())?.said.kind, 'hello');
  await conversation.say({ kind: 'prepare', fastPath });
  assert.equal((await conversation.hear())?.said.kind, 'prepared');
  if (until === 'prepared') return conversation;
  await conversation.say({ kind: 'step aside' });
  assert.equal((await conversation.hear())?.said.kind, 'stepped aside');
  return conversation;
}

test('where there is no proxy to take over from it starts', async (t) => {
  const rig = await startRig(t, { clients: 1, servers: 1 });
  await rig.proxy.stop();
  const proxy = rig.startProxy('--takeover');
  await proxy.ready();
  assert.match(proxy.log, /no proxy at work to take over from/);
});

test('one that fails before, or is refused, leaves the other at work', async (t) => {
  const rig = await startRig(t, { clients: CLIENTS, servers: 2, io: ring(1) });
  const servers = await rig.startServers();
  const clients = rig.startSteadyClients({ portsPerAddress: PORTS, rate: RATE });
  await until('every client has a session', async () => (await mappings(rig.proxy)).length === ALL);
  const before = await mappings(rig.proxy);

  rig.rewriteConfig((config) => {
    (config.io as { lan: string }).lan = 'missing0';
  });
  assert.match(await refused(rig), /missing0/);
  rig.rewriteConfig((config) => {
    (config.io as { lan: string }).lan = rig.topology.lan;
    (config.admin as { listen?: string }).listen = '192.0.2.1:9464';
  });
  assert.match(await refused(rig), /admin server cannot listen/);
  rig.rewriteConfig((config) => {
    (config.admin as { listen?: string }).listen = '127.0.0.1:9464';
  });
  const stateFile = join(rig.topology.scratch, 'of-another');
  const another = lockFile(`${stateFile}.lock`);
  rig.rewriteConfig((config) => {
    config.sessions = { ...(config.sessions as object), stateFile };
  });
  assert.match(await refused(rig), /another uoa-proxy has sessions\.stateFile .*of-another/);
  assert.equal(existsSync(stateFile), false);
  another!.release();
  rig.rewriteConfig((config) => {
    config.sessions = { ...(config.sessions as object), stateFile: undefined };
  });
  chownSync(socketOf(rig), 65_534, 65_534);
  assert.match(await refused(rig), /it is one of user 65534/);
  chownSync(socketOf(rig), 0, 0);
  const drain = nodeArgv(MAIN, 'ctl', '--config', rig.configPath, 'drain', '--no-wait', '--timeout', '10m');
  await once(rig.topology.spawn('lb', drain, { stdio: 'ignore' }), 'close');
  assert.match(await refused(rig), /it is draining/);
  assert.doesNotMatch(rig.proxy.log, /stepping aside/);

  assert.deepEqual(await mappings(rig.proxy), before);
  const counted = await clients.end();
  assert.deepEqual([counted.lost, counted.unexpected], [0, 0]);
  await Promise.all(servers.map((server) => server.end()));
});

test('the state file of the proxy before, or one of its own, is had by the one that took over', async (t) => {
  const rig = await startRig(t, { clients: 1, servers: 1, io: ring(1) });
  let before = rig.proxy;
  for (const name of ['first', 'first', 'second']) {
    const stateFile = join(rig.topology.scratch, name);
    rig.rewriteConfig((config) => {
      config.sessions = { ...(config.sessions as object), stateFile };
    });
    before = await takeOver(rig, before);
    assert.equal(lockFile(`${stateFile}.lock`), undefined, 'it is locked');
    assert.doesNotMatch(before.log, /"level":"error"/);
  }
  assert.equal(await before.stop(), 0);
  assert.match(before.log, /sessions saved/);
  const left = readdirSync(rig.topology.scratch).filter((one) => /^(first|second)/.test(one));
  assert.deepEqual(left, ['second'], 'no lock is left, nor what others saved');
});

test('a proxy of a version that does not hand over is left alone', async (t) => {
  const rig = await startRig(t, { clients: 1, servers: 1 });
  await rig.proxy.stop();
  const other = createServer((_, response) => response.writeHead(404).end()).listen(socketOf(rig));
  t.after(() => other.close());
  await once(other, 'listening');
  assert.match(await refused(rig), /of a version that hands over in another way, or not at all/);
  other.close();
  rmSync(socketOf(rig), { force: true });
});

test('one that ends after the other stepped aside has it go on, with all sessions and what waited', async (t) => {
  const rig = await startRig(t, { clients: CLIENTS, servers: 2, io: ring(2) });
  const servers = await rig.startServers();
  const clients = rig.startSteadyClients({ portsPerAddress: PORTS, rate: RATE });
  await until('every client has a session', async () => (await mappings(rig.proxy)).length === ALL);
  const before = await mappings(rig.proxy);
  for (const [times, stage] of (['stepped aside', 'prepared', 'stepped aside'] as const).entries()) {
    const conversation = await halfATakeover(rig, undefined, stage);
    assert.match(await refused(rig), /another process is taking over from it/);
    conversation.close();
    const goesOn = () => rig.proxy.log.split('forwarding again, with all sessions').length === times + 2;
    await until('it goes on', goesOn);
  }
  assert.deepEqual(await mappings(rig.proxy), before);
  // And one that is not, takes over all the same.
  const after = await takeOver(rig, rig.proxy);
  assert.deepEqual(await mappings(after), before);
  const counted = await clients.end();
  t.diagnostic(`${counted.lost} lost while nobody forwarded, in ${counted.longestGapMs} ms at the longest`);
  const { SndbufErrors: unsent = 0 } = udpCounters(rig.topology, 'client');
  assert.deepEqual([(counted.lost as number) - unsent, counted.unexpected], [0, 0]);
  const heard = await Promise.all(servers.map((server) => server.end()));
  const addresses = heard.reduce((sum, { learned }) => sum + (learned as number), 0);
  assert.equal(addresses, ALL, 'the real servers saw no new address');
});

test('one that is stopped while another takes over hands over first', async (t) => {
  const rig = await startRig(t, { clients: 1, servers: 1, io: ring(1) });
  const conversation = await halfATakeover(rig);
  const exited = once(rig.proxy.child, 'exit');
  rig.proxy.child.kill('SIGTERM');
  await until('it was told to stop', () => rig.proxy.log.includes('"msg":"stopping"'));
  await conversation.say({ kind: 'begin', process: NOBODY });
  assert.equal((await conversation.hear())?.said.kind, 'begin');
  await conversation.say({ kind: 'done' });
  assert.equal((await conversation.hear())?.said.kind, 'ending');
  assert.equal((await conversation.hear())?.said.kind, 'gone');
  assert.deepEqual(await exited, [0, null]);
  assert.doesNotMatch(rig.proxy.log, /forwarding again/);
});

test('one that is stopped while another takes over, which fails, stops then', async (t) => {
  const rig = await startRig(t, { clients: 1, servers: 1, io: ring(1) });
  const conversation = await halfATakeover(rig);
  const exited = once(rig.proxy.child, 'exit');
  rig.proxy.child.kill('SIGTERM');
  await until('it was told to stop', () => rig.proxy.log.includes('"msg":"stopping"'));
  conversation.close();
  assert.deepEqual(await exited, [0, null]);
});

test('one that stands still when the other has stepped aside does not forward when that one goes on', async (t) => {
  const rig = await startRig(t, { clients: CLIENTS, servers: 1, io: ring(1) });
  const [server] = await rig.startServers();
  const clients = rig.startSteadyClients({ portsPerAddress: PORTS, rate: RATE });
  await until('every client has a session', async () => (await mappings(rig.proxy)).length === ALL);
  const before = await mappings(rig.proxy);
  const { pid } = rig.proxy.child;
  const after = rig.startProxy('--takeover');
  const ended = once(after.child, 'exit');
  await until('they speak', () => after.log.includes('taking over from the proxy at work'));
  process.kill(pid!, 'SIGSTOP');
  await until('all is ready', () => after.log.includes('all is ready'));
  // It waits for them when the other one has stepped aside.
  const workers = workersOf(after);
  for (const worker of workers) process.kill(worker, 'SIGSTOP');
  process.kill(pid!, 'SIGCONT');
  await until('it has stepped aside', () => rig.proxy.log.includes('stepped aside: nothing is forwarded'));
  process.kill(after.child.pid!, 'SIGSTOP');
  await until('it goes on', () => rig.proxy.log.includes('forwarding again, with all sessions'));
  for (const one of [after.child.pid!, ...workers]) process.kill(one, 'SIGCONT');
  assert.deepEqual(await ended, [1, null]);
  assert.match(after.log, /the proxy before did not end: it ended by itself, or goes on/);
  assert.doesNotMatch(after.log, /forwarding in place of the proxy before/);
  clients.child.stdin!.write('ready\n');
  await sleep(500);
  assert.deepEqual(await mappings(rig.proxy), before);
  const counted = await clients.end();
  assert.deepEqual([counted.lostAfterMark, counted.unexpected], [0, 0]);
  await server!.end();
});

/** A process that takes over and stands still when its workers may forward; `how`: a command to run it by. */
async function startHanging(t: TestContext, rig: Rig, how: readonly string[] = []) {
  const program = fileURLToPath(new URL('./successor-program.ts', import.meta.url));
  const [command, ...args] = [...how, process.execPath, '--import', 'tsx', program, socketOf(rig)];
  const child = spawn(command!, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => child.kill('SIGKILL'));
  await once(child.stdout, 'data');
  return child;
}

test('one that stands still when its workers may forward already is ended before the other goes on', async (t) => {
  const rig = await startRig(t, { clients: CLIENTS, servers: 1, io: ring(1) });
  const [server] = await rig.startServers();
  const clients = rig.startSteadyClients({ portsPerAddress: PORTS, rate: RATE });
  await until('every client has a session', async () => (await mappings(rig.proxy)).length === ALL);
  const before = await mappings(rig.proxy);
  const hanging = await startHanging(t, rig);
  const ended = once(hanging, 'exit').then((how) => [...how, /forwarding again/.test(rig.proxy.log)]);
  hanging.kill('SIGSTOP');
  const begun = performance.now();
  assert.deepEqual(await ended, [null, 'SIGKILL', false]);
  const seconds = (performance.now() - begun) / 1000;
  await until('it goes on', () => rig.proxy.log.includes('forwarding again, with all sessions'));
  assert.match(rig.proxy.log, /which was to take over, stands still: it is killed/);
  clients.child.stdin!.write('ready\n');
  await sleep(500);
  assert.deepEqual(await mappings(rig.proxy), before);
  const counted = await clients.end();
  assert.deepEqual([counted.lostAfterMark, counted.unexpected], [0, 0]);
  // The other one had those, which forwards nothing in this test: a real server shall not see them twice.
  t.diagnostic(`${counted.lost} in ${seconds} s`);
  assert.ok((counted.lost as number) > (RATE * seconds) / 2, `${counted.lost} in ${seconds} s`);
  await server!.end();
});

test('one that cannot be ended keeps the other from going on until it is gone', async (t) => {
  const rig = await startRig(t, { clients: 1, servers: 1, io: ring(1) });
  const hanging = await startHanging(t, rig, ['unshare', '--pid', '--fork', '--kill-child']);
  const says = /stands still and cannot be killed: it is in another PID namespace/g;
  await until('it says so', () => rig.proxy.log.match(says)?.length === 2);
  assert.doesNotMatch(rig.proxy.log, /forwarding again/);
  hanging.kill('SIGKILL');
  await until('it goes on', () => rig.proxy.log.includes('forwarding again, with all sessions'));
  assert.deepEqual([hanging.exitCode, await rig.proxy.stop()], [null, 0]);
});

interface StatedServer {
  state: string;
  isDrained: boolean;
  effectiveWeight: number;
}

for (const fastPath of ['off', 'tc'] as const)
  test(`who is down or drained stays so, weights too, and addresses go with the last process: fast path ${fastPath}`, async (t) => {
    const rig = await startRig(t, {
      io: { mode: 'ring', workers: 1, fastPath },
      clients: 1,
      servers: 2,
      // The last one is not there.
      realServers: ['10.2.0.11', '10.2.0.12', '10.2.0.99'].map((ip) => ({ ip, port: 6000 })),
      service: { health: { type: 'icmp', interval: '5s', timeout: '4s', fall: 1, rise: 2 } },
    });
    const state = async (proxy: ProxyProcess) => {
      const { body } = await proxy.get('/services');
      const { services } = JSON.parse(body) as { services: { realServers: StatedServer[] }[] };
      return services[0].realServers.map((one) => [one.state, one.isDrained, one.effectiveWeight]);
    };
    await until('one is down', async () => (await state(rig.proxy)).at(-1)?.[0] === 'down');
    const [first] = rig.realServers.map(({ ip, port }) => `${ip}:${port}`);
    const drain = nodeArgv(MAIN, 'ctl', '--config', rig.configPath, 'server', 'drain', 'test', first);
    assert.deepEqual(await once(rig.topology.spawn('lb', drain, { stdio: 'ignore' }), 'close'), [0, null]);
    const before = await state(rig.proxy);
    const after = await takeOver(rig, rig.proxy);
    assert.deepEqual(await state(after), before);
    assert.doesNotMatch(after.log, /is up again/);
    const added = (): boolean => rig.topology.exec('lb', ['ip', 'address']).includes(`inet ${rig.vip}/`);
    assert.equal(added(), true);
    assert.equal(await after.stop(), 0);
    assert.equal(added(), false, 'what the first one added is gone');
    assert.equal(existsSync(socketOf(rig)), false);
  });
