// What a client may take, counted over all datapaths, and which clients were answered.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { ClientTable } from '../../src/datapath/client-table.ts';
import { FLAG_COUNTED, LPORT_FLAGS } from '../../src/session/session.ts';
import { planOf, tableOf, Worker } from './admission-rig.ts';

const A = '192.0.2.1';
const B = '192.0.2.2';
const MINUTE = 60_000;
/** The first word of the first set of a table. */
const FIRST_LOCK = 16;

describe('sessions per client', () => {
  test('are counted over all datapaths, and by service', () => {
    const clients = tableOf();
    const plans = [planOf({ sessionsPerClient: 5 }), planOf({ sessionsPerClient: 2 }, { index: 1 })];
    const [first, second] = [0, 1].map((worker) => new Worker(plans, clients, worker)) as [Worker, Worker];
    assert.equal(first.openMany(A, 3), 3);
    assert.equal(second.openMany(A, 9), 2);
    assert.equal(first.open(A), 'drop:client_session_limit');
    assert.equal(second.openMany(A, 9, 1), 2);
    assert.equal(first.open(A, 1), 'drop:client_session_limit');
    assert.equal(first.openMany(B, 9), 5);
    first.end(0);
    assert.equal(second.openMany(A, 9), 1);
  });

  const prefixes: [prefixV4: number, prefixV6: number, same: string[], other: string[]][] = [
    [32, 64, ['192.0.2.1'], ['192.0.2.2', '192.0.3.1', '::192.0.2.1']],
    [24, 64, ['192.0.2.1', '192.0.2.255', '192.0.2.0'], ['192.0.3.1', '193.0.2.1']],
    [8, 64, ['192.0.2.1', '192.255.255.255'], ['193.0.2.1', '128.0.2.1']],
    [9, 64, ['192.0.2.1', '192.127.255.255'], ['192.128.2.1']],
    [32, 64, ['2001:db8::1', '2001:db8::ffff:0:0:1'], ['2001:db8:0:1::1', '2001:db9::1']],
    [32, 128, ['2001:db8::1'], ['2001:db8::2', '2001:db8:8000::1']],
    [32, 16, ['2001:db8::1', '2001::'], ['2002:db8::1']],
    [32, 47, ['2001:db8::1', '2001:db8:1:ffff::1'], ['2001:db8:2::1']],
  ];
  for (const [prefixV4, prefixV6, same, other] of prefixes) {
    test(`of /${prefixV4} and /${prefixV6}: ${same.join(' and ')} are one client`, () => {
      const worker = new Worker([planOf({ sessionsPerClient: same.length, prefixV4, prefixV6 })], tableOf());
      for (const address of same) assert.equal(typeof worker.open(address), 'number');
      for (const address of same) assert.equal(worker.open(address), 'drop:client_session_limit');
      for (const address of other) assert.equal(typeof worker.open(address), 'number');
    });
  }

  test('hold against a client with many addresses while thousands of others come and go', () => {
    const worker = new Worker([planOf({ sessionsPerClient: 4, prefixV4: 24 })], tableOf(64));
    let opened = 0;
    for (let n = 0; n < 20_000; n++) {
      if (typeof worker.open(`203.0.113.${n & 0xff}`) === 'number') opened++;
      const other = worker.open(`10.${n >> 8}.${n & 0xff}.1`);
      worker.end(other);
    }
    assert.equal(opened, 4);
  });

  test('that were open before there was a limit count when it comes, and when another prefix makes a client', () => {
    const worker = new Worker([planOf({})], tableOf());
    const bases = ['192.0.2.1', '192.0.2.2', '192.0.2.3', '192.0.2.3'].map((one) => worker.open(one));
    worker.answer(bases[0]);
    worker.update([planOf({ sessionsPerClient: 2 })]);
    assert.deepEqual(
      ['192.0.2.1', '192.0.2.2', '192.0.2.3', '192.0.2.4'].map((one) => worker.judge(one)),
      ['forward', 'forward', 'drop:client_session_limit', 'forward'],
    );
    worker.update([planOf({ sessionsPerClient: 4, prefixV4: 24 })]);
    assert.equal(worker.judge('192.0.2.9'), 'drop:client_session_limit');
    worker.end(bases[0]);
    assert.equal(worker.judge('192.0.2.9'), 'forward');
    worker.update([planOf({})]);
    assert.ok(worker.isKnown('192.0.2.1'));
    worker.update([planOf({ sessionsPerClient: 3, prefixV4: 24 })]);
    assert.equal(worker.judge('192.0.2.9'), 'drop:client_session_limit');
    for (const base of bases.slice(1)) worker.end(base);
    assert.equal(worker.openMany('192.0.2.9', 9), 3);
  });

  test('read from a file count like those that were opened', () => {
    const before = new Worker([planOf({ sessionsPerClient: 3 })], tableOf());
    before.answer(before.open(A));
    before.open(A);
    for (const base of [0, 16]) before.records[base + LPORT_FLAGS] &= ~FLAG_COUNTED;
    const after = new Worker([planOf({ sessionsPerClient: 3 })], tableOf(), 0, before.records);
    for (const base of [0, 16]) after.admission.restored(0, after.records, base);
    assert.equal(after.openMany(A, 9), 1);
    assert.ok(after.isKnown(A));
  });
});

