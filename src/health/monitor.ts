// The health of all real servers. The checks of one follow each other and are never two at a time; those of
// many are spread by their start and by jitter. Processor time per check, measured on 4,096 servers asked
// every 2 s on a machine of two cores: udp, tcp and icmp 0.13 ms (a quarter of a core), http 0.3 to 0.5 ms;
// exec 2 ms and what the program itself takes: it is for few servers or long intervals.
import { isDeepStrictEqual } from 'node:util';
import {
  Checker,
  type HealthEvents,
  type HealthState,
  type HealthStatus,
  type HealthTarget,
} from './checker.ts';
import { makeProbe } from './probes.ts';

export type { HealthState, HealthStatus, HealthTarget };

/** Most servers of a service (see config/schema.ts) are checked for the first time within a second. */
const STARTS_PER_MS = 4;

interface MonitorOptions {
  onProblem?: HealthEvents['onProblem'];
  makeProbe?: typeof makeProbe;
}

export class Monitor {
  readonly #events: HealthEvents;
  readonly #makeProbe: typeof makeProbe;
  readonly #checkers = new Map<string, Checker>();
  readonly #stopping = new Set<Promise<void>>();

  /**
   * `onChange` is called when a server went up or down, also from within update() and fail(), but not for new
   * servers, which start as up. `onProblem` is called when one cannot be checked, which changes nothing else.
   */
  constructor(onChange: HealthEvents['onChange'], options: MonitorOptions = {}) {
    this.#events = { onChange, onProblem: options.onProblem ?? (() => {}) };
    this.#makeProbe = options.makeProbe ?? makeProbe;
  }

  /**
   * Checks these servers from now on. One that is checked as before goes on undisturbed; one that is checked
   * in another way keeps its state; one that is gone, or is at another address, is forgotten.
   */
  update(targets: readonly HealthTarget[]): void {
    const wanted = new Set(targets.map(({ key }) => key));
    for (const [key, checker] of this.#checkers) {
      if (wanted.has(key)) continue;
      this.#checkers.delete(key);
      this.#stop(checker);
    }
    let started = 0;
    for (const target of targets) {
      const before = this.#checkers.get(target.key);
      if (before !== undefined && isSameTarget(before.target, target)) continue;
      if (before !== undefined) this.#stop(before);
      const isSameServer = before?.target.ip === target.ip && before.target.port === target.port;
      const status = isSameServer ? before.status : undefined;
      const checker = new Checker(target, this.#makeProbe(target.health), this.#events, status);
      this.#checkers.set(target.key, checker);
      checker.start(Math.floor(started++ / STARTS_PER_MS));
    }
  }

  /**
   * Traffic shows that a server does not work (see passive.ts). It is down until its check succeeds `rise`
   * times in a row or, without a check, until this was not called for `window`. A server that is not known is
   * ignored: it may just have been removed.
   */
  fail(key: string, reason: string): void {
    this.#checkers.get(key)?.fail(reason);
  }

  /** By key. The values are copies. */
  status(): ReadonlyMap<string, HealthStatus> {
    return new Map([...this.#checkers].map(([key, { status }]) => [key, { ...status }]));
  }

  /** Resolves when no check runs any more and no timer is left. */
  async stop(): Promise<void> {
    this.update([]);
    await Promise.all(this.#stopping);
  }

  #stop(checker: Checker): void {
    const stopping = checker.stop();
    this.#stopping.add(stopping);
    void stopping.finally(() => this.#stopping.delete(stopping));
  }
}

/** Thousands share the health of their service, mostly as the same object as before. */
const isSameTarget = (a: HealthTarget, b: HealthTarget): boolean =>
  a.service === b.service &&
  a.ip === b.ip &&
  a.port === b.port &&
  a.isProxied === b.isProxied &&
  (a.health === b.health || isDeepStrictEqual(a.health, b.health));
