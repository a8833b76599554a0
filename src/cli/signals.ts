// From start to exit code. SIGTERM, SIGINT and SIGQUIT stop the proxy, which removes what it added to the
// host; a signal a second later does not wait for that (within a second it is the same wish: npm and timeout
// pass on what the terminal sends to everybody). A signal during the start counts too: the proxy is stopped
// as soon as it stands.
//
// SIGUSR2 stops it for a restart: another process is about to go on with what is hot. A SIGTERM behind it
// changes nothing, because whoever runs containers sends one after all that a hook did. The kernel may
// deliver the two the other way round, each by another thread: so a stop waits for an instant whether it
// comes.
//
// SIGHUP reloads the config. Where standard output is a terminal it stops the proxy instead, because there it
// is what a terminal that closes sends to its programs; `uoa-proxy ctl reload` reloads there too.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';

/** What this file needs of a running proxy. */
interface Controllable {
  /** Resolves when it ended by itself; `isWanted` where an operator asked for that. */
  readonly ended: Promise<{ exitCode: number; isWanted: boolean }>;
  /** Reads the config again, and says itself what came of it. */
  reload(): Promise<unknown>;
  stop(how: { forRestart: boolean }): Promise<void>;
}

/** `process`, or a test's stand-in. */
export interface SignalSource {
  readonly stdout: { readonly isTTY?: boolean };
  on(signal: NodeJS.Signals, listener: (signal: NodeJS.Signals) => void): unknown;
  off(signal: NodeJS.Signals, listener: (signal: NodeJS.Signals) => void): unknown;
  exit(code: number): unknown;
}

const SIGNALS = ['SIGTERM', 'SIGINT', 'SIGQUIT', 'SIGHUP', 'SIGUSR2'] as const;
const EXIT_AT_ONCE = 130;
const SAME_WISH_MS = 1000;
const INSTANT_MS = 100;
/** A reload that changes something takes less; one that is read for longer changes nothing any more. */
const FINISH_MS = 2000;

/** Resolves with the exit code; rejects with what `start` rejects with. */
export async function runUntilSignal(
  start: () => Promise<Controllable>,
  log: Logger,
  source: SignalSource = process,
  nowMs: () => number = () => performance.now(),
  instantMs = INSTANT_MS,
): Promise<number> {
  const reloads = new Reloads(log);
  let firstAtMs: number | undefined;
  let forRestart = false;
  let isStopping = false;
  let wake = (_: 'signal'): void => {};
  const signaled = new Promise<'signal'>((resolve) => {
    wake = resolve;
  });
  const onSignal = (signal: NodeJS.Signals): void => {
    if (signal === 'SIGHUP' && source.stdout.isTTY !== true) {
      const isEnding = firstAtMs !== undefined || forRestart;
      log.info({ signal }, isEnding ? 'stopping: no reload any more' : 'reloading the config');
      reloads.request();
    } else if (signal === 'SIGUSR2') {
      if (isStopping || forRestart) return;
      forRestart = true;
      log.info({ signal }, 'stopping for a restart');
      reloads.end();
      wake('signal');
    } else if (firstAtMs === undefined) {
      firstAtMs = nowMs();
      log.info({ signal }, forRestart ? 'stopping for a restart already' : 'stopping');
      reloads.end();
      wake('signal');
    } else if (nowMs() - firstAtMs >= SAME_WISH_MS) {
      log.warn({ signal }, 'second signal: exiting at once');
      source.exit(EXIT_AT_ONCE);
    }
  };
  for (const signal of SIGNALS) source.on(signal, onSignal);
  try {
    const proxy = await start();
    reloads.begin(proxy);
    const end = await Promise.race([signaled, proxy.ended]);
    reloads.end();
    if (end !== 'signal' && !end.isWanted) log.error({ exitCode: end.exitCode }, 'the proxy ended by itself');
    // What it had begun is finished before it is undone, unless what it waits for has ended, or is still
    // being read.
    else await Promise.race([reloads.idle, proxy.ended, sleep(FINISH_MS, undefined, { ref: false })]);
    if (end === 'signal' && !forRestart) await sleep(instantMs);
    isStopping = true;
    await proxy.stop({ forRestart: end === 'signal' && forRestart });
    if (end === 'signal') log.info('stopped');
    return end === 'signal' ? 0 : end.exitCode;
  } finally {
    for (const signal of SIGNALS) source.off(signal, onSignal);
  }
}

/**
 * One reload after the other: those asked for while there is no proxy yet, or while one runs, become one
 * more.
 */
class Reloads {
  /** Resolves when none is under way. */
  idle: Promise<void> = Promise.resolve();
  readonly #log: Logger;
  #proxy: Controllable | undefined;
  #isWanted = false;
  #isRunning = false;
  #isOver = false;

  constructor(log: Logger) {
    this.#log = log;
  }

  request(): void {
    this.#isWanted = true;
    if (this.#proxy !== undefined && !this.#isRunning) this.idle = this.#run(this.#proxy);
  }

  begin(proxy: Controllable): void {
    this.#proxy = proxy;
    if (this.#isWanted) this.request();
  }

  /** None begins any more. */
  end(): void {
    this.#isOver = true;
  }

  async #run(proxy: Controllable): Promise<void> {
    this.#isRunning = true;
    while (this.#isWanted && !this.#isOver) {
      this.#isWanted = false;
      await proxy
        .reload()
        .catch((error: Error) => this.#log.error(`the config was not reloaded: ${error.message}`));
    }
    this.#isRunning = false;
  }
}
