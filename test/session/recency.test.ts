// The order of use of slots, in one cache and in several.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { Recency } from '../../src/session/recency.ts';

describe('recency', () => {
  test('is the order of the last use, whatever comes and goes', () => {
    const step = fc.record({ slot: fc.nat(19), what: fc.constantFrom('use', 'use', 'delete', 'pop') });
    const property = fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const recency = new Recency(20, 12);
      let model: number[] = [];
      for (const { slot, what } of steps) {
        if (what === 'pop') {
          if (model.length > 0) assert.equal(recency.pop(), model.shift());
        } else if (model.includes(slot)) {
          if (what === 'use') recency.touch(slot);
          else recency.delete(slot);
          model = model.filter((one) => one !== slot);
          if (what === 'use') model.push(slot);
        } else if (model.length < recency.max) {
          recency.add(slot);
          model.push(slot);
        }
        assert.equal(recency.count, model.length);
      }
    });
    fc.assert(property, { numRuns: 500 });
  });

  test('holds as many slots as it may, also in several caches, and gives each back once', () => {
    const recency = new Recency(300_000, 200_001);
    for (let slot = 0; slot < 200_001; slot++) recency.add(slot);
    const out = new Set<number>();
    while (recency.count > 0) out.add(recency.pop());
    assert.equal(out.size, 200_001);
  });

  test('of several caches none becomes small, so that what goes is old in all of them', () => {
    const max = 150_000; // three caches
    const recency = new Recency(2 * max, max);
    const addedAt = new Map<number, number>();
    let time = 0;
    const add = (slot: number) => {
      recency.add(slot);
      addedAt.set(slot, time++);
    };
    for (let slot = 0; slot < max; slot++) add(slot);
    // Two of three in a row end, which would empty two caches.
    for (let slot = 0; slot < max; slot++) {
      if (slot % 3 === 0) continue;
      recency.delete(slot);
      addedAt.delete(slot);
    }
    for (let slot = max; slot < max + 90_000; slot++) add(slot);
    for (let n = 0; n < 200_000; n++) {
      const slot = recency.pop();
      const age = time - addedAt.get(slot)!;
      addedAt.delete(slot);
      assert.ok(age > recency.count / 2, `one of the newest goes: age ${age} of ${recency.count}, turn ${n}`);
      add(slot);
    }
  });
});
