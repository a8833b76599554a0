// A real server of a service: its legs, used in turn, so that the lports of all LIPs are shared out evenly.
import type { Leg } from '../session/leg.ts';
import { isSameAddress } from '../wire/address.ts';

export class RealServer {
  /** Over all services. */
  readonly index: number;
  readonly legs: readonly Leg[];
  /** Lports of each leg that are kept back from clients that nobody knows. */
  readonly #reserves: readonly number[];
  readonly #reservePercent: number;
  readonly hasReserve: boolean;
  #next = 0;
  /** The lport that `takeLport` took last. */
  lport = -1;
  /** `takeLport` found none, but would have for a client that is known. */
  isReserved = false;

  /** `reservePercent` of the lports are kept back. */
  constructor(index: number, legs: readonly Leg[], reservePercent: number) {
    this.index = index;
    this.legs = legs;
    this.#reservePercent = reservePercent;
    this.#reserves = legs.map(({ pool }) => this.#reserveOf(pool.capacity));
    this.hasReserve = this.#reserves.some((reserve) => reserve > 0);
  }

  #reserveOf(lports: number): number {
    return Math.floor((lports * this.#reservePercent) / 100);
  }

  /** Lports that a datapath which has `capacity` of them, `inUse` in use, could give to the client. */
  left(capacity: number, inUse: number, isKnown: boolean): number {
    return capacity - inUse - (isKnown ? 0 : this.#reserveOf(capacity));
  }

  /** Whether this is its address, at words 0 to 3, and the port that it serves. */
  isAt(address: Int32Array, port: number): boolean {
    const { from, rport } = this.legs[0];
    return rport === port && isSameAddress(from, 0, address, 0);
  }

  /** Takes an lport into `this.lport` and returns its leg; undefined when no leg has one for this client. */
  takeLport(isKnown: boolean): Leg | undefined {
    this.isReserved = false;
    for (let tried = 0; tried < this.legs.length; tried++) {
      const leg = this.legs[this.#next];
      const reserve = isKnown ? 0 : this.#reserves[this.#next];
      this.#next = (this.#next + 1) % this.legs.length;
      const { available } = leg.pool;
      if (available > reserve) {
        this.lport = leg.pool.take();
        return leg;
      }
      if (available > 0) this.isReserved = true;
    }
    return undefined;
  }

  /** A leg that has a session without an answer; undefined when none has. */
  legToClear(): Leg | undefined {
    for (let tried = 0; tried < this.legs.length; tried++) {
      const leg = this.legs[this.#next];
      this.#next = (this.#next + 1) % this.legs.length;
      if (leg.pool.hasUnanswered) return leg;
    }
    return undefined;
  }
}
