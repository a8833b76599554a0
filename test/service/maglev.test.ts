// Maglev: what makes it worth a table. Few clients move when a real server goes, all return when it comes
// back, and every proxy chooses alike. sh is measured beside it.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { SCHEDULERS } from '../../src/service/scheduler/schedulers.ts';
import { client, client6, keyOf, mapping, servers, tally } from './servers.ts';

const CLIENTS = 100_000;

/** Share of the clients that were not on `gone` and are elsewhere now. */
function movedOfOthers(before: Int32Array, after: Int32Array, gone: number): number {
  let others = 0;
  let moved = 0;
  for (let i = 0; i < before.length; i++) {
    if (before[i] === gone) continue;
    others++;
    if (before[i] !== after[i]) moved++;
  }
  return moved / others;
}

const percent = (share: number): string => `${(share * 100).toFixed(2)} %`;

describe('maglev', () => {
  for (const count of [2, 5, 10, 100])
    test(`one of ${count} real servers goes and comes back: few other clients move, and all return`, (t) => {
      const set = servers(new Array<number>(count).fill(100));
      const gone = count >>> 1;
      const measure = (scheduler: 'mh' | 'sh') => {
        const subject = SCHEDULERS[scheduler](set);
        const before = mapping(subject, CLIENTS);
        set.weights[gone] = 0;
        subject.update();
        const after = mapping(subject, CLIENTS);
        set.weights[gone] = 100;
        subject.update();
        assert.deepEqual(mapping(subject, CLIENTS), before, `${scheduler}: all are back`);
        assert.ok(!after.includes(gone));
        const all = before.filter((server, i) => server !== after[i]).length / CLIENTS;
        return { others: movedOfOthers(before, after, gone), all };
      };
      const mh = measure('mh');
      const sh = measure('sh');
      t.diagnostic(
        `${count} real servers, one goes: mh moves ${percent(mh.others)} of the others' clients, ${percent(mh.all)} of all; sh ${percent(sh.others)}, ${percent(sh.all)}`,
      );
      assert.ok(mh.others <= 0.01, `${percent(mh.others)} of the others' clients moved`);
      assert.ok(mh.all <= 1 / count + 0.01, `${percent(mh.all)} of all clients moved`);
    });

  test('a real server of weight 0 and one that is not in the config make no difference', () => {
    const with0 = servers([1, 1, 0, 1, 1]);
    const without = servers([1, 1, 1, 1], [0, 1, 3, 4].map(keyOf));
    const keys = (set: typeof with0) =>
      [...mapping(SCHEDULERS.mh(set), CLIENTS)].map((index) => set.keys[index]);
    assert.deepEqual(keys(with0), keys(without));
  });

  test('proxies that list the real servers in another order choose the same one for every client', () => {
    const named = fc.uniqueArray(fc.tuple(fc.nat(60_000), fc.integer({ min: 0, max: 20 })), {
      selector: ([number]) => number,
      minLength: 1,
      maxLength: 20,
    });
    const twoOrders = named.chain((drawn) =>
      fc.tuple(fc.constant(drawn), fc.shuffledSubarray(drawn, { minLength: drawn.length })),
    );
    fc.assert(
      fc.property(twoOrders, (orders) => {
        const [here, there] = orders.map((drawn) => {
          const set = servers(
            drawn.map(([, weight]) => weight),
            drawn.map(([number]) => keyOf(number)),
          );
          return [...mapping(SCHEDULERS.mh(set), 2000)].map((index) => set.keys[index]);
        });
        assert.deepEqual(here, there);
      }),
      { numRuns: 30 },
    );
  });

  test('the busiest of 2, 10 and 100 equal real servers has at most 4 % more clients than its share', (t) => {
    for (const count of [2, 10, 100]) {
      const subject = SCHEDULERS.mh(servers(new Array<number>(count).fill(100)));
      for (const of of [client, client6]) {
        const busiest = Math.max(...tally(mapping(subject, 1_000_000, of), count)) / (1_000_000 / count);
        t.diagnostic(`${count} real servers: the busiest has ${percent(busiest - 1)} more than its share`);
        assert.ok(busiest <= 1.04);
      }
    }
  });

  test('weights in the same proportions give the same real servers, others move only what they must', () => {
    const set = servers([10, 20, 30]);
    const subject = SCHEDULERS.mh(set);
    const before = mapping(subject, CLIENTS);
    set.weights.set([100, 200, 300]);
    subject.update();
    assert.deepEqual(mapping(subject, CLIENTS), before);
    assert.deepEqual(mapping(SCHEDULERS.mh(set), CLIENTS), before);
    set.weights.set([100, 200, 330]);
    subject.update();
    const moved = mapping(subject, CLIENTS).filter((server, i) => server !== before[i]).length / CLIENTS;
    // The share of the third grows from 30 / 60 to 33 / 63.
    assert.ok(moved >= 0.02 && moved <= 0.06, percent(moved));
  });

  test('the lightest among 4,096 gets clients, and none more than its weight', () => {
    const weights = new Array<number>(4096).fill(1000);
    weights[7] = 1;
    weights[8] = 10_000;
    const counts = tally(mapping(SCHEDULERS.mh(servers(weights)), 1_000_000), 4096);
    const share = 1_000_000 / 4105;
    assert.ok((counts[7] ?? 0) > 0 && (counts[7] ?? 0) < share / 8);
    assert.ok(Math.abs((counts[8] ?? 0) / share - 10) < 0.5, `${(counts[8] ?? 0) / share} times`);
  });

  test('clients have the real servers that an independent program computed, in every process and version', () => {
    // The paper's algorithm and HalfSipHash, written in Python from the comments of mh.ts and fixed-hash.ts.
    const golden = [
      [[100, 100, 100, 100, 100], '4310012001310202', '2124424240401024'],
      [[1, 2, 0, 40, 7], '3333033333333303', '3334433333334314'],
    ] as const;
    for (const [weights, v4, v6] of golden) {
      const subject = SCHEDULERS.mh(servers(weights));
      assert.equal(mapping(subject, 16).join(''), v4);
      assert.equal(mapping(subject, 16, client6).join(''), v6);
    }
  });
});
