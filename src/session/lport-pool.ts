// The local ports of one LIP towards one real server. First in, first out, so that a port rests as long as
// possible before its next session: receivers remember a tuple for 360 s. A port is never handed out twice.
// What a pool takes in memory follows from the ports that it has handed out, not from its range: there may be
// 65,535 pools.

const NONE = new Uint16Array(0);
const FIRST_ROOM = 8;

export const NO_SLOT = -1;

/** The least and the most recently used slot of a chain of unanswered.ts. */
export interface ChainEnds {
  oldest: number;
  newest: number;
}

export class LportPool {
  readonly capacity: number;
  /**
   * The sessions without an answer that have a port of this pool, apart those of clients that were answered
   * before.
   */
  readonly unknown: ChainEnds = { oldest: NO_SLOT, newest: NO_SLOT };
  readonly known: ChainEnds = { oldest: NO_SLOT, newest: NO_SLOT };
  readonly #first: number;
  readonly #step: number;
  /** Ports have places, counted from that which comes first and round the range. */
  #start: number;
  #isPlaced = false;
  readonly #range: { readonly first: number; readonly last: number };
  /** Ports of the places before this one are not fresh, */
  #fresh = 0;
  /** and neither are those of these places from `#passed` on, ascending. */
  #touched = NONE;
  #passed = 0;
  /** Circular queue of returned ports; grows to the most that were ever returned and not yet reused. */
  #returned = NONE;
  #head = 0;
  #waiting = 0;
  #inUse = 0;

  /**
   * Ports `first` to `last`, both included; of several workers' pools each has every `workers`-th port.
   * `drawStart` says with which of how many of them it begins: random, or the first clients after a restart
   * get the ports, and late answers, of the first ones before it.
   */
  constructor(
    first: number,
    last: number,
    { worker, workers } = { worker: 0, workers: 1 },
    drawStart: (count: number) => number = () => 0,
  ) {
    this.#first = firstOf(first, worker, workers);
    this.#range = { first, last };
    this.#step = workers;
    this.capacity = lportsOf(first, last, worker, workers);
    this.#start = this.capacity === 0 ? 0 : drawStart(this.capacity);
  }

  /**
   * It begins with the first of its ports from `lport` on, where an earlier owner stopped, if that is one of
   * the range; while it `isUntouched`.
   */
  beginAt(lport: number): void {
    const { first, last } = this.#range;
    if (lport < first || lport > last || this.capacity === 0) return;
    this.#isPlaced = true;
    this.#start = Math.max(0, Math.ceil((lport - this.#first) / this.#step)) % this.capacity;
  }