describe('new sessions per client and second', () => {
  test('are counted over all datapaths, by client, in bursts of a second', () => {
    const clients = tableOf();
    const plans = [planOf({ newSessionsPerClient: 4 })];
    const [first, second] = [0, 1].map((worker) => new Worker(plans, clients, worker)) as [Worker, Worker];
    assert.deepEqual([first.openMany(A, 3), second.openMany(A, 9), first.openMany(A, 9)], [3, 1, 0]);
    assert.equal(second.openMany(B, 9), 4);
    first.now = 500;
    assert.deepEqual([first.openMany(A, 9), second.openMany(A, 9)], [2, 0], 'its clock is a little behind');
    second.now = 10_000;
    assert.equal(second.openMany(A, 9), 4);
  });

  test('go on when the clock wraps, and after a silence of weeks', () => {
    const worker = new Worker([planOf({ newSessionsPerClient: 10 })], tableOf());
    worker.now = 0x7fff_ff00;
    const take = (after: number) => {
      worker.now = (worker.now + after) | 0;
      let count = 0;
      while (worker.judge(A) === 'forward') count++;
      return count;
    };
    assert.deepEqual(
      [0, 300, 99, 1, 0x7000_0000, 0x7000_0000, 0x9000_0000].map(take),
      [10, 3, 0, 1, 10, 10, 10],
    );
  });

  test('hold against a client that goes on asking, however many others come', () => {
    const worker = new Worker([planOf({ newSessionsPerClient: 2 })], tableOf(64));
    let admitted = 0;
    for (let n = 0; n < 20_000; n++) {
      worker.now = n >> 4; // 16 others per millisecond, about 1,250 ms in all
      if (worker.judge(A) === 'forward') admitted++;
      assert.equal(worker.judge(`10.${n >> 16}.${(n >> 8) & 0xff}.${n & 0xff}`), 'forward');
    }
    assert.equal(admitted, 2 + 2);
  });
});

describe('a client that was answered', () => {
  test('is known while it has sessions, and for 10 minutes after', () => {
    const worker = new Worker([planOf({}), planOf({}, { index: 1 })], tableOf());
    worker.now = 0x7fff_ffff - 30 * MINUTE; // wraps meanwhile
    const base = worker.open(A);
    assert.equal(worker.isKnown(A), false);
    worker.answer(base);
    assert.deepEqual([worker.isKnown(A), worker.isKnown(B), worker.isKnown(A, 1)], [true, false, false]);
    worker.now = (worker.now + 60 * MINUTE) | 0;
    assert.ok(worker.isKnown(A), 'after an hour in its session');
    worker.answer(base);
    worker.end(base);
    worker.now = (worker.now + 9.9 * MINUTE) | 0;
    assert.ok(worker.isKnown(A));
    worker.now = (worker.now + 0.3 * MINUTE) | 0;
    assert.equal(worker.isKnown(A), false);
  });

  test('is known to all datapaths, by its prefix', () => {
    const clients = tableOf();
    const plans = [planOf({ prefixV6: 48 })];
    const [first, second] = [0, 1].map((worker) => new Worker(plans, clients, worker)) as [Worker, Worker];
    first.now = 500;
    first.answer(first.open('2001:db8::1'));
    assert.deepEqual([second.isKnown('2001:db8:0:7::2'), second.isKnown('2001:db8:1::1')], [true, false]);
  });

  test('stays known through a flood of clients that are limited and never answered', () => {
    const worker = new Worker([planOf({ sessionsPerClient: 2, newSessionsPerClient: 2 })], tableOf(64));
    const base = worker.open(A);
    worker.answer(base);
    worker.end(base);
    for (let n = 0; n < 20_000; n++) worker.end(worker.open(`10.${n >> 16}.${(n >> 8) & 0xff}.${n & 0xff}`));
    assert.ok(worker.isKnown(A));
  });

  test('stays known through a flood of clients whose sessions all last, and half of those who are', () => {
    const limited = [planOf({ sessionsPerClient: 2 })];
    for (const [known, staying] of [
      [1, 1],
      [4, 4],
      [8, 4],
    ] as const) {
      const clients = tableOf(8);
      const worker = new Worker(limited, clients);
      for (let n = 0; n < known; n++) {
        const base = worker.open(`192.0.2.${n}`);
        worker.answer(base);
        worker.end(base);
        worker.now += MINUTE / 4;
      }
      for (let n = 0; n < 50; n++) assert.equal(typeof worker.open(`198.51.100.${n}`), 'number');
      assert.deepEqual(
        Array.from({ length: known }, (_, n) => worker.isKnown(`192.0.2.${n}`)),
        Array.from({ length: known }, (_, n) => n >= known - staying),
      );
      assert.equal(ClientTable.uncounted(clients), 50 - (8 - staying), 'the rest had entries');
    }
  });

  test('makes room for others that were answered later', () => {
    const worker = new Worker([planOf({})], tableOf(8));
    for (let n = 0; n < 9; n++) {
      const base = worker.open(`192.0.2.${n}`);
      worker.answer(base);
      worker.end(base);
      worker.now += MINUTE / 2;
    }
    const known = Array.from({ length: 9 }, (_, n) => worker.isKnown(`192.0.2.${n}`));
    assert.deepEqual(known, [false, ...new Array<boolean>(8).fill(true)]);
  });
});

