// Sessions with and without an answer: which of them make room for a new one, in a model and under a flood.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { SESSION_WORDS } from '../../src/session/session.ts';
import type { SessionEnd } from '../../src/session/table.ts';
import { baseOf } from '../../src/session/tuple-index.ts';
import { makeTable, reply, request } from './sample.ts';

/** More than what counts as the same time of use. */
/** The order of use is exact to so much while there is room. */
const LATER_MS = 8_192;
const LPORTS = { first: 5000, last: 5099 };

describe('a session table under load', () => {
  test('a flood without answers through a full table ends none that was answered, and newcomers are answered in it', () => {
    const max = 80_000;
    const { table, open, has } = makeTable(max, { onewayMax: 70_000, lports: { first: 0, last: 65_535 } });
    const answered = 20_000;
    for (let n = 0; n < answered; n++) table.markNormal(open(n).base);
    let late = 0;
    for (let n = 0; n < 150_000; n++) {
      const { base } = open(1_000_000 + n);
      if (n % 1_000 !== 0) continue;
      // A newcomer, and its answer after as many others as a flood brings meanwhile.
      const newcomer = open(answered + late);
      assert.equal(table.isNormal(base), false);
      for (let other = 0; other < 10_000 && n % 50_000 === 0; other++) open(3_000_000 + n + other);
      assert.ok(has(answered + late));
      table.markNormal(newcomer.base);
      late++;
    }
    assert.ok(table.count <= max);
    for (let n = 0; n < answered + late; n++) assert.ok(has(n), `session ${n} is gone`);
  });

  test('one that is answered pushes out the answered one least recently used, and one that is not never does', () => {
    const ended: number[] = [];
    const { table, open, has } = makeTable(4, { onEnd: (base) => ended.push(base) });
    const bases = [1, 2, 3].map((n) => open(n).base);
    for (const base of bases) table.markNormal(base);
    table.touch(bases[0], LATER_MS);
    const newcomers = [4, 5, 6].map((n) => open(n).base);
    assert.deepEqual(ended, newcomers.slice(0, 2), 'newcomers push out each other');
    ended.length = 0;
    table.markNormal(newcomers[2]);
    assert.deepEqual(ended, [bases[1]]);
    assert.deepEqual([1, 2, 3, 4, 5, 6].map(has), [true, false, true, false, false, true]);
    assert.equal(table.count, 3);
    open(7);
    assert.equal(table.count, 4);
  });

  test('3 % are kept for those without an answer, but no more than their part, and none of a single slot', () => {
    for (const [max, onewayMax, normal] of [
      [1, 1, 1],
      [2, 2, 1],
      [64, 64, 62],
      [640, 5, 635],
      [640, 300, 620],
    ] as const) {
      const { table, open } = makeTable(max, { onewayMax });
      for (let n = 1; n <= 2 * max; n++) table.markNormal(open(n).base);
      assert.equal(table.count, normal, `of ${max}`);
    }
  });

  test('those without an answer have their part only, also where there is room', () => {
    const ended: [number, SessionEnd][] = [];
    const { table, open } = makeTable(10, { onewayMax: 2, onEnd: (base, end) => ended.push([base, end]) });
    const [first, second] = [open(1).base, open(2).base];
    table.touch(first, LATER_MS);
    open(3);
    assert.deepEqual(ended, [[second, 'evicted']]);
    table.markNormal(first);
    open(4);
    assert.equal(table.count, 3);
  });

  test('is marked as answered twice without harm', () => {
    const { table, open } = makeTable(4);
    const { base } = open(1);
    table.markNormal(base);
    table.markNormal(base);
    assert.equal(table.count, 1);
    table.end(base, 'reset');
    assert.equal(table.count, 0);
  });

  test('is a bounded list of both kinds, whatever happens, also over restarts', () => {
    const n = fc.nat(29);
    const step = fc.oneof(
      { weight: 6, arbitrary: fc.record({ what: fc.constant('open' as const), n }) },
      { weight: 3, arbitrary: fc.record({ what: fc.constant('answer' as const), n }) },
      { weight: 2, arbitrary: fc.record({ what: fc.constant('touch' as const), n }) },
      { weight: 1, arbitrary: fc.record({ what: fc.constant('end' as const), n }) },
      { weight: 2, arbitrary: fc.record({ what: fc.constant('move' as const), n }) },
      { weight: 1, arbitrary: fc.record({ what: fc.constant('restart' as const), n }) },
    );
    interface Alive {
      base: number;
      leg: number;
      lport: number;
      isNormal: boolean;
    }
    const property = fc.property(
      fc.array(step, { maxLength: 120 }),
      fc.integer({ min: 1, max: 9 }),
      fc.integer({ min: 1, max: 9 }),
      (steps, max, onewayMax) => {
        const records = new Int32Array(max * SESSION_WORDS);
        /** In the order of use. */
        const alive = new Map<number, Alive>();
        let evicted: number[] = [];
        const make = () =>
          makeTable(max, { records, onewayMax, lports: LPORTS, onEnd: (base) => evicted.push(base) });
        let made = make();
        let now = 0;
        const used = (session: number) => {
          const state = alive.get(session)!;
          alive.delete(session);
          alive.set(session, state);
        };
        const oldest = (isNormal: boolean) => [...alive].find(([, state]) => state.isNormal === isNormal);
        for (const { what, n } of steps) {
          now += LATER_MS;
          const { table, legs, open } = made;
          evicted = [];
          const session = alive.get(n);
          assert.equal(table.find(request(n)) >= 0, session !== undefined);
          if (what === 'restart') {
            const slots = table.usedSlots;
            made = make();
            made.table.restore(slots, { onRestored: () => {} });
          } else if (what === 'open' && session === undefined) {
            const oneway = [...alive.values()].filter(({ isNormal }) => !isNormal).length;
            const isFull = alive.size === max || oneway === Math.min(max, onewayMax);
            const victim = isFull ? (max === 1 ? [...alive][0] : oldest(false)) : undefined;
            const opened = open(n, now);
            assert.deepEqual(evicted, victim === undefined ? [] : [victim[1].base]);
            if (victim !== undefined) alive.delete(victim[0]);
            alive.set(n, { ...opened, isNormal: false });
          } else if (session !== undefined && what === 'answer' && !session.isNormal) {
            // Of so few slots one is kept for those without an answer.
            const normal = [...alive.values()].filter(({ isNormal }) => isNormal).length;
            const victim = normal === Math.max(1, max - 1) ? oldest(true) : undefined;
            table.markNormal(session.base);
            assert.deepEqual(evicted, victim === undefined ? [] : [victim[1].base]);
            if (victim !== undefined) alive.delete(victim[0]);
            table.touch(session.base, now);
            session.isNormal = true;
            used(n);
          } else if (session !== undefined && what === 'touch') {
            table.touch(session.base, now);
            used(n);
          } else if (session !== undefined && what === 'end') {
            table.end(session.base, 'reset');
            alive.delete(n);
          } else if (session !== undefined && what === 'move') {
            const leg = legs[1 - session.leg];
            const lport = leg.pool.take();
            const old = reply(session.leg, session.lport);
            table.move(session.base, leg, lport, now);
            assert.equal(table.find(old), -1);
            Object.assign(session, { leg: leg.index, lport });
          }
          assert.equal(made.table.count, alive.size);
          for (const [one, { base, leg, lport, isNormal }] of alive) {
            assert.equal(baseOf(made.table.find(request(one))), base);
            assert.equal(baseOf(made.table.find(reply(leg, lport))), base);
            assert.equal(made.table.isNormal(base), isNormal);
          }
          for (const { pool, index } of made.legs) {
            const inUse = [...alive.values()].filter(({ leg }) => leg === index).length;
            assert.deepEqual([pool.inUse, pool.available], [inUse, 100 - inUse]);
          }
        }
      },
    );
    fc.assert(property, { numRuns: 1_000 });
  });
});
