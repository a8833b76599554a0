// Datapath processes that end by themselves: what is said, what starts again, who notices. And interfaces
// that go away under them, and kernels that cannot do what ring wants.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { ADMIN, nodeArgv } from '../../src/lab/programs.ts';
import { type IoUnderTest, MAIN, type Rig, startRig, until } from './harness.ts';

const PORTS = 4;
const CLIENTS = 10;
const MAX_TRIALS = 3;
/** After so long a worker that does nothing is killed. */
const HANG_MS = 10_000;

/** Datapath processes, oldest first. */
function workerPids(rig: Rig): number[] {
  const isWorker = (pid: number) => {
    try {
      return /\bworker-main\.[jt]s\0/.test(readFileSync(`/proc/${pid}/cmdline`, 'latin1'));
    } catch {
      return false; // ended meanwhile
    }
  };
  return rig.topology
    .pids()
    .filter(isWorker)
    .sort((a, b) => a - b);
}

/** Of a client, by the LIP:lport that the server knows it by. */
function workerOf(known: unknown, client: string, workers: number): number | undefined {
  const local = Object.entries(known as Record<string, string>).find(([, name]) => name === client)?.[0];
  return local === undefined ? undefined : Number(local.split(':')[1]) % workers;
}

interface LogLine {
  level: string;
  msg: string;
  worker?: number;
  signal?: string;
}
const logOf = (rig: Rig): LogLine[] =>
  rig.proxy.log
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as LogLine);

