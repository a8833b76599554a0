// Linux network namespaces as things that are made, entered and removed for certain: on return, exception,
// signal or exit, and, when this process was killed outright, by the next one. Names are uoa-<pid of the
// maker>-<role>.
import { type ChildProcess, type SpawnOptions, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const NAMESPACE = /^uoa-(\d+)-[a-z0-9]+$/;
const SCRATCH = /^uoa-(\d+)-scratch-/;
const NETNS_DIR = '/run/netns';
/** Output of one command that is kept, in bytes. */
const MAX_OUTPUT = 64 << 20;

const liveNamespaces = new Set<string>();
const liveScratch = new Set<string>();
let exitHooked = false;

/** A command that failed; the message holds the command line and what it printed on stderr. */
export class CommandError extends Error {
  readonly argv: readonly string[];
  readonly code: number | null;

  constructor(argv: readonly string[], code: number | null, detail: string) {
    super(`"${argv.join(' ')}" failed (${code ?? 'killed'}): ${detail.trim()}`);
    this.name = 'CommandError';
    this.argv = argv;
    this.code = code;
  }
}

/** Runs a command to its end and returns its stdout; throws CommandError when it fails. */
export function run(argv: readonly string[], input?: string): string {
  const [command, ...rest] = argv;
  const result = spawnSync(command, rest, { input: input ?? '', encoding: 'utf8', maxBuffer: MAX_OUTPUT });
  if (result.error) throw new CommandError(argv, null, result.error.message);
  if (result.status !== 0) throw new CommandError(argv, result.status, result.stderr);
  return result.stdout;
}

/** The argv that runs `argv` inside a namespace. */
export function inNamespace(namespace: string, argv: readonly string[]): string[] {
  return ['ip', 'netns', 'exec', namespace, ...argv];
}

/**
 * Starts a program inside a namespace, as leader of its own process group, so that a Ctrl-C in the terminal
 * reaches only the caller, who ends the program in order.
 */
export function spawnIn(
  namespace: string,
  argv: readonly string[],
  options: SpawnOptions = {},
): ChildProcess {
  const [command, ...rest] = inNamespace(namespace, argv);
  return spawn(command, rest, { detached: true, ...options });
}

/**
 * Makes a namespace of this process: lo up, no forwarding, no reverse-path filter; IPv6 without router
 * advertisements and without duplicate address detection, so that its addresses can be used at once.
 */
export function createNamespace(role: string): string {
  hookExit();
  const name = `uoa-${process.pid}-${role}`;
  run(['ip', 'netns', 'add', name]);
  liveNamespaces.add(name);
  const settings = {
    'ipv6/conf/all/disable_ipv6': 0,
    'ipv6/conf/default/disable_ipv6': 0,
    'ipv6/conf/all/forwarding': 0,
    'ipv6/conf/default/accept_ra': 0,
    'ipv6/conf/default/autoconf': 0,
    'ipv6/conf/default/router_solicitations': 0,
    'ipv6/conf/default/accept_dad': 0,
    'ipv6/conf/default/dad_transmits': 0,
    'ipv4/ip_forward': 0,
    'ipv4/conf/all/rp_filter': 0,
    'ipv4/conf/default/rp_filter': 0,
  };
  const lines = Object.entries(settings).map(
    ([key, value]) => `[ ! -e /proc/sys/net/${key} ] || echo ${value} > /proc/sys/net/${key}`,
  );
  run(inNamespace(name, ['sh', '-ec', lines.join('\n')]));
  run(['ip', '-n', name, 'link', 'set', 'lo', 'up']);
  return name;
}

/**
 * Kills what runs inside, then removes the namespace with its interfaces. Not an error when it is gone
 * already.
 */
export function removeNamespace(name: string): void {
  killInside(name);
  spawnSync('ip', ['netns', 'del', name], { stdio: 'ignore' });
  liveNamespaces.delete(name);
}

/** Pids of the processes inside a namespace. */
export function pidsInside(name: string): number[] {
  const listed = spawnSync('ip', ['netns', 'pids', name], { encoding: 'utf8' });
  return (listed.stdout ?? '').split('\n').filter(Boolean).map(Number);
}

function killInside(name: string): void {
  // A killed process is gone from the list only when the kernel has torn it down, and one may have forked
  // meanwhile.
  for (let round = 0; round < 100; round++) {
    const pids = pidsInside(name).filter((pid) => pid !== process.pid);
    if (pids.length === 0) return;
    for (const pid of pids) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // Ended between the listing and the kill.
      }
    }
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20);
  }
}

/** A folder for the config and logs of one run; removed together with the namespaces. */
export function createScratch(): string {
  hookExit();
  const path = mkdtempSync(join(tmpdir(), `uoa-${process.pid}-scratch-`));
  liveScratch.add(path);
  return path;
}

export function removeScratch(path: string): void {
  rmSync(path, { recursive: true, force: true });
  liveScratch.delete(path);
}

/**
 * Removes every namespace and scratch folder of this process. Synchronous, so that it works while the process
 * exits.
 */
export function removeAll(): void {
  for (const name of [...liveNamespaces]) removeNamespace(name);
  for (const path of [...liveScratch]) removeScratch(path);
}

/**
 * Removes what dead runs left behind (killed outright, power cut). Returns the names of the namespaces
 * removed.
 */
export function removeLeftovers(): string[] {
  const dead = (name: string, pattern: RegExp) => {
    const pid = pattern.exec(name)?.[1];
    return pid !== undefined && !isAlive(Number(pid));
  };
  const namespaces = list(NETNS_DIR).filter((name) => dead(name, NAMESPACE));
  for (const name of namespaces) removeNamespace(name);
  for (const name of list(tmpdir()).filter((entry) => dead(entry, SCRATCH))) {
    rmSync(join(tmpdir(), name), { recursive: true, force: true });
  }
  return namespaces;
}

/**
 * Ends the process with 128 + signal number on SIGINT, SIGTERM, SIGHUP and SIGQUIT; the exit hook then
 * removes everything.
 */
export function exitOnSignals(): void {
  for (const [signal, code] of [
    ['SIGINT', 130] as const,
    ['SIGTERM', 143] as const,
    ['SIGHUP', 129] as const,
    ['SIGQUIT', 131] as const,
  ]) {
    process.once(signal, () => process.exit(code));
  }
}

function hookExit(): void {
  if (exitHooked) return;
  exitHooked = true;
  process.once('exit', removeAll);
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

function list(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
