// Two numbers for each of many pairs of a source and a destination, in one cache line each, without
// allocation. Who chooses the pairs can make them collide: so each has one of a few places, and what does not
// fit there is forgotten.
import { ADDRESS_WORDS } from '../wire/address.ts';
import { hashAddress } from '../wire/hash.ts';

/** Words of a pair: those of the source, and then, at TO, those of the destination. */
export const PAIR_WORDS = 2 * ADDRESS_WORDS;
export const TO = ADDRESS_WORDS;

// Words of an entry: a pair, which is not all zero, and these.
const VALUE = PAIR_WORDS;
const STAMP = VALUE + 1;
const IS_USED = STAMP + 1;
const ENTRY_BITS = 4;
const ENTRY_WORDS = 1 << ENTRY_BITS;
/** Entries among which one pair may be: a set. They are used one after the other. */
const WAYS = 4;
const SET_WORDS = WAYS * ENTRY_WORDS;

export class PairTable {
  readonly #maxLength: number;
  #entries: Int32Array;
  /** Pairs that came since it grew. */
  #count = 0;

  /**
   * Has room for 2^bits entries of 64 bytes, and for twice as many each time that half of them were used, up
   * to 2^maxBits.
   */
  constructor(bits: number, maxBits = bits) {
    this.#entries = new Int32Array(1 << (bits + ENTRY_BITS));
    this.#maxLength = 1 << (maxBits + ENTRY_BITS);
  }

  /** The entry of the pair, for the functions below until one is set; less than 0: none. */
  find(pair: Int32Array): number {
    return search(this.#entries, pair, 0, this.#count);
  }

  value(entry: number): number {
    return this.#entries[entry + VALUE];
  }

  stamp(entry: number): number {
    return this.#entries[entry + STAMP];
  }

  setStamp(entry: number, stamp: number): void {
    this.#entries[entry + STAMP] = stamp;
  }

  /** Sets both numbers of a pair, in the place of another one's if need be. */
  set(pair: Int32Array, value: number, stamp: number): void {
    const entries = this.#entries;
    const found = this.find(pair);
    const entry = found < 0 ? ~found : found;
    entries[entry + VALUE] = value;
    entries[entry + STAMP] = stamp;
    if (found >= 0) return;
    for (let i = 0; i < PAIR_WORDS; i++) entries[entry + i] = pair[i];
    entries[entry + IS_USED] = 1;
    this.#count++;
    if (this.#count << (ENTRY_BITS + 1) >= entries.length && entries.length < this.#maxLength) this.#grow();
  }

  #grow(): void {
    const old = this.#entries;
    const entries = new Int32Array(2 * old.length);
    this.#count = 0;
    for (let entry = 0; entry < old.length; entry += ENTRY_WORDS) {
      if (old[entry + IS_USED] === 0) continue;
      const place = ~search(entries, old, entry, this.#count++);
      for (let i = 0; i <= IS_USED; i++) entries[place + i] = old[entry + i];
    }
    this.#entries = entries;
  }
}

/** The entry of the pair words[at..at+7], else ~ of that where it has its place: by `turn` in a full set. */
function search(entries: Int32Array, words: Int32Array, at: number, turn: number): number {
  const source = words[at + TO - 1] ^ words[at + 1];
  const first = hashAddress(words, at + TO, source) & (entries.length - 1) & -SET_WORDS;
  for (let entry = first; entry < first + SET_WORDS; entry += ENTRY_WORDS) {
    if (
      entries[entry + 7] === words[at + 7] &&
      entries[entry + 3] === words[at + 3] &&
      entries[entry + 6] === words[at + 6] &&
      entries[entry + 5] === words[at + 5] &&
      entries[entry + 4] === words[at + 4] &&
      entries[entry + 2] === words[at + 2] &&
      entries[entry + 1] === words[at + 1] &&
      entries[entry] === words[at]
    )
      return entry;
    if (entries[entry + IS_USED] === 0) return ~entry;
  }
  return ~(first + (turn & (WAYS - 1)) * ENTRY_WORDS);
}
