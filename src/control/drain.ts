// The proxy is drained: no new sessions, and its end when there are none left or the time is over. Until that
// end another deadline can be set and all of it taken back: the datapaths read one cell of the common memory
// with each new session.
import type { Logger } from 'pino';
import { OperationError } from '../admin/sources.ts';
import { CONTROL } from '../datapath/memory.ts';

const POLL_MS = 200;
const DEFAULT_MS = 300_000;

export class Drain {
  readonly #control: Int32Array;
  readonly #countSessions: () => number;
  readonly #end: () => void;
  readonly #log: Logger;
  #timer: NodeJS.Timeout | undefined;
  #deadline = 0;
  #isOver = false;

  /** `control` has the cells of CONTROL; `end` is called when nothing is left to wait for. */
  constructor(control: Int32Array, countSessions: () => number, end: () => void, log: Logger) {
    this.#control = control;
    this.#countSessions = countSessions;
    this.#end = end;
    this.#log = log;
  }

  /** Stays true when the proxy ends drained. */
  get isOn(): boolean {
    return this.#timer !== undefined;
  }

  /**
   * Begins, or goes on with another deadline; without one it is as it was, or the default. Returns how many
   * milliseconds are left. Throws an OperationError.
   */
  begin(timeoutMs: number | undefined): number {
    this.#refuseWhenOver();
    const now = performance.now();
    if (timeoutMs !== undefined || !this.isOn) this.#deadline = now + (timeoutMs ?? DEFAULT_MS);
    const leftMs = Math.max(0, Math.round(this.#deadline - now));
    if (this.isOn) {
      if (timeoutMs !== undefined) this.#log.info({ timeoutMs }, 'draining: another deadline');
      return leftMs;
    }
    this.#control[CONTROL.draining] = 1;
    this.#log.info({ timeoutMs: leftMs }, 'draining: no new sessions');
    this.#timer = setInterval(() => this.#look(), POLL_MS);
    return leftMs;
  }

  /** New sessions are taken again. Returns whether it was on. Throws an OperationError. */
  cancel(): boolean {
    this.#refuseWhenOver();
    if (!this.isOn) return false;
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#control[CONTROL.draining] = 0;
    this.#log.info('the drain is taken back: new sessions again');
    return true;
  }

  /** The proxy ends, drained or not. */
  close(): void {
    this.#isOver = true;
    clearInterval(this.#timer);
  }

  #look(): void {
    const sessions = this.#countSessions();
    if (sessions > 0 && performance.now() < this.#deadline) return;
    this.close();
    this.#log.info({ sessions }, sessions > 0 ? 'draining: the time is over' : 'drained');
    this.#end();
  }

  #refuseWhenOver(): void {
    if (this.#isOver) throw new OperationError(409, 'the proxy is ending');
  }
}
