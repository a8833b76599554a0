// What was found for pairs of a source and a destination, in one cache line each. What it holds counts as
// long as nothing changed since it was put in: everything is forgotten at once by another generation.
import { ADDRESS_WORDS } from '../wire/address.ts';

/** Words of a pair: those of the source, and then, at TO, those of the destination. */
export const PAIR_WORDS = 2 * ADDRESS_WORDS;
export const TO = ADDRESS_WORDS;

// Words of an entry: a pair, and these.
const FOUND = PAIR_WORDS;
const GENERATION = FOUND + 1;
const ENTRY_BITS = 4;
const ENTRY_WORDS = 1 << ENTRY_BITS;

/** Entries, among which one pair may be: a set. */
const WAYS = 4;
/** Entries at first and at most, 2 to the power of these. It grows, empty, when half of them are in use. */
const FIRST_BITS = 8;
const MAX_BITS = 18;

export class HopCache {
  readonly #maxBits: number;
  #bits = FIRST_BITS;
  #entries = new Int32Array(1 << (FIRST_BITS + ENTRY_BITS));
  /** Entries are zero at first, which is no generation. */
  #generation = 1;
  #count = 0;

  /** Takes up to 2^maxBits entries of 64 bytes. */
  constructor(maxBits = MAX_BITS) {
    this.#maxBits = maxBits;
  }

  /** Forgets everything. */
  clear(): void {
    this.#count = 0;
    this.#generation = (this.#generation + 1) | 0;
    if (this.#generation !== 0) return;
    this.#entries.fill(0);
    this.#generation = 1;
  }

  /** What was put in for the pair; -1: nothing. */
  get(pair: Int32Array): number {
    const entries = this.#entries;
    const first = this.#placeOf(pair);
    for (let entry = first; entry < first + (WAYS << ENTRY_BITS); entry += ENTRY_WORDS) {
      if (
        entries[entry + 7] === pair[7] &&
        entries[entry + 3] === pair[3] &&
        entries[entry + 6] === pair[6] &&
        entries[entry + 5] === pair[5] &&
        entries[entry + 4] === pair[4] &&
        entries[entry + 2] === pair[2] &&
        entries[entry + 1] === pair[1] &&
        entries[entry] === pair[0] &&
        entries[entry + GENERATION] === this.#generation
      )
        return entries[entry + FOUND];
    }
    return -1;
  }

  /** Puts in what was found for a pair that is not there, in the place of another if need be. */
  put(pair: Int32Array, found: number): void {
    if (this.#count++ > 1 << (this.#bits - 1) && this.#bits < this.#maxBits) this.#grow();
    const entries = this.#entries;
    const first = this.#placeOf(pair);
    let entry = first + ((this.#count & (WAYS - 1)) << ENTRY_BITS);
    for (let way = 0; way < WAYS; way++) {
      const place = first + (way << ENTRY_BITS);
      if (entries[place + GENERATION] !== this.#generation) entry = place;
    }
    for (let i = 0; i < PAIR_WORDS; i++) entries[entry + i] = pair[i]!;
    entries[entry + FOUND] = found;
    entries[entry + GENERATION] = this.#generation;
  }

  /** Forgets pairs whose destination, at words[at..at+3], is one of these. */
  forget(isOne: (words: Int32Array, at: number) => boolean): void {
    const entries = this.#entries;
    for (let entry = 0; entry < entries.length; entry += ENTRY_WORDS) {
      const isIn = entries[entry + GENERATION] === this.#generation;
      if (isIn && isOne(entries, entry + TO)) entries[entry + GENERATION] = 0;
    }
  }

  #grow(): void {
    this.#bits++;
    this.#entries = new Int32Array(1 << (this.#bits + ENTRY_BITS));
    this.clear();
  }

  /** The first entry of the set where a pair has its place. */
  #placeOf(pair: Int32Array): number {
    // Addresses of a subnet differ in their ends, those of a provider's customers in their beginnings.
    let mixed =
      Math.imul(pair[7], 0x9e3779b1) ^ Math.imul(pair[6], 0x27d4eb2f) ^ Math.imul(pair[5], 0xc2b2ae35);
    mixed ^= Math.imul(pair[4], 0x85ebca6b) ^ Math.imul(pair[3], 0x165667b1) ^ Math.imul(pair[1], 0x2545f491);
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x9e3779b1);
    return ((mixed >>> (32 - this.#bits)) & -WAYS) << ENTRY_BITS;
  }
}
