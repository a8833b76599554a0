// Network namespaces joined by veth pairs for tests on real packets. Names are unique per process, and
// everything is removed at the end of the test, also when it failed or is told to end; what was killed is
// removed by the next one.
import assert from 'node:assert/strict';
import { type ChildProcessWithoutNullStreams, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { exitOnSignals, removeNamespace } from '../../src/lab/namespace.ts';

/** What a test context must offer: node:test's does. */
export interface Cleanup {
  after(fn: () => void | Promise<void>): void;
}

let created = 0;
const live = new Set<string>();

/** Runs a command and returns what it printed; `input` goes to its standard input. */
export function sh(command: string, input = ''): string {
  return execFileSync('bash', ['-c', command], { input, encoding: 'utf8', stdio: ['pipe', 'pipe', 'pipe'] });
}

/** A new network namespace with its loopback interface up; it is deleted when the test ends. */
export function namespace(t: Cleanup, label: string): string {
  if (created === 0) beginCleanly();
  const name = `uoat-${process.pid}-${label}${created++}`;
  live.add(name);
  sh(`ip netns add ${name}`);
  t.after(() => {
    sh(`ip netns pids ${name} | xargs -r kill -9; ip netns delete ${name}`);
    live.delete(name);
  });
  sh(`ip -n ${name} link set lo up`);
  return name;
}

function beginCleanly(): void {
  exitOnSignals();
  process.once('exit', () => {
    for (const name of live) removeNamespace(name);
  });
  for (const name of existsSync('/run/netns') ? readdirSync('/run/netns') : []) {
    const pid = /^uoat-(\d+)-/.exec(name)?.[1];
    if (pid !== undefined && !existsSync(`/proc/${pid}`)) removeNamespace(name);
  }
}

/** An end of a veth pair; addresses with their prefix length. */
interface End {
  ns: string;
  device: string;
  addresses: readonly string[];
}

/** Joins two namespaces by a veth pair. Offloads stay on; IPv6 addresses can be used at once. */
export function join(a: End, b: End): void {
  sh(`ip -n ${a.ns} link add ${a.device} type veth peer name ${b.device} netns ${b.ns}`);
  for (const { ns, device, addresses } of [a, b]) {
    sh(`ip -n ${ns} link set ${device} up`);
    for (const address of addresses) {
      sh(`ip -n ${ns} address add ${address} dev ${device} ${address.includes(':') ? 'nodad' : ''}`);
    }
  }
}

/**
 * A client, a load balancer and a real server in a row: 10.1.0.2 - 10.1.0.1 | 10.2.0.1 - 10.2.0.2, and
 * fd00:1::2 - fd00:1::1 | fd00:2::1 - fd00:2::2.
 */
export function threeInARow(t: Cleanup): { client: string; lb: string; server: string } {
  const client = namespace(t, 'c');
  const lb = namespace(t, 'l');
  const server = namespace(t, 's');
  join(
    { ns: client, device: 'c0', addresses: ['10.1.0.2/24', 'fd00:1::2/64'] },
    { ns: lb, device: 'wan0', addresses: ['10.1.0.1/24', 'fd00:1::1/64'] },
  );
  join(
    { ns: lb, device: 'lan0', addresses: ['10.2.0.1/24', 'fd00:2::1/64'] },
    { ns: server, device: 's0', addresses: ['10.2.0.2/24', 'fd00:2::2/64'] },
  );
  return { client, lb, server };
}

/**
 * A command to run another with, which makes the kernel look as if it had no IPv6 (ipv6.disable=1): sockets
 * of the family are refused, by a seccomp filter, and /proc/net lacks its files, like all others.
 */
export const WITHOUT_IPV6: readonly string[] = [
  'bash',
  '-c',
  'cp /proc/net/udp /tmp/$$.udp && mount -t tmpfs none /proc/$$/net && mv /tmp/$$.udp /proc/$$/net/udp && exec python3 "$@"',
  'bash',
  fileURLToPath(new URL('./without-ipv6.py', import.meta.url)),
];

/** A program of this folder running in a namespace. It prints JSON lines and stops when its input ends. */
export interface Program {
  readonly child: ChildProcessWithoutNullStreams;
  /**
   * The value of the next line's property `key`; fails when the program ends first or says nothing for two
   * minutes.
   */
  next<T>(key: string): Promise<T>;
  write(value: unknown): void;
  /** Ends its input and waits for its end; fails unless it exits with 0. */
  stop(): Promise<void>;
}

/**
 * Starts a program, whose file is named from test/; `wrapper` is a command to run it with, such as setpriv.
 */
export function startProgram(
  t: Cleanup,
  ns: string,
  file: string,
  argument: unknown = {},
  wrapper: readonly string[] = [],
): Program {
  const path = fileURLToPath(new URL(`../${file}`, import.meta.url));
  const child = spawn(
    'ip',
    ['netns', 'exec', ns, ...wrapper, process.execPath, '--import', 'tsx', path, JSON.stringify(argument)],
    { stdio: 'pipe' },
  );
  t.after(() => {
    child.kill('SIGKILL');
  });
  let complaint = '';
  child.stderr.on('data', (chunk) => {
    complaint += chunk;
  });
  child.stdin.on('error', () => {});
  const lines: Record<string, unknown>[] = [];
  const waiting: (() => void)[] = [];
  const wake = () => {
    for (const resolve of waiting.splice(0)) resolve();
  };
  let ended = false;
  let late = false;
  createInterface({ input: child.stdout }).on('line', (line) => {
    lines.push(JSON.parse(line));
    wake();
  });
  const exit = once(child, 'close').then(() => {
    ended = true;
    wake();
  });
  return {
    child,
    async next<T>(key: string): Promise<T> {
      const deadline = setTimeout(() => {
        late = true;
        wake();
      }, 120_000);
      try {
        for (;;) {
          const index = lines.findIndex((line) => key in line);
          if (index >= 0) return lines.splice(index, 1)[0][key] as T;
          assert.ok(!ended, `${file} ended with ${child.exitCode ?? child.signalCode}: ${complaint}`);
          assert.ok(!late, `${file} does not say ${key}: ${complaint}`);
          await new Promise<void>((resolve) => {
            waiting.push(resolve);
          });
        }
      } finally {
        clearTimeout(deadline);
      }
    },
    write(value) {
      child.stdin.write(`${JSON.stringify(value)}\n`);
    },
    async stop() {
      child.stdin.end();
      await exit;
      assert.equal(child.exitCode, 0, `${file}: ${complaint}`);
    },
  };
}
