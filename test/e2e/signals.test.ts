// Every signal to every process of a running proxy, one by one: what each does is decided, and
// docs/operations.md says it.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import os from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { run } from '../../src/lab/namespace.ts';
import { nodeArgv } from '../../src/lab/programs.ts';
import { MAIN, type Rig, startRig, until } from './harness.ts';

const { signals } = os.constants;
const FAULTS = ['SIGILL', 'SIGTRAP', 'SIGABRT', 'SIGBUS', 'SIGFPE', 'SIGSEGV', 'SIGSYS'] as const;
const STOPPING = ['SIGSTOP', 'SIGTSTP', 'SIGTTIN', 'SIGTTOU'] as const;
const REALTIME = [34, 50, 64];
/** What says nothing to any of them. */
const STRAY = [
  ...(['SIGUSR1', 'SIGPIPE', 'SIGALRM', 'SIGSTKFLT', 'SIGCHLD', 'SIGCONT', 'SIGURG'] as const),
  ...(['SIGXCPU', 'SIGXFSZ', 'SIGVTALRM', 'SIGPROF', 'SIGWINCH', 'SIGIO', 'SIGPWR'] as const),
];
const OF_OPERATORS = ['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGTERM', 'SIGUSR2'] as const;
const numbers = (...names: readonly (keyof typeof signals)[]) => names.map((name) => signals[name]);

/** What runs below it, with its command line; programs that only look at the host come and go. */
function childrenOf(pid: number): { pid: number; command: string }[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(/\s+/);
  return children
    .filter((one) => one !== '')
    .map((one) => ({ pid: Number(one), command: commandOf(Number(one)) }));
}
const commandOf = (pid: number): string => {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
  } catch {
    return '';
  }
};
const workersOf = (pid: number): number[] =>
  childrenOf(pid).flatMap((one) => (one.command.includes('worker-main') ? [one.pid] : []));
const guardHoldersOf = (pid: number): number[] =>
  childrenOf(pid).flatMap((one) => (/^nft -i/.test(one.command) ? [one.pid] : []));
/** Its letter in /proc/PID/stat; empty when it has ended. */
const stateOf = (pid: number): string => {
  try {
    return /.*\) (.)/s.exec(readFileSync(`/proc/${pid}/stat`, 'utf8'))?.[1] ?? '';
  } catch {
    return '';
  }
};

interface Processes {
  control: number;
  workers: number[];
  nft: number;
}

function processesOf(rig: Rig): Processes {
  const control = rig.proxy.child.pid!;
  const [nft, ...others] = guardHoldersOf(control);
  assert.ok(nft !== undefined && others.length === 0, 'one child holds the guard');
  return { control, nft, workers: workersOf(control) };
}

/** With core dumps off: some of these signals ask for one. */
async function start(t: TestContext, workers: number) {
  const rig = await startRig(t, {
    clients: 1,
    servers: 1,
    io: { mode: 'ring', workers },
    config: { sessions: { max: 1000 } },
  });
  await rig.startServers();
  const found = processesOf(rig);
  for (const pid of [found.control, ...found.workers, found.nft])
    run(['prlimit', '--pid', String(pid), '--core=0']);
  return { rig, ...found };
}

async function assertServes(rig: Rig): Promise<void> {
  await until('it is ready', async () => (await rig.proxy.get('/readyz')).status === 200);
  const { missing } = await rig.clients({ portsPerAddress: 8, count: 8, sizes: [64], timeoutMs: 5000 });
  assert.equal(missing, 0, 'every datagram is answered');
}

const guards = (rig: Rig): string[] =>
  run(['ip', 'netns', 'exec', rig.topology.namespaces.lb, 'nft', 'list', 'tables'])
    .split('\n')
    .filter((line) => line !== '');

test('faults are not ignored, where the kernel would let them be sent for ever', async (t) => {
  const { control, workers } = await start(t, 1);
  for (const pid of [control, ...workers]) {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    const ignored = BigInt(`0x${/^SigIgn:\s+(\S+)/m.exec(status)?.[1]}`);
    for (const number of numbers(...FAULTS))
      assert.equal((ignored >> BigInt(number - 1)) & 1n, 0n, `${number}`);
  }
});

test('a signal that says nothing to a proxy ends none of its processes, nor opens a debugger', async (t) => {
  const { rig, control, workers, nft } = await start(t, 2);
  const rows: [pid: number, signals: number[]][] = [
    [control, [...numbers(...STRAY), ...REALTIME]],
    ...workers.map((pid): [number, number[]] => [
      pid,
      [...numbers(...STRAY, ...OF_OPERATORS, ...STOPPING.slice(1)), ...REALTIME],
    ]),
    [nft, [...numbers(...STRAY, ...OF_OPERATORS, ...STOPPING.slice(1), ...FAULTS), ...REALTIME]],
  ];
  for (const [pid, list] of rows) {
    for (const number of list) {
      process.kill(pid, number);
      await sleep(5); // so that each is delivered by itself
      assert.match(stateOf(pid), /^[RSD]$/, `${commandOf(pid)} lives after signal ${number}`);
    }
  }
  const { body } = await rig.proxy.get('/stats');
  assert.deepEqual(
    JSON.parse(body).workers.map(({ restarts }: { restarts: number }) => restarts),
    [0, 0],
  );
  assert.deepEqual(processesOf(rig), { control, workers, nft });
  const listening = run(['ip', 'netns', 'exec', rig.topology.namespaces.lb, 'ss', '-Hltn']);
  assert.deepEqual(
    listening
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => /\S+:\d+/.exec(line)?.[0]),
    ['127.0.0.1:9464'],
  );
  await assertServes(rig);
  assert.equal(guards(rig).length, 1);
});

