// A real server of a service: its legs, used in turn, so that the lports of all LIPs are shared out evenly.
import type { Leg } from '../session/leg.ts';

export class RealServer {
  readonly legs: readonly Leg[];
  #next = 0;
  /** The lport that `takeLport` took last. */
  lport = -1;

  constructor(legs: readonly Leg[]) {
    this.legs = legs;
  }

  /** Takes an lport into `this.lport` and returns its leg; undefined when the pools of all legs are exhausted. */
  takeLport(): Leg | undefined {
    for (let tried = 0; tried < this.legs.length; tried++) {
      const leg = this.legs[this.#next];
      this.#next = (this.#next + 1) % this.legs.length;
      this.lport = leg.pool.take();
      if (this.lport >= 0) return leg;
    }
    return undefined;
  }
}
