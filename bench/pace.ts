// How many packets per second are sent where few should be lost: less when some were, and more, step by step,
// when none was.

const SLOWER = 0.75;
const FASTER = 1.15;
/** Of fewer packets nothing is learned. */
const TELLING = 1_000;

export interface PaceOptions {
  least: number;
  most: number;
  /** Which part may be lost. */
  lost: number;
}

export class Pace {
  readonly #options: PaceOptions;
  #rate: number;

  constructor(rate: number, options: PaceOptions) {
    this.#rate = rate;
    this.#options = options;
  }

  get rate(): number {
    return this.#rate;
  }

  /** So many were sent at this rate, and of them so many arrived. */
  note(sent: number, arrived: number): void {
    if (sent < TELLING) return;
    const { least, most, lost } = this.#options;
    const part = 1 - arrived / sent;
    if (part > lost) this.#rate = Math.max(least, this.#rate * SLOWER);
    else if (part < lost / 4) this.#rate = Math.min(most, this.#rate * FASTER);
  }
}