test('the control plane stopped: its workers forward; continued: all goes on', async (t) => {
  const { rig, control } = await start(t, 1);
  for (const signal of STOPPING) {
    process.kill(control, signal);
    if (signal === 'SIGSTOP') {
      await until('it is stopped', () => stateOf(control) === 'T');
      const { missing } = await rig.clients({ portsPerAddress: 8, count: 8, sizes: [64], timeoutMs: 5000 });
      assert.equal(missing, 0);
    }
    process.kill(control, 'SIGCONT');
    await assertServes(rig);
  }
});

test('a worker that is ended by a fault or by SIGKILL is started again, and nothing else ends', async (t) => {
  const { rig, control, workers, nft } = await start(t, 3);
  const restarts = async () => {
    const { body } = await rig.proxy.get('/stats');
    return JSON.parse(body).workers.reduce((sum: number, one: { restarts: number }) => sum + one.restarts, 0);
  };
  for (const [index, signal] of (['SIGSEGV', 'SIGABRT', 'SIGKILL'] as const).entries()) {
    const before = processesOf(rig).workers;
    const pid = before[index % before.length];
    run(['prlimit', '--pid', String(pid), '--core=0']);
    process.kill(pid, signal);
    await until(`${signal} ended the worker`, () => stateOf(pid) === '');
    await until('another runs', async () => (await restarts()) === index + 1);
    await until('it is ready', async () => (await rig.proxy.get('/readyz')).status === 200);
    const after = processesOf(rig);
    assert.deepEqual([after.control, after.nft, after.workers.length], [control, nft, workers.length]);
  }
  await assertServes(rig);
});

test('the guard is there again after SIGKILL of the process that holds it', async (t) => {
  const { rig, nft } = await start(t, 1);
  process.kill(nft, 'SIGKILL');
  await until('another holds it', () => {
    const holders = guardHoldersOf(rig.proxy.child.pid!).filter((pid) => pid !== nft);
    return holders.length === 1 && guards(rig).length === 1;
  });
  await assertServes(rig);
});

for (const signal of ['SIGTERM', 'SIGINT', 'SIGQUIT', 'SIGUSR2'] as const) {
  test(`${signal} stops the proxy in order: exit code 0, and nothing is left`, async (t) => {
    const { rig, workers, nft } = await start(t, 1);
    assert.equal(await rig.proxy.stop(signal), 0, rig.proxy.log);
    for (const pid of [...workers, nft]) assert.equal(stateOf(pid), '');
    assert.deepEqual(guards(rig), []);
  });
}

test('SIGHUP to all of its processes, again and again, reloads the config and ends nothing', async (t) => {
  const { rig, control, workers, nft } = await start(t, 1);
  // Five ends of a worker within a minute end a proxy.
  for (let round = 0; round < 6; round++) {
    for (const pid of [control, ...workers, nft]) process.kill(pid, 'SIGHUP');
    await until('it was reloaded', () => rig.proxy.log.split('reload: nothing changed').length > round + 1);
  }
  assert.deepEqual(processesOf(rig), { control, workers, nft });
  await assertServes(rig);
});

for (const signal of ['SIGSEGV', 'SIGABRT', 'SIGKILL'] as const) {
  test(`${signal} ends the control plane, and all others with it`, async (t) => {
    const { rig, workers, nft } = await start(t, 1);
    assert.equal(await rig.proxy.stop(signal), null);
    assert.equal(rig.proxy.child.signalCode, signal);
    for (const pid of [...workers, nft]) await until(`${pid} has ended`, () => /^(|Z)$/.test(stateOf(pid)));
    await until('the guard is gone', () => guards(rig).length === 0);
  });
}

test('what is started by the proxy gets no debugger of its own, where the operator asked for one', async (t) => {
  const rig = await startRig(t, { clients: 1, servers: 1, io: { mode: 'ring', workers: 2 } });
  await rig.proxy.stop();
  const NODE_OPTIONS = '--inspect=127.0.0.1:9333 --max-old-space-size=512';
  const argv = nodeArgv(MAIN, 'run', '--config', join(rig.topology.scratch, 'proxy.yaml'));
  const child = rig.topology.spawn('lb', argv, {
    stdio: ['ignore', 'pipe', 'ignore'],
    env: { ...process.env, NODE_OPTIONS },
  });
  let log = '';
  child.stdout!.on('data', (text) => {
    log += text;
  });
  await until('it is ready', () => log.includes('"ready"'));
  const workers = workersOf(child.pid!);
  assert.equal(workers.length, 2);
  for (const pid of workers) {
    const env = readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0');
    assert.ok(env.includes('NODE_OPTIONS=--max-old-space-size=512'), 'the other options stay');
  }
  const listening = run(['ip', 'netns', 'exec', rig.topology.namespaces.lb, 'ss', '-Hltnp']);
  const debuggers = listening.split('\n').filter((line) => !line.includes(':9464 ') && line !== '');
  assert.equal(debuggers.length, 1, listening);
  assert.match(debuggers[0], new RegExp(`127\\.0\\.0\\.1:9333.*pid=${child.pid},`));
  assert.match(log, /a debugger is let in at ws:\/\/127\.0\.0\.1:9333/);
});
