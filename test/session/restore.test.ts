// A session table that goes on with the records of another one, whose process ended.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { CPORT_SERVICE, FLAG_USED, LEG_MTU, LPORT_FLAGS, SESSION_WORDS } from '../../src/session/session.ts';
import { baseOf, isInbound } from '../../src/session/tuple-index.ts';
import { makeTable, reply, request } from './sample.ts';

const LPORTS = { first: 5000, last: 5039 };

/** A table with these clients' sessions, and what becomes of its records. */
function leave(clients: readonly number[], max = 50) {
  const { table, open } = makeTable(max, { lports: LPORTS });
  const sessions = new Map(clients.map((n) => [n, open(n, 1_000 + n)]));
  return { table, sessions, records: table.records };
}

/** A second table over the records, and the bases that it took over. */
function takeOver(records: Int32Array, slots: number) {
  const made = makeTable(records.length / SESSION_WORDS, { records, lports: LPORTS });
  const restored: number[] = [];
  made.table.restore(slots, { onRestored: (base) => restored.push(base) });
  return { ...made, restored };
}

describe('a session table restored from records', () => {
  test('finds each session by both tuples, with its state, and forgets those that had ended', () => {
    const { table, sessions, records } = leave([1, 2, 3, 4, 5]);
    table.markNormal(sessions.get(2)!.base);
    table.end(sessions.get(4)!.base, 'expired');
    const again = takeOver(records, table.usedSlots);
    assert.equal(again.table.count, 4);
    assert.deepEqual(
      again.restored,
      [1, 2, 3, 5].map((n) => sessions.get(n)!.base),
    );
    for (const [n, { base, leg, lport }] of sessions) {
      if (n === 4) {
        assert.ok(!again.has(n));
        assert.equal(again.table.find(reply(leg, lport)), -1);
        continue;
      }
      const entry = again.table.find(request(n));
      assert.deepEqual([baseOf(entry), isInbound(entry)], [base, true]);
      assert.equal(baseOf(again.table.find(reply(leg, lport))), base);
      assert.equal(again.table.isNormal(base), n === 2);
      assert.equal(again.table.isExpired(base, 300_999 + n), false);
      assert.equal(again.table.isExpired(base, 301_000 + n), true);
    }
  });

  test('hands out the other lports only, and each of them', () => {
    const { sessions, records, table } = leave([1, 2, 3, 4, 5, 6]);
    const used = [0, 1].map((leg) =>
      [...sessions.values()].filter((session) => session.leg === leg).map(({ lport }) => lport),
    );
    const { legs } = takeOver(records, table.usedSlots);
    for (const { pool, index } of legs) {
      assert.equal(pool.inUse, 3);
      const taken = Array.from({ length: pool.capacity - 3 }, () => pool.take());
      assert.equal(pool.take(), -1);
      const all = Array.from({ length: 40 }, (_, n) => LPORTS.first + n);
      assert.deepEqual([...taken, ...used[index]].sort(), all);
    }
  });

  const broken: [name: string, word: number, value: number][] = [
    ['whose service does not exist', CPORT_SERVICE, (5000 << 16) | 7],
    ['whose leg does not exist', LEG_MTU, 9],
    ["whose lport is not the pool's", LPORT_FLAGS, (4999 << 16) | FLAG_USED],
    ['whose lport is that of the session before', LPORT_FLAGS, (5000 << 16) | FLAG_USED],
    ['that was not begun to be used', LPORT_FLAGS, 0],
  ];
  for (const [name, word, value] of broken) {
    test(`gives up a record ${name}, and uses its slot again`, () => {
      const { sessions, records, table } = leave([1, 2, 3]);
      records[sessions.get(3)!.base + word] = value; // the leg of 1 too
      const again = takeOver(records, table.usedSlots);
      assert.deepEqual(
        [1, 2, 3].map((n) => again.has(n)),
        [true, true, false],
      );
      assert.equal(again.open(8).base, sessions.get(3)!.base);
      assert.deepEqual([again.has(8), again.table.count, again.table.usedSlots], [true, 3, 3]);
    });
  }

  test('evicts and expires as before, and takes fresh slots when the used ones are full', () => {
    const { records, table } = leave([1, 2, 3], 5);
    const again = takeOver(records, table.usedSlots);
    for (const n of [4, 5]) again.open(n, 2_000);
    assert.equal(again.table.count, 5);
    again.open(6, 2_000);
    assert.deepEqual([again.table.count, again.has(1), again.has(6)], [5, false, true]);
    again.table.sweep(5, 301_500);
    assert.equal(again.table.count, 3);
  });

  test('is the same table after any opens and ends, however often', () => {
    const step = fc.record({ n: fc.nat(59), end: fc.boolean() });
    const property = fc.property(fc.array(fc.array(step, { maxLength: 60 }), { maxLength: 4 }), (lives) => {
      const records = new Int32Array(50 * SESSION_WORDS);
      const alive = new Map<number, { base: number; leg: number; lport: number }>();
      let slots = 0;
      for (const steps of lives) {
        const { table, open, legs, restored } = takeOver(records, slots);
        assert.equal(table.count, alive.size);
        assert.deepEqual(new Set(restored), new Set([...alive.values()].map(({ base }) => base)));
        for (const [n, { base, leg, lport }] of alive) {
          assert.equal(baseOf(table.find(request(n))), base);
          assert.equal(baseOf(table.find(reply(leg, lport))), base);
        }
        for (const { n, end } of steps) {
          const session = alive.get(n);
          assert.equal(table.find(request(n)) >= 0, session !== undefined);
          if (session === undefined && alive.size < 50 && legs.every(({ pool }) => pool.inUse < 40)) {
            const opened = open(n);
            const taken = [...alive.values()].some(
              ({ leg, lport }) => leg === opened.leg && lport === opened.lport,
            );
            assert.ok(!taken, `lport ${opened.lport} is in use`);
            alive.set(n, opened);
          } else if (session !== undefined && end) {
            table.end(session.base, 'expired');
            alive.delete(n);
          }
        }
        for (const { pool, index } of legs) {
          assert.equal(pool.inUse, [...alive.values()].filter(({ leg }) => leg === index).length);
        }
        slots = table.usedSlots;
      }
    });
    fc.assert(property, { numRuns: 300 });
  });
});
