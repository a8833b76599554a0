// Checks a config text in a process of its own: the largest file allowed takes ten seconds and several
// hundred megabytes, and whoever asks must go on answering meanwhile, also where that is more memory than
// there is. The process stays for a while, because changes come in bursts, and the next text takes it a third
// of the time.
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { environmentWithoutDebugger, withoutDebugger } from '../sys/debugger.ts';
import type { Asked, Parsed } from './aside-process.ts';
import type { ReadConfig } from './load.ts';
import { ConfigError } from './problem.ts';

/** The largest file takes ten seconds, on a busy machine more. */
const LIMIT_MS = 120_000;
const STAYS_MS = 300_000;
/** What a longer text took of memory is given back at once. */
const STAYS_MAX_CHARS = 1 << 20;

/** The process that stayed, while nobody asks it. */
let idle: Helper | undefined;

/** As readConfig. Rejects with a ConfigError. */
export async function readAside(text: string, fileName: string): Promise<ReadConfig> {
  const asked = { text, fileName };
  const stayed = idle;
  idle = undefined;
  // It may have ended meanwhile, by whatever.
  const parsed = (await stayed?.ask(asked).catch(() => undefined)) ?? (await askAnother(asked));
  if ('config' in parsed) return parsed;
  throw new ConfigError(fileName, parsed.problems);
}

const askAnother = (asked: Asked): Promise<Parsed> =>
  new Helper().ask(asked).catch(({ message }: Error) => ({
    problems: [{ path: '', message: `cannot be checked: ${message}` }],
  }));

class Helper {
  readonly #child: ChildProcess;
  readonly #kill = () => void this.#child.kill('SIGKILL');
  /** Takes the answer, or why there will be none. */
  #settle: (outcome: Parsed | Error) => void = () => {};
  #timer: NodeJS.Timeout | undefined;
  #isLate = false;

  constructor() {
    const file = import.meta.url.endsWith('.ts') ? './aside-process.ts' : './aside-process.js';
    this.#child = fork(fileURLToPath(new URL(file, import.meta.url)), {
      serialization: 'advanced',
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
      execArgv: withoutDebugger(process.execArgv),
      env: environmentWithoutDebugger(process.env),
    });
    process.once('exit', this.#kill);
    this.#child.on('message', (parsed) => this.#settle(parsed as Parsed));
    this.#child.on('error', (error) => this.#end(error));
    this.#child.once('exit', (code, signal) => this.#end(this.#whyItEnded(code, signal)));
  }

  /** Rejects with why there is no answer. */
  async ask(asked: Asked): Promise<Parsed> {
    const child = this.#child;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#isLate = true;
      this.#kill();
    }, LIMIT_MS);
    const answer = new Promise<Parsed>((resolve, reject) => {
      this.#settle = (outcome) => (outcome instanceof Error ? reject(outcome) : resolve(outcome));
    });
    child.ref();
    child.channel?.ref();
    if (child.connected) child.send(asked, () => {});
    else if (child.pid !== undefined) this.#settle(new Error('its process ended'));
    const parsed = await answer;
    this.#rest(asked.text.length);
    return parsed;
  }

  /** Holds nothing open meanwhile. */
  #rest(chars: number): void {
    clearTimeout(this.#timer);
    if (idle !== undefined || chars > STAYS_MAX_CHARS) {
      this.#child.disconnect();
      return;
    }
    idle = this;
    this.#child.unref();
    this.#child.channel?.unref();
    this.#timer = setTimeout(() => {
      idle = undefined;
      this.#child.disconnect();
    }, STAYS_MS).unref();
  }

  #end(error: Error): void {
    process.off('exit', this.#kill);
    clearTimeout(this.#timer);
    if (idle === this) idle = undefined;
    this.#settle(error);
  }

  #whyItEnded(code: number | null, signal: NodeJS.Signals | null): Error {
    if (this.#isLate) return new Error(`it takes more than ${LIMIT_MS / 1000} s`);
    if (signal === 'SIGABRT' || signal === 'SIGKILL')
      return new Error(`it takes more memory than there is (${signal})`);
    return new Error(`the process that checks it ended with ${signal ?? code}`);
  }
}