describe('a table of clients without room', () => {
  test('limits those that it holds, lets others pass uncounted, and says how many', () => {
    const clients = tableOf(8);
    const worker = new Worker([planOf({ sessionsPerClient: 1 })], clients);
    for (let n = 0; n < 8; n++) worker.open(`192.0.2.${n}`);
    assert.equal(ClientTable.uncounted(clients), 0);
    const others = [worker.open(B.replace('.2.2', '.3.2')), worker.open('192.0.3.2')];
    assert.equal(ClientTable.uncounted(clients), 2);
    for (let n = 0; n < 8; n++) assert.equal(worker.open(`192.0.2.${n}`), 'drop:client_session_limit');
    for (const base of others) worker.end(base);
    for (let n = 0; n < 8; n++) assert.equal(worker.open(`192.0.2.${n}`), 'drop:client_session_limit');
    worker.end(0);
    assert.equal(typeof worker.open('192.0.3.2'), 'number');
    assert.equal(worker.open('192.0.3.2'), 'drop:client_session_limit');
  });

  const limits = { sessionsPerClient: 9 };
  const both = { ...limits, newSessionsPerClient: 9 };
  const fast = { newSessionsPerClient: 9 };
  for (const [name, of] of Object.entries({ limits, both, fast })) {
    test(`counts each session that ${name} do not see once, whatever becomes of it`, () => {
      const clients = tableOf(8);
      const worker = new Worker([planOf(of)], clients);
      for (let n = 0; n < 8; n++) worker.answer(worker.open(`192.0.2.${n}`));
      const others = Array.from({ length: 5 }, (_, n) => worker.open(`192.0.3.${n}`));
      assert.equal(ClientTable.uncounted(clients), 5);
      for (let n = 0; n < 3; n++) worker.judge('192.0.4.1'); // opens none
      worker.answer(others[0]);
      worker.update([planOf({ ...of, prefixV6: 48 })]);
      worker.update([planOf(of)]);
      const after = new Worker([planOf(of)], clients, 0, worker.records, worker.prefixes);
      for (const base of others) after.admission.restored(0, after.records, Number(base));
      assert.equal(ClientTable.uncounted(clients), 5);
      for (const base of others) after.end(base);
      assert.equal(ClientTable.uncounted(clients), 5);
    });
  }

  test('counts no session without a limit by client, and those that were there when one comes', () => {
    const clients = tableOf(8);
    const worker = new Worker([planOf({})], clients);
    for (let n = 0; n < 12; n++) worker.answer(worker.open(`192.0.2.${n}`));
    assert.equal(ClientTable.uncounted(clients), 0);
    worker.update([planOf({ sessionsPerClient: 9 })]);
    assert.equal(ClientTable.uncounted(clients), 4);
    worker.update([planOf({ sessionsPerClient: 9, prefixV6: 48 })]);
    assert.equal(ClientTable.uncounted(clients), 4);
  });

  test('counts sessions that were read from a file, also when it has no room for them', () => {
    const before = new Worker([planOf(limits)], tableOf(64));
    const bases = Array.from({ length: 10 }, (_, n) => before.open(`192.0.2.${n}`));
    for (const base of bases) before.records[Number(base) + LPORT_FLAGS] &= ~FLAG_COUNTED;
    const clients = tableOf(8);
    const after = new Worker([planOf(limits)], clients, 0, before.records);
    for (const base of bases) after.admission.restored(0, after.records, Number(base));
    assert.equal(ClientTable.uncounted(clients), 2);
  });

  test('goes on without what another datapath holds locked, and the successor of that one releases it', () => {
    const clients = tableOf(8);
    const limits = { sessionsPerClient: 1, newSessionsPerClient: 5 };
    const worker = new Worker([planOf(limits)], clients, 0);
    const base = worker.open(A);
    clients[FIRST_LOCK] = 2; // of datapath 1, which ended
    assert.equal(typeof worker.open(A), 'number');
    const other = worker.open(B);
    assert.ok(ClientTable.uncounted(clients) > 0);
    worker.end(other);
    worker.end(base);
    new Worker([planOf(limits)], clients, 1);
    assert.equal(clients[FIRST_LOCK], 0);
    assert.equal(worker.openMany(A, 9), 1, 'and what ended meanwhile is taken off');
  });
});

