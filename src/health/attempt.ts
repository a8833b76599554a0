// One check from start to end: it ends once, by its answer, by the time or because nobody wants it any more,
// and then lets go of everything it held.
import type { ProbeResult } from './probe.ts';

/** This host could not ask, which says nothing about the real server. */
export class CannotCheck extends Error {
  override readonly name = 'CannotCheck';
}

export interface Attempt {
  succeed(): void;
  fail(reason: string): void;
  /**
   * Ends with an error that has a code: a failure of the server, or CannotCheck where this host lacks
   * something. Any other error is a mistake of this program, and rejects.
   */
  error(error: Error): void;
}

/** Errors that an exhausted or restricted host makes, not a server. */
const OWN_FAULTS = new Set([
  ...['EMFILE', 'ENFILE', 'ENOMEM', 'ENOBUFS', 'EAGAIN', 'EADDRNOTAVAIL', 'EADDRINUSE'],
  ...['EAFNOSUPPORT', 'EPERM'],
]);

/** A timer that comes so late, or half its time, tells of this process and not of a server. */
const LATE_MIN_MS = 50;

const WORDS: Record<string, string> = {
  EHOSTUNREACH: 'host unreachable',
  ENETUNREACH: 'network unreachable',
  ENOPROTOOPT: 'protocol unreachable',
  EACCES: 'administratively prohibited', // ICMPv6 says so
  EMSGSIZE: 'packet too big on the way',
  ECONNRESET: 'connection ended early',
  ETIMEDOUT: 'connection timed out',
};

/**
 * Calls `start`, which returns what must be undone at the end, and waits until it settled the attempt. After
 * `timeoutMs` the attempt ends with `late()`, by default as a failure without reply. `refused` is what
 * ECONNREFUSED means here.
 */
export function attempt(
  { timeoutMs, signal, refused = 'refused', late }: AttemptOptions,
  start: (attempt: Attempt) => () => void,
): Promise<ProbeResult> {
  return new Promise((resolve, reject) => {
    let isOver = false;
    let undo: (() => void) | undefined;
    const end = (settle: () => void) => {
      if (isOver) return;
      isOver = true;
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
      undo?.();
      settle();
    };
    const finish = (result: ProbeResult) => end(() => resolve(result));
    const give: Attempt = {
      succeed: () => finish({ ok: true }),
      fail: (reason) => finish({ ok: false, reason }),
      error: (error) => {
        const { code } = error as NodeJS.ErrnoException;
        if (code === undefined) end(() => reject(error));
        else if (OWN_FAULTS.has(code)) end(() => reject(new CannotCheck(error.message, { cause: error })));
        else give.fail(code === 'ECONNREFUSED' ? refused : (WORDS[code] ?? error.message));
      },
    };
    const onAbort = () => give.fail('given up');
    const begin = performance.now();
    const onTime = () => {
      const lateMs = Math.round(performance.now() - begin - timeoutMs);
      if (lateMs > Math.max(LATE_MIN_MS, timeoutMs / 2)) {
        const words = `this process was too busy: it looked ${lateMs}ms after the ${inWords(timeoutMs)} of the check`;
        return give.error(new CannotCheck(words));
      }
      finish(late?.() ?? { ok: false, reason: `no reply within ${inWords(timeoutMs)}` });
    };
    // By way of setImmediate: timers come before sockets, and what arrived in time may wait there.
    const timer = setTimeout(() => setImmediate(onTime), timeoutMs);
    signal.addEventListener('abort', onAbort);
    if (signal.aborted) return onAbort();
    try {
      undo = start(give);
    } catch (error) {
      give.error(error as Error);
    }
    if (isOver) undo?.(); // it was settled before it had returned what to undo
  });
}

interface AttemptOptions {
  timeoutMs: number;
  signal: AbortSignal;
  refused?: string;
  late?: () => ProbeResult;
}

/** 1500 -> `1500ms`, 2000 -> `2s`. */
export function inWords(ms: number): string {
  return ms % 1000 === 0 ? `${ms / 1000}s` : `${ms}ms`;
}

/** What a server or program said, fit for one line of a log: printable, at most 200 characters. */
export function quotable(text: string): string {
  const printable = text.replace(/[^\x20-\x7e]+/g, ' ').trim();
  return printable.length > 200 ? `${printable.slice(0, 200)}...` : printable;
}
