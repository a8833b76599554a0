// Sessions that are not to become hot again for a while, by slot: of those that gained nothing by it the next
// try comes later each time, so that none costs changes of the maps for ever.

const FIRST_MS = 10_000;
/** 10 s, 20 s, 40 s ... 640 s. */
const DOUBLINGS = 6;
const LONGEST_MS = FIRST_MS << DOUBLINGS;

export class Holds {
  readonly #until: Int32Array;
  /** How often it was held in a row; 0: it is not. */
  readonly #times: Uint8Array;

  constructor(slots: number) {
    this.#until = new Int32Array(slots);
    this.#times = new Uint8Array(slots);
  }

  isHeld(slot: number, nowMs: number): boolean {
    if (this.#times[slot] === 0) return false;
    const leftMs = (this.#until[slot] - nowMs) | 0;
    return leftMs > 0 && leftMs <= LONGEST_MS;
  }

  /** Longer than the last time. */
  hold(slot: number, nowMs: number): void {
    const times = this.#times[slot];
    this.#until[slot] = (nowMs + (FIRST_MS << times)) | 0;
    this.#times[slot] = Math.min(times + 1, DOUBLINGS);
  }

  /** From now on as long as the first time, at least. */
  renew(slot: number, nowMs: number): void {
    if (this.#times[slot] === 0 || !this.isHeld(slot, (nowMs + FIRST_MS) | 0))
      this.#until[slot] = (nowMs + FIRST_MS) | 0;
    if (this.#times[slot] === 0) this.#times[slot] = 1;
  }

  /** The next one is the first. */
  release(slot: number): void {
    this.#times[slot] = 0;
  }
}
