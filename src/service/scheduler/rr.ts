// Round robin: each real server in turn; the weight only says whether it takes part.
import type { Scheduler, ServerSet } from './scheduler.ts';

export class RoundRobin implements Scheduler {
  readonly #weights: Int32Array;
  #next = 0;

  constructor({ weights }: ServerSet) {
    this.#weights = weights;
  }

  pick(_client: Int32Array, except = -1): number {
    for (let tried = 0; tried < this.#weights.length; tried++) {
      const index = this.#next;
      this.#next = (this.#next + 1) % this.#weights.length;
      if (this.#weights[index] > 0 && index !== except) return index;
    }
    return -1;
  }

  update(): void {
    // Weights are read as they are when it picks.
  }
}