describe('counts of clients', () => {
  test('are the sessions that there are, whatever happens, and datapaths that end and start again', () => {
    const step = fc.record({
      worker: fc.nat(1),
      what: fc.constantFrom('open', 'open', 'open', 'end', 'answer', 'restart', 'update'),
      n: fc.nat(5),
    });
    const LIMIT = 4;
    const property = fc.property(fc.array(step, { maxLength: 150 }), (steps) => {
      const clients = tableOf(16);
      let prefixV4 = 32;
      const plans = () => [planOf({ sessionsPerClient: LIMIT, prefixV4 })];
      const workers = [0, 1].map((worker) => new Worker(plans(), clients, worker));
      let alive: { worker: number; base: number; n: number }[] = [];
      const same = (a: number, b: number) => prefixV4 === 24 || a === b;
      for (const { worker: index, what, n } of steps) {
        const worker = workers[index];
        const own = alive.filter((one) => one.worker === index && one.n === n);
        if (what === 'open') {
          const opened = worker.open(`192.0.2.${n}`);
          const expected = alive.filter((one) => same(one.n, n)).length < LIMIT;
          assert.equal(typeof opened === 'number', expected);
          if (typeof opened === 'number') alive.push({ worker: index, base: opened, n });
        } else if (what === 'end' && own.length > 0) {
          worker.end(own[0].base);
          alive = alive.filter((one) => one !== own[0]);
        } else if (what === 'answer' && own.length > 0) {
          worker.answer(own[0].base);
        } else if (what === 'restart') {
          workers[index] = new Worker(plans(), clients, index, worker.records, worker.prefixes);
        } else if (what === 'update' && alive.length < LIMIT) {
          prefixV4 = prefixV4 === 32 ? 24 : 32;
          for (const one of workers) one.update(plans());
        }
      }
      for (const { worker, base } of alive) workers[worker].end(base);
      for (let n = 0; n < 6; n++) assert.equal(workers[0].judge(`192.0.2.${n}`), 'forward');
      assert.ok(
        workers.every(
          ({ records }) => !records.some((_, at) => at % 16 === LPORT_FLAGS && records[at] !== 0),
        ),
      );
      assert.equal(workers[0].openMany(A, 9), LIMIT);
    });
    fc.assert(property, { numRuns: 300 });
  });

  test('are never one too many when a datapath ends at any write of a session that begins or ends', () => {
    const plans = [planOf({ sessionsPerClient: 2 })];
    for (const what of ['open', 'end'] as const) {
      for (let last = 0; ; last++) {
        const clients = tableOf(8);
        const worker = new Worker(plans, clients);
        const records = worker.records;
        const first = Number(worker.open(A));
        const second = what === 'end' ? Number(worker.open(A)) : -1;
        const isWhole = dyingAfter(last, records, (watched) => {
          const dying = new Worker(plans, clients, 0, watched, worker.prefixes);
          if (what === 'open') dying.open(A);
          else dying.end(second);
        });
        const after = new Worker(plans, clients, 0, records, worker.prefixes);
        const bases = [first, 16].filter((base) => records[base + LPORT_FLAGS] !== 0);
        for (const base of bases) after.end(base);
        assert.equal(after.openMany(A, 9), 2, `${what}, write ${last}`);
        if (isWhole) break;
        assert.ok(last < 100);
      }
    }
  });
});

/** Runs `work` over records whose write number `last` throws: whether all was written. */
function dyingAfter(last: number, records: Int32Array, work: (watched: Int32Array) => void): boolean {
  let writes = 0;
  class Death extends Error {}
  const watched = new Proxy(records, {
    get: (target, key) => Reflect.get(target, key, target) as unknown,
    set: (target, key, value) => {
      if (writes++ >= last) throw new Death();
      return Reflect.set(target, key, value, target);
    },
  });
  try {
    work(watched);
  } catch (error) {
    if (error instanceof Death) return false;
    throw error;
  }
  return true;
}
