// Longest prefix match for both families in one path-compressed binary trie (Morrison's PATRICIA) in typed
// arrays: at most two nodes per prefix, no more steps than prefixes lie around an address. Prefixes are four
// words as in wire/address.ts with a length of 0 to 128, IPv4 ones of 96 to 128. IPv4 has a root of its own,
// so that no IPv6 prefix covers it.
import { isV4, V4_MAPPED } from './address.ts';

/** Values below 0 mean something here; others are the owner's. */
export const NONE = -1;
/** Also decides about the longer prefixes within its own. */
export const FINAL = -2;

// A node: four words of the prefix, its length, two children (0: none), its value. 32 bytes, half a cache
// line.
const NODE_BITS = 3;
const LENGTH = 4;
const CHILD = 5;
const VALUE = 7;
const ROOT6 = 1;
const ROOT4 = 2;
const V4_LENGTH = 96;
const FULL = 128;
const FIRST_CAPACITY = 64;

// The index: per value of an IPv4 address's first bits the last node whose prefix is no longer than those,
// the value found until there, and the version of the nodes up to that length. Only a large trie has it.
const INDEX_BITS = 18;
const INDEXED_LENGTH = V4_LENGTH + INDEX_BITS;
const INDEXED_SIZE = 4096;
const ENTRY_BITS = 2;
const FOUND = 1;
const VERSION = 2;

export class PrefixTrie {
  #nodes = new Int32Array(FIRST_CAPACITY << NODE_BITS);
  #parents = new Int32Array(FIRST_CAPACITY);
  /** Node 0 stands for none. */
  #used = 1;
  /** Free nodes are a list through their first word. */
  #free = 0;
  /** Prefixes and branches. */
  #size = 0;
  #index = new Int32Array(0);
  #version = 1;

  constructor() {
    const words = Int32Array.of(0, 0, V4_MAPPED, 0);
    this.#make(Int32Array.of(0, 0, 0, 0), 0, 0);
    this.#make(words, V4_LENGTH, 0);
  }

  /** Numbers of nodes are below this. */
  get capacity(): number {
    return this.#parents.length;
  }

  value(node: number): number {
    return this.#nodes[(node << NODE_BITS) + VALUE];
  }

  /** Gives a prefix its value; NONE is that of a new one. */
  setValue(node: number, value: number): void {
    this.#nodes[(node << NODE_BITS) + VALUE] = value;
    this.#touch(node);
  }

  /**
   * The value of the longest prefix around the address words[at..at+3], or of the shortest that is FINAL;
   * else NONE.
   */
  find(words: Int32Array, at: number): number {
    return isV4(words, at) ? this.#find4(words[at + 3]) : this.#find6(words, at);
  }

  #find4(word: number): number {
    if (this.#index.length === 0) return this.#walk4(word, ROOT4, this.value(ROOT4));
    const at = (word >>> (32 - INDEX_BITS)) << ENTRY_BITS;
    if (this.#index[at + VERSION] !== this.#version) this.#indexPath(word, at);
    return this.#walk4(word, this.#index[at], this.#index[at + FOUND]);
  }

  /** Goes on from a node on the way to the address, up to which `found` was the result. */
  #walk4(word: number, node: number, found: number): number {
    const nodes = this.#nodes;
    let base = node << NODE_BITS;
    while (found !== FINAL) {
      const length = nodes[base + LENGTH];
      if (length === FULL) break;
      const child = nodes[base + CHILD + ((word >>> (127 - length)) & 1)];
      if (child === 0) break;
      base = child << NODE_BITS;
      if ((word ^ nodes[base + 3]) >>> (FULL - nodes[base + LENGTH]) !== 0) break;
      const value = nodes[base + VALUE];
      if (value !== NONE) found = value;
    }
    return found;
  }

  #indexPath(word: number, at: number): void {
    let node = ROOT4;
    let found = this.value(ROOT4);
    while (found !== FINAL) {
      const child = this.#child(node, (word >>> (127 - this.#length(node))) & 1);
      const length = this.#length(child);
      if (child === 0 || length > INDEXED_LENGTH) break;
      if ((word ^ this.#nodes[(child << NODE_BITS) + 3]) >>> (FULL - length) !== 0) break;
      node = child;
      if (this.value(node) !== NONE) found = this.value(node);
    }
    this.#index[at] = node;
    this.#index[at + FOUND] = found;
    this.#index[at + VERSION] = this.#version;
  }

  /** To be called when a node came, goes, or has another value. */
  #touch(node: number): void {
    if (this.#index.length === 0) {
      if (this.#size > INDEXED_SIZE) this.#index = new Int32Array(1 << (INDEX_BITS + ENTRY_BITS));
    } else if (this.#length(node) <= INDEXED_LENGTH) {
      this.#version = (this.#version + 1) | 0;
      if (this.#version === 0) {
        this.#index.fill(0);
        this.#version = 1;
      }
    }
  }

  #find6(words: Int32Array, at: number): number {
    const nodes = this.#nodes;
    let base = ROOT6 << NODE_BITS;
    let found = nodes[base + VALUE];
    let whole = 0; // words that are known to be equal
    while (found !== FINAL) {
      const length = nodes[base + LENGTH];
      if (length === FULL) break;
      const child = nodes[base + CHILD + ((words[at + (length >>> 5)] >>> (31 - (length & 31))) & 1)];
      if (child === 0) break;
      base = child << NODE_BITS;
      const childLength = nodes[base + LENGTH];
      while (whole < childLength >>> 5 && words[at + whole] === nodes[base + whole]) whole++;
      if (whole < childLength >>> 5) break;
      const rest = childLength & 31;
      if (rest !== 0 && (words[at + whole] ^ nodes[base + whole]) >>> (32 - rest) !== 0) break;
      const value = nodes[base + VALUE];
      if (value !== NONE) found = value;
    }
    return found;
  }

