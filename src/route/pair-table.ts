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
/** In which period it was looked for last; 0: there is no pair. */
const PERIOD = STAMP + 1;
const ENTRY_BITS = 4;
const ENTRY_WORDS = 1 << ENTRY_BITS;
/** Entries among which one pair may be: a set. They are used one after the other. */
const WAYS = 4;
const SET_WORDS = WAYS * ENTRY_WORDS;
const NOTHING = new Int32Array(0);

export class PairTable {
  readonly #minLength: number;
  readonly #maxLength: number;
  #entries: Int32Array;
  /** As it was in another size: what is looked for moves over, one by one, so that changing takes no time. */
  #old: Int32Array = NOTHING;
  /** Pairs that came since then. */
  #count = 0;
  /** Goes up with each `trim`, and pairs that were looked for since. */
  #period = 1;
  #used = 0;

  /**
   * Has room for 2^bits entries of 64 bytes, and for twice as many each time that half of them were used, up
   * to 2^maxBits. Whom nobody looked for meanwhile is then forgotten.
   */
  constructor(bits: number, maxBits = bits) {
    this.#minLength = 1 << (bits + ENTRY_BITS);
    this.#entries = new Int32Array(this.#minLength);
    this.#maxLength = 1 << (maxBits + ENTRY_BITS);
  }

  /** The entry of the pair, for the functions below until one is set; less than 0: none. */
  find(pair: Int32Array): number {
    const entries = this.#entries;
    const entry = search(entries, pair, this.#count);
    if (entry < 0) return this.#old.length > 0 ? this.#move(pair, entry) : entry;
    if (entries[entry + PERIOD] !== this.#period) {
      entries[entry + PERIOD] = this.#period;
      this.#used++;
    }
    return entry;
  }

  /** For how many entries there is room. */
  get size(): number {
    return this.#entries.length >>> ENTRY_BITS;
  }

  /**
   * To be called each time that a pair should have been looked for in, if it is in use: gives back room that
   * only others needed, who are forgotten with the next call.
   */
  trim(): void {
    let length = this.#entries.length;
    // In half the room it fills at most a quarter, or it would soon grow again.
    while (length > this.#minLength && this.#used <= length >>> (ENTRY_BITS + 3)) length /= 2;
    if (length < this.#entries.length) this.#resize(length);
    else this.#old = NOTHING;
    this.#period++;
    this.#used = 0;
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
    const found = this.find(pair);
    if (found < 0) this.#put(~found, pair, value, stamp);
    else {
      this.#entries[found + VALUE] = value;
      this.#entries[found + STAMP] = stamp;
    }
    const { length } = this.#entries;
    if (this.#count >= length >>> (ENTRY_BITS + 2)) this.#old = NOTHING; // as many as it had
    if (this.#count < length >>> (ENTRY_BITS + 1) || length === this.#maxLength) return;
    this.#resize(2 * length);
  }

  #resize(length: number): void {
    this.#old = this.#entries;
    this.#entries = new Int32Array(length); // the memory is cleared page by page, when it is used
    this.#count = 0;
  }

  /** Moves what the table had before it grew to its place now; the entry, or less than 0: it had none. */
  #move(pair: Int32Array, place: number): number {
    const old = this.#old;
    const entry = search(old, pair, 0);
    if (entry < 0) return place;
    this.#put(~place, pair, old[entry + VALUE], old[entry + STAMP]);
    return ~place;
  }

  #put(entry: number, pair: Int32Array, value: number, stamp: number): void {
    const entries = this.#entries;
    for (let i = 0; i < PAIR_WORDS; i++) entries[entry + i] = pair[i];
    entries[entry + VALUE] = value;
    entries[entry + STAMP] = stamp;
    entries[entry + PERIOD] = this.#period;
    this.#count++;
    this.#used++;
  }
}

/** The entry of the pair, else ~ of that where it has its place: by `turn` in a full set. */
function search(entries: Int32Array, pair: Int32Array, turn: number): number {
  const source = pair[TO - 1] ^ pair[1];
  const first = hashAddress(pair, TO, source) & (entries.length - 1) & -SET_WORDS;
  for (let entry = first; entry < first + SET_WORDS; entry += ENTRY_WORDS) {
    if (
      entries[entry + 7] === pair[7] &&
      entries[entry + 3] === pair[3] &&
      entries[entry + 6] === pair[6] &&
      entries[entry + 5] === pair[5] &&
      entries[entry + 4] === pair[4] &&
      entries[entry + 2] === pair[2] &&
      entries[entry + 1] === pair[1] &&
      entries[entry] === pair[0]
    )
      return entry;
    if (entries[entry + PERIOD] === 0) return ~entry;
  }
  return ~(first + (turn & (WAYS - 1)) * ENTRY_WORDS);
}
