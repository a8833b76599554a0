// The local ports of one LIP towards one real server. First in, first out, so that a port rests as long as possible
// before its next session: receivers remember a tuple for 360 s. A port is never handed out twice.

export class LportPool {
  readonly capacity: number;
  #fresh: number;
  readonly #last: number;
  readonly #step: number;
  /** Ring of returned ports; grows to the most that were ever returned and not yet reused. */
  #returned = new Uint16Array(64);
  #head = 0;
  #waiting = 0;
  #inUse = 0;

  /** Ports `first` to `last`, both included; of several workers' pools each has every `workers`-th port. */
  constructor(first: number, last: number, { worker, workers } = { worker: 0, workers: 1 }) {
    const skipped = (((worker - first) % workers) + workers) % workers;
    this.#fresh = first + skipped;
    this.#last = last;
    this.#step = workers;
    this.capacity = Math.max(0, Math.floor((last - this.#fresh) / workers) + 1);
  }

  get inUse(): number {
    return this.#inUse;
  }

  /** Ports that `take` could hand out. */
  get available(): number {
    return this.capacity - this.#inUse;
  }

  /** A port, or -1 when all are in use. Ports never used come first, then the one returned longest ago. */
  take(): number {
    if (this.#fresh <= this.#last) {
      this.#inUse++;
      const lport = this.#fresh;
      this.#fresh += this.#step;
      return lport;
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

  /** Marks ports as handed out by an earlier owner: taken[lport] is not 0 for ports that it `has`. */
  restore(taken: Uint8Array): void {
    for (; this.#fresh <= this.#last; this.#fresh += this.#step) {
      this.#inUse++;
      if (taken[this.#fresh] === 0) this.give(this.#fresh);
    }
  }

  /** Whether the pool would hand out this port. */
  has(lport: number): boolean {
    return lport <= this.#last && lport >= this.#fresh && (lport - this.#fresh) % this.#step === 0;
  }

  #grow(): void {
    const larger = new Uint16Array(this.#returned.length * 2);
    larger.set(this.#returned.subarray(this.#head));
    larger.set(this.#returned.subarray(0, this.#head), this.#returned.length - this.#head);
    this.#returned = larger;
    this.#head = 0;
  }
}

/** By pool: lports of sessions that are there already, not 0. */
export type TakenLports = Map<LportPool, Uint8Array>;

/** Notes the lport as taken; false when it is not one that the pool would hand out, or taken already. */
export function claimLport(taken: TakenLports, pool: LportPool, lport: number): boolean {
  if (!pool.has(lport)) return false;
  let lports = taken.get(pool);
  if (lports === undefined) {
    lports = new Uint8Array(0x1_0000);
    taken.set(pool, lports);
  }
  if (lports[lport] !== 0) return false;
  lports[lport] = 1;
  return true;
}
