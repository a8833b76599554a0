// Check by a program of the operator: exit code 0 is success. It runs in a process group of its own, which is
// killed as a whole when the check ends, so that nothing it started stays behind.
import { type ChildProcess, spawn } from 'node:child_process';
import { attempt, CannotCheck, inWords, quotable } from './attempt.ts';
import type { HealthConfig, Probe, ProbeResult, ProbeTarget } from './probe.ts';
import { Turns } from './turns.ts';

/** Programs at a time, over all services: more would take the machine from the datapath. The others wait. */
const RUNNING_MAX = 32;
const turns = new Turns(RUNNING_MAX);
/** The end of what a program says on its standard error that is kept, in characters. */
const SAID_MAX = 4096;

export function execProbe({ timeout, command }: HealthConfig): Probe {
  const [program = '', ...args] = command;
  return async (target, signal) => {
    const giveBack = await turns.take(signal);
    try {
      return await runOnce(program, args, target, timeout, signal);
    } finally {
      giveBack();
    }
  };
}

function runOnce(
  program: string,
  args: readonly string[],
  target: ProbeTarget,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<ProbeResult> {
  let said = '';
  let exit: string | undefined;
  const late = (): ProbeResult => ({
    ok: false,
    reason: `${exit ?? `still running after ${inWords(timeoutMs)}`}${lastLine(said)}`,
  });
  return attempt({ timeoutMs, signal, late }, ({ succeed, fail, error }) => {
    const child: ChildProcess = spawn(program, args, {
      detached: true,
      stdio: ['ignore', 'ignore', 'pipe'],
      env: {
        ...(process.env.PATH === undefined ? {} : { PATH: process.env.PATH }),
        UOA_PROXY_SERVICE: target.service,
        UOA_PROXY_RS_IP: target.ip,
        UOA_PROXY_RS_PORT: String(target.port),
      },
    });
    const killGroup = groupKiller(child);
    child
      .on('error', (failure) => error(explain(program, failure)))
      .on('exit', (code, killedBy) => {
        if (code === 0) return succeed();
        exit = killedBy === null ? `exit code ${code}` : `killed by ${killedBy}`;
        killGroup(); // or what it started would keep its standard error open
      })
      .on('close', () => fail(`${exit}${lastLine(said)}`));
    child.stderr?.setEncoding('latin1').on('data', (text: string) => {
      said = (said + text).slice(-SAID_MAX);
    });
    return () => {
      killGroup();
      child.stderr?.destroy();
      child.unref();
    };
  });
}

/** Kills once: a group bears its leader's number as long as it has a member, but no longer. */
function groupKiller({ pid }: ChildProcess): () => void {
  let isKilled = pid === undefined;
  return () => {
    if (isKilled) return;
    isKilled = true;
    try {
      process.kill(-pid!, 'SIGKILL');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  };
}

function explain(program: string, error: Error): Error {
  const { code } = error as NodeJS.ErrnoException;
  const why = code === 'ENOENT' ? 'no such program' : code === 'EACCES' ? 'not executable' : error.message;
  return new CannotCheck(`health.command ${program} cannot be run: ${why}`, { cause: error });
}

function lastLine(said: string): string {
  const line = quotable(said.trimEnd().split('\n').at(-1) ?? '');
  return line === '' ? '' : `: ${line}`;
}
