// Checks a config text in a process of its own: the largest file allowed takes ten seconds and several hundred megabytes, and
// whoever asks must go on answering meanwhile, also where that is more memory than there is.
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { environmentWithoutDebugger, withoutDebugger } from '../sys/debugger.ts';
import type { Asked, Parsed } from './aside-process.ts';
import { ConfigError } from './problem.ts';
import type { Config } from './schema.ts';

/** The largest file takes ten seconds, on a busy machine more. */
const LIMIT_MS = 120_000;

/** As parseConfig. Rejects with a ConfigError. */
export async function parseAside(text: string, fileName: string): Promise<Config> {
  const parsed = await ask({ text, fileName });
  if ('config' in parsed) return parsed.config;
  throw new ConfigError(fileName, parsed.problems);
}

function ask(asked: Asked): Promise<Parsed> {
  const file = import.meta.url.endsWith('.ts') ? './aside-process.ts' : './aside-process.js';
  const child = fork(fileURLToPath(new URL(file, import.meta.url)), {
    serialization: 'advanced',
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    execArgv: withoutDebugger(process.execArgv),
    env: environmentWithoutDebugger(process.env),
  });
  const kill = () => child.kill('SIGKILL');
  process.once('exit', kill);
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    kill();
  }, LIMIT_MS);
  const answer = new Promise<Parsed>((resolve) => {
    const failed = (why: string) =>
      resolve({ problems: [{ path: '', message: `cannot be checked: ${why}` }] });
    child.once('message', (parsed) => resolve(parsed as Parsed));
    child.once('error', ({ message }) => failed(message));
    child.once('exit', (code, signal) =>
      failed(
        isLate
          ? `it takes more than ${LIMIT_MS / 1000} s`
          : signal === 'SIGABRT' || signal === 'SIGKILL'
            ? `it takes more memory than there is (${signal})`
            : `the process that checks it ended with ${signal ?? code}`,
      ),
    );
    if (child.pid !== undefined) child.send(asked, () => {});
  });
  return answer.finally(() => {
    clearTimeout(timer);
    process.off('exit', kill);
  });
}
