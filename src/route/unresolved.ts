// How many packets may wait in the kernel for neighbors that have not answered yet. Each that waits takes of the socket's
// send buffer, which is everybody's; so a neighbor that is asked for the first time gets what the kernel's own queue holds,
// and one that did not answer three packets until the kernel gives it up again. One entry of the table is half a cache line.
import { ADDRESS_WORDS } from '../wire/address.ts';

// Words of an entry. It counts until its time is over; then the next packet is the first again.
const INTERFACE = ADDRESS_WORDS;
const UNTIL = 5; // ms
const LEFT = 6; // packets
const HAS_FAILED = 7;
/** ... in an entry of ANY_INTERFACE when the kernel was asked last, 0: not yet. */
const ASKED_AT = 7;
const ENTRY_BITS = 3;
/** Places where an entry may be: the least lasting gives way. More dead neighbors than room are only bounded by the kernel. */
const WAYS = 8;
const BUCKET_BITS = 9;

/** The kernel asks three times, a second apart (mcast_solicit, retrans_time_ms), and then announces that it gave up. */
const ASKING_MS = 4_000;
/** The kernel keeps the last 208 KiB per neighbor (unres_qlen_bytes), which is some 90 packets of 1,500 bytes. */
const AT_FIRST = 64;
const AFTER_FAILURE = 3;
const ASK_AGAIN_MS = 50;
const NO_LIMIT = 0x7fff_ffff;
const NONE = -1;
/** In the place of an interface: it is not known which one packets to the address leave by, nor whether it is the neighbor. */
export const ANY_INTERFACE = 0;

export class Unresolved {
  readonly #entries = new Int32Array(WAYS << (BUCKET_BITS + ENTRY_BITS));

  /** Whether one packet more may wait for the neighbor words[at..at+3]. */
  admits(interfaceIndex: number, words: Int32Array, at: number, nowMs: number): boolean {
    const entry = this.#find(interfaceIndex, words, at, nowMs);
    if (entry !== NONE) return this.#take(entry);
    this.#put(interfaceIndex, words, at, nowMs, AT_FIRST - 1, 0);
    return true;
  }

  /** The same where it is not known whether the packet goes to that neighbor, which could be on any interface. */
  admitsUnlessFailed(words: Int32Array, at: number, nowMs: number): boolean {
    const entry = this.#findFailed(words, at, nowMs);
    return entry === NONE || this.#take(entry);
  }

  /** Whether it is time to ask the kernel about the address of ANY_INTERFACE that has no room left; it is asked then. */
  mayAsk(words: Int32Array, at: number, nowMs: number): boolean {
    const entry = this.#find(ANY_INTERFACE, words, at, nowMs);
    if (entry === NONE) return false;
    const entries = this.#entries;
    const askedAt = entries[entry + ASKED_AT]!;
    if (askedAt !== 0 && (nowMs - askedAt) >>> 0 < ASK_AGAIN_MS) return false;
    entries[entry + ASKED_AT] = nowMs || 1;
    return true;
  }

  /** The address of ANY_INTERFACE waits for nobody. */
  letPass(words: Int32Array, at: number, nowMs: number): void {
    const entry = this.#find(ANY_INTERFACE, words, at, nowMs);
    if (entry !== NONE) this.#entries[entry + LEFT] = NO_LIMIT;
  }

  /** The kernel gave up asking: what waited for it is gone. */
  fail(interfaceIndex: number, words: Int32Array, nowMs: number): void {
    this.forget(interfaceIndex, words, nowMs);
    this.#put(interfaceIndex, words, 0, nowMs, AFTER_FAILURE, 1);
  }

  /** It answered. */
  forget(interfaceIndex: number, words: Int32Array, nowMs: number): void {
    for (const where of [interfaceIndex, ANY_INTERFACE]) {
      const entry = this.#find(where, words, 0, nowMs);
      if (entry !== NONE) this.#entries[entry + UNTIL] = nowMs;
    }
  }

  #take(entry: number): boolean {
    if (this.#entries[entry + LEFT] === 0) return false;
    this.#entries[entry + LEFT]!--;
    return true;
  }

  #find(interfaceIndex: number, words: Int32Array, at: number, nowMs: number): number {
    const first = this.#bucketOf(words, at);
    for (let entry = first; entry < first + (WAYS << ENTRY_BITS); entry += 1 << ENTRY_BITS) {
      if (this.#entries[entry + INTERFACE] === interfaceIndex && this.#isOf(entry, words, at, nowMs))
        return entry;
    }
    return NONE;
  }

  /** Of whatever interface. */
  #findFailed(words: Int32Array, at: number, nowMs: number): number {
    const entries = this.#entries;
    const first = this.#bucketOf(words, at);
    for (let entry = first; entry < first + (WAYS << ENTRY_BITS); entry += 1 << ENTRY_BITS) {
      const isFailed = entries[entry + INTERFACE] !== ANY_INTERFACE && entries[entry + HAS_FAILED] !== 0;
      if (isFailed && this.#isOf(entry, words, at, nowMs)) return entry;
    }
    return NONE;
  }

  #isOf(entry: number, words: Int32Array, at: number, nowMs: number): boolean {
    const entries = this.#entries;
    return (
      entries[entry + 3] === words[at + 3] &&
      entries[entry + 2] === words[at + 2] &&
      entries[entry + 1] === words[at + 1] &&
      entries[entry] === words[at] &&
      this.#lasts(entry, nowMs) > 0
    );
  }

  #put(
    interfaceIndex: number,
    words: Int32Array,
    at: number,
    nowMs: number,
    left: number,
    hasFailed: number,
  ): void {
    const entries = this.#entries;
    const first = this.#bucketOf(words, at);
    let place = first;
    for (let entry = first; entry < first + (WAYS << ENTRY_BITS); entry += 1 << ENTRY_BITS) {
      if (this.#lasts(entry, nowMs) < this.#lasts(place, nowMs)) place = entry;
    }
    for (let i = 0; i < ADDRESS_WORDS; i++) entries[place + i] = words[at + i]!;
    entries[place + INTERFACE] = interfaceIndex;
    entries[place + UNTIL] = (nowMs + ASKING_MS) | 0;
    entries[place + LEFT] = left;
    entries[place + HAS_FAILED] = hasFailed;
  }

  /** Milliseconds; 0: it is over. More than was set: the clock went round meanwhile. */
  #lasts(entry: number, nowMs: number): number {
    const ms = (this.#entries[entry + UNTIL]! - nowMs) | 0;
    return ms > 0 && ms <= ASKING_MS ? ms : 0;
  }

  #bucketOf(words: Int32Array, at: number): number {
    let mixed = Math.imul(words[at]! ^ Math.imul(words[at + 1]!, 0x85ebca6b), 0xc2b2ae35);
    mixed = Math.imul(mixed ^ words[at + 2]!, 0x27d4eb2f) ^ words[at + 3]!;
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x9e3779b1);
    return ((mixed ^ (mixed >>> 16)) & ((1 << BUCKET_BITS) - 1)) * (WAYS << ENTRY_BITS);
  }
}
