// How many packets may wait in the kernel for neighbors that have not answered yet. Each that waits takes of
// the socket's send buffer, which is everybody's; so a neighbor that is asked for the first time gets what
// the kernel's own queue holds, and one that did not answer three packets until the kernel gives it up again.
import { ADDRESS_WORDS } from '../wire/address.ts';
import { PAIR_WORDS, PairTable, TO } from './pair-table.ts';

/** Of some thousand dead neighbors; more are only bounded by the kernel. */
const BITS = 12;
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

export class Unresolved {
  /** By interface and address: how many may still wait, and until when (ms) that counts. */
  readonly #budgets = new PairTable(BITS);
  readonly #key = new Int32Array(PAIR_WORDS);

  /** Whether one packet more may wait for the neighbor words[at..at+3]. */
  admits(interfaceIndex: number, words: Int32Array, at: number, nowMs: number): boolean {
    const budgets = this.#budgets;
    const entry = budgets.find(this.#keyOf(interfaceIndex, words, at));
    const until = entry < 0 ? nowMs : budgets.stamp(entry);
    const lasts = (until - nowMs) | 0; // more than was set: the clock went round meanwhile
    const counts = lasts > 0 && lasts <= ASKING_MS;
    const left = counts ? budgets.value(entry) : AT_FIRST;
    if (left > 0) budgets.set(this.#key, left - 1, counts ? until : (nowMs + ASKING_MS) | 0);
    return left > 0;
  }

  /** The kernel gave up asking: what waited for it is gone. */
  fail(interfaceIndex: number, words: Int32Array, nowMs: number): void {
    this.#budgets.set(this.#keyOf(interfaceIndex, words, 0), AFTER_FAILURE, (nowMs + ASKING_MS) | 0);
  }

  /** It answered. */
  forget(interfaceIndex: number, words: Int32Array, nowMs: number): void {
    const entry = this.#budgets.find(this.#keyOf(interfaceIndex, words, 0));
    if (entry >= 0) this.#budgets.setStamp(entry, nowMs);
  }

  #keyOf(interfaceIndex: number, words: Int32Array, at: number): Int32Array {
    const key = this.#key;
    key[TO - 1] = interfaceIndex;
    for (let i = 0; i < ADDRESS_WORDS; i++) key[TO + i] = words[at + i];
    return key;
  }
}
