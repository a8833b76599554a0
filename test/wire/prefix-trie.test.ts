// Longest prefix match, compared with looking at every prefix.
import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { FINAL, NONE, PrefixTrie } from '../../src/wire/prefix-trie.ts';

const INDEXED = 5_000; // with so many prefixes there is an index

interface Prefix {
  words: Int32Array;
  length: number;
  isV4: boolean;
}
type Model = Map<string, Prefix & { value: number }>;

function covers({ words, length, isV4 }: Prefix, address: Int32Array, addressIsV4: boolean): boolean {
  if (isV4 !== addressIsV4) return false;
  for (let i = 0; i < length; i++) {
    if (((words[i >>> 5] ^ address[i >>> 5]) >>> (31 - (i & 31))) & 1) return false;
  }
  return true;
}

function expected(model: Model, address: Int32Array, isV4: boolean): number {
  const around = [...model.values()].filter((prefix) => covers(prefix, address, isV4));
  if (around.some(({ value }) => value === FINAL)) return FINAL;
  return around.reduce((best, prefix) => (prefix.length > best.length ? prefix : best), {
    length: -1,
    value: NONE,
  }).value;
}

/** Words whose bits come from few choices, so that prefixes lie in each other. */
const word = fc.constantFrom(0, -1, 1, 0x80000000 | 0, 0x20010db8, 0x20010db9, 0x0a000001, 0x0a000100);
const prefix = fc
  .tuple(fc.boolean(), word, word, word, word, fc.nat(128))
  .map(([isV4, a, b, c, d, length]): Prefix => {
    // An IPv6 address that looks like an IPv4 one is an IPv4 one.
    const words = isV4 ? Int32Array.of(0, 0, 0xffff, d) : Int32Array.of(a, b, c, d);
    return { words, length: isV4 ? 96 + (length % 33) : length, isV4 };
  });
const step = fc.record({
  prefix,
  value: fc.constantFrom(NONE, NONE, FINAL, 0, 1, 2, 3),
  /** Drop the longer prefixes within it. */
  clears: fc.constantFrom(false, false, false, true),
});

function keyOf({ words, length, isV4 }: Prefix): string {
  const masked = [...words].map((value, i) => {
    const bits = length - 32 * i;
    return bits >= 32 ? value : bits <= 0 ? 0 : value & (-1 << (32 - bits));
  });
  return `${isV4} ${masked} ${length}`;
}

test('the longest prefix counts, but for a final one, while prefixes come and go', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), fc.boolean(), (steps, isLarge) => {
      const trie = new PrefixTrie();
      if (isLarge) {
        for (let i = 0; i < INDEXED; i++)
          trie.setValue(trie.insert(Int32Array.of(0, 0, 0xffff, 0xc6000000 | i), 128, true), 9);
      }
      const model: Model = new Map();
      for (const { prefix, value, clears } of steps) {
        const node = trie.insert(prefix.words, prefix.length, prefix.isV4);
        assert.equal(trie.nodeOf(prefix.words, prefix.length, prefix.isV4), node);
        if (clears) {
          const within = [...model].filter(
            ([, { words, length, isV4 }]) => length > prefix.length && covers(prefix, words, isV4),
          );
          const cleared = trie.clearWithin(node);
          if (!isLarge) assert.equal(cleared, within.length);
          for (const [key] of within) model.delete(key);
        }
        trie.setValue(node, value);
        if (value === NONE) {
          trie.prune(node);
          model.delete(keyOf(prefix));
        } else {
          model.set(keyOf(prefix), { ...prefix, value });
        }
        for (const {
          prefix: { words, isV4 },
        } of steps) {
          assert.equal(trie.find(words, 0), expected(model, words, isV4));
        }
      }
    }),
    { numRuns: 60 },
  );
});
