// Runs command lines one after the other in one process of the program, for tests of what they print and do:
// most of what a command line takes is the start of a process. That a process of its own ends with this exit
// code, and that what it prints is whole then, is shown by others (program.ts, ctl-program.ts).
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { after } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type Outcome, PROGRAM, root } from './program.ts';

const ENTRY = fileURLToPath(new URL('command-lines.mjs', import.meta.url));
const MAIN = PROGRAM.at(-1)!;

/** Of the file that asks; started with its first command line, ended with its last test. One at a time. */
export function commandLines(): (...args: string[]) => Promise<Outcome> {
  let child: ChildProcess | undefined;
  after(() => child?.kill());
  return async (...args) => {
    child ??= fork(ENTRY, [MAIN.replace(/main(\.[jt]s)$/, 'cli/cli$1')], {
      cwd: root,
      execArgv: PROGRAM.slice(1, -1),
      env: { ...process.env, LANG: 'de_DE.UTF-8', LC_ALL: 'de_DE.UTF-8' },
    });
    const ended = new AbortController();
    const failed = once(child, 'exit', { signal: ended.signal }).then(([code, signal]): never => {
      throw new Error(`the process ended with ${signal ?? `exit code ${code}`} at ${args.join(' ')}`);
    });
    try {
      child.send(args);
      const [outcome] = (await Promise.race([once(child, 'message', ended), failed])) as [Outcome];
      return outcome;
    } finally {
      ended.abort();
      failed.catch(() => {});
    }
  };
}
