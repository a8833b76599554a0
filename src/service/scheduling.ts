// The choice among the real servers of a service that take new sessions. It outlives the plan while they are
// the same in the same order: turns go on, and a table that takes milliseconds to fill is not filled again.
import type { ServicePlan } from './plan.ts';
import type { RealServer } from './real-server.ts';
import type { Scheduler, Share } from './scheduler/scheduler.ts';
import { SCHEDULERS } from './scheduler/schedulers.ts';

/** What is known of the real servers, in memory that others write to. */
export interface Load {
  /** Per real server; below 1 it takes no new session. */
  readonly weights: Int32Array;
  /** Sessions that the real server has now, with all datapaths. */
  sessionsOf(realServerIndex: number): number;
  /** Per service: whose turn is next. */
  readonly turns: Int32Array;
  /** Which of how many datapaths that share the services this is. */
  readonly share: Share;
}

export class Scheduling {
  readonly #name: ServicePlan['scheduler'];
  readonly #keys: readonly string[];
  readonly #load: Load;
  /** In the order of the keys; those of the plan at work. */
  #servers: readonly RealServer[];
  readonly #weights: Int32Array;
  readonly #scheduler: Scheduler;

  /** `keys` are the names of `servers`. */
  constructor(
    name: ServicePlan['scheduler'],
    keys: readonly string[],
    servers: readonly RealServer[],
    load: Load,
    serviceIndex: number,
  ) {
    this.#name = name;
    this.#keys = keys;
    this.#load = load;
    this.#servers = servers;
    this.#weights = new Int32Array(keys.length);
    this.#readWeights();
    this.#scheduler = SCHEDULERS[name]({
      keys,
      weights: this.#weights,
      sessions: (i) => load.sessionsOf(this.#servers[i].index),
      turns: load.turns.subarray(serviceIndex, serviceIndex + 1),
      share: load.share,
    });
  }

  /** Whether another plan's choice would be this one. */
  isFor(name: ServicePlan['scheduler'], keys: readonly string[]): boolean {
    return (
      name === this.#name &&
      keys.length === this.#keys.length &&
      keys.every((key, i) => key === this.#keys[i])
    );
  }

  /** Goes on with another plan's real servers of the same keys. */
  goOn(servers: readonly RealServer[]): void {
    this.#servers = servers;
    this.update();
  }

  get servers(): readonly RealServer[] {
    return this.#servers;
  }

  /**
   * Index in `servers` of the one for a new session of the client at words 0 to 3, but not `except`; -1: none
   * takes one.
   */
  pick(client: Int32Array, except: number): number {
    return this.#scheduler.pick(client, except);
  }

  /** To be called after weights may have changed. */
  update(): void {
    if (this.#readWeights()) this.#scheduler.update();
  }

  /** Whether one changed. */
  #readWeights(): boolean {
    const { weights } = this.#load;
    let isChanged = false;
    for (let i = 0; i < this.#weights.length; i++) {
      const weight = Math.max(0, weights[this.#servers[i].index]);
      if (weight !== this.#weights[i]) isChanged = true;
      this.#weights[i] = weight;
    }
    return isChanged;
  }
}
