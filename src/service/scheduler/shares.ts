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

  /** Index of the real server at a fraction of the line, from 0 to less than 1; -1 when all weights are 0. */
  at(fraction: number): number {
    if (this.#total === 0) return -1;
    const place = fraction * this.#total;
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
