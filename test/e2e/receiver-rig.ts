// The rig with a receiver on the host of the real servers: a cgroup and a bpffs of the test's own, the
// receiver program, and servers in the cgroup that know nothing of it.
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { nodeArgv } from '../../src/lab/programs.ts';
import { mountBpffs } from '../sys/bpffs.ts';
import {
  type Answer,
  listenTo,
  MAIN,
  type PythonProgram,
  type Rig,
  type RigOptions,
  startRig,
  until,
} from './harness.ts';

const PROGRAMS = fileURLToPath(new URL('./programs/', import.meta.url));

let made = 0;

/** An empty cgroup of version 2 that is removed with the test, after what runs in it. */
export function makeCgroup(t: TestContext): string {
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
  const mount = mounts.find((line) => / - cgroup2 /.test(line))?.split(' ')[4];
  assert.ok(mount !== undefined, 'cgroups of version 2 are mounted');
  const path = join(mount, `uoat-${process.pid}-${made++}`);
  mkdirSync(path);
  t.after(() => removeCgroup(path));
  return path;
}

export async function removeCgroup(path: string): Promise<void> {
  await until(`${path} is empty`, () => {
    try {
      rmdirSync(path);
      return true;
    } catch (error) {
      return (error as NodeJS.ErrnoException).code === 'ENOENT';
    }
  });
}

/** A running `uoa-proxy receiver`. */
export class ReceiverProcess {
  readonly child: ChildProcess;
  log = '';

  constructor(child: ChildProcess) {
    this.child = child;
    for (const stream of [child.stdout, child.stderr])
      stream?.on('data', (chunk: Buffer) => {
        this.log += chunk.toString();
      });
  }

  async says(what: RegExp): Promise<void> {
    await until(`the receiver says ${what}: ${this.log}`, () => {
      assert.equal(this.child.exitCode, null, this.log);
      return what.test(this.log);
    });
  }

  async ready(): Promise<void> {
    await this.says(/"msg":"receiving"/);
  }

  /** Resolves with its exit code, or the signal that ended it. */
  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | NodeJS.Signals> {
    this.child.kill(signal);
    if (this.child.exitCode === null && this.child.signalCode === null) await once(this.child, 'exit');
    return this.child.exitCode ?? this.child.signalCode!;
  }
}

/** See programs/plain_server.py. */
export interface PlainServer {
  ip: string;
  port: number;
  isDual?: boolean;
}

export class ReceiverRig {
  readonly rig: Rig;
  readonly cgroup: string;
  /** Of the receivers, where the host has /sys/fs/bpf. */
  readonly bpffs: string;
  receiver!: ReceiverProcess;

  constructor(rig: Rig, cgroup: string, bpffs: string) {
    this.rig = rig;
    this.cgroup = cgroup;
    this.bpffs = bpffs;
  }

  /** Starts one, with `options` instead of those for the cgroup and the LIPs. */
  startReceiver(options = this.options): ReceiverProcess {
    return this.start(options);
  }

  get options(): string[] {
    return ['--from', '10.2.0.0/24', 'fd00:2::/64', '--cgroup', this.cgroup, '--listen', '127.0.0.1:0'];
  }

  /** Runs `uoa-proxy receiver` with these arguments to its end, and returns what it printed. */
  readonly ask = (...args: string[]): string => {
    const [command = '', ...rest] = this.#argv(args);
    return execFileSync(command, rest, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  };

  start(args: readonly string[]): ReceiverProcess {
    const [command = '', ...rest] = this.#argv(args);
    const child = spawn(command, rest, { stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    return new ReceiverProcess(child);
  }

  /** The host's cgroups are seen, and the network is the real servers'. */
  #argv(args: readonly string[]): string[] {
    const script =
      'mount --bind "$0" /sys/fs/bpf && net=/run/netns/$1 && shift && exec nsenter "--net=$net" "$@"';
    const network = this.rig.topology.namespaces.rs;
    return [
      'unshare',
      '-m',
      'bash',
      '-c',
      script,
      this.bpffs,
      network,
      ...nodeArgv(MAIN, 'receiver', ...args),
    ];
  }

  /** Starts a command on the host of the real servers, in the cgroup; its output is as of listenTo. */
  spawn(argv: readonly string[], cgroup = this.cgroup): ChildProcess {
    const script = 'echo $$ >"$0/cgroup.procs" && exec ip netns exec "$@"';
    return spawn('sh', ['-c', script, cgroup, this.rig.topology.namespaces.rs, ...argv], {
      stdio: ['pipe', 'pipe', 'inherit'],
      detached: true,
    });
  }

  async startPython(name: string, argument: object, cgroup = this.cgroup): Promise<PythonProgram> {
    const argv = ['python3', '-B', join(PROGRAMS, name), JSON.stringify(argument)];
    const program = listenTo(this.spawn(argv, cgroup), name);
    await program.ready;
    return program;
  }

  /** programs/plain_server.py, where the first real server is. */
  async startServer(options: Partial<PlainServer> = {}): Promise<PythonProgram> {
    return await this.startPython('plain_server.py', { ...this.rig.realServers[0]!, ...options });
  }
}

/** With a receiver that is ready; one real server, whose program is to be started. */
export async function startReceiverRig(t: TestContext, options: RigOptions = {}): Promise<ReceiverRig> {
  const rig = await startRig(t, { servers: 1, clients: 5, ...options });
  const receiverRig = new ReceiverRig(rig, makeCgroup(t), mountBpffs(t));
  receiverRig.receiver = receiverRig.startReceiver();
  await receiverRig.receiver.ready();
  return receiverRig;
}

/** Nothing was lost or altered, and nobody got what was not for him. */
export function assertWell(clients: Answer): void {
  const { missing, altered, unexpected, refused } = clients;
  assert.deepEqual(
    { missing, altered, unexpected, refused },
    { missing: 0, altered: 0, unexpected: 0, refused: 0 },
    JSON.stringify(clients).slice(0, 1000),
  );
}

/** The server saw each client, nobody else, and no carrier. */
export function assertSeen(server: Answer, clients: Answer): void {
  const { received, attributed, wrong, empty } = server;
  assert.deepEqual(
    { received, attributed, wrong, empty },
    { received: clients.sent, attributed: clients.named, wrong: 0, empty: 0 },
    JSON.stringify(server.others),
  );
  if (server.clients !== undefined) assert.equal(server.clients, clients.clients);
}

/**
 * Each session is acknowledged, and that ends its UOAs: one for each, and on a machine that stands still a
 * few more, of datagrams that came before the echo ACK. Without one they were three.
 */
export async function assertAcknowledged(rig: Rig, sessions: unknown): Promise<void> {
  const metrics = ['uoa_sent_total', 'uoa_acked_total', 'uoa_ack_rejected_total', 'uoa_ack_repeated_total'];
  const [sent, ...found] = await Promise.all(metrics.map((name) => rig.metric(name)));
  const said = `${metrics.join()}: ${[sent, ...found].join()}`;
  assert.deepEqual(found.slice(0, 2), [sessions, 0], said);
  assert.ok(Number(sent) >= Number(sessions) && Number(sent) <= 1.5 * Number(sessions), said);
}
