// By weight and chance: needs no memory of what others chose, so many proxies in front of the same real
// servers do not fall into step.
import type { Scheduler, ServerSet } from './scheduler.ts';
import { Shares } from './shares.ts';

export class RandomChoice implements Scheduler {
  readonly #shares: Shares;
  readonly #random: () => number;

  /** `random` gives numbers from 0 to less than 1. */
  constructor({ weights }: ServerSet, random: () => number = Math.random) {
    this.#shares = new Shares(weights);
    this.#random = random;
  }

  pick(_client: Int32Array, except = -1): number {
    return this.#shares.at(this.#random(), except);
  }

  update(): void {
    this.#shares.update();
  }
}
