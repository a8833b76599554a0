// Which real server a client address had last, in a table that all datapath processes share. Who was not
// answered yet is noted, too, because clients open several sessions at once, but pushes out nobody who was: a
// flood leaves those. Who was answered pushes out others of his /64 first. A set of four entries per hash; an
// entry is written by whoever could mark it so, the others do without, and read as absent unless its check
// word is the keyed hash of all its other words: so neither two writers at once, nor a reader in between, nor
// a process that ended half-way make a real server of two that were noted.
import { hashTuple } from '../session/tuple-hash.ts';
import { ADDRESS_WORDS, isSameAddress, isV4 } from '../wire/address.ts';
import { age } from '../wire/age.ts';

const CLIENT = 0;
const SERVICE = CLIENT + ADDRESS_WORDS;
/** Its index in the lower half, and ANSWERED. */
const REAL_SERVER = SERVICE + 1;
const NOTED_AT = REAL_SERVER + 1;
const CHECK = NOTED_AT + 1;
const ENTRY_WORDS = CHECK + 1;

/** The client was answered since it was noted first. */
const ANSWERED = 1 << 16;
const INDEX = ANSWERED - 1;

/** Half full, sets of 4 keep 96 % of their clients, sets of 2 90 %, single entries 79 %. */
const SET_ENTRIES = 4;
const SET_WORDS = SET_ENTRIES * ENTRY_WORDS;

/** What is older is taken out before its time comes round: no service keeps clients for longer than a day. */
const FORGOTTEN_MS = 25 * 3_600_000;

/** Last hashed word, so that the hash that finds a set is no check word. */
const TO_FIND = 0;
const TO_CHECK = 1;

/** Check words that are no hash: nothing is there; it is being written. */
const FREE = 0;
const WRITING = 1;
/** Whoever writes for longer than this does not run any more. */
const STUCK_MS = 1000;
/** An entry says when it was noted to this precision: sessions that come in bursts do not all write it. */
const PRECISION_MS = 1000;

export class Persistence {
  /** An entry noted longer ago is of no use to any service: everybody may have its place. */
  longestMs = 0x7fff_ffff;
  readonly #words: Int32Array;
  readonly #sets: number;
  readonly #key0: number;
  readonly #key1: number;
  /** What is hashed: an entry without its check word, then TO_FIND or TO_CHECK. */
  readonly #hashed = new Int32Array(CHECK + 1);
  #sweepAt = 0;

  /** Words of a table for at least so many client addresses per service. */
  static words(entries: number): number {
    return Math.max(1, Math.ceil(entries / SET_ENTRIES)) * SET_WORDS;
  }

