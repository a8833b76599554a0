// What one real server of a service is told its clients' addresses in: the configured dialect; after it said that it
// cannot read that (an ICMP error about a packet with UOA), for a while the fallback or nothing. Then the dialect is tried
// again, but only with carriers, so that no client's datagram is lost with it.
import type { UoaForms } from './form.ts';

/** How long a dialect that the real server refused is not sent. */
const REFUSED_MS = 60_000;
/** Errors within this time of a refusal are about packets sent before it. */
const SETTLE_MS = 1_000;

const FIRST = 0;
const FALLBACK = 1;
const PLAIN = 2;

export class UoaReceiver {
  readonly #first: UoaForms | undefined;
  readonly #fallback: UoaForms | undefined;
  #level = FIRST;
  #refusedAt = 0;
  #wasRefused = false;

  /** Without forms no UOA is sent. */
  constructor(first: UoaForms | undefined, fallback: UoaForms | undefined) {
    this.#first = first;
    this.#fallback = fallback;
  }

  /** What is sent now; undefined: no UOA. */
  forms(nowMs: number): UoaForms | undefined {
    if (this.#level !== FIRST && ((nowMs - this.#refusedAt) | 0) >= REFUSED_MS) this.#level = FIRST;
    if (this.#level === FIRST) return this.#first;
    return this.#level === FALLBACK ? this.#fallback : undefined;
  }

  /** Whether no client's datagram may be risked: what is tried now was refused before. */
  get carriersOnly(): boolean {
    return this.#wasRefused && this.#level === FIRST;
  }

  /** The real server cannot read what it was sent. */
  refuse(nowMs: number): void {
    const isSettled = !this.#wasRefused || ((nowMs - this.#refusedAt) | 0) >= SETTLE_MS;
    if (!isSettled || this.#level === PLAIN) return;
    this.#level = this.#level === FIRST && this.#fallback !== undefined ? FALLBACK : PLAIN;
    this.#refusedAt = nowMs;
    this.#wasRefused = true;
  }
}
