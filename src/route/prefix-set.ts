// A number for each of so many prefixes at most, and so for all addresses whose longest prefix, of these, is
// the same.
import { PrefixTrie } from '../wire/prefix-trie.ts';

/** Words of `dst` behind its length do not matter; an IPv4 prefix has 96 bits more than its text says. */
export interface Prefix {
  readonly dst: Int32Array;
  readonly prefixLen: number;
  readonly isV4: boolean;
}

const NONE = -1;

export class PrefixSet {
  readonly #trie = new PrefixTrie();
  readonly #max: number;
  #count = 0;

  constructor(max: number) {
    this.#max = max;
  }

  /** Sets the number, 0 or more, of a prefix; false: there are too many. */
  set({ dst, prefixLen, isV4 }: Prefix, number: number): boolean {
    const node = this.#trie.insert(dst, prefixLen, isV4);
    if (this.#trie.value(node) === NONE) this.#count++;
    this.#trie.setValue(node, number);
    return this.#count <= this.#max;
  }

  /** The same, also for the longer prefixes within this one: they are none any more. */
  setWithin(prefix: Prefix, number: number): boolean {
    this.#count -= this.#trie.clearWithin(this.#trie.insert(prefix.dst, prefix.prefixLen, prefix.isV4));
    return this.set(prefix, number);
  }

  /** That of the longest prefix around the address words[at..at+3]; -1: there is none. */
  find(words: Int32Array, at: number): number {
    return this.#trie.find(words, at);
  }
}
