// Which destinations take the same route from the same source: all whose longest prefix, of those that the
// kernel's routes and rules name in any table, is the same. So the kernel need be asked about one of them
// only. A prefix too many does no harm; so none is ever taken out.
import { PrefixTrie } from '../wire/prefix-trie.ts';

/**
 * What the kernel treats in its own way without a route for it: this network, groups, every host; links' own
 * addresses.
 */
const SPECIAL: readonly (readonly [isV4: boolean, firstWord: number, lastWord: number, prefixLen: number])[] =
  [
    [true, 0, 0, 96 + 8], // 0.0.0.0/8
    [true, 0, 0xe0000000 | 0, 96 + 4], // 224.0.0.0/4
    [true, 0, -1, 128], // 255.255.255.255
    [false, 0, 0, 127], // :: and ::1
    [false, 0xfe800000 | 0, 0, 10], // fe80::/10
    [false, 0xff000000 | 0, 0, 8], // ff00::/8
    [true, 0, 0, 96],
    [false, 0, 0, 0],
  ];

export class PrefixClasses {
  readonly #trie = new PrefixTrie();
  readonly #max: number;
  #count = -SPECIAL.length;

  constructor(max: number) {
    this.#max = max;
    for (const [isV4, first, last, prefixLen] of SPECIAL)
      this.add(Int32Array.of(first, 0, isV4 ? 0xffff : 0, last), prefixLen, isV4);
  }

  /** Takes in a prefix as in RouteMessage; false: there are too many. */
  add(words: Int32Array, prefixLen: number, isV4: boolean): boolean {
    const node = this.#trie.insert(words, prefixLen, isV4);
    if (this.#trie.value(node) === node) return true;
    this.#trie.setValue(node, node);
    return ++this.#count <= this.#max;
  }

  /** The class of the address words[at..at+3]. */
  find(words: Int32Array, at: number): number {
    return this.#trie.find(words, at);
  }
}
