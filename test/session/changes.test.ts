// Sessions that go on with another leg, and tables that go on with other services and legs.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  FLAG_COUNTED,
  HANDSHAKE,
  LAST_SEEN,
  LPORT_FLAGS,
  learnedMtuOf,
  learnMtu,
  legOf,
  lportOf,
  SESSION_WORDS,
} from '../../src/session/session.ts';
import type { SessionEnd } from '../../src/session/table.ts';
import { baseOf } from '../../src/session/tuple-index.ts';
import { onUoaSent, trialsSent } from '../../src/uoa/handshake.ts';
import { makeTable, reply, request } from './sample.ts';

const LPORTS = { first: 5000, last: 5009 };

describe('a session that moves to another leg', () => {
  test('answers come by the new LIP:lport only, the old lport is free, the real server is told the client again', () => {
    const { table, open, legs } = makeTable(5, { lports: LPORTS });
    const { records } = table;
    const { base, leg, lport } = open(1, 1_000);
    const other = open(2, 1_000);
    table.markNormal(base);
    records[base + LPORT_FLAGS] |= FLAG_COUNTED;
    learnMtu(records, base, 1400, 1_000);
    onUoaSent(records, base + HANDSHAKE, 1_000);
    const next = legs[1].pool.take();
    table.move(base, legs[1], next, 9_000);
    assert.deepEqual([leg, other.leg, legOf(records, base), lportOf(records, base)], [0, 1, 1, next]);
    assert.equal(table.find(reply(leg, lport)), -1);
    assert.equal(baseOf(table.find(reply(1, next))), base);
    assert.equal(baseOf(table.find(request(1))), base);
    assert.equal(baseOf(table.find(reply(other.leg, other.lport))), other.base);
    assert.deepEqual([legs[0].pool.inUse, legs[1].pool.inUse], [0, 2]);
    assert.equal(learnedMtuOf(records, base, 9_000), 0);
    assert.equal(trialsSent(records, base + HANDSHAKE), 0);
    assert.ok(table.isNormal(base) && (records[base + LPORT_FLAGS] & FLAG_COUNTED) !== 0);
    assert.equal(records[base + LAST_SEEN], 1_000);
    table.end(base, 'expired');
    assert.deepEqual([legs[0].pool.inUse, legs[1].pool.inUse, table.count], [0, 1, 1]);
  });

  test('is lost at most itself, wherever the process ends meanwhile', () => {
    const { table, open, legs } = makeTable(4, { lports: LPORTS });
    // On legs 0, 1, 0, 1 with lports 5000, 5000, 5001, 5001.
    const sessions = [1, 2, 3, 4].map((n) => open(n));
    const slots = table.usedSlots;
    const written = new Int32Array(table.records);
    const states: Int32Array[] = [];
    // Every write is seen before it happens.
    const watched = new Proxy(written, {
      get: (target, key) => {
        const value = Reflect.get(target, key, target) as unknown;
        return typeof value === 'function' ? value.bind(target) : value;
      },
      set: (target, key, value) => {
        states.push(new Int32Array(target));
        return Reflect.set(target, key, value, target);
      },
    });
    const mover = makeTable(4, { records: watched, lports: LPORTS });
    mover.table.restore(slots, { onRestored: () => {} });
    states.length = 0;
    const moved = sessions[2];
    const lport = mover.legs[1].pool.take();
    assert.equal(legs[moved.leg].index, 0);
    mover.table.move(moved.base, mover.legs[1], lport, 5_000);
    states.push(new Int32Array(written));
    assert.ok(states.length >= 4);
    for (const [step, records] of states.entries()) {
      const after = makeTable(4, { records, lports: LPORTS });
      after.table.restore(slots, { onRestored: () => {} });
      for (const [index, { base, leg, lport: own }] of sessions.entries()) {
        if (base === moved.base) continue;
        assert.equal(baseOf(after.table.find(request(index + 1))), base, `write ${step}`);
        assert.equal(baseOf(after.table.find(reply(leg, own))), base, `write ${step}`);
      }
      const isThere = after.has(3);
      if (isThere) {
        const at = [legOf(records, moved.base), lportOf(records, moved.base)];
        const isOldOrNew = String(at) === String([0, moved.lport]) || String(at) === String([1, lport]);
        assert.ok(isOldOrNew, `write ${step}: ${at}`);
      }
      const inUse = after.legs[0].pool.inUse + after.legs[1].pool.inUse;
      assert.deepEqual([inUse, after.table.count], [isThere ? 4 : 3, isThere ? 4 : 3]);
    }
  });
});

describe('a session table that is given other services and legs', () => {
  const fill = () => {
    const ended: [number, SessionEnd][] = [];
    const made = makeTable(10, { lports: LPORTS, onEnd: (base, end) => ended.push([base, end]) });
    return { ...made, ended, sessions: [1, 2, 3, 4].map((n) => made.open(n)) };
  };

  test('ends the sessions of a leg that is gone, which gets its lports back', () => {
    const { table, legs, service, sessions, ended, has } = fill();
    table.markNormal(sessions[1].base);
    table.reconfigure([service], [legs[0]]);
    const removed = sessions.filter(({ leg }) => leg === 1);
    assert.deepEqual(
      ended,
      removed.map(({ base }) => [base, 'removed']),
    );
    assert.deepEqual([legs[0].pool.inUse, legs[1].pool.inUse, table.count], [2, 0, 2]);
    assert.deepEqual([1, 2, 3, 4].map(has), [true, false, true, false]);
  });

  test('knows the rest by both tuples, with gaps between the numbers', () => {
    const { table, legs, service, sessions, ended } = fill();
    table.reconfigure([service, undefined, { ...service, vport: 7000 }], [undefined, { ...legs[1] }]);
    assert.equal(ended.length, 2);
    for (const { base, leg, lport } of sessions.filter(({ leg }) => leg === 1))
      assert.equal(baseOf(table.find(reply(leg, lport))), base);
    table.sweep(10, 400_000);
    assert.deepEqual([table.count, legs[1].pool.inUse], [0, 0]);
  });

  test('ends all sessions of a service that is gone', () => {
    const { table, legs, ended } = fill();
    table.reconfigure([], legs);
    assert.deepEqual([table.count, ended.length], [0, 4]);
  });

  test('keeps every session, also where timeouts are others now', () => {
    const { table, legs, service, ended } = fill();
    table.reconfigure([{ ...service, onewayMs: 1_000 }], [...legs]);
    assert.deepEqual([table.count, ended.length], [4, 0]);
    table.sweep(10, 1_000);
    assert.deepEqual([table.count, ended.length], [0, 4]);
  });
});

describe('a restored session table', () => {
  test('keeps what was answered, and of the rest what its part has room for', () => {
    const { table, open } = makeTable(8, { lports: LPORTS });
    for (let n = 0; n < 8; n++) {
      const { base } = open(n);
      if (n >= 5) table.markNormal(base);
    }
    const { records, usedSlots } = table;
    const after = makeTable(records.length / SESSION_WORDS, { records, lports: LPORTS, onewayMax: 2 });
    after.table.restore(usedSlots, { onRestored: () => {} });
    const expected = [true, true, false, false, false, true, true, true];
    assert.deepEqual(
      expected.map((_, n) => after.has(n)),
      expected,
    );
    assert.equal(after.legs[0].pool.inUse + after.legs[1].pool.inUse, 5);
    after.open(20);
    assert.deepEqual([after.has(0), after.has(1), after.table.count], [false, true, 5]);
  });
});
