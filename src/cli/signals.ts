// From start to exit code: SIGTERM, SIGINT and SIGHUP stop the proxy, which removes what it added to the host; a signal
// a second later does not wait for that (within a second it is the same wish: npm and timeout pass on what the terminal
// sends to everybody). A signal during the start counts too: the proxy is stopped as soon as it stands.
import type { Logger } from 'pino';

/** What this file needs of a running proxy. */
interface Stoppable {
  /** Resolves with the exit code when it ended by itself. */
  readonly ended: Promise<number>;
  stop(): Promise<void>;
}

/** `process`, or a test's stand-in. */
export interface SignalSource {
  on(signal: NodeJS.Signals, listener: (signal: NodeJS.Signals) => void): unknown;
  off(signal: NodeJS.Signals, listener: (signal: NodeJS.Signals) => void): unknown;
  exit(code: number): unknown;
}

const SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const;
const EXIT_AT_ONCE = 130;
const SAME_WISH_MS = 1000;

/** Resolves with the exit code; rejects with what `start` rejects with. */
export async function runUntilSignal(
  start: () => Promise<Stoppable>,
  log: Logger,
  source: SignalSource = process,
  nowMs: () => number = () => performance.now(),
): Promise<number> {
  let firstAtMs: number | undefined;
  let wake = (_: 'signal'): void => {};
  const signaled = new Promise<'signal'>((resolve) => {
    wake = resolve;
  });
  const onSignal = (signal: NodeJS.Signals): void => {
    if (firstAtMs === undefined) {
      firstAtMs = nowMs();
      log.info({ signal }, 'stopping');
      wake('signal');
    } else if (nowMs() - firstAtMs >= SAME_WISH_MS) {
      log.warn({ signal }, 'second signal: exiting at once');
      source.exit(EXIT_AT_ONCE);
    }
  };
  for (const signal of SIGNALS) source.on(signal, onSignal);
  try {
    const proxy = await start();
    const end = await Promise.race([signaled, proxy.ended]);
    if (end !== 'signal') log.error({ exitCode: end }, 'the proxy ended by itself');
    await proxy.stop();
    if (end === 'signal') log.info('stopped');
    return end === 'signal' ? 0 : end;
  } finally {
    for (const signal of SIGNALS) source.off(signal, onSignal);
  }
}
