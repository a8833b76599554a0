// The hops of the destinations that packets went to last, so that those of the real servers and of busy clients cost one
// look, however many routes there are. Direct-mapped: a destination takes the place of another. What it holds counts as
// long as the generation is the one that it was put in with.
import { ADDRESS_WORDS } from '../wire/address.ts';

/** 128 KiB: more would not stay in a processor's own cache. */
const CACHE_BITS = 12;
const ENTRY_BITS = 3; // four words of the address, hop, generation
const HOP = ADDRESS_WORDS;
const GENERATION = HOP + 1;

export class HopCache {
  readonly #entries = new Int32Array(1 << (CACHE_BITS + ENTRY_BITS));
  /** Entries are zero at first, which is no generation. */
  #generation = 1;

  /** Forgets everything. */
  clear(): void {
    this.#generation = (this.#generation + 1) | 0;
    if (this.#generation !== 0) return;
    this.#entries.fill(0);
    this.#generation = 1;
  }

  /** Where the address words[at..at+3] has its place, for the functions below. */
  placeOf(words: Int32Array, at: number): number {
    // Addresses of a subnet differ in their ends, those of a provider's customers in their beginnings.
    let mixed = Math.imul(words[at]!, 0x85ebca6b) ^ Math.imul(words[at + 1]!, 0xc2b2ae35);
    mixed ^= Math.imul(words[at + 2]!, 0x27d4eb2f) ^ words[at + 3]!;
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x9e3779b1);
    return (mixed >>> (32 - CACHE_BITS)) << ENTRY_BITS;
  }

  /** The hop that was put in for the address; -1: none. */
  get(place: number, words: Int32Array, at: number): number {
    const entries = this.#entries;
    return entries[place + 3] === words[at + 3] &&
      entries[place + 2] === words[at + 2] &&
      entries[place + 1] === words[at + 1] &&
      entries[place] === words[at] &&
      entries[place + GENERATION] === this.#generation
      ? entries[place + HOP]!
      : -1;
  }

  put(place: number, words: Int32Array, at: number, hop: number): void {
    const entries = this.#entries;
    for (let i = 0; i < ADDRESS_WORDS; i++) entries[place + i] = words[at + i]!;
    entries[place + HOP] = hop;
    entries[place + GENERATION] = this.#generation;
  }
}
