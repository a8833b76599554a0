// A bounded number of places: who finds none free waits, first come first served.

export class Turns {
  #free: number;
  readonly #waiting = new Set<() => void>();

  constructor(places: number) {
    this.#free = places;
  }

  /**
   * Resolves with how to give the place back: as soon as one is free, or, without one, when `signal` is
   * aborted.
   */
  take(signal: AbortSignal): Promise<() => void> {
    if (this.#free > 0) {
      this.#free--;
      return Promise.resolve(() => this.#giveBack());
    }
    if (signal.aborted) return Promise.resolve(() => {});
    return new Promise((resolve) => {
      const go = () => {
        signal.removeEventListener('abort', onAbort);
        resolve(() => this.#giveBack());
      };
      const onAbort = () => {
        this.#waiting.delete(go);
        resolve(() => {});
      };
      this.#waiting.add(go);
      signal.addEventListener('abort', onAbort, { once: true });
    });
  }

  /** The place goes to the one that waits longest. */
  #giveBack(): void {
    const [next] = this.#waiting;
    if (next === undefined) {
      this.#free++;
      return;
    }
    this.#waiting.delete(next);
    next();
  }
}
