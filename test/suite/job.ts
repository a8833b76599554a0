// One test file, or another command, as a process of its own: run to its end, judged, and what it left behind
// removed.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { removeNamespace } from '../../src/lab/namespace.ts';

export interface Job {
  /** Short, for a line of the report. */
  name: string;
  /** What a person types to run it alone. */
  command: string;
  argv: readonly string[];
  /** Besides those of this process. */
  env?: Readonly<Record<string, string>>;
  /** Prints the summary of node's test runner, which is read. Otherwise only the exit code counts. */
  isTest: boolean;
}

export interface Count {
  passed: number;
  failed: number;
  skipped: number;
}

export interface Outcome extends Count {
  seconds: number;
  /** All that it printed, and at the end what was wrong besides failed tests. */
  output: string;
}

/** No file takes near as long; one that hangs must not keep the rest from being run. */
const LIMIT_MS = 15 * 60_000;
const END_WITHIN_MS = 20_000;

/** Process groups of the jobs that run. */
const running = new Set<number>();

/** Tells all jobs that run to end. */
export function interruptJobs(): void {
  for (const group of running) signal(group, 'SIGTERM');
}

/** Never rejects: what cannot be run has failed. `limitMs`: when it is told to end. */
export async function runJob(job: Job, limitMs = LIMIT_MS): Promise<Outcome> {
  const start = performance.now();
  const chunks: Buffer[] = [];
  const complaints: string[] = [];
  // In a process group of its own, so that what it kills, or leaves behind, is its own.
  const child = spawn(job.argv[0], job.argv.slice(1), {
    // A test that runs under `node --test` would talk to that in its own language.
    env: { ...process.env, NODE_TEST_CONTEXT: undefined, ...job.env },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  child.on('error', (error) => complaints.push(error.message));
  const closed = once(child, 'close').catch(() => {});
  if (child.pid === undefined) {
    await closed;
  } else {
    const group = child.pid;
    running.add(group);
    const late = setTimeout(() => {
      complaints.push(`did not end within ${limitMs / 1000} s`);
      signal(group, 'SIGTERM');
    }, limitMs);
    const tooLate = setTimeout(() => signal(group, 'SIGKILL'), limitMs + END_WITHIN_MS);
    await once(child, 'exit');
    clearTimeout(late);
    clearTimeout(tooLate);
    complaints.push(...(await removeLeftBehind(group)));
    running.delete(group);
    const isHeld = await Promise.race([closed, sleep(END_WITHIN_MS, true, { ref: false })]);
    if (isHeld === true) complaints.push('left a process behind that holds its output');
    if (child.exitCode !== 0)
      complaints.push(`ended with ${child.signalCode ?? `exit code ${child.exitCode}`}`);
  }
  const output = Buffer.concat(chunks).toString();
  const count = job.isTest
    ? readSummary(output)
    : { passed: complaints.length === 0 ? 1 : 0, failed: 0, skipped: 0 };
  if (job.isTest && count.passed + count.failed + count.skipped === 0) complaints.push('ran no test');
  if (complaints.length > 0 && count.failed === 0) count.failed = 1;
  const seconds = (performance.now() - start) / 1000;
  return {
    ...count,
    seconds,
    output: [output.trimEnd(), ...complaints.map((what) => `${job.name} ${what}`)].join('\n'),
  };
}

/**
 * What node's spec reporter says at its end; zeros when it says nothing. A test that is still to be written
 * counts as skipped.
 */
export function readSummary(output: string): Count {
  const last = (what: string): number =>
    Number(
      output
        .match(new RegExp(`^ℹ ${what} (\\d+)$`, 'gm'))
        ?.at(-1)
        ?.split(' ')[2] ?? 0,
    );
  return {
    passed: last('pass'),
    failed: last('fail') + last('cancelled'),
    skipped: last('skipped') + last('todo'),
  };
}

/** Kills processes and deletes namespaces of a job that has ended; says what there was. */
async function removeLeftBehind(group: number): Promise<string[]> {
  let processes = processesOf(group);
  // Who is told to end with the job may take a moment.
  for (let round = 0; round < 100 && processes.length > 0; round++) {
    await sleep(50);
    processes = processesOf(group);
  }
  if (processes.length > 0) signal(group, 'SIGKILL');
  const namespaces = list('/run/netns').filter((name) => new RegExp(`^uoat?-${group}-`).test(name));
  for (const name of namespaces) removeNamespace(name);
  return [
    ...processes.map((name) => `left the process ${name} running`),
    ...namespaces.map((name) => `left the network namespace ${name} behind`),
  ];
}

/** Names of those of a process group that have not ended. */
function processesOf(group: number): string[] {
  return list('/proc')
    .filter((pid) => /^\d+$/.test(pid))
    .flatMap((pid) => {
      try {
        // proc_pid_stat(5): pid (name) state ppid pgrp ..; the name may hold anything.
        const [, name, state, pgrp] =
          /\((.*)\) (.) \d+ (\d+) /s.exec(readFileSync(`/proc/${pid}/stat`, 'latin1')) ?? [];
        return Number(pgrp) === group && state !== 'Z' ? [name] : [];
      } catch {
        // It ended meanwhile.
        return [];
      }
    });
}

function signal(group: number, name: NodeJS.Signals): void {
  try {
    process.kill(-group, name);
  } catch {
    // None is left.
  }
}

function list(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
