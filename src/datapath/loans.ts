// Clients whose sessions are with another datapath than their packets come to: theirs had no lport left
// towards the real server, another one had; or their session began under another number of datapaths. In
// memory that all datapaths share: a hash table of small sets, with an entry for each session that there may
// be, whose pages are taken from the system when they are needed first. An entry stays as long as the
// session. One whose session was never opened, because the packet was lost on the way, goes when it is old;
// one whose session ended with a datapath goes when its successor starts.
//
// An entry is taken by a compare-and-exchange of its holder, written, and then named; so nobody reads half of
// one.
import { hashTuple } from '../session/tuple-hash.ts';
import { isV4 } from '../wire/address.ts';

const COUNT = 0;
const HEADER = 16;

const WAYS = 8;
const ENTRY_WORDS = 8;
const SETS_MIN = 2048;
/** A sweep looks at all in so many calls. */
const CALLS_PER_SWEEP = 128;
// Words of an entry, after the client's address.
/** cport in the upper half, service index in the lower. */
const CPORT_SERVICE = 4;
/** 0: free; worker + 1: whose session it is; negative: -(worker + 1) writes it. */
const HOLDER = 5;
/** Index of the chosen real server + 1, until the session is opened. */
const SERVER = 6;
/** When it was written, int32 ms. */
const WRITTEN_AT = 7;

/** A packet is under way to its session for less than this. */
const UNOPENED_MS = 10_000;

const SET_WORDS = WAYS * ENTRY_WORDS;

export const NOBODY = -1;
const NO_SERVER = -1;

export class Loans {
  readonly #words: Int32Array;
  readonly #sets: number;
  readonly #seed: readonly [number, number];
  readonly #self: number;
  readonly #key = new Int32Array(8);
  #cportService = 0;
  #set = 0;
  #sweepAt = 0;
  /** Entries of sessions that a predecessor had, until they are affirmed. */
  readonly #inherited = new Set<number>();

  /** For `sessions` of all workers together. */
  static words(workers: number, sessions: number): number {
    if (workers === 1) return 0;
    return HEADER + Math.max(SETS_MIN, Math.ceil(sessions / WAYS)) * SET_WORDS;
  }

  /**
   * `words` are zeroed memory, or what datapaths used before; `seed` is the same for all of them, `self` this
   * one's number.
   */
  constructor(words: Int32Array, seed: readonly [number, number], self: number) {
    this.#words = words;
    this.#seed = seed;
    this.#self = self;
    this.#sets = Math.floor(words.length / SET_WORDS);
    if (this.isEmpty) return;
    for (let entry = HEADER; entry < words.length; entry += ENTRY_WORDS) {
      // What a predecessor was about to write.
      this.#free(entry, -(self + 1));
      if (Atomics.load(words, entry + HOLDER) === self + 1) this.#inherited.add(entry);
    }
  }