  /**
   * `words`: as many as `words()` says, 0 at first, the same memory in each process. `seed`: two random
   * int32, the same in each process; clients, who choose their addresses, must not know it.
   */
  constructor(words: Int32Array, seed: readonly [number, number]) {
    if (words.length === 0 || words.length % SET_WORDS !== 0)
      throw new RangeError(
        `persistence table of ${words.length} words: must be a multiple of ${SET_WORDS}, as Persistence.words() gives`,
      );
    this.#words = words;
    this.#sets = words.length / SET_WORDS;
    [this.#key0, this.#key1] = seed;
  }

  /**
   * Index of the real server that was noted last for the client at client[at..at+3] and the service; -1 when
   * none was in the last `ttlMs`, or it was overwritten. Times are int32 ms that wrap, see `sweep`.
   */
  find(client: Int32Array, at: number, service: number, ttlMs: number, nowMs: number): number {
    const words = this.#words;
    const set = this.#setOf(client, at, service);
    for (let entry = set; entry < set + SET_WORDS; entry += ENTRY_WORDS) {
      // First, so that what is read afterwards is at least as new.
      const check = Atomics.load(words, entry + CHECK);
      if (check === FREE || !this.#isOf(entry, client, at, service)) continue;
      const realServer = words[entry + REAL_SERVER];
      const notedAt = words[entry + NOTED_AT];
      if (check !== this.#checkOf(client, at, service, realServer, notedAt)) continue;
      if (age(nowMs, notedAt) <= ttlMs) return realServer & INDEX;
    }
    return -1;
  }

  /** Notes the real server of a client's new session, in place of the one noted before. */
  note(client: Int32Array, at: number, service: number, realServerIndex: number, nowMs: number): void {
    const entry = this.#entryFor(client, at, service, false, nowMs);
    if (entry < 0) return;
    const words = this.#words;
    const wasAnswered =
      this.#isOf(entry, client, at, service) &&
      !this.#isOutdated(entry, nowMs) &&
      (words[entry + REAL_SERVER] & ANSWERED) !== 0;
    this.#write(
      entry,
      client,
      at,
      service,
      wasAnswered ? realServerIndex | ANSWERED : realServerIndex,
      nowMs,
    );
  }

  /**
   * Notes that the real server answered the client: of one that has a newer session with another real server
   * only that it was answered.
   */
  noteAnswered(
    client: Int32Array,
    at: number,
    service: number,
    realServerIndex: number,
    nowMs: number,
  ): void {
    const entry = this.#entryFor(client, at, service, true, nowMs);
    const last = this.find(client, at, service, this.longestMs, nowMs);
    this.#write(entry, client, at, service, (last < 0 ? realServerIndex : last) | ANSWERED, nowMs);
  }

  #write(
    entry: number,
    client: Int32Array,
    at: number,
    service: number,
    realServer: number,
    nowMs: number,
  ): void {
    const words = this.#words;
    const seen = Atomics.load(words, entry + CHECK);
    const ageMs = age(nowMs, words[entry + NOTED_AT]);
    if (seen === WRITING && ageMs < STUCK_MS) return;
    const isNoted = this.#isOf(entry, client, at, service) && words[entry + REAL_SERVER] === realServer;
    if (seen !== FREE && isNoted && ageMs < PRECISION_MS) return;
    if (Atomics.compareExchange(words, entry + CHECK, seen, WRITING) !== seen) return;
    words[entry + NOTED_AT] = nowMs;
    for (let i = 0; i < ADDRESS_WORDS; i++) words[entry + CLIENT + i] = client[at + i];
    words[entry + SERVICE] = service;
    words[entry + REAL_SERVER] = realServer;
    Atomics.store(words, entry + CHECK, this.#checkOf(client, at, service, realServer, nowMs));
  }

  /**
   * Takes out what is over a day old of the next `sets` sets in turn: after 49.7 days it would count as noted
   * now.
   */
  sweep(sets: number, nowMs: number): void {
    const words = this.#words;
    for (let n = Math.min(sets, this.#sets); n > 0; n--) {
      const set = this.#sweepAt * SET_WORDS;
      this.#sweepAt = this.#sweepAt + 1 === this.#sets ? 0 : this.#sweepAt + 1;
      for (let entry = set; entry < set + SET_WORDS; entry += ENTRY_WORDS) {
        const check = Atomics.load(words, entry + CHECK);
        if (check === FREE || check === WRITING || age(nowMs, words[entry + NOTED_AT]) < FORGOTTEN_MS)
          continue;
        Atomics.compareExchange(words, entry + CHECK, check, FREE);
      }
    }
  }

  /**
   * The client's own entry, else a free one, else the oldest of those who were not answered or are outdated,
   * else, for one who was answered, that of #crowded; -1 when the set has no place.
   */
  #entryFor(client: Int32Array, at: number, service: number, isAnswered: boolean, nowMs: number): number {
    const words = this.#words;
    const set = this.#setOf(client, at, service);
    let free = -1;
    let weakest = -1;
    let weakestMs = -1;
    for (let entry = set; entry < set + SET_WORDS; entry += ENTRY_WORDS) {
      if (this.#isOf(entry, client, at, service)) return entry;
      if (words[entry + CHECK] === FREE) free = entry;
      const ageMs = age(nowMs, words[entry + NOTED_AT]);
      const isWeak = (words[entry + REAL_SERVER] & ANSWERED) === 0 || this.#isOutdated(entry, nowMs);
      if (isWeak && ageMs > weakestMs) {
        weakest = entry;
        weakestMs = ageMs;
      }
    }
    if (free >= 0) return free;
    return weakest < 0 && isAnswered ? this.#crowded(set, client, at, nowMs) : weakest;
  }

  /**
   * The oldest entry of the client's own prefix, else of that which has most entries in the set: so who has a
   * prefix full of addresses that are answered takes one entry of each set from others, and not all.
   */
  #crowded(set: number, client: Int32Array, at: number, nowMs: number): number {
    const words = this.#words;
    const end = set + SET_WORDS;
    let chosen = set;
    let most = -1;
    let oldestMs = -1;
    for (let entry = set; entry < end; entry += ENTRY_WORDS) {
      let crowd = isSamePrefix(words, entry + CLIENT, client, at) ? SET_ENTRIES : 0;
      for (let other = set; other < end; other += ENTRY_WORDS)
        if (other !== entry && isSamePrefix(words, entry + CLIENT, words, other + CLIENT)) crowd++;
      const ageMs = age(nowMs, words[entry + NOTED_AT]);
      if (crowd < most || (crowd === most && ageMs <= oldestMs)) continue;
      chosen = entry;
      most = crowd;
      oldestMs = ageMs;
    }
    return chosen;
  }

  #isOutdated(entry: number, nowMs: number): boolean {
    return age(nowMs, this.#words[entry + NOTED_AT]) > this.longestMs;
  }

  #isOf(entry: number, client: Int32Array, at: number, service: number): boolean {
    return this.#words[entry + SERVICE] === service && isSameAddress(this.#words, entry + CLIENT, client, at);
  }

  #setOf(client: Int32Array, at: number, service: number): number {
    const hash = this.#hash(client, at, service, 0, 0, TO_FIND);
    return ((hash >>> 0) % this.#sets) * SET_WORDS;
  }

  /** Never FREE or WRITING. */
  #checkOf(client: Int32Array, at: number, service: number, realServer: number, notedAt: number): number {
    const hash = this.#hash(client, at, service, realServer, notedAt, TO_CHECK);
    return hash === FREE || hash === WRITING ? 2 : hash;
  }

  #hash(
    client: Int32Array,
    at: number,
    service: number,
    realServer: number,
    notedAt: number,
    purpose: number,
  ): number {
    const hashed = this.#hashed;
    for (let i = 0; i < ADDRESS_WORDS; i++) hashed[CLIENT + i] = client[at + i];
    hashed[SERVICE] = service;
    hashed[REAL_SERVER] = realServer;
    hashed[NOTED_AT] = notedAt;
    hashed[CHECK] = purpose;
    return hashTuple(this.#key0, this.#key1, hashed, 6, 0);
  }
}

/** Whether both are one IPv4 address, or of one /64: whoever has one address of that has all. */
function isSamePrefix(a: Int32Array, aAt: number, b: Int32Array, bAt: number): boolean {
  if (a[aAt] !== b[bAt] || a[aAt + 1] !== b[bAt + 1]) return false;
  return !(isV4(a, aAt) || isV4(b, bAt)) || isSameAddress(a, aAt, b, bAt);
}