/** Asks /readyz all the time: its answers, each once, in the order in which they change. */
async function watchReadiness(t: TestContext, rig: Rig): Promise<string[]> {
  const script = `let last = '';
    const ask = async () => {
      const answer = await fetch('http://${ADMIN}/readyz').catch(() => undefined);
      const text = answer === undefined ? 'no answer' : answer.status + ' ' + await answer.text();
      if (text !== last) console.log(last = text);
      setTimeout(ask, 2);
    };
    ask();`;
  // Ahead of others, because a datapath process is back within a few hundred milliseconds.
  const child = rig.topology.spawn('lb', ['nice', '-n', '-15', process.execPath, '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => child.kill('SIGKILL'));
  const answers: string[] = [];
  child.stdout?.on('data', (chunk) => answers.push(...String(chunk).split('\n').filter(Boolean)));
  await until('/readyz answers', () => answers.length > 0);
  return answers;
}

const SETUPS: { name: string; io: IoUnderTest; workers: number }[] = [
  { name: 'one of two workers', io: { mode: 'ring', workers: 2 }, workers: 2 },
  { name: 'the only worker', io: { mode: 'ring', workers: 1 }, workers: 1 },
  { name: 'the only worker of pcap mode', io: { mode: 'pcap' }, workers: 1 },
  { name: 'one of two workers with tc', io: { mode: 'ring', workers: 2, fastPath: 'tc' }, workers: 2 },
  { name: 'the only worker with XDP', io: { mode: 'ring', workers: 1, fastPath: 'xdp' }, workers: 1 },
];

for (const { name, io, workers } of SETUPS) {
  test(`SIGKILL to ${name} under load: it starts again and sessions keep their LIP:lport`, async (t) => {
    const rig = await startRig(t, { io, clients: CLIENTS, servers: 1, uoa: { maxTrials: MAX_TRIALS } });
    const [server] = await rig.startServers();
    const clients = rig.startClients({ portsPerAddress: PORTS, sizes: [64] });
    const all = CLIENTS * PORTS;
    await until('all clients are known', async () => (await rig.metric('uoa_exhausted_total')) === all);
    const ready = await watchReadiness(t, rig);
    const [killed, ...others] = workerPids(rig);
    assert.equal(others.length, workers - 1);

    process.kill(killed, 'SIGKILL');
    await until('it forwards again', () => logOf(rig).some(({ msg }) => msg.endsWith('forwards again')));
    await until('it is ready again', () => ready.length > 2);
    const before = await rig.metric('forwarded_packets_total', { direction: 'inbound' });
    await until('packets are forwarded', async () => {
      return (await rig.metric('forwarded_packets_total', { direction: 'inbound' })) > before + 2 * all;
    });
    assert.ok(!workerPids(rig).includes(killed));
    assert.deepEqual(
      workerPids(rig).filter((pid) => others.includes(pid)),
      others,
      'the others are the same',
    );
    const created = await rig.metric('sessions_created_total');
    const open = await rig.metric('sessions', { state: 'normal' });
    const lports = await rig.metric('lports_in_use');
    const counted = await clients.end();
    const lost = await lostOf(rig);
    const { learned, distinctClients, uoas, wrong, clients: known } = await server.end();

    const said = logOf(rig).find(({ msg }) => msg.includes('the datapath process ended'))!;
    assert.deepEqual([said.level, said.signal], ['error', 'SIGKILL']);
    assert.deepEqual(
      ready.map((answer) => answer.slice(0, 3)),
      ['200', '503', '200'],
    );
    assert.match(ready[1], new RegExp(`datapath process ${said.worker} is starting again`));
    assert.deepEqual({ created, open, lports }, { created: all, open: all, lports: all });
    assert.deepEqual({ learned, distinctClients, wrong }, { learned: all, distinctClients: all, wrong: 0 });
    assert.equal(uoas, MAX_TRIALS * all, 'no client is named anew');
    const { altered, unexpected, missing, losers } = counted;
    assert.deepEqual({ altered, unexpected }, { altered: 0, unexpected: 0 });
    t.diagnostic(`${missing} of ${counted.sent} lost, ${lost} counted`);
    if (io.mode === 'ring') assert.ok(Number(missing) <= lost, `${missing} missing, ${lost} counted as lost`);
    const touched = new Set(Object.keys(losers as object).map((client) => workerOf(known, client, workers)));
    assert.ok(
      [...touched].every((worker) => worker === said.worker),
      `clients of another worker lost something: ${JSON.stringify(losers)}`,
    );
    assert.equal(await rig.proxy.stop('SIGTERM'), 0);
  });
}

/** Lost on the way to a datapath, or with one. */
const lostOf = async (rig: Rig): Promise<number> =>
  (await rig.metric('io_lost_total')) + (await rig.metric('drops_total', { reason: 'worker_ended' }));

const forwardsAgain = (rig: Rig) => logOf(rig).filter(({ msg }) => msg.endsWith('forwards again')).length;

test('five ends of the only worker within a minute end the proxy with exit code 1', async (t) => {
  const rig = await startRig(t, { io: { mode: 'ring', workers: 1 } });
  for (let ends = 1; ends <= 5; ends++) {
    process.kill(workerPids(rig)[0], 'SIGKILL');
    if (ends < 5) await until(`it forwards again, ${ends}`, () => forwardsAgain(rig) === ends);
  }
  await assertGivesUp(rig, 'the datapath process ended, the 5th time within a minute: giving up');
});

test('five ends of each of two workers end the proxy when none runs, not before', async (t) => {
  const rig = await startRig(t, { io: { mode: 'ring', workers: 2 } });
  const killAll = () => {
    for (const pid of workerPids(rig)) process.kill(pid, 'SIGKILL');
  };
  for (let ends = 1; ends <= 4; ends++) {
    killAll();
    await until(`both forward again, ${ends}`, () => forwardsAgain(rig) === 2 * ends);
  }
  for (const [index, pid] of workerPids(rig).entries()) {
    process.kill(pid, 'SIGKILL');
    await until('it forwards again while the other runs', () => forwardsAgain(rig) === 9 + index);
  }
  killAll();
  await assertGivesUp(
    rig,
    'the datapath process ended, the 6th time within a minute, and no other runs: giving up',
  );
});

async function assertGivesUp(rig: Rig, message: string): Promise<void> {
  if (rig.proxy.child.exitCode === null) await once(rig.proxy.child, 'exit');
  assert.equal(rig.proxy.child.exitCode, 1);
  const fatal = logOf(rig).filter(({ level }) => level === 'fatal');
  assert.deepEqual(
    fatal.map(({ msg }) => msg),
    [message],
  );
  await until('nothing is left', () => rig.topology.pids().length === 0);
  await until('no table is left', () => rig.topology.exec('lb', ['nft', 'list', 'tables']) === '');
}

test('a worker that ends again and again waits longer each time, and clients of the other lose nothing', async (t) => {
  const KILLS = 6;
  const rig = await startRig(t, { io: { mode: 'ring', workers: 2 }, clients: CLIENTS, servers: 1 });
  const [server] = await rig.startServers();
  const clients = rig.startClients({ portsPerAddress: PORTS, sizes: [64] });
  const all = CLIENTS * PORTS;
  await until(
    'all clients are known',
    async () => (await rig.metric('sessions', { state: 'normal' })) === all,
  );
  const [other] = workerPids(rig);
  for (let kills = 1; kills <= KILLS; kills++) {
    const killed = workerPids(rig).find((pid) => pid !== other);
    process.kill(killed!, 'SIGKILL');
    await until(`it forwards again, ${kills}`, () => forwardsAgain(rig) === kills);
  }
  const before = await rig.metric('forwarded_packets_total', { direction: 'inbound' });
  await until('packets are forwarded', async () => {
    return (await rig.metric('forwarded_packets_total', { direction: 'inbound' })) > before + 2 * all;
  });
  assert.ok(workerPids(rig).includes(other));
  const open = await rig.metric('sessions', { state: 'normal' });
  const restarts = await rig.metric('worker_restarts_total');
  const { altered, unexpected, missing, losers } = await clients.end();
  const lost = await lostOf(rig);
  const { distinctClients, wrong, clients: known } = await server.end();

  const said = logOf(rig).filter(({ msg }) => msg.startsWith('the datapath process ended'));
  const worker = said[0].worker!;
  assert.deepEqual(
    said.map((line) => [line.worker, /starting it again(.*), its/.exec(line.msg)?.[1]]),
    ['', ' in 0.2 s', ' in 1 s', ' in 5 s', ' in 5 s', ' in 5 s'].map((when) => [worker, when]),
  );
  assert.deepEqual([restarts, open, distinctClients, wrong], [KILLS, all, all, 0]);
  assert.deepEqual([altered, unexpected], [0, 0]);
  assert.ok(Number(missing) <= lost, `${missing} missing, ${lost} counted as lost`);
  const ofOther = Object.keys(losers as object).filter((client) => workerOf(known, client, 2) !== worker);
  assert.deepEqual(ofOther, [], 'clients of the other worker that lost something');

  process.kill(workerPids(rig).find((pid) => pid !== other)!, 'SIGKILL');
  const isWaiting = () => logOf(rig).at(-1)!.msg.includes('starting it again in 5 s');
  await until('it waits once more', isWaiting);
  assert.equal(await rig.proxy.stop('SIGTERM'), 0);
  assert.equal(forwardsAgain(rig), KILLS, 'nothing is started any more');
});

test('a worker that cannot be forked again is tried again, and comes back once it can', async (t) => {
  const rig = await startRig(t, { io: { mode: 'ring', workers: 2 } });
  const openFiles = (limit: string) => {
    const { pid } = rig.proxy.child;
    execFileSync('prlimit', ['--pid', String(pid), `--nofile=${limit}:`]);
  };
  const limit = /Max open files +(\d+)/.exec(
    readFileSync(`/proc/${rig.proxy.child.pid}/limits`, 'latin1'),
  )![1];
  openFiles('3');
  const [killed, other] = workerPids(rig);
  process.kill(killed, 'SIGKILL');
  const failed = () => logOf(rig).filter(({ msg }) => msg.includes('cannot be started: spawn'));
  await until('it was tried twice', () => failed().length >= 2);
  assert.match(failed()[0].msg, /EMFILE: starting it again in 0\.2 s/);
  openFiles(limit);
  await until('it forwards again', () => forwardsAgain(rig) === 1);
  assert.ok(workerPids(rig).includes(other) && workerPids(rig).length === 2);
  await rig.proxy.ready();
  assert.equal(await rig.proxy.stop('SIGTERM'), 0);
});

test('a worker that hangs is killed and starts again; a pause of the whole proxy kills none', async (t) => {
  const rig = await startRig(t, { io: { mode: 'ring', workers: 2 } });
  const workers = workerPids(rig);
  // The control plane stops last and goes on first: it looks when its workers do nothing, but not all the
  // time.
  for (const pid of workers) process.kill(pid, 'SIGSTOP');
  await sleep(1500);
  process.kill(rig.proxy.child.pid!, 'SIGSTOP');
  await sleep(HANG_MS + 2000);
  process.kill(rig.proxy.child.pid!, 'SIGCONT');
  await sleep(1500);
  for (const pid of workers) process.kill(pid, 'SIGCONT');

  process.kill(workers[1], 'SIGSTOP');
  await until('it is killed and forwards again', () => forwardsAgain(rig) === 1);
  const said = logOf(rig).filter(({ level }) => level === 'error');
  const hung = said[0]?.worker;
  assert.deepEqual(
    said.map(({ worker, signal, msg }) => [worker, signal, msg]),
    [
      [hung, undefined, 'the datapath process did nothing for 10 s: killing it'],
      [hung, 'SIGKILL', 'the datapath process ended: starting it again, its sessions go on'],
    ],
  );
  assert.ok(workerPids(rig).includes(workers[0]));
  assert.equal(await rig.proxy.stop('SIGTERM'), 0);
});

for (const io of [{ mode: 'ring', workers: 2 }, { mode: 'pcap' }] as const) {
  test(`${io.mode}: an interface that is removed ends the proxy with exit code 1 and its reason`, async (t) => {
    const rig = await startRig(t, { io });
    rig.topology.exec('lb', ['ip', 'link', 'delete', 'wan0']);
    if (rig.proxy.child.exitCode === null) await once(rig.proxy.child, 'exit');
    assert.equal(rig.proxy.child.exitCode, 1);
    assert.match(rig.proxy.log, /interface wan0 was removed/);
    const fatal = logOf(rig).find(({ level }) => level === 'fatal');
    assert.match(fatal!.msg, /^the datapath process cannot go on: .*wan0.*giving up$/);
    assert.doesNotMatch(fatal!.msg, /within a minute/, 'it is not tried again and again');
    await until('nothing is left', () => rig.topology.pids().length === 0);
  });
}

test('after an interface was down each worker gets what it got before', async (t) => {
  const rig = await startRig(t, { io: { mode: 'ring', workers: 2 }, clients: CLIENTS });
  const servers = await rig.startServers();
  const load = { portsPerAddress: PORTS, count: 500, sizes: [64] };
  assert.equal((await rig.clients(load)).answered, 500);
  rig.topology.exec('lb', ['ip', 'link', 'set', 'wan0', 'down']);
  rig.topology.exec('lb', ['ip', 'link', 'set', 'lan0', 'down']);
  await until('it says so', () => logOf(rig).some(({ msg }) => msg.startsWith('interface lan0 went down')));
  rig.topology.exec('lb', ['ip', 'link', 'set', 'lan0', 'up']);
  rig.topology.exec('lb', ['ip', 'link', 'set', 'wan0', 'up']);
  await rig.proxy.ready();
  const again = await rig.clients(load);
  assert.deepEqual([again.answered, again.altered], [500, 0]);
  assert.equal(await rig.metric('handed_over_total'), 0);
  await Promise.all(servers.map((server) => server.end()));
});

/** A command to run another with, for which these packages are not installed. */
function withoutPackages(...names: string[]): string[] {
  const mounts = names.map((name) => {
    const folder = realpathSync(fileURLToPath(new URL(`../../node_modules/${name}`, import.meta.url)));
    return `mount -t tmpfs none ${folder}`;
  });
  return ['unshare', '--mount', 'bash', '-c', `${mounts.join(' && ')} && exec "$@"`, 'bash'];
}

test('io.mode auto is ring without a word where the packages of pcap are not installed', async (t) => {
  const rig = await startRig(t, { io: { mode: 'auto' } });
  assert.equal(await rig.proxy.stop('SIGTERM'), 0);
  const program = nodeArgv(MAIN, 'run', '--config', join(rig.topology.scratch, 'proxy.yaml'));
  const child = rig.topology.spawn('lb', [...withoutPackages('cap', 'raw-socket'), ...program]);
  let log = '';
  child.stdout?.on('data', (chunk) => {
    log += chunk;
  });
  await until('it is ready', () => log.includes('"msg":"ready"'));
  assert.match(log, /"io":"ring"/);
  assert.doesNotMatch(log, /raw-socket|not installed/);
  const servers = await rig.startServers();
  assert.deepEqual((await rig.probe('exchange', { sizes: [64, 1472] })).results, ['same', 'same']);
  assert.ok(
    (await rig.metric('io_sent_by_ip_total')) > 0,
    'the first packets to neighbors need the IP layer',
  );
  await Promise.all(servers.map((server) => server.end()));
  child.kill('SIGTERM');
  await once(child, 'exit');
  assert.equal(child.exitCode, 0);
});

test('io.mode auto does not start, and says why, where neither ring nor pcap works', async (t) => {
  const rig = await startRig(t, { io: { mode: 'auto' } });
  assert.equal(await rig.proxy.stop('SIGTERM'), 0);
  const wrapper = fileURLToPath(new URL('./programs/without_ring.py', import.meta.url));
  const program = nodeArgv(MAIN, 'run', '--config', join(rig.topology.scratch, 'proxy.yaml'));
  const child = rig.topology.spawn('lb', [
    ...withoutPackages('cap'),
    ...['python3', '-B', wrapper, ...program],
  ]);
  let said = '';
  for (const stream of [child.stdout, child.stderr])
    stream?.on('data', (chunk) => {
      said += chunk;
    });
  await once(child, 'close');
  assert.equal(child.exitCode, 1);
  assert.match(
    said,
    /io\.mode auto: ring does not work here: .*ENOPROTOOPT.*needs the package cap, which is not installed/,
  );
  assert.match(said, /npm ci/);
});

test('io.mode auto is pcap, and says why, where the kernel cannot do what ring needs', async (t) => {
  const rig = await startRig(t, { io: { mode: 'auto' } });
  assert.equal(await rig.proxy.stop('SIGTERM'), 0);
  const wrapper = fileURLToPath(new URL('./programs/without_ring.py', import.meta.url));
  const program = nodeArgv(MAIN, 'run', '--config', join(rig.topology.scratch, 'proxy.yaml'));
  const child = rig.topology.spawn('lb', ['python3', '-B', wrapper, ...program]);
  let log = '';
  child.stdout?.on('data', (chunk) => {
    log += chunk;
  });
  await until('it is ready', () => log.includes('"msg":"ready"'));
  assert.match(log, /"level":"warn".*io\.mode auto: pcap.*PACKET_VNET_HDR failed: ENOPROTOOPT/);
  assert.match(log, /"io":"pcap"/);
  const servers = await rig.startServers();
  assert.deepEqual((await rig.probe('exchange', { sizes: [64, 1472] })).results, ['same', 'same']);
  await Promise.all(servers.map((server) => server.end()));
  child.kill('SIGTERM');
  await once(child, 'exit');
  assert.equal(child.exitCode, 0);
});
