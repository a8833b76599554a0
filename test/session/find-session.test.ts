// A session found by what its real server sees, in the memory of a table that goes on changing.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { findSession, type SessionTuple } from '../../src/session/find-session.ts';
import { NEXT, SESSION_WORDS } from '../../src/session/session.ts';
import type { SessionNames } from '../../src/session/snapshot.ts';
import { type IndexMemory, indexBuckets } from '../../src/session/tuple-index.ts';
import { LEGS, makeTable, type TableOptions, VIPS } from './sample.ts';

const NAMES: SessionNames = {
  services: [{ name: 'game', vips: VIPS, vport: 6000, maxTrials: 3 }],
  legs: LEGS.map((leg) => ({ ...leg, rport: 6000, dialect: 'ipo' })),
};

function indexFor(slots: number): IndexMemory {
  return { key: new Int32Array(2), heads: new Int32Array(indexBuckets(slots)) };
}

/** A table whose index others can look into, and what they find. */
function shared(slots: number, options: TableOptions = {}) {
  const index = options.indexMemory ?? indexFor(slots);
  const made = makeTable(slots, { ...options, indexMemory: index });
  const { records } = made.table;
  const hotStates = new Uint8Array(slots);
  const tables = () => [{ records, slots: made.table.usedSlots, hotStates, index }];
  return { ...made, index, tables, hotStates };
}

const tupleOf = ({ leg, lport }: { leg: number; lport: number }): SessionTuple => ({
  lip: LEGS[leg]!.lip,
  lport,
  rs: LEGS[leg]!.rip,
  rsPort: 6000,
});

/** Of client number n, see sample.ts. */
const portOf = (n: number): number => n % 50_000;

describe('findSession', () => {
  test('finds each of many sessions of both families, and none that ended', () => {
    const { table, open, tables } = shared(20_000);
    const opened = Array.from({ length: 20_000 }, (_, n) => ({ n, ...open(n) }));
    for (const one of opened) if (one.n % 3 === 0) table.end(one.base, 'expired');
    for (const one of opened) {
      const found = findSession(tables(), NAMES, tupleOf(one), 0);
      if (one.n % 3 === 0) assert.equal(found, undefined);
      else assert.deepEqual([found?.clientPort, found?.lport], [portOf(one.n), one.lport]);
    }
  });

  test('tells all that /sessions tells, also of a hot one', () => {
    const { open, table, tables, hotStates } = shared(10);
    const session = open(4, 1_000);
    table.markNormal(session.base);
    hotStates[session.base / SESSION_WORDS] = 1;
    assert.deepEqual(findSession(tables(), NAMES, tupleOf(session), 1_250), {
      service: 'game',
      client: '192.0.2.2',
      clientPort: 4,
      vip: VIPS[0],
      vport: 6000,
      lip: '10.2.0.200',
      lport: session.lport,
      rs: '10.2.0.10',
      rsPort: 6000,
      state: 'normal',
      idleMs: 250,
      uoa: { state: 'sending', sent: 0 },
      fastPath: 'hot',
    });
  });

  test('finds those of every datapath, each by its own key', () => {
    const first = shared(100);
    const second = shared(100, { seed: [33, 44], lports: { first: 30_000, last: 40_000 } });
    const tables = [...first.tables(), ...second.tables()];
    for (let n = 0; n < 100; n++) {
      const tuple = tupleOf((n % 2 === 0 ? first : second).open(n));
      assert.equal(findSession(tables, NAMES, tuple, 0)?.clientPort, n);
    }
  });

  test('another lport, LIP, port or real server has none', () => {
    const { open, tables } = shared(10);
    const tuple = tupleOf(open(1));
    const others: Partial<SessionTuple>[] = [
      { lport: tuple.lport + 1 },
      { lip: '10.2.0.201' },
      { rs: '10.2.0.11' },
      { rsPort: 6001 },
      { lip: LEGS[1].lip, rs: LEGS[1].rip },
    ];
    for (const other of others)
      assert.equal(findSession(tables(), NAMES, { ...tuple, ...other }, 0), undefined);
  });

  test('one that a reload gave no name any more is none', () => {
    const { open, tables } = shared(10);
    const tuple = tupleOf(open(1));
    assert.equal(findSession(tables(), { ...NAMES, legs: [] }, tuple, 0), undefined);
    assert.equal(findSession(tables(), { ...NAMES, services: [] }, tuple, 0), undefined);
  });

  test('finds what a successor took over from a process that ended, and nothing by links of before', () => {
    const index = indexFor(100);
    const before = shared(100, { indexMemory: index });
    const sessions = Array.from({ length: 100 }, (_, n) => ({ n, ...before.open(n) }));
    for (const { n, base } of sessions) if (n % 2 === 0) before.table.end(base, 'expired');
    const { records } = before.table;
    const after = shared(100, { indexMemory: index, records, seed: [55, 66] });
    for (const one of sessions) assert.equal(findSession(after.tables(), NAMES, tupleOf(one), 0), undefined);
    after.table.restore(100, { onRestored: () => {} });
    assert.deepEqual([...index.key], [55, 66]);
    for (const one of sessions) {
      const found = findSession(after.tables(), NAMES, tupleOf(one), 0);
      assert.equal(found?.clientPort, one.n % 2 === 0 ? undefined : one.n);
    }
  });

  test('comes to an end where links lead astray, as while they change', () => {
    const { open, table, tables, index } = shared(10);
    const tuple = tupleOf(open(1));
    const { records } = table;
    index.heads.fill(1);
    for (let slot = 0; slot < 10; slot++) {
      records[slot * SESSION_WORDS + NEXT] = 1; // to itself
      records[slot * SESSION_WORDS + NEXT + 1] = 1;
    }
    assert.equal(findSession(tables(), NAMES, { ...tuple, lport: tuple.lport + 1 }, 0), undefined);
    index.heads.fill(2 ** 30);
    assert.equal(findSession(tables(), NAMES, tuple, 0), undefined);
  });
});
