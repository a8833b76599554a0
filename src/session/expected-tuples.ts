// The tuples of packets that are judged in a moment, in their order, with the bucket of the session index
// that each is in. Where there are many sessions what a search reads is far from the processor, up to 200 ns
// for each of two reads; but it fetches what is read for several packets at the same time.
import { LOOK_AHEAD_MAX } from '../wire/frame.ts';

const ADDRESSES = 8;
const PORTS = ADDRESSES;
const BUCKET = PORTS + 1;
const WORDS = 16;

export class ExpectedTuples {
  readonly #words = new Int32Array(LOOK_AHEAD_MAX * WORDS);
  #next = 0;
  count = 0;

  clear(): void {
    this.count = 0;
    this.#next = 0;
  }

  /** Addresses and ports as for hashTuple; there must be room. */
  add(addresses: Int32Array, ports: number, bucket: number): void {
    const words = this.#words;
    const at = this.count++ * WORDS;
    for (let i = 0; i < ADDRESSES; i++) words[at + i] = addresses[i];
    words[at + PORTS] = ports;
    words[at + BUCKET] = bucket;
  }

  bucketAt(index: number): number {
    return this.#words[index * WORDS + BUCKET];
  }

  /** The bucket of this tuple, if it is the next one of those that are expected; else less than 0. */
  take(addresses: Int32Array, ports: number): number {
    if (this.#next >= this.count) return -1;
    const words = this.#words;
    const at = this.#next * WORDS;
    if (
      words[at + PORTS] !== ports ||
      words[at + 3] !== addresses[3] ||
      words[at + 7] !== addresses[7] ||
      words[at + 2] !== addresses[2] ||
      words[at + 6] !== addresses[6] ||
      words[at + 1] !== addresses[1] ||
      words[at + 5] !== addresses[5] ||
      words[at] !== addresses[0] ||
      words[at + 4] !== addresses[4]
    )
      return -1;
    this.#next++;
    return words[at + BUCKET];
  }
}
