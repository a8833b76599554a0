// Who may open a session: lists and the limits of a service. Limits per client: admission-clients.test.ts.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { planOf, tableOf, Worker } from './admission-rig.ts';

const A = '192.0.2.1';
const B = '192.0.2.2';

describe('admission', () => {
  test('without limits everybody may open sessions, and no client is written down until it is answered', () => {
    const clients = tableOf();
    const worker = new Worker([planOf({})], clients);
    const fresh = new Int32Array(clients);
    const bases = Array.from({ length: 50 }, (_, n) => worker.open(`192.0.2.${n}`));
    for (const base of bases) worker.end(base);
    assert.equal(worker.isKnown(A), false);
    assert.deepEqual(clients, fresh);
    worker.answer(worker.open(A));
    assert.notDeepEqual(clients, fresh);
  });

  test('who is denied opens no session, and what is there of it goes on after a reload', () => {
    const worker = new Worker([planOf({})], tableOf());
    const base = worker.open(A);
    worker.update([planOf({}, { deny: ['192.0.2.1/32'] })]);
    assert.deepEqual([worker.judge(A), worker.judge(B)], ['drop:denied', 'forward']);
    worker.answer(base);
    worker.end(base);
    worker.update([planOf({}, { allow: ['192.0.2.1/32'] })]);
    assert.deepEqual([worker.judge(A), worker.judge(B)], ['forward', 'drop:denied']);
  });

  test('lists are those of their service', () => {
    const deny = ['192.0.2.0/24'];
    const worker = new Worker([planOf({}, { index: 4, deny }), planOf({}, { index: 2 })], tableOf());
    assert.deepEqual(
      [worker.judge(A, 4), worker.judge(A, 2), worker.judge(A, 3)],
      ['drop:denied', 'forward', 'forward'],
    );
  });

  for (const [sessions, count] of [
    [10, 1],
    [10, 3],
    [1, 4],
    [50, 2],
  ] as const) {
    test(`${sessions} sessions are exactly so many with ${count} datapaths, whoever has how many`, () => {
      const clients = tableOf();
      const workers = Array.from({ length: count }, (_, n) => new Worker([planOf({ sessions })], clients, n));
      const last = workers.at(-1)!;
      // All but one in the first.
      const bases = Array.from({ length: sessions - 1 }, () => workers[0].open(A));
      assert.ok(bases.every((base) => typeof base === 'number'));
      const base = last.open(A);
      assert.equal(typeof base, 'number');
      for (const worker of workers) assert.equal(worker.open(B), 'drop:session_limit');
      last.end(base);
      assert.equal(typeof workers[0].open(B), 'number');
      for (const worker of workers) assert.equal(worker.open(B), 'drop:session_limit');
    });
  }

  describe('new sessions per second', () => {
    const start = (newSessions: number, now = 0) => {
      const worker = new Worker([planOf({ newSessions })], tableOf());
      worker.now = now;
      const take = (after: number) => {
        worker.now = (worker.now + after) | 0;
        let count = 0;
        while (worker.judge(A) === 'forward') count++;
        return count;
      };
      return { worker, take };
    };

    test('come in bursts of a second, and then at their rate', () => {
      const { worker, take } = start(10);
      assert.deepEqual([0, 0, 99, 1, 100, 250, 60_000].map(take), [10, 0, 0, 1, 1, 2, 10]);
      assert.equal(worker.judge(A), 'drop:new_session_limit');
    });

    test('are as many over all datapaths, whichever the clients come to', () => {
      const clients = tableOf();
      const workers = [0, 1, 2, 3].map((n) => new Worker([planOf({ newSessions: 10 })], clients, n));
      const take = (n: number, now: number) => {
        workers[n].now = now;
        let count = 0;
        while (workers[n].judge(A) === 'forward') count++;
        return count;
      };
      assert.deepEqual([take(0, 1000), take(1, 1000), take(3, 1001)], [10, 0, 0]);
      assert.deepEqual([take(2, 1100), take(1, 1200), take(0, 60_000), take(3, 60_000)], [1, 1, 10, 0]);
    });

    test('are no more where one datapath is a few seconds late', () => {
      const clients = tableOf();
      const workers = [0, 1].map((n) => new Worker([planOf({ newSessions: 10 })], clients, n));
      let taken = 0;
      for (let n = 0; n < 20; n++) {
        const worker = workers[n % 2];
        worker.now = n % 2 === 0 ? 100_000 : 95_000;
        while (worker.judge(A) === 'forward') taken++;
      }
      assert.equal(taken, 10);
    });

    test('may be ten million', () => {
      const { worker } = start(10_000_000);
      for (let n = 0; n < 1000; n++) assert.equal(worker.judge(A), 'forward');
    });

    test('are not spent on who has too many sessions', () => {
      const worker = new Worker([planOf({ newSessions: 10, sessionsPerClient: 1 })], tableOf());
      worker.open(A);
      for (let n = 0; n < 20; n++) assert.equal(worker.judge(A), 'drop:client_session_limit');
      let count = 0;
      while (worker.judge(B) === 'forward') count++;
      assert.equal(count, 9);
    });

    test('come at a rate above the resolution of the clock', () => {
      const { take } = start(1_500);
      assert.deepEqual([0, 1, 1, 1, 1].map(take), [1500, 1, 2, 1, 2]);
    });

    test('go on when the clock wraps, or stands, or a packet is of a moment ago', () => {
      const { take } = start(10, 0x7fff_ffff - 50);
      assert.deepEqual([0, 100, 0, 100, -20, 20, 100].map(take), [10, 1, 0, 1, 0, 0, 1]);
    });

    test('are one burst at the first packet, whatever the clock says then', () => {
      for (const now of [-1, -500, -999, -1_000, -5_000, 0x7fff_ffff, -0x8000_0000])
        assert.equal(start(10, now).take(0), 10);
    });

    test('are all there after a silence of which the clock says that it was negative', () => {
      const { take } = start(10);
      assert.deepEqual([0, 0x7000_0000, 0x7000_0000, 0xa000_0000].map(take), [10, 10, 10, 10]);
    });

    test('never exceed the rate and one burst in any stretch of time', () => {
      const property = fc.property(
        fc.integer({ min: 1, max: 3_000 }),
        fc.integer(),
        fc.array(fc.nat(1_500), { minLength: 1, maxLength: 60 }),
        (rate, first, waits) => {
          const { take } = start(rate, first | 0);
          let elapsed = 0;
          let taken = 0;
          for (const wait of waits) {
            elapsed += wait;
            taken += take(wait);
            assert.ok(taken <= rate + (elapsed * rate) / 1000);
          }
        },
      );
      fc.assert(property, { numRuns: 50 });
    });

    test('keep their account over a reload', () => {
      const { worker, take } = start(10);
      assert.equal(take(0), 10);
      worker.update([planOf({ newSessions: 10 }, { deny: ['198.51.100.0/24'] })]);
      assert.equal(take(0), 0);
      worker.update([planOf({ newSessions: 2 })]);
      assert.deepEqual([500, 60_000].map(take), [1, 2]);
    });
  });

  test('a refused session costs the service and the client nothing', () => {
    const limits = { newSessions: 10, newSessionsPerClient: 1, sessionsPerClient: 1 };
    const worker = new Worker([planOf(limits)], tableOf());
    const base = worker.open(A);
    for (let n = 0; n < 100; n++) assert.equal(worker.open(A), 'drop:client_session_limit');
    worker.end(base);
    for (let n = 0; n < 100; n++) assert.equal(worker.open(A), 'drop:client_new_session_limit');
    for (let n = 0; n < 9; n++) assert.equal(typeof worker.open(`198.51.100.${n}`), 'number');
    assert.equal(worker.open(B), 'drop:new_session_limit');
    worker.now += 100;
    assert.equal(typeof worker.open(B), 'number', 'what the service refused was not taken from the client');
  });
});
