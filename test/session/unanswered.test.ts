// Whose lport a new session gets where none is free, against lists: whatever opened, answered, moved or ended
// before.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { LportPool } from '../../src/session/lport-pool.ts';
import { LAST_SEEN, lportOf } from '../../src/session/session.ts';
import { makeTable, request } from './sample.ts';

const LPORTS = { first: 5000, last: 5007 };
const KINDS = [
  'open',
  'open',
  'open',
  'open',
  'answer',
  'end',
  'touch',
  'touch',
  'move',
  'replan',
  'restart',
  'wait',
] as const;

interface Session {
  n: number;
  base: number;
  leg: number;
  isKnown: boolean;
  isAnswered: boolean;
  touchedAt: number;
}

const step = fc.record({
  what: fc.constantFrom(...KINDS),
  leg: fc.nat(1),
  pick: fc.nat(100),
  isKnown: fc.boolean(),
});

test('it is the session without an answer that was used least recently, of clients who were answered before the last', () => {
  const property = fc.property(fc.array(step, { minLength: 80, maxLength: 160 }), (steps) => {
    const ended: number[] = [];
    const onEnd = (base: number) => ended.push(base);
    const { service, ...made } = makeTable(100, { lports: LPORTS, onEnd });
    let { table, legs } = made;
    /** In the order of use. */
    let alive: Session[] = [];
    let n = 0;
    let nowMs = 0;
    const use = (session: Session) => {
      alive = [...alive.filter((one) => one !== session), session];
    };
    /** An lport of the leg, and whose it was, if anybody's; -1 when all were answered. */
    const take = (index: number): number => {
      const { pool } = legs[index];
      if (pool.available > 0) return pool.take();
      const waiting = alive.filter(({ leg, isAnswered }) => leg === index && !isAnswered);
      const expected = waiting.find(({ isKnown }) => !isKnown) ?? waiting[0];
      assert.equal(pool.hasUnanswered, expected !== undefined);
      if (expected === undefined) return -1;
      ended.length = 0;
      const lport = lportOf(table.records, expected.base);
      table.displaceOldest(pool);
      assert.deepEqual(ended, [expected.base]);
      alive = alive.filter((one) => one !== expected);
      assert.equal(pool.take(), lport, 'it is the only one that is free');
      return lport;
    };
    for (const { what, leg: index, pick, isKnown } of steps) {
      const leg = legs[index];
      const one = alive[pick % Math.max(1, alive.length)];
      if (what === 'wait') nowMs += 2000;
      else if (what === 'open') {
        const lport = take(index);
        if (lport < 0) continue;
        const base = table.open(request(n), 0, leg, lport, nowMs, isKnown);
        alive.push({ n: n++, base, leg: index, isKnown, isAnswered: false, touchedAt: nowMs });
      } else if (what === 'replan') {
        const last = LPORTS.last + (pick % 3);
        legs = legs.map((old) => ({
          ...old,
          pool: new LportPool(LPORTS.first, last, undefined, () => pick % 8),
        }));
        const before = alive;
        ended.length = 0;
        table.reconfigure([service], legs);
        alive = before.filter(({ base }) => !ended.includes(base));
      } else if (what === 'restart') {
        const { records, usedSlots } = table;
        // Its lports are those of the last plan.
        const { table: next } = makeTable(100, { records, onEnd });
        legs = legs.map((old) => ({ ...old, pool: new LportPool(LPORTS.first, LPORTS.last + 2) }));
        next.reconfigure([service], legs);
        const isKnown = (base: number) => alive.find((other) => other.base === base)!.isKnown;
        next.restore(usedSlots, { onRestored: () => {}, isKnown });
        table = next;
        const seen = ({ base }: Session) => records[base + LAST_SEEN];
        alive.sort((a, b) => seen(a) - seen(b) || a.base - b.base);
      } else if (one === undefined) continue;
      else if (what === 'end') {
        table.end(one.base, 'expired');
        alive = alive.filter((other) => other !== one);
      } else if (what === 'answer') {
        table.markNormal(one.base);
        one.isAnswered = true;
      } else if (what === 'touch') {
        if (one.touchedAt !== nowMs) use(one);
        one.touchedAt = nowMs;
        table.touch(one.base, nowMs);
      } else if (one.leg !== index) {
        const lport = take(index);
        if (lport < 0) continue;
        table.move(one.base, leg, lport, nowMs, isKnown);
        one.leg = index;
        one.isKnown ||= isKnown;
        use(one);
      }
      for (const { pool, index: own } of legs)
        assert.equal(pool.inUse, alive.filter((session) => session.leg === own).length);
      assert.equal(table.count, alive.length);
    }
  });
  fc.assert(property, { numRuns: 500 });
});
