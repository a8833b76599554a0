// The sessions without an answer of each lport pool in the order of their use: whoever finds no lport free
// gets that of the first. Those of clients that were answered before give way last. Chains through two words
// per slot, with their ends in the pool, so that each step costs the same, however many sessions and pools
// there are.
import { type ChainEnds, type LportPool, NO_SLOT } from './lport-pool.ts';

export class Unanswered {
  readonly #older: Int32Array;
  readonly #newer: Int32Array;
  readonly #isKnown: Uint8Array;

  /** Of the slots 0 to `slots` - 1. */
  constructor(slots: number) {
    this.#older = new Int32Array(slots);
    this.#newer = new Int32Array(slots);
    this.#isKnown = new Uint8Array(slots);
  }

  /**
   * Takes in a slot that is in no chain, as the most recently used; `isKnown`: its client was answered
   * before.
   */
  add(pool: LportPool, slot: number, isKnown: boolean): void {
    this.#isKnown[slot] = isKnown ? 1 : 0;
    const ends = this.#endsOf(pool, slot);
    this.#older[slot] = ends.newest;
    this.#newer[slot] = NO_SLOT;
    if (ends.newest === NO_SLOT) ends.oldest = slot;
    else this.#newer[ends.newest] = slot;
    ends.newest = slot;
  }

  /** Takes out a slot that is in one of the pool's chains. */
  delete(pool: LportPool, slot: number): void {
    const ends = this.#endsOf(pool, slot);
    const older = this.#older[slot];
    const newer = this.#newer[slot];
    if (older === NO_SLOT) ends.oldest = newer;
    else this.#newer[older] = newer;
    if (newer === NO_SLOT) ends.newest = older;
    else this.#older[newer] = older;
  }

  touch(pool: LportPool, slot: number): void {
    if (this.#endsOf(pool, slot).newest === slot) return;
    const isKnown = this.isKnown(slot);
    this.delete(pool, slot);
    this.add(pool, slot, isKnown);
  }

  isKnown(slot: number): boolean {
    return this.#isKnown[slot] !== 0;
  }

  /** Of a slot in a chain the next more recently used one, or NO_SLOT. */
  after(slot: number): number {
    return this.#newer[slot];
  }

  #endsOf(pool: LportPool, slot: number): ChainEnds {
    return this.#isKnown[slot] === 0 ? pool.unknown : pool.known;
  }
}
