// Round robin: each real server in turn; the weight only says whether it takes part. The turn is in memory
// that all datapaths of the service share, so that several give each as much as one would.
import type { Scheduler, ServerSet } from './scheduler.ts';

export class RoundRobin implements Scheduler {
  readonly #weights: Int32Array;
  readonly #turns: Int32Array;

  constructor({ weights, turns }: ServerSet) {
    this.#weights = weights;
    this.#turns = turns;
  }

  pick(_client: Int32Array, except = -1): number {
    const weights = this.#weights;
    if (weights.length === 0) return -1;
    const turns = this.#turns;
    for (;;) {
      const turn = Atomics.load(turns, 0);
      let index = turn % weights.length;
      let tried = 0;
      while (weights[index] <= 0 || index === except) {
        if (++tried === weights.length) return -1;
        index = (index + 1) % weights.length;
      }
      // Else another one was faster.
      if (Atomics.compareExchange(turns, 0, turn, (index + 1) % weights.length) === turn) return index;
    }
  }

  update(): void {
    // Weights are read as they are when it picks.
  }
}
