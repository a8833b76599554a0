// How many packets may wait in the kernel for neighbors that have not answered yet. Each that waits takes of
// the socket's send buffer, which is everybody's; so a neighbor that is asked for the first time gets what
// the kernel's own queue holds, and one that did not answer three packets until the kernel gives it up again.
// One entry of the table is half a cache line.
import { ADDRESS_WORDS } from '../wire/address.ts';
import { hashAddress } from '../wire/hash.ts';

// Words of an entry. It counts until its time is over; then the next packet is the first again.
const INTERFACE = ADDRESS_WORDS;
const UNTIL = 5; // ms
const LEFT = 6; // packets
const ENTRY_BITS = 3;
/**
 * Places where an entry may be: the least lasting gives way. More dead neighbors than room are only bounded
 * by the kernel.
 */
const WAYS = 8;
const BUCKET_BITS = 9;

/**
 * The kernel asks three times, a second apart (mcast_solicit, retrans_time_ms), and then announces that it
 * gave up.
 */
const ASKING_MS = 4_000;
/**
 * The kernel keeps the last 208 KiB per neighbor (unres_qlen_bytes), which is some 90 packets of 1,500 bytes;
 * the three of older kernels would cost a living server, whose entry ran out, the burst of packets that comes
 * first.
 */
const AT_FIRST = 64;
const AFTER_FAILURE = 3;
const NONE = -1;

export class Unresolved {
  readonly #entries = new Int32Array(WAYS << (BUCKET_BITS + ENTRY_BITS));

  /** Whether one packet more may wait for the neighbor words[at..at+3]. */
  admits(interfaceIndex: number, words: Int32Array, at: number, nowMs: number): boolean {
    const entry = this.#find(interfaceIndex, words, at, nowMs);
    if (entry === NONE) this.#put(interfaceIndex, words, at, nowMs, AT_FIRST - 1);
    else if (this.#entries[entry + LEFT] === 0) return false;
    else this.#entries[entry + LEFT]--;
    return true;
  }

  /** The kernel gave up asking: what waited for it is gone. */
  fail(interfaceIndex: number, words: Int32Array, nowMs: number): void {
    this.forget(interfaceIndex, words, nowMs);
    this.#put(interfaceIndex, words, 0, nowMs, AFTER_FAILURE);
  }

  /** It answered. */
  forget(interfaceIndex: number, words: Int32Array, nowMs: number): void {
    const entry = this.#find(interfaceIndex, words, 0, nowMs);
    if (entry !== NONE) this.#entries[entry + UNTIL] = nowMs;
  }

  #find(interfaceIndex: number, words: Int32Array, at: number, nowMs: number): number {
    const entries = this.#entries;
    const first = this.#bucketOf(interfaceIndex, words, at);
    for (let entry = first; entry < first + (WAYS << ENTRY_BITS); entry += 1 << ENTRY_BITS) {
      if (
        entries[entry + INTERFACE] === interfaceIndex &&
        entries[entry + 3] === words[at + 3] &&
        entries[entry + 2] === words[at + 2] &&
        entries[entry + 1] === words[at + 1] &&
        entries[entry] === words[at] &&
        this.#lasts(entry, nowMs) > 0
      )
        return entry;
    }
    return NONE;
  }

  #put(interfaceIndex: number, words: Int32Array, at: number, nowMs: number, left: number): void {
    const entries = this.#entries;
    const first = this.#bucketOf(interfaceIndex, words, at);
    let place = first;
    for (let entry = first; entry < first + (WAYS << ENTRY_BITS); entry += 1 << ENTRY_BITS) {
      if (this.#lasts(entry, nowMs) < this.#lasts(place, nowMs)) place = entry;
    }
    for (let i = 0; i < ADDRESS_WORDS; i++) entries[place + i] = words[at + i]!;
    entries[place + INTERFACE] = interfaceIndex;
    entries[place + UNTIL] = (nowMs + ASKING_MS) | 0;
    entries[place + LEFT] = left;
  }

  /** Milliseconds; 0: it is over. More than was set: the clock went round meanwhile. */
  #lasts(entry: number, nowMs: number): number {
    const ms = (this.#entries[entry + UNTIL] - nowMs) | 0;
    return ms > 0 && ms <= ASKING_MS ? ms : 0;
  }

  #bucketOf(interfaceIndex: number, words: Int32Array, at: number): number {
    return (hashAddress(words, at, interfaceIndex) & ((1 << BUCKET_BITS) - 1)) * (WAYS << ENTRY_BITS);
  }
}
