// Runs the program beside a server of the same test, and as a person at a terminal would.
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable, Writable } from 'node:stream';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type Outcome, PROGRAM, PROGRAM_WORDS } from './program.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));

/** Resolves when it ended. */
export function uoaProxyBeside(t: TestContext, ...args: string[]): Promise<Outcome> {
  return outcomeOf(t, PROGRAM[0], [...PROGRAM.slice(1), ...args]);
}

/** Runs text of bash in which uoa-proxy is the program. Resolves when it ended. */
export function bashBeside(t: TestContext, text: string): Promise<Outcome> {
  return outcomeOf(t, 'bash', ['-c', `uoa-proxy() { ${PROGRAM_WORDS} "$@"; }\n${text}`]);
}

/** Runs a program in the project's folder. Resolves when it ended. */
export async function outcomeOf(t: TestContext, file: string, args: readonly string[]): Promise<Outcome> {
  const child = spawn(file, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
  t.after(() => child.kill('SIGKILL'));
  const outcome = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text) => {
    outcome.stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text) => {
    outcome.stderr += text;
  });
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, ...outcome };
}

export interface Terminal {
  /** Everything shown so far. */
  text(): string;
  type(keys: string): void;
  /** Resolves when what is shown matches, from `from` on. */
  shows(pattern: RegExp, from?: number): Promise<void>;
  /** Resolves with the exit code. */
  ended: Promise<number | null>;
}

/** On a pseudo terminal (script(1)); `before` is shell text that runs on it first. */
export function uoaProxyOnTerminal(t: TestContext, before: string, ...args: string[]): Terminal {
  const program = [PROGRAM_WORDS, ...args.map((word) => `'${word}'`)].join(' ');
  const child: ChildProcessByStdio<Writable, Readable, null> = spawn(
    'script',
    ['-qefc', `${before}; exec ${program}`, '/dev/null'],
    {
      cwd: root,
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { ...process.env, SHELL: '/bin/sh', TERM: 'xterm' },
    },
  );
  t.after(() => child.kill('SIGKILL'));
  let text = '';
  let changed = (): void => {};
  child.stdout.setEncoding('utf8').on('data', (more) => {
    text += more;
    changed();
  });
  const ended = once(child, 'close').then(([code]) => {
    changed();
    return code as number | null;
  });
  return {
    text: () => text,
    type: (keys) => child.stdin.write(keys),
    ended,
    async shows(pattern, from = 0) {
      while (!pattern.test(text.slice(from))) {
        if (child.exitCode !== null) throw new Error(`ended without showing ${pattern}:\n${text}`);
        await new Promise<void>((resolve) => {
          changed = resolve;
        });
      }
    },
  };
}
