// By which entry the programs find a hot session's row: a hash table in the map hot_buckets, as memory of
// this process, for both directions of each (src/bpf/hot-lookup.h). Several workers write to it: a place is
// taken in one step, and only by whom the session belongs to given back. An entry has one of two buckets, the
// first as long as that has room to spare. At most half of all places are taken, so that in practice there is
// room for each.
import { randomFillSync } from 'node:crypto';
import { mapSharedMemory } from '../sys/shared-memory.ts';
import { mix } from '../wire/hash.ts';
import {
  ADDRESSES,
  ADDRESSES6,
  type Direction,
  type Ends,
  type HopPair,
  type HotRecords,
  INBOUND,
  OUTBOUND,
  PORTS,
  ROW_WORDS,
  ROW6_WORDS,
} from './hot-records.ts';
import { BUCKET_LEN, bucketsFor, HASHING_LEN } from './layout.ts';

const BUCKET_WORDS = BUCKET_LEN / 4;
/** Places of a bucket: as many tags, then as many entries. */
const PLACES = BUCKET_WORDS / 2;
/** A first bucket is left alone beyond. */
const FEW = PLACES - 2;
const NOBODY = 0;
const BOTH = [INBOUND, OUTBOUND] as const;
// Words of `hashing`.
const START = 1;
const FACTORS = 2;
/** Of the words that are hashed: eight of addresses, or two, then the ports. */
const PORTS4_AT = 2;
const PORTS6_AT = 8;

/** A new value of the map hashing. */
export function newHashing(sessions: number): Uint8Array {
  const words = randomFillSync(new Int32Array(HASHING_LEN / 4));
  words[0] = bucketsFor(sessions) - 1;
  return new Uint8Array(words.buffer);
}

export class HotEntries {
  readonly #records: HotRecords;
  readonly #words: Int32Array;
  readonly #hashing: Int32Array;
  readonly #mask: number;

