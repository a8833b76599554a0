// A number for each of many endpoints, or addresses whatever the port: one hash look-up however many there
// are, without allocation. Open addressing, at most half full. Who asks may choose what is asked, not what is
// in it, so no key is needed.
import { ADDRESS_WORDS, isSameAddress } from './address.ts';
import { hashAddress } from './hash.ts';

/** The port of an address of which the port does not matter. */
export const ANY_PORT = -1;

const PORT = ADDRESS_WORDS;
/** The number plus 1; 0: nothing is there. */
const VALUE = PORT + 1;
const ENTRY_BITS = 3;
const FIRST_BITS = 4;

export class EndpointTable {
  #entries = new Int32Array(1 << (FIRST_BITS + ENTRY_BITS));
  /** What is left of a 32-bit hash when it is shifted so far is an entry. */
  #shift = 32 - FIRST_BITS;
  #count = 0;

  /** How many there are. */
  get count(): number {
    return this.#count;
  }

  /** Sets the number, 0 to 2^31 - 2, of words[at..at+3] and the port, whatever it was. */
  set(words: Int32Array, at: number, port: number, value: number): void {
    if (this.#count << (ENTRY_BITS + 1) >= this.#entries.length) this.#grow();
    const entry = this.#find(words, at, port);
    const entries = this.#entries;
    if (entries[entry + VALUE] === 0) this.#count++;
    for (let i = 0; i < ADDRESS_WORDS; i++) entries[entry + i] = words[at + i];
    entries[entry + PORT] = port;
    entries[entry + VALUE] = value + 1;
  }

  /** -1: none was set. */
  get(words: Int32Array, at: number, port: number): number {
    return this.#entries[this.#find(words, at, port) + VALUE] - 1;
  }

  /** Where it is, or would be. */
  #find(words: Int32Array, at: number, port: number): number {
    const entries = this.#entries;
    let entry = (hashAddress(words, at, port) >>> this.#shift) << ENTRY_BITS;
    while (
      entries[entry + VALUE] !== 0 &&
      !(entries[entry + PORT] === port && isSameAddress(entries, entry, words, at))
    )
      entry = (entry + (1 << ENTRY_BITS)) & (entries.length - 1);
    return entry;
  }

  #grow(): void {
    const old = this.#entries;
    this.#entries = new Int32Array(old.length * 2);
    this.#shift--;
    this.#count = 0;
    for (let entry = 0; entry < old.length; entry += 1 << ENTRY_BITS)
      if (old[entry + VALUE] !== 0) this.set(old, entry, old[entry + PORT], old[entry + VALUE] - 1);
  }
}
