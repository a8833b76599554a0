// How many packets a paced sender owes at a time: a token bucket. Pure arithmetic, so that it can be tested without a clock.

/** Packets per system call at most. */
export const BATCH = 64;
/** Messages of at least so many bytes are cut into packets by the sending device; Linux allows no lower limit than about this. */
export const BULK_MIN_BYTES = 300;
/** What a sender that was held up may catch up on; the rest of the debt is forgiven, and shows as a lower rate. */
const CATCH_UP_MS = 5;

export class Pacing {
  readonly #packetsPerMs: number;
  readonly #least: number;
  readonly #most: number;
  #allowance = 0;
  #lastMs: number;

  /** `rate` in packets per second. Sends are grouped to at most 10,000 calls per second, as far as BATCH allows. */
  constructor(rate: number, nowMs: number) {
    this.#packetsPerMs = rate / 1000;
    this.#least = Math.min(BATCH, Math.max(1, Math.floor(rate / 10_000)));
    this.#most = Math.max(BATCH, this.#packetsPerMs * CATCH_UP_MS);
    this.#lastMs = nowMs;
  }

  /** Packets to send now, 0 to BATCH; they count as sent. */
  take(nowMs: number): number {
    const earned = (nowMs - this.#lastMs) * this.#packetsPerMs;
    this.#lastMs = nowMs;
    this.#allowance = Math.min(this.#most, this.#allowance + earned);
    if (this.#allowance < this.#least) return 0;
    const count = Math.min(BATCH, Math.floor(this.#allowance));
    this.#allowance -= count;
    return count;
  }
}