  /**
   * The port that it began with, and the one that `take` hands out next: those before it, from the first on,
   * were in use of late, or where they are the same perhaps all. Undefined when nothing was ever handed out,
   * or all is in use.
   */
  get arc(): { first: number; next: number } | undefined {
    if (this.capacity === 0 || (this.isUntouched && !this.#isPlaced)) return undefined;
    let place = this.#fresh;
    for (let i = this.#passed; i < this.#touched.length && this.#touched[i] === place; i++) place++;
    if (place < this.capacity) return { first: this.#portAt(0), next: this.#portAt(place) };
    if (this.#waiting === 0) return undefined;
    const next = this.#returned[this.#head];
    return { first: next, next };
  }

  get inUse(): number {
    return this.#inUse;
  }

  /** Ports that `take` could hand out. */
  get available(): number {
    return this.capacity - this.#inUse;
  }

  /** Whether it never had a port that was not fresh. */
  get isUntouched(): boolean {
    return this.#fresh === 0 && this.#touched === NONE;
  }

  /** Whether ports that were handed out rest now. */
  get hasResting(): boolean {
    return this.#waiting > 0;
  }

  get hasUnanswered(): boolean {
    return this.oldest !== NO_SLOT;
  }

  /** The slot of the session that gives its port away first; NO_SLOT when all were answered. */
  get oldest(): number {
    return this.unknown.oldest === NO_SLOT ? this.known.oldest : this.unknown.oldest;
  }

  /** A port, or -1 when all are in use. Ports never used come first, then the one returned longest ago. */
  take(): number {
    while (this.#fresh < this.capacity) {
      const place = this.#fresh++;
      if (this.#passed < this.#touched.length && this.#touched[this.#passed] === place) {
        this.#passed++;
        continue;
      }
      this.#inUse++;
      return this.#portAt(place);
    }
    this.#touched = NONE;
    if (this.#waiting === 0) return -1;
    const lport = this.#returned[this.#head];
    this.#head = (this.#head + 1) & (this.#returned.length - 1);
    this.#waiting--;
    this.#inUse++;
    return lport;
  }

  /** Takes back a port that was handed out. */
  give(lport: number): void {
    if (this.#waiting === this.#returned.length) this.#grow();
    this.#returned[(this.#head + this.#waiting) & (this.#returned.length - 1)] = lport;
    this.#waiting++;
    this.#inUse--;
  }

  /**
   * Goes on for earlier owners: the ports in `inUse`, each one that it `has` and there once, are handed out,
   * and what rests in `before` goes on resting. To be called once, while it `isUntouched`; those before are
   * not to be used any more.
   */
  takeOver(inUse: readonly number[], before: Iterable<LportPool> = []): void {
    for (const earlier of before) {
      const returned = earlier.#returned;
      for (let i = 0; i < earlier.#waiting; i++) {
        const lport = returned[(earlier.#head + i) & (returned.length - 1)];
        if (!this.has(lport)) continue;
        this.#inUse++;
        this.give(lport);
      }
    }
    this.#inUse += inUse.length;
    const touched = new Uint16Array(inUse.length + this.#waiting);
    for (const [i, lport] of inUse.entries()) touched[i] = this.#placeOf(lport);
    for (let i = 0; i < this.#waiting; i++) touched[inUse.length + i] = this.#placeOf(this.#returned[i]);
    this.#touched = ascending(touched);
  }

  /** Whether the port is one of this pool's, in use or not. */
  has(lport: number): boolean {
    const distance = lport - this.#first;
    return distance >= 0 && distance % this.#step === 0 && distance / this.#step < this.capacity;
  }

  #portAt(place: number): number {
    return this.#first + ((this.#start + place) % this.capacity) * this.#step;
  }

  #placeOf(lport: number): number {
    return ((lport - this.#first) / this.#step - this.#start + this.capacity) % this.capacity;
  }

  #grow(): void {
    const larger = new Uint16Array(Math.max(FIRST_ROOM, this.#returned.length * 2));
    larger.set(this.#returned.subarray(this.#head));
    larger.set(this.#returned.subarray(0, this.#head), this.#returned.length - this.#head);
    this.#returned = larger;
    this.#head = 0;
  }
}

/** The first lport of a worker's share from `first` on. */
const firstOf = (first: number, worker: number, workers: number): number =>
  first + ((((worker - first) % workers) + workers) % workers);

/** How many lports of `first` to `last` are a worker's share. */
export function lportsOf(first: number, last: number, worker: number, workers: number): number {
  return Math.max(0, Math.floor((last - firstOf(first, worker, workers)) / workers) + 1);
}

/** More of them are counted, 0.1 ms for all that there are, where sorting takes 3 ms. */
const SORTED_MAX = 1_000;
const isThere = new Uint8Array(0x1_0000);

/** Sorts numbers that are there once each, in place. */
function ascending(numbers: Uint16Array<ArrayBuffer>): Uint16Array<ArrayBuffer> {
  if (numbers.length <= SORTED_MAX) return numbers.sort();
  isThere.fill(0);
  for (const number of numbers) isThere[number] = 1;
  let at = 0;
  for (let number = 0; number < isThere.length; number++) if (isThere[number] !== 0) numbers[at++] = number;
  return numbers;
}
