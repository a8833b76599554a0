// The clients of services, in memory that all datapaths share. A client is a prefix of addresses towards one
// service. Its entry says how many sessions it has, how many more it may open now, and when it was last
// answered.
//
// The table is bounded: a hash table of sets of 8 entries. In a full set a newcomer takes the place of a
// client without sessions: of the oldest that was never answered, or else of the oldest that was. A newcomer
// that is not answered itself leaves four of the answered ones, so a flood cannot push out all of them.
//
// A newcomer that finds no place gets no entry. It is not limited and not counted; `uncounted` says how many
// sessions such clients opened. A limit keeps one client from taking too much. Against clients enough to fill
// the table it can do nothing, and refusing newcomers would do the flood's work. What a service and the
// session table take stays bounded.
//
// A set has a lock. Who makes or replaces an entry or adds a session holds it, for about 0.1 us. Who does not
// get it soon goes on as if there were no room. Sessions are taken off without it: an entry that has some is
// not replaced. The lock of a datapath that ended stays until its successor starts. The session that it was
// about to count may be missing here until it ends; no session is counted twice.
import { hashTuple } from '../session/tuple-hash.ts';
import { isV4 } from '../wire/address.ts';

// The header: the key of the hash, and what found no room.
const KEY0 = 0;
const KEY1 = 1;
const UNCOUNTED = 2;
const HEADER = 16;

const WAYS = 8;
const ENTRY_BITS = 3;
/** Entries of a set that only who was answered takes from others who were. */
const KEPT = WAYS / 2;
// Words of an entry, half a cache line.
const PREFIX = 0;
/** Service index + 1 in the upper half, 0 for a free entry; in the lower when it was answered, 0 = never. */
const TAG = 4;
const SESSIONS = 5;
/** Thousandths of a new session that it may still open, as of USED_AT. */
const TOKENS = 6;
const USED_AT = 7;

const SET_WORDS = 1 + (WAYS << ENTRY_BITS);

/** Times of answers are in units of 4,096 ms; 16 bits of them come round after 74 h, see `sweep`. */
const ANSWERED_SHIFT = 12;
/** 10 minutes. */
const KNOWN_UNITS = 147;
/** Datapaths read the clock once for several packets. */
const EARLY_UNITS = 16;

const SECOND_MS = 1000;
/** So a bucket gains its tokens per second in each millisecond. */
const TOKEN = 1000;
/** More than any bucket holds. */
const FULL = 0x7fff_ffff;
/** A time so far in the future is one of long ago: they wrap. */
const EARLY_MS = 1000;
/** Some microseconds: whoever holds a lock for longer does not run. */
const LOCK_LOOKS = 200;

export const CLIENT_MAY = 0;
export const CLIENT_HAS_TOO_MANY = 1;
export const CLIENT_IS_TOO_FAST = 2;
/** It may, because there is no room for it. */
export const CLIENT_IS_UNSEEN = 3;

export class ClientTable {
  readonly #words: Int32Array;
  readonly #sets: number;
  readonly #key0: number;
  readonly #key1: number;
  readonly #lockMark: number;
  /** The client under way: its prefix, the rest zeros; its tag without time; where its set begins. */
  readonly #prefix = new Int32Array(8);
  #owner = 0;
  #set = 0;
  #sweepAt = 0;

  /** How many words hold this many entries, a multiple of 8. */
  static words(entries: number): number {
    return HEADER + (entries / WAYS) * SET_WORDS;
  }

  /** Of all datapaths: what they gave to `addUncounted`. */
  static uncounted(words: Int32Array): number {
    return words[UNCOUNTED] >>> 0;
  }