  /** The node of a prefix, made when there is none. Bits of `words` behind `length` do not matter. */
  insert(words: Int32Array, length: number, ofV4: boolean): number {
    let node = ofV4 ? ROOT4 : ROOT6;
    for (;;) {
      // This node's prefix is around ours.
      const ownLength = this.#length(node);
      if (ownLength === length) return node;
      const child = this.#child(node, bit(words, ownLength));
      if (child === 0) return this.#make(words, length, node);
      const childLength = this.#length(child);
      const common = this.#commonLength(words, child, Math.min(length, childLength));
      if (common === childLength) {
        node = child;
        continue;
      }
      const between = this.#make(words, common, node);
      this.#adopt(between, child);
      return common === length ? between : this.#make(words, length, between);
    }
  }

  /** The node of a prefix; 0 when there is none. */
  nodeOf(words: Int32Array, length: number, ofV4: boolean): number {
    let node = ofV4 ? ROOT4 : ROOT6;
    while (node !== 0) {
      const ownLength = this.#length(node);
      if (ownLength > length || this.#commonLength(words, node, ownLength) < ownLength) return 0;
      if (ownLength === length) return node;
      node = this.#child(node, bit(words, ownLength));
    }
    return 0;
  }

  /** Gives back a node whose value is NONE, and the branches that it was for. */
  prune(node: number): void {
    while (node > ROOT4 && this.value(node) === NONE) {
      const left = this.#child(node, 0);
      const right = this.#child(node, 1);
      if (left !== 0 && right !== 0) return;
      const parent = this.#parents[node];
      const only = left + right;
      if (only !== 0) this.#adopt(parent, only);
      else this.#nodes[(parent << NODE_BITS) + CHILD + this.#sideOf(parent, node)] = 0;
      this.#giveBack(node);
      node = only === 0 ? parent : 0;
    }
  }

  /** Gives back all longer prefixes within a node's own; returns how many of them had a value. */
  clearWithin(node: number): number {
    let cleared = 0;
    for (let side = 0; side < 2; side++) {
      const child = this.#child(node, side);
      if (child === 0) continue;
      cleared += this.clearWithin(child) + (this.value(child) === NONE ? 0 : 1);
      this.#giveBack(child);
      this.#nodes[(node << NODE_BITS) + CHILD + side] = 0;
    }
    return cleared;
  }

  #giveBack(node: number): void {
    this.#touch(node);
    this.#nodes[node << NODE_BITS] = this.#free;
    this.#free = node;
    this.#size--;
  }

  /** Makes a node without value; `parent` gets it as its child, in the place of what was there. */
  #make(words: Int32Array, length: number, parent: number): number {
    let node = this.#free;
    if (node !== 0) {
      this.#free = this.#nodes[node << NODE_BITS];
    } else {
      if (this.#used === this.#parents.length) this.#grow();
      node = this.#used++;
    }
    this.#size++;
    const base = node << NODE_BITS;
    for (let i = 0; i < 4; i++) {
      const bits = length - 32 * i;
      const mask = bits >= 32 ? -1 : bits <= 0 ? 0 : -1 << (32 - bits);
      this.#nodes[base + i] = words[i] & mask;
    }
    this.#nodes[base + LENGTH] = length;
    this.#nodes[base + CHILD] = 0;
    this.#nodes[base + CHILD + 1] = 0;
    this.#nodes[base + VALUE] = NONE;
    if (parent !== 0) this.#adopt(parent, node);
    this.#touch(node);
    return node;
  }

  #grow(): void {
    const nodes = new Int32Array(this.#nodes.length * 2);
    nodes.set(this.#nodes);
    this.#nodes = nodes;
    const parents = new Int32Array(this.#parents.length * 2);
    parents.set(this.#parents);
    this.#parents = parents;
  }

  #adopt(parent: number, child: number): void {
    this.#parents[child] = parent;
    this.#nodes[(parent << NODE_BITS) + CHILD + this.#sideOf(parent, child)] = child;
  }

  #sideOf(parent: number, child: number): number {
    const length = this.#length(parent);
    return (this.#nodes[(child << NODE_BITS) + (length >>> 5)] >>> (31 - (length & 31))) & 1;
  }

  #length(node: number): number {
    return this.#nodes[(node << NODE_BITS) + LENGTH];
  }

  #child(node: number, side: number): number {
    return this.#nodes[(node << NODE_BITS) + CHILD + side];
  }

  /** How many of the first `limit` bits are those of the node's prefix. */
  #commonLength(words: Int32Array, node: number, limit: number): number {
    const base = node << NODE_BITS;
    for (let i = 0; 32 * i < limit; i++) {
      const differing = words[i] ^ this.#nodes[base + i];
      if (differing !== 0) return Math.min(limit, 32 * i + Math.clz32(differing));
    }
    return limit;
  }
}

function bit(words: Int32Array, index: number): number {
  return (words[index >>> 5] >>> (31 - (index & 31))) & 1;
}
