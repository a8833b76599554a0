// What is kept for pairs of a source and a destination, however many there are.
import assert from 'node:assert/strict';
import test from 'node:test';
import { PAIR_WORDS, PairTable, TO } from '../../src/route/pair-table.ts';

const pair = new Int32Array(PAIR_WORDS);

function pairOf(n: number): Int32Array {
  pair.set([0, 0, 0xffff, 0xc0000201 | 0], 0);
  pair.set([0, 0, 0xffff, 0x14000000 + n], TO);
  return pair;
}

test('almost all of 300,000 pairs are at hand in a table for a million, with both their numbers', () => {
  const table = new PairTable(8, 20);
  const pairs = 300_000;
  for (let n = 0; n < pairs; n++) table.set(pairOf(n), n, -n);
  for (let rounds = 0; rounds < 2; rounds++)
    for (let n = 0; n < pairs; n++) if (table.find(pairOf(n)) < 0) table.set(pairOf(n), n, -n);
  let found = 0;
  for (let n = 0; n < pairs; n++) {
    const entry = table.find(pairOf(n));
    if (entry < 0) continue;
    found++;
    if (table.value(entry) !== n || table.stamp(entry) !== -n) assert.fail(`pair ${n} has another's numbers`);
  }
  assert.ok(found > 0.98 * pairs, `${found} of ${pairs}`);
  assert.ok(table.find(pairOf(pairs)) < 0);
});

test('more pairs than there is room for take the places of others, and the last one is there', () => {
  const table = new PairTable(8);
  for (let n = 0; n < 10_000; n++) {
    table.set(pairOf(n), n, 7);
    assert.equal(table.value(table.find(pairOf(n))), n);
  }
  table.set(pairOf(9_999), 5, 6);
  const entry = table.find(pairOf(9_999));
  assert.deepEqual([table.value(entry), table.stamp(entry)], [5, 6]);
});

test('pairs that are looked for stay at hand while it grows, and others need not', () => {
  const table = new PairTable(8, 16);
  const used = 50;
  let misses = 0;
  for (let n = 0; n < 20_000; n++) {
    table.set(pairOf(n), n, n + 1);
    const again = n % used;
    const entry = table.find(pairOf(again));
    if (entry >= 0)
      assert.deepEqual([table.value(entry), table.stamp(entry)], [again, again + 1], `after ${n}`);
    else {
      misses++; // too many have the same few places
      table.set(pairOf(again), again, again + 1);
    }
  }
  assert.ok(misses < 200, `${misses}`);
  assert.ok(table.find(pairOf(used)) < 0, 'one that was not looked for since it was small');
});

test('room that only pairs needed which nobody looks for any more is given back, and the others stay', () => {
  const table = new PairTable(8, 20);
  for (let n = 0; n < 100_000; n++) table.set(pairOf(n), n, -n);
  const large = table.size;
  assert.ok(large >= 100_000);
  const used = Array.from({ length: 100_000 }, (_, n) => n).filter((n) => table.find(pairOf(n)) >= 0);
  table.trim();
  assert.equal(table.size, large, 'they were all in use');
  const few = used.slice(-100);
  const lookForFew = () => {
    for (const n of few) {
      const entry = table.find(pairOf(n));
      assert.ok(entry >= 0, `pair ${n}`);
      assert.deepEqual([table.value(entry), table.stamp(entry)], [n, -n]);
    }
  };
  for (let period = 0; period < 4; period++) {
    lookForFew();
    table.trim();
  }
  lookForFew();
  assert.ok(table.size <= 1024, `${table.size}`);
  assert.ok(table.find(pairOf(used[0])) < 0);
  table.trim();
  table.trim();
  assert.equal(table.size, 256, 'not less than it began with');
});
