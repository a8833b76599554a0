// Smooth weighted round robin: every pick raises each real server's credit by its weight, takes the one with the most
// credit and charges it the sum. Weights 5, 1, 1 give a a b a c a a, not a a a a a b c.
import type { Scheduler } from './scheduler.ts';

export class WeightedRoundRobin implements Scheduler {
  readonly #weights: readonly number[];
  readonly #credit: Float64Array;
  readonly #sum: number;

  constructor(weights: readonly number[]) {
    this.#weights = weights;
    this.#credit = new Float64Array(weights.length);
    this.#sum = weights.reduce((sum, weight) => sum + weight, 0);
  }

  pick(): number {
    let best = -1;
    for (let i = 0; i < this.#weights.length; i++) {
      if (this.#weights[i] === 0) continue;
      this.#credit[i] += this.#weights[i];
      if (best < 0 || this.#credit[i] > this.#credit[best]) best = i;
    }
    if (best >= 0) this.#credit[best] -= this.#sum;
    return best;
  }
}
