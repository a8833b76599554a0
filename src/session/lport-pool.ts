// The local ports of one LIP towards one real server. First in, first out, so that a port rests as long as possible
// before its next session: receivers remember a tuple for 360 s. A port is never handed out twice.

export class LportPool {
  readonly capacity: number;
  #fresh: number;
  readonly #last: number;
  /** Ring of returned ports; grows to the most that were ever returned and not yet reused. */
  #returned = new Uint16Array(64);
  #head = 0;
  #waiting = 0;
  #inUse = 0;

  /** Ports `first` to `last`, both included. */
  constructor(first: number, last: number) {
    this.capacity = last - first + 1;
    this.#fresh = first;
    this.#last = last;
  }

  get inUse(): number {
    return this.#inUse;
  }

  /** A port, or -1 when all are in use. Ports never used come first, then the one returned longest ago. */
  take(): number {
    if (this.#fresh <= this.#last) {
      this.#inUse++;
      return this.#fresh++;
    }
    if (this.#waiting === 0) return -1;
    const lport = this.#returned[this.#head];
    this.#head = (this.#head + 1) & (this.#returned.length - 1);
    this.#waiting--;
    this.#inUse++;
    return lport;
  }

  /** Takes back a port that `take` handed out. */
  give(lport: number): void {
    if (this.#waiting === this.#returned.length) this.#grow();
    this.#returned[(this.#head + this.#waiting) & (this.#returned.length - 1)] = lport;
    this.#waiting++;
    this.#inUse--;
  }

  #grow(): void {
    const larger = new Uint16Array(this.#returned.length * 2);
    larger.set(this.#returned.subarray(this.#head));
    larger.set(this.#returned.subarray(0, this.#head), this.#returned.length - this.#head);
    this.#returned = larger;
    this.#head = 0;
  }
}
