// The session table against a plain Map, and its order of eviction above the size of one recency cache.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { SessionEnd } from '../../src/session/table.ts';
import { baseOf, isInbound } from '../../src/session/tuple-index.ts';
import { makeTable, reply, request } from './sample.ts';

describe('session table', () => {
  test('both tuples of every session find it, through 100,000 random opens and ends', () => {
    const { table, open } = makeTable(5_000);
    const alive = new Map<number, { base: number; leg: number; lport: number }>();
    let random = 1;
    for (let step = 0; step < 100_000; step++) {
      random = (Math.imul(random, 1103515245) + 12345) & 0x7fffffff;
      const n = (random >> 8) % 6_000;
      const session = alive.get(n);
      const entry = table.find(request(n));
      if (session === undefined) {
        assert.equal(entry, -1);
        if (alive.size < 5_000) alive.set(n, open(n));
      } else {
        assert.equal(baseOf(entry), session.base);
        assert.ok(isInbound(entry));
        const answer = reply(session.leg, session.lport);
        assert.equal(baseOf(table.find(answer)), session.base);
        assert.ok(!isInbound(table.find(answer)));
        if (random & 0x40) {
          table.end(session.base, 'expired');
          alive.delete(n);
          assert.equal(table.find(answer), -1);
        }
      }
      assert.equal(table.count, alive.size);
    }
  });

  for (const max of [65_537, 100_000]) {
    test(`of ${max} sessions the newest are not the first to go`, () => {
      const { table, open, has } = makeTable(max);
      for (let n = 0; n < max; n++) open(n);
      for (let n = max; n < max + 2_000; n++) open(n);
      assert.equal(table.count, max);
      const gone = Array.from({ length: max + 2_000 }, (_, n) => n).filter((n) => !has(n));
      assert.equal(gone.length, 2_000);
      assert.deepEqual(
        gone.filter((n) => n >= max),
        [],
        'newcomers stay',
      );
    });
  }

  test('an evicted session is named before its record is gone', () => {
    const ended: [number, SessionEnd][] = [];
    const { open } = makeTable(2, { onEnd: (base, end) => ended.push([base, end]) });
    const first = open(1);
    open(2);
    open(3);
    assert.deepEqual(ended, [[first.base, 'evicted']]);
  });

  test('a session in use is not the first to go, whether it was used before room got scarce or since', () => {
    for (const usedAt of [9_000, 9_900]) {
      const { table, open, has } = makeTable(8);
      const used = open(0, 0);
      for (let n = 1; n < 8; n++) open(n, n === 7 ? 9_500 : 8_200);
      table.touch(used.base, usedAt);
      open(8, 10_000);
      assert.deepEqual([has(0), has(1)], [true, false]);
    }
  });

  test('the order of use is right to 8 s while there is room, and to a second once a quarter is left', () => {
    const firstToGo = (openWhenUsed: number): number => {
      const { table, open, has } = makeTable(8);
      const used = open(0, 0);
      for (let n = 1; n < openWhenUsed; n++) open(n, 2_000);
      table.touch(used.base, 5_000);
      for (let n = openWhenUsed; n < 9; n++) open(n, 6_000);
      return [0, 1].findIndex((n) => !has(n));
    };
    assert.deepEqual([2, 5, 6, 8].map(firstToGo), [0, 0, 1, 1]);
  });
});