  /**
   * `words` are zeroed memory, or what datapaths used before. The first one's `seed`, which must be random,
   * keys the hash for all. `worker` is this datapath's number: locks of a predecessor of that number are
   * released.
   */
  constructor(words: Int32Array, seed: readonly [number, number], worker: number) {
    this.#words = words;
    this.#sets = Math.floor((words.length - HEADER) / SET_WORDS);
    Atomics.compareExchange(words, KEY0, 0, seed[0] || 1);
    Atomics.compareExchange(words, KEY1, 0, seed[1] || 1);
    this.#key0 = Atomics.load(words, KEY0);
    this.#key1 = Atomics.load(words, KEY1);
    this.#lockMark = worker + 1;
    for (let set = 0; set < this.#sets; set++)
      Atomics.compareExchange(words, HEADER + set * SET_WORDS, this.#lockMark, 0);
  }

  /** What follows is about the client of this service whose address is addresses[at..at+3]. */
  select(serviceIndex: number, addresses: Int32Array, at: number, prefixV4: number, prefixV6: number): void {
    const prefix = this.#prefix;
    this.#owner = serviceIndex + 1;
    const isIpv4 = isV4(addresses, at);
    const length = isIpv4 ? 96 + prefixV4 : prefixV6;
    for (let i = 0; i < 4; i++) {
      const bits = length - 32 * i;
      prefix[i] = bits >= 32 ? addresses[at + i] : bits <= 0 ? 0 : addresses[at + i] & (-1 << (32 - bits));
    }
    const hash = hashTuple(this.#key0, this.#key1, prefix, isIpv4 ? 4 : 6, serviceIndex);
    this.#set = HEADER + ((hash >>> 0) % this.#sets) * SET_WORDS;
  }

  /**
   * Whether the client may open another session: it has fewer than `sessions`, and opened no more than
   * `perSecond` in a second, of which this is one then; 0 is no limit. Datapaths that judge a client in the
   * same instant may let it have one session too many each. One of CLIENT_MAY and the others.
   */
  judge(sessions: number, perSecond: number, nowMs: number): number {
    const words = this.#words;
    if (perSecond === 0) {
      const found = this.#find();
      const hasTooMany = found >= 0 && sessions > 0 && words[found + SESSIONS] >= sessions;
      return hasTooMany ? CLIENT_HAS_TOO_MANY : CLIENT_MAY;
    }
    const entry = this.#lockEntry(nowMs, false);
    if (entry < 0) return CLIENT_IS_UNSEEN;
    let verdict = CLIENT_MAY;
    if (sessions > 0 && words[entry + SESSIONS] >= sessions) verdict = CLIENT_HAS_TOO_MANY;
    else if (!this.#takeToken(entry, perSecond, nowMs)) verdict = CLIENT_IS_TOO_FAST;
    this.#unlock();
    return verdict;
  }

  /**
   * Counts a session of the client, who `isAnswered`, or not yet; false: there is no room, and it must not be
   * taken off either.
   */
  add(nowMs: number, isAnswered: boolean): boolean {
    const entry = this.#lockEntry(nowMs, isAnswered);
    if (entry < 0) return false;
    Atomics.add(this.#words, entry + SESSIONS, 1);
    this.#unlock();
    return true;
  }

  /** So many sessions more are limited by client and not counted. */
  addUncounted(sessions: number): void {
    Atomics.add(this.#words, UNCOUNTED, sessions);
  }

  /** Takes off a session that was counted. */
  remove(): void {
    const entry = this.#find();
    if (entry < 0) return;
    const words = this.#words;
    let sessions = words[entry + SESSIONS];
    while (sessions > 0) {
      const before = Atomics.compareExchange(words, entry + SESSIONS, sessions, sessions - 1);
      if (before === sessions) return;
      sessions = before;
    }
  }

  /** Notes that the client, which has a counted session, was answered at a time. */
  answered(atMs: number): void {
    const entry = this.#find();
    if (entry < 0) return;
    const words = this.#words;
    const tag = words[entry + TAG];
    const units = unitsOf(atMs);
    const before = tag & 0xffff;
    // Compared, because the entry could be another's by now if a session that should hold it was not counted.
    const later = unitsBetween(before, units);
    // What seems to lie far ahead is long over.
    if (before === 0 || later > 0 || later < -EARLY_UNITS)
      Atomics.compareExchange(words, entry + TAG, tag, (this.#owner << 16) | units);
  }

  /**
   * Forgets answers that are long over of the next `sets` sets in turn, because their time will come round.
   */
  sweep(sets: number, nowMs: number): void {
    const words = this.#words;
    for (let n = Math.min(sets, this.#sets); n > 0; n--) {
      const set = HEADER + this.#sweepAt * SET_WORDS;
      this.#sweepAt = this.#sweepAt + 1 === this.#sets ? 0 : this.#sweepAt + 1;
      for (let entry = set + 1; entry < set + SET_WORDS; entry += 1 << ENTRY_BITS) {
        const tag = words[entry + TAG];
        if ((tag & 0xffff) === 0 || this.#isKnown(entry, nowMs)) continue;
        Atomics.compareExchange(words, entry + TAG, tag, tag & ~0xffff);
      }
    }
  }

  /** Whether the client was answered, and since then never was without sessions for 10 minutes. */
  isKnown(nowMs: number): boolean {
    const entry = this.#find();
    return entry >= 0 && this.#isKnown(entry, nowMs);
  }

  #isKnown(entry: number, nowMs: number): boolean {
    const words = this.#words;
    const answered = words[entry + TAG] & 0xffff;
    if (answered === 0) return false;
    if (words[entry + SESSIONS] > 0) return true;
    const units = unitsBetween(answered, unitsOf(nowMs));
    return units <= KNOWN_UNITS && units >= -EARLY_UNITS;
  }

  #takeToken(entry: number, perSecond: number, nowMs: number): boolean {
    const words = this.#words;
    const elapsedMs = (nowMs - words[entry + USED_AT]) | 0;
    const isEarly = elapsedMs < 0 && elapsedMs > -EARLY_MS;
    const refilledMs = isEarly ? 0 : elapsedMs < 0 ? SECOND_MS : Math.min(elapsedMs, SECOND_MS);
    const tokens = Math.min(perSecond * TOKEN, words[entry + TOKENS] + refilledMs * perSecond);
    if (!isEarly) words[entry + USED_AT] = nowMs;
    words[entry + TOKENS] = tokens < TOKEN ? tokens : tokens - TOKEN;
    return tokens >= TOKEN;
  }

  #find(): number {
    const words = this.#words;
    const prefix = this.#prefix;
    const end = this.#set + SET_WORDS;
    for (let entry = this.#set + 1; entry < end; entry += 1 << ENTRY_BITS) {
      // The tag is written last.
      if (Atomics.load(words, entry + TAG) >>> 16 !== this.#owner) continue;
      if (words[entry + 3] !== prefix[3] || words[entry + 1] !== prefix[1]) continue;
      if (words[entry + 2] === prefix[2] && words[entry + PREFIX] === prefix[0]) return entry;
    }
    return -1;
  }

  /**
   * The client's entry, made when it has none, in its set, which is locked; -1 without room, and nothing is
   * locked.
   */
  #lockEntry(nowMs: number, isAnswered: boolean): number {
    if (!this.#lock()) return -1;
    let entry = this.#find();
    if (entry < 0) entry = this.#make(nowMs, isAnswered);
    if (entry < 0) this.#unlock();
    return entry;
  }

  #make(nowMs: number, isAnswered: boolean): number {
    const entry = this.#replaceable(nowMs, isAnswered);
    if (entry < 0) return -1;
    const words = this.#words;
    Atomics.store(words, entry + TAG, 0);
    for (let i = 0; i < 4; i++) words[entry + PREFIX + i] = this.#prefix[i];
    words[entry + SESSIONS] = 0;
    words[entry + TOKENS] = FULL;
    words[entry + USED_AT] = nowMs;
    Atomics.store(words, entry + TAG, this.#owner << 16);
    return entry;
  }

  #replaceable(nowMs: number, isAnswered: boolean): number {
    const words = this.#words;
    const end = this.#set + SET_WORDS;
    let unknown = -1;
    let unknownMs = -1;
    let known = -1;
    let knownCount = 0;
    let knownUnits = -EARLY_UNITS - 1;
    for (let entry = this.#set + 1; entry < end; entry += 1 << ENTRY_BITS) {
      if (words[entry + TAG] === 0) return entry;
      if (words[entry + SESSIONS] > 0) continue;
      if (this.#isKnown(entry, nowMs)) {
        knownCount++;
        const units = unitsBetween(words[entry + TAG] & 0xffff, unitsOf(nowMs));
        if (units <= knownUnits) continue;
        known = entry;
        knownUnits = units;
      } else {
        const ageMs = Math.max(0, (nowMs - words[entry + USED_AT]) | 0);
        if (ageMs <= unknownMs) continue;
        unknown = entry;
        unknownMs = ageMs;
      }
    }
    if (unknown >= 0) return unknown;
    return isAnswered || knownCount > KEPT ? known : -1;
  }

  #lock(): boolean {
    for (let look = 0; look < LOCK_LOOKS; look++)
      if (Atomics.compareExchange(this.#words, this.#set, 0, this.#lockMark) === 0) return true;
    return false;
  }

  #unlock(): void {
    Atomics.store(this.#words, this.#set, 0);
  }
}

/** Never 0. */
const unitsOf = (ms: number): number => (ms >>> ANSWERED_SHIFT) & 0xffff || 1;

/** From one time to the other, within half of what 16 bits tell. */
const unitsBetween = (from: number, to: number): number => ((to - from) << 16) >> 16;
