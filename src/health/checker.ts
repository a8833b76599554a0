// The checks of one real server: one after the other, and what they add up to. A server is up until it failed
// `fall` times in a row, and down until it succeeded `rise` times in a row. A check that could not be made
// changes nothing.
import { inWords } from './attempt.ts';
import type { HealthConfig, Probe, ProbeResult, ProbeTarget } from './probe.ts';

export type HealthState = 'up' | 'down';

export interface HealthTarget extends ProbeTarget {
  /** Service name and endpoint; unique. */
  key: string;
  health: HealthConfig;
}

export interface HealthStatus {
  state: HealthState;
  since: Date;
  /** Why it is in that state, or what the last check said. */
  reason: string;
  failuresInARow: number;
  /** In total; checks that could not be made are not among them. */
  checks: number;
  failures: number;
}

export interface HealthEvents {
  onChange(target: HealthTarget, state: HealthState, reason: string): void;
  /** A check cannot be made: once, until one could be made again or the reason is another. */
  onProblem(target: HealthTarget, reason: string): void;
}

export class Checker {
  readonly target: HealthTarget;
  readonly status: HealthStatus;
  readonly #probe: Probe | undefined;
  readonly #events: HealthEvents;
  readonly #stopped = new AbortController();
  #successesInARow = 0;
  /** The check under way began before the server was reported to fail. */
  #isOutdated = false;
  #problem: string | undefined;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> = Promise.resolve();

  /**
   * A new server starts as up: were it down until its first checks, every start of the proxy would be an
   * outage of the whole service. `status` is that of the checker before, whose target differs only in how it
   * is checked.
   */
  constructor(target: HealthTarget, probe: Probe | undefined, events: HealthEvents, before?: HealthStatus) {
    this.target = target;
    this.#probe = probe;
    this.#events = events;
    this.status = {
      ...{ state: 'up', since: new Date(), checks: 0, failures: 0 },
      ...before,
      failuresInARow: 0,
      reason: before?.reason ?? (probe === undefined ? 'not checked' : 'not checked yet'),
    };
  }

  /** Checks after `delayMs`, again after some part of the interval, and from then on once per interval. */
  start(delayMs: number): void {
    if (this.#probe === undefined) {
      if (this.status.state === 'down') this.#turn('up', 'its health settings changed');
      return;
    }
    const { interval } = this.target.health;
    this.#at(delayMs, () => Math.random() * interval);
  }

  /**
   * Traffic shows that the server does not work: down until it succeeds `rise` times in a row; see
   * Monitor.fail.
   */
  fail(reason: string): void {
    this.#successesInARow = 0;
    this.#isOutdated = true;
    if (this.status.state === 'up') this.#turn('down', reason);
    else this.status.reason = reason;
    if (this.#probe !== undefined) return;
    const { window } = this.target.health;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#turn('up', `tried again after ${inWords(window)}`), window);
  }

  /** Resolves when nothing of it runs any more. */
  async stop(): Promise<void> {
    clearTimeout(this.#timer);
    this.#stopped.abort();
    await this.#running;
  }

  #at(delayMs: number, nextDelayMs: () => number): void {
    this.#timer = setTimeout(() => {
      this.#running = this.#check(nextDelayMs());
    }, delayMs);
  }

  /**
   * `untilNextMs`: from the beginning of this check to that of the next, which waits until this one has
   * ended.
   */
  async #check(untilNextMs: number): Promise<void> {
    const begin = performance.now();
    const { signal } = this.#stopped;
    this.#isOutdated = false;
    let result: ProbeResult | undefined;
    let problem: string | undefined;
    try {
      result = await this.#probe!(this.target, signal);
    } catch (error) {
      problem = (error as Error).message;
    }
    if (signal.aborted) return;
    const { interval, jitter } = this.target.health;
    const delayMs = Math.max(0, untilNextMs - (performance.now() - begin));
    this.#at(delayMs, () => jittered(interval, jitter, Math.random()));
    if (problem !== undefined && problem !== this.#problem) this.#events.onProblem(this.target, problem);
    this.#problem = problem;
    if (problem !== undefined) this.status.reason = `cannot be checked: ${problem}`;
    if (result !== undefined) this.#count(result);
  }

  #count(result: ProbeResult): void {
    const { status } = this;
    const { rise, fall } = this.target.health;
    status.checks++;
    if (result.ok) {
      status.failuresInARow = 0;
      if (!this.#isOutdated) this.#successesInARow++;
      if (status.state === 'up') status.reason = 'check succeeded';
      else if (this.#successesInARow >= rise) this.#turn('up', `${times(rise, 'check')} succeeded`);
      return;
    }
    this.#successesInARow = 0;
    status.failures++;
    status.failuresInARow++;
    status.reason = result.reason;
    if (status.state === 'up' && status.failuresInARow >= fall) this.#turn('down', result.reason);
  }

  #turn(state: HealthState, reason: string): void {
    Object.assign(this.status, { state, reason, since: new Date() });
    this.#events.onChange(this.target, state, reason);
  }
}

/** `ms`, longer or shorter by up to `percent`; `random` is 0 to 1. */
export function jittered(ms: number, percent: number, random: number): number {
  return ms * (1 + ((2 * random - 1) * percent) / 100);
}

function times(count: number, what: string): string {
  return count === 1 ? `a ${what}` : `${count} ${what}s in a row`;
}
