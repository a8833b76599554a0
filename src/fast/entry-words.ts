// What the entries of hot sessions say beyond their ends, by slot: their two hops, which are in use as long,
// the silence after which the client's next packet is left to the datapath, and of which version of hops and
// plan that is.
import type { HopLookUp } from './hops.ts';

export class EntryWords {
  readonly #hops: HopLookUp;
  readonly #hopOf: Uint16Array;
  readonly #idleOf: Int32Array;
  readonly #versionOf: Int32Array;

  constructor(hops: HopLookUp, slots: number) {
    this.#hops = hops;
    this.#hopOf = new Uint16Array(2 * slots);
    this.#idleOf = new Int32Array(slots);
    this.#versionOf = new Int32Array(slots);
  }

  /** Of a session that becomes hot, or whose words before were ended. */
  begin(slot: number, inbound: number, outbound: number, idleMs: number, version: number): void {
    this.#hopOf[2 * slot] = inbound;
    this.#hopOf[2 * slot + 1] = outbound;
    this.#idleOf[slot] = idleMs;
    this.#versionOf[slot] = version;
    this.#hops.use(inbound, 1);
    this.#hops.use(outbound, 1);
  }

  /** Nobody goes by its entries any more, or others take their place. */
  end(slot: number): void {
    this.#hops.use(this.#hopOf[2 * slot], -1);
    this.#hops.use(this.#hopOf[2 * slot + 1], -1);
  }

  isSame(slot: number, inbound: number, outbound: number, idleMs: number): boolean {
    const hops = this.#hopOf;
    return hops[2 * slot] === inbound && hops[2 * slot + 1] === outbound && this.#idleOf[slot] === idleMs;
  }

  versionOf(slot: number): number {
    return this.#versionOf[slot];
  }

  /** They are as right as before. */
  affirm(slot: number, version: number): void {
    this.#versionOf[slot] = version;
  }
}