  /**
   * A session of the client, whose packets come to another datapath, goes on here. False: there is no room.
   */
  affirm(addresses: Int32Array, at: number, cport: number, service: number): boolean {
    return this.lend(addresses, at, cport, service, this.#self, NO_SERVER, 0);
  }

  /** All sessions that go on were affirmed: what else a predecessor had is over. */
  affirmed(): void {
    for (const entry of this.#inherited) this.#free(entry, this.#self + 1);
    this.#inherited.clear();
  }

  /** Forgets what was lost on the way, in the next part of the table. */
  sweep(nowMs: number): void {
    if (this.isEmpty) return;
    const words = this.#words;
    for (let n = Math.ceil(this.#sets / CALLS_PER_SWEEP); n > 0; n--) {
      const set = HEADER + this.#sweepAt * SET_WORDS;
      this.#sweepAt = (this.#sweepAt + 1) % this.#sets;
      for (let entry = set; entry < set + SET_WORDS; entry += ENTRY_WORDS) {
        const holder = Atomics.load(words, entry + HOLDER);
        if (holder <= 0 || Atomics.load(words, entry + SERVER) === 0) continue;
        if (Math.abs((nowMs - words[entry + WRITTEN_AT]) | 0) > UNOPENED_MS) this.#free(entry, holder);
      }
    }
  }

  #free(entry: number, holder: number): void {
    const words = this.#words;
    if (Atomics.compareExchange(words, entry + HOLDER, holder, 0) === holder) Atomics.sub(words, COUNT, 1);
  }

  /** No client is with another datapath. */
  get isEmpty(): boolean {
    return this.#words.length === 0 || Atomics.load(this.#words, COUNT) <= 0;
  }

  /**
   * The client addresses[at..at+3] with its port is with this datapath from now on. False: there is no room.
   */
  lend(
    addresses: Int32Array,
    at: number,
    cport: number,
    service: number,
    to: number,
    server: number,
    nowMs: number,
  ): boolean {
    const words = this.#words;
    this.#select(addresses, at, cport, service);
    let entry = this.#find();
    if (entry < 0) {
      Atomics.add(words, COUNT, 1); // first: where this process ends a moment later, its successor looks
      entry = this.#takeFree();
      if (entry < 0) {
        Atomics.sub(words, COUNT, 1);
        return false;
      }
      for (let i = 0; i < 4; i++) words[entry + i] = this.#key[i];
      words[entry + CPORT_SERVICE] = this.#cportService;
    }
    this.#inherited.delete(entry);
    words[entry + WRITTEN_AT] = nowMs;
    Atomics.store(words, entry + SERVER, server + 1);
    Atomics.store(words, entry + HOLDER, to + 1);
    return true;
  }

  /** Which datapath the client's session is with; NOBODY: its own. */
  holderOf(addresses: Int32Array, at: number, cport: number, service: number): number {
    this.#select(addresses, at, cport, service);
    const entry = this.#find();
    return entry < 0 ? NOBODY : Atomics.load(this.#words, entry + HOLDER) - 1;
  }

  /** The real server that was chosen for the client asked for last; -1: its session was opened before. */
  get chosenServer(): number {
    const entry = this.#find();
    return entry < 0 ? -1 : Atomics.load(this.#words, entry + SERVER) - 1;
  }

  /** The client's session was opened here, so the entry stays as long as it. */
  opened(addresses: Int32Array, at: number, cport: number, service: number): void {
    this.#select(addresses, at, cport, service);
    const entry = this.#find();
    if (entry >= 0) Atomics.store(this.#words, entry + SERVER, 0);
  }

  /** The session, which was or was to be with the datapath `holder`, is over. */
  end(addresses: Int32Array, at: number, cport: number, service: number, holder = this.#self): void {
    this.#select(addresses, at, cport, service);
    const entry = this.#find();
    if (entry >= 0) this.#free(entry, holder + 1);
  }

  #select(addresses: Int32Array, at: number, cport: number, service: number): void {
    for (let i = 0; i < 4; i++) this.#key[i] = addresses[at + i];
    this.#cportService = (cport << 16) | service;
    const [key0, key1] = this.#seed;
    const family = isV4(addresses, at) ? 4 : 6;
    const hash = hashTuple(key0, key1, this.#key, family, this.#cportService);
    this.#set = HEADER + ((hash >>> 0) % this.#sets) * SET_WORDS;
  }

  #find(): number {
    const words = this.#words;
    const key = this.#key;
    for (let entry = this.#set; entry < this.#set + SET_WORDS; entry += ENTRY_WORDS) {
      if (Atomics.load(words, entry + HOLDER) <= 0) continue;
      if (words[entry + 3] !== key[3] || words[entry + CPORT_SERVICE] !== this.#cportService) continue;
      if (words[entry] === key[0] && words[entry + 1] === key[1] && words[entry + 2] === key[2]) return entry;
    }
    return -1;
  }

  #takeFree(): number {
    const words = this.#words;
    for (let entry = this.#set; entry < this.#set + SET_WORDS; entry += ENTRY_WORDS)
      if (Atomics.compareExchange(words, entry + HOLDER, 0, -(this.#self + 1)) === 0) return entry;
    return -1;
  }
}
