// The order of use against a sort that compares, also where the time wraps.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { oldestFirst } from '../../src/session/oldest-first.ts';

test('places come in the order of their times, those of one time in their own', () => {
  const start = fc.constantFrom(0, 2 ** 31 - 50, -50, -(2 ** 31));
  const property = fc.property(start, fc.array(fc.nat(100), { maxLength: 50 }), (startMs, ages) => {
    const places = Uint32Array.from(ages, (_, i) => 7 + 3 * i);
    const times = Int32Array.from(ages, (age) => (startMs + age) | 0);
    const expected = [...places].sort((a, b) => ages[(a - 7) / 3] - ages[(b - 7) / 3] || a - b);
    assert.deepEqual([...oldestFirst(places, times)], expected);
  });
  fc.assert(property);
});

test('a day of milliseconds and a million places are told apart', () => {
  const count = 1_000_000;
  const places = Uint32Array.from({ length: count }, (_, i) => i);
  const times = Int32Array.from(places, (i) => ((i * 7919) % count) * 86);
  const order = oldestFirst(places, times);
  for (let i = 1; i < count; i++) assert.ok(times[order[i]] > times[order[i - 1]]);
});
