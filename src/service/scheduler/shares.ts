// The real servers side by side on a line, each as wide as its weight: which one is at a place of it.

export class Shares {
  readonly #weights: Int32Array;
  /** Where each one ends; that of weight 0 ends where it begins. */
  readonly #ends: Float64Array;
  #total = 0;

  constructor(weights: Int32Array) {
    this.#weights = weights;
    this.#ends = new Float64Array(weights.length);
    this.update();
  }

  /** After weights changed. */
  update(): void {
    this.#total = 0;
    for (let i = 0; i < this.#weights.length; i++) {
      this.#total += this.#weights[i];
      this.#ends[i] = this.#total;
    }
  }

  /**
   * Index of the real server at a fraction of the line without `except`, from 0 to less than 1; -1 when all
   * weights on it are 0.
   */
  at(fraction: number, except: number): number {
    const left = except < 0 ? 0 : this.#weights[except];
    if (this.#total === left) return -1;
    let place = fraction * (this.#total - left);
    if (left > 0 && place >= this.#ends[except] - left) place += left;
    let low = 0;
    let high = this.#ends.length - 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#ends[middle] > place) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}
