// How many new sessions a service may open just now: a bucket that holds those of one second, in memory that
// all datapaths share, so that several together let in as many as one would. Without a lock: who brings the
// time forward fills it.

const TOKENS = 0;
/** int32 ms. */
const FILLED_AT = 1;
/** 0: never filled. */
const IS_FILLED = 2;

/**
 * A time so far in the future is one of long ago: they wrap. One nearer is that of a datapath which is late.
 */
const EARLY_MS = 60_000;
/** With thousandths for more than this the cell would be too small; then a session counts hundredths. */
const THOUSANDTHS_MAX = 1_000_000;

export class Bucket {
  readonly #words: Int32Array;
  readonly #at: number;
  readonly #perSecond: number;
  /** What a session takes. */
  readonly #token: number;

  /** Lies at words[at] and the next two. */
  constructor(words: Int32Array, at: number, perSecond: number) {
    this.#words = words;
    this.#at = at;
    this.#perSecond = perSecond;
    this.#token = perSecond > THOUSANDTHS_MAX ? 100 : 1000;
  }

  /** Takes a session out; false: there is none. */
  take(nowMs: number): boolean {
    this.#fill(nowMs);
    const cell = this.#at + TOKENS;
    if (Atomics.sub(this.#words, cell, this.#token) >= this.#token) return true;
    Atomics.add(this.#words, cell, this.#token);
    return false;
  }

  /** Puts it back: it was not opened. */
  give(): void {
    Atomics.add(this.#words, this.#at + TOKENS, this.#token);
  }

  #fill(nowMs: number): void {
    const words = this.#words;
    const timeCell = this.#at + FILLED_AT;
    const filledAt = Atomics.load(words, timeCell);
    const elapsedMs = (nowMs - filledAt) | 0;
    const isFirst = Atomics.exchange(words, this.#at + IS_FILLED, 1) === 0;
    if (!isFirst && elapsedMs <= 0 && elapsedMs > -EARLY_MS) return;
    if (Atomics.compareExchange(words, timeCell, filledAt, nowMs) !== filledAt) return;
    const full = this.#perSecond * this.#token;
    const isFull = isFirst || elapsedMs < 0 || elapsedMs >= 1000;
    const cell = this.#at + TOKENS;
    const gained = isFull ? full : Math.floor((elapsedMs * full) / 1000);
    for (;;) {
      const tokens = Atomics.load(words, cell);
      const filled = Math.min(full, tokens + gained);
      if (Atomics.compareExchange(words, cell, tokens, filled) === tokens) return;
    }
  }
}