  /** Of the same maps as the rows. Descriptors stay the caller's. Throws a SysError. */
  constructor(records: HotRecords, fds: { readonly hot_buckets: number; readonly hashing: number }) {
    const buckets = bucketsFor(records.sessions);
    this.#records = records;
    this.#words = new Int32Array(
      mapSharedMemory(fds.hot_buckets, buckets * BUCKET_LEN),
      0,
      buckets * BUCKET_WORDS,
    );
    this.#hashing = new Int32Array(mapSharedMemory(fds.hashing, HASHING_LEN), 0, HASHING_LEN / 4);
    this.#mask = buckets - 1;
  }

  /**
   * Makes a session hot that is not: see HotRecords.begin. False: there is no room for its entries, or its
   * addresses, and it is not.
   */
  put(session: number, fromClient: Ends, fromServer: Ends, hops: HopPair, idleMs: number): boolean {
    if (!this.#records.hasRoom(session, fromClient)) return false;
    this.#records.begin(session, fromClient, fromServer, hops, idleMs);
    for (const direction of BOTH) {
      if (this.#insert(session, direction)) continue;
      this.remove(session);
      return false;
    }
    return true;
  }

  /** Ends it, and takes its entries out, if there are any. */
  remove(session: number): void {
    this.#records.end(session);
    for (const direction of BOTH) {
      const place = this.#find(session, direction);
      if (place >= 0) Atomics.store(this.#words, place, NOBODY);
    }
  }

  /**
   * Makes the table right for the sessions from `first` on, which another process may have left in the middle
   * of a change: hot ones are in it, or are not hot any more, and nothing else of theirs is.
   */
  repair(first: number, count: number): void {
    const seen = new Uint8Array(count);
    const words = this.#words;
    for (let bucket = PLACES; bucket < words.length; bucket += BUCKET_WORDS) {
      for (let place = bucket; place < bucket + PLACES; place++) {
        const entry = words[place]!;
        if (entry === NOBODY) continue;
        const session = (entry - 1) >> 1;
        if (session < first || session >= first + count) continue;
        const direction: Direction = (entry & 1) === 1 ? INBOUND : OUTBOUND;
        const bit = 1 << direction;
        const isRight = this.#isRight(session, direction, place) && (seen[session - first]! & bit) === 0;
        if (isRight) seen[session - first]! |= bit;
        else Atomics.store(words, place, NOBODY);
      }
    }
    const end = first + count;
    for (let session = first; ; session++) {
      session = this.#records.nextHot(session, end);
      if (session < 0) return;
      const had = seen[session - first]!;
      for (const direction of BOTH)
        if ((had & (1 << direction)) === 0 && !this.#insert(session, direction)) this.remove(session);
    }
  }

  #isRight(session: number, direction: Direction, place: number): boolean {
    if (!this.#records.isHot(session)) return false;
    const hash = this.#hashOf(session, direction);
    if (this.#words[place - PLACES] !== hash) return false;
    const bucket = place & ~(BUCKET_WORDS - 1);
    return bucket === this.#firstOf(hash) || bucket === this.#secondOf(hash);
  }

  /** Of two entries with the same hash one is in each bucket: who looks for the first finds that. */
  #insert(session: number, direction: Direction): boolean {
    const entry = 2 * session + direction + 1;
    const hash = this.#hashOf(session, direction);
    const first = this.#firstOf(hash);
    const second = this.#secondOf(hash);
    const inFirst = this.#countIn(first, hash);
    if (inFirst < FEW && this.#take(first, entry, hash)) return true;
    const inSecond = this.#countIn(second, hash);
    if (inSecond < inFirst) return this.#take(second, entry, hash);
    return inFirst < PLACES && this.#take(first, entry, hash);
  }

  /** How many places of a bucket are taken; all of them are, as far as others with the same tag go. */
  #countIn(bucket: number, tag: number): number {
    const words = this.#words;
    let taken = 0;
    for (let place = bucket; place < bucket + PLACES; place++) {
      if (words[place + PLACES] === NOBODY) continue;
      if (words[place] === tag) return PLACES;
      taken++;
    }
    return taken;
  }

  #take(bucket: number, entry: number, tag: number): boolean {
    const words = this.#words;
    for (let place = bucket; place < bucket + PLACES; place++) {
      if (Atomics.compareExchange(words, place + PLACES, NOBODY, entry) !== NOBODY) continue;
      // Until then who finds it by the tag before sees in the row that it is another's.
      Atomics.store(words, place, tag);
      return true;
    }
    return false;
  }

  /** Where the entry of a session is, in either bucket of its row's ends; -1: in none. */
  #find(session: number, direction: Direction): number {
    const words = this.#words;
    const entry = 2 * session + direction + 1;
    const hash = this.#hashOf(session, direction);
    for (const bucket of [this.#firstOf(hash), this.#secondOf(hash)])
      for (let place = bucket + PLACES; place < bucket + 2 * PLACES; place++)
        if (words[place] === entry) return place;
    return -1;
  }

  #firstOf(hash: number): number {
    return (mix(hash) & this.#mask) * BUCKET_WORDS;
  }

  #secondOf(hash: number): number {
    return (mix(~hash) & this.#mask) * BUCKET_WORDS;
  }

  /** Of the ends in its row, as they stand there. */
  #hashOf(session: number, direction: Direction): number {
    const { words, words6 } = this.#records;
    const at = session * ROW_WORDS;
    const ports = words[at + PORTS + direction]!;
    let sum = this.#hashing[START]!;
    if (this.#records.familyOf(session) === 6) {
      const from = session * ROW6_WORDS + direction * ADDRESSES6;
      for (let word = 0; word < 8; word++) sum = (sum + this.#part(word, words6[from + word]!)) | 0;
      return (sum + this.#part(PORTS6_AT, ports)) | 0;
    }
    const from = at + ADDRESSES + 2 * direction;
    for (let word = 0; word < 2; word++) sum = (sum + this.#part(word, words[from + word]!)) | 0;
    return (sum + this.#part(PORTS4_AT, ports)) | 0;
  }

  #part(at: number, word: number): number {
    const factors = this.#hashing;
    const first = FACTORS + 2 * at;
    return (Math.imul(factors[first]!, word >>> 16) + Math.imul(factors[first + 1]!, word & 0xffff)) | 0;
  }
}
