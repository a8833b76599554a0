// Which real server each scheduler picks: exact order where there is one, shares where a hash or chance
// decides, weight 0, changes of weights in place, and any of it at random.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { RandomChoice } from '../../src/service/scheduler/random.ts';
import { SCHEDULERS } from '../../src/service/scheduler/schedulers.ts';
import {
  client,
  client6,
  letters,
  mapping,
  NAMES,
  type SchedulerName,
  type Servers,
  seeded,
  servers,
  tally,
} from './servers.ts';

interface Phase {
  readonly weights: readonly number[];
  /** Sessions before the first pick; without it: as the phase before left them. */
  readonly taken?: readonly number[];
  readonly order: string;
}

interface OrderRow {
  readonly scheduler: SchedulerName;
  readonly name: string;
  readonly phases: readonly Phase[];
}

const one = (scheduler: SchedulerName, name: string, weights: number[], order: string): OrderRow => ({
  scheduler,
  name,
  phases: [{ weights, order }],
});

const withSessions = (
  scheduler: SchedulerName,
  name: string,
  weights: number[],
  taken: number[],
  order: string,
): OrderRow => ({ scheduler, name, phases: [{ weights, taken, order }] });

const changed = (scheduler: SchedulerName, name: string, ...phases: [number[], string][]): OrderRow => ({
  scheduler,
  name,
  phases: phases.map(([weights, order]) => ({ weights, order })),
});

const ORDERS: readonly OrderRow[] = [
  one('rr', 'takes turns whatever the weights', [1, 100, 7], 'abcabca'),
  one('rr', 'passes over weight 0', [0, 5, 0, 5], 'bdbdb'),
  changed('rr', 'goes on where it was', [[1, 1, 1], 'ab'], [[1, 1, 0], 'aba'], [[1, 1, 1], 'bcabc']),
  one('wrr', 'spreads 5:1:1 smoothly', [5, 1, 1], 'aabacaaaabacaa'),
  one('wrr', 'spreads 3:2:1 smoothly', [3, 2, 1], 'abacbaabacba'),
  one('wrr', 'with equal weights takes turns', [9, 9, 9], 'abcabc'),
  one('wrr', 'passes over weight 0', [2, 0, 1], 'acaaca'),
  changed('wrr', 'follows a weight that grows', [[1, 1], 'abab'], [[3, 1], 'aabaaaba']),
  changed('wrr', 'follows a weight that shrinks', [[3, 1], 'aaba'], [[1, 1], 'abab']),
  changed(
    'wrr',
    'goes on in turn without one',
    [[1, 1, 1], 'abc'],
    [[1, 0, 1], 'acac'],
    [[1, 1, 1], 'abcabc'],
  ),
  changed('wrr', 'comes back from none at all', [[2, 1], 'a'], [[0, 0], '---'], [[2, 1], 'abaaba']),
  changed(
    'wrr',
    'does not make up for what a larger weight owed',
    [[1000, 1], 'a'.repeat(500)],
    [[1, 1], 'bbaba'],
  ),
  one('lc', 'spreads new sessions over idle ones', [1, 100, 7], 'abcabc'),
  withSessions('lc', 'fills up who has the fewest', [1, 1, 1], [3, 0, 2], 'bbcbcabc'),
  withSessions('lc', 'does not look at weights above 0', [1, 100], [0, 1], 'aba'),
  withSessions('lc', 'passes over weight 0 with the fewest', [1, 0, 1], [5, 0, 4], 'caca'),
  changed('lc', 'fills up who comes back', [[1, 0], 'aaa'], [[1, 1], 'bbbab']),
  one('wlc', 'uses every idle one before any twice', [100, 1, 1], 'abcaaa'),
  withSessions('wlc', 'takes the fewest per weight', [2, 1], [2, 2], 'aabaabaabaa'),
  withSessions('wlc', 'of as few per weight takes the next in turn', [2, 1], [4, 2], 'ababaa'),
  withSessions('wlc', 'passes over weight 0 with the fewest', [1, 0, 2], [1, 0, 2], 'accacc'),
  changed('wlc', 'follows a weight that grows', [[1, 1], 'abab'], [[3, 1], 'aaaabaaab']),
];

/**
 * Of 1,000,000 clients or picks, what each scheduler may be off: five standard deviations, and slots of a
 * table.
 */
const PICKS = 1_000_000;
const tolerance = (scheduler: SchedulerName, expected: number): number => {
  if (scheduler === 'wrr') return 1;
  return 5 * Math.sqrt(expected) + (scheduler === 'mh' ? expected * 0.01 : 0);
};

function made(scheduler: SchedulerName, set: Servers) {
  return scheduler === 'random' ? new RandomChoice(set, seeded(1)) : SCHEDULERS[scheduler](set);
}

function assertShares(scheduler: SchedulerName, set: Servers, picked: Int32Array): void {
  const sum = set.weights.reduce((total, weight) => total + weight, 0);
  for (const [index, count] of tally(picked, set.weights.length).entries()) {
    const expected = (picked.length * (set.weights[index] ?? 0)) / sum;
    const off = Math.abs(count - expected);
    const allowed = expected === 0 ? 0 : tolerance(scheduler, expected);
    assert.ok(off <= allowed, `${scheduler}: ${index} got ${count}, expected ${expected} +- ${allowed}`);
  }
}

describe('the order of schedulers', () => {
  for (const { scheduler, name, phases } of ORDERS)
    test(`${scheduler} ${name}`, () => {
      const set = servers(phases[0]?.weights ?? []);
      const subject = SCHEDULERS[scheduler](set);
      for (const [number, { weights, taken, order }] of phases.entries()) {
        set.weights.set(weights);
        if (number > 0) subject.update();
        taken?.forEach((sessions, index) => {
          set.taken[index] = sessions;
        });
        assert.equal(letters(set, subject, order.length), order, `weights ${weights}`);
      }
    });
});

describe('the shares of schedulers', () => {
  const WEIGHTS = [[1, 2, 3, 4], [100, 100, 100, 100, 100, 100, 100], [0, 7, 0, 1, 2, 0], [65_535, 655], [5]];
  for (const scheduler of ['wrr', 'sh', 'mh', 'random'] as const)
    test(`${scheduler} honours weights`, () => {
      for (const weights of WEIGHTS) {
        const set = servers(weights);
        assertShares(scheduler, set, mapping(made(scheduler, set), PICKS));
      }
    });

  for (const scheduler of ['sh', 'mh'] as const) {
    test(`${scheduler} honours weights among clients of IPv6 too`, () => {
      const set = servers([1, 2, 3, 4]);
      assertShares(scheduler, set, mapping(made(scheduler, set), PICKS, client6));
    });
    test(`${scheduler} gives a client the same real server every time`, () => {
      const set = servers([3, 1, 4, 1, 5]);
      const subject = made(scheduler, set);
      assert.deepEqual(mapping(subject, 10_000), mapping(subject, 10_000));
      assert.deepEqual(mapping(made(scheduler, set), 10_000), mapping(subject, 10_000));
    });
  }

  for (const scheduler of ['wrr', 'sh', 'mh', 'random'] as const)
    test(`${scheduler} honours weights that changed in place`, () => {
      const set = servers([1, 1, 1, 0]);
      const subject = made(scheduler, set);
      mapping(subject, 1000);
      for (const weights of [
        [1, 5, 0, 2],
        [0, 0, 0, 9],
        [3, 2, 1, 1],
      ]) {
        set.weights.set(weights);
        subject.update();
        assertShares(scheduler, set, mapping(subject, 100_000 * 7));
      }
    });

  test('random takes the real server at the place that chance names', () => {
    const places = [0, 0.249, 0.25, 0.499, 0.5, 0.999_999];
    const subject = new RandomChoice(servers([0, 1, 0, 1, 2, 0]), () => places.shift() ?? 1);
    assert.deepEqual([...mapping(subject, 6)], [1, 1, 3, 3, 4, 4]);
  });

  test('random without a source of its own uses all', () => {
    assert.equal(new Set(mapping(SCHEDULERS.random(servers([1, 1, 1])), 1000)).size, 3);
  });
});

describe('every scheduler', () => {
  for (const scheduler of NAMES) {
    test(`${scheduler} has nothing to offer when all weights are 0 or there is no real server`, () => {
      for (const weights of [[], [0], [0, 0, 0]])
        assert.deepEqual([...mapping(SCHEDULERS[scheduler](servers(weights)), 3)], [-1, -1, -1]);
    });

    test(`${scheduler} follows real servers that go and come until none and all are left`, () => {
      const set = servers([1, 1, 1]);
      const subject = SCHEDULERS[scheduler](set);
      for (const weights of [
        [0, 1, 1],
        [0, 0, 1],
        [0, 0, 0],
        [0, 0, 0],
        [1, 0, 0],
        [1, 1, 1],
      ]) {
        set.weights.set(weights);
        set.taken.fill(0);
        subject.update();
        const expected = weights.flatMap((weight, index) => (weight > 0 ? [index] : []));
        const got = new Set<number>();
        for (let i = 0; i < 200; i++) {
          const index = subject.pick(client(i));
          got.add(index);
          if (index >= 0) set.taken[index] = (set.taken[index] ?? 0) + 1;
        }
        assert.deepEqual([...got].sort(), expected.length > 0 ? expected : [-1], `weights ${weights}`);
      }
    });

    test(`${scheduler} uses each of 4,096 real servers`, () => {
      const set = servers(new Array<number>(4096).fill(100));
      const subject = SCHEDULERS[scheduler](set);
      const got = new Set<number>();
      const picks = ['sh', 'mh', 'random'].includes(scheduler) ? 100_000 : 4096;
      for (let i = 0; i < picks; i++) got.add(subject.pick(client(i)));
      assert.equal(got.size, 4096);
    });
  }
});

describe('schedulers at random', () => {
  const weight = fc.oneof(
    { weight: 3, arbitrary: fc.nat(5) },
    { weight: 1, arbitrary: fc.constant(0) },
    { weight: 1, arbitrary: fc.integer({ min: 0, max: 65_535 }) },
  );
  const history = fc.record({
    weights: fc.array(weight, { minLength: 1, maxLength: 12 }),
    steps: fc.array(fc.record({ server: fc.nat(11), weight, picks: fc.nat(30), ends: fc.nat(11) }), {
      maxLength: 12,
    }),
  });
  type History = typeof history extends fc.Arbitrary<infer T> ? T : never;

  /** Changes weights in place and begins and ends sessions; `check` sees each pick before it counts. */
  function live(
    scheduler: SchedulerName,
    { weights, steps }: History,
    check: (set: Servers, picked: number) => void,
  ) {
    const set = servers(weights);
    const subject = made(scheduler, set);
    let number = 0;
    for (const step of steps) {
      set.weights[step.server % weights.length] = step.weight;
      subject.update();
      for (let i = 0; i < step.picks; i++) {
        const index = subject.pick(client(number++));
        check(set, index);
        if (index >= 0) set.taken[index] = (set.taken[index] ?? 0) + 1;
      }
      set.taken[step.ends % weights.length] = 0;
    }
    return { set, subject };
  }

  function assertAllowed({ weights }: Servers, index: number): void {
    if (index < 0) assert.ok(index === -1 && weights.every((one) => one === 0));
    else assert.ok((weights[index] ?? 0) > 0, `${index} of ${weights}`);
  }

  for (const scheduler of NAMES)
    test(`${scheduler} never picks weight 0, and none only when there is none`, () => {
      fc.assert(
        fc.property(history, (drawn) => void live(scheduler, drawn, assertAllowed)),
        { numRuns: scheduler === 'mh' ? 30 : 200 },
      );
    });

  for (const scheduler of NAMES)
    test(`${scheduler} without one picks among the others by their weights, and goes on as before`, () => {
      fc.assert(
        fc.property(history, fc.nat(11), (drawn, number) => {
          const { set, subject } = live(scheduler, drawn, assertAllowed);
          const except = number % set.weights.length;
          const others = [...set.weights.keys()].filter((i) => i !== except && set.weights[i] > 0);
          const got = new Set<number>();
          for (let i = 0; i < 100; i++) got.add(subject.pick(client(i), except));
          for (const index of got)
            assert.ok(others.length === 0 ? index === -1 : others.includes(index), `${index} of ${others}`);
          for (let i = 0; i < 50; i++) assertAllowed(set, subject.pick(client(i)));
        }),
        { numRuns: scheduler === 'mh' ? 30 : 100 },
      );
    });

  for (const scheduler of ['sh', 'random'] as const)
    test(`${scheduler} without one gives each of the others its share`, () => {
      for (const except of [0, 1, 2, 3]) {
        const set = servers([10, 20, 0, 70]);
        const subject = made(scheduler, set);
        const counts = new Array<number>(4).fill(0);
        for (let i = 0; i < 20_000; i++) counts[subject.pick(client(i), except)]++;
        const sum = set.weights.reduce((total, one, i) => total + (i === except ? 0 : one), 0);
        for (const [index, count] of counts.entries()) {
          const share = index === except ? 0 : (set.weights[index] / sum) * 20_000;
          assert.ok(Math.abs(count - share) <= 600, `without ${except}: ${index} has ${count} of ${share}`);
        }
      }
    });

  for (const scheduler of ['sh', 'mh'] as const)
    test(`${scheduler} depends on the weights of now, not on what they were`, () => {
      fc.assert(
        fc.property(history, (drawn) => {
          const { set, subject } = live(scheduler, drawn, assertAllowed);
          assert.deepEqual(mapping(subject, 500), mapping(SCHEDULERS[scheduler](set), 500));
        }),
        { numRuns: 30 },
      );
    });

  test('wrr gives each its weight within a round, up to 2 for turns before, and no more over many rounds', () => {
    const small = fc.array(fc.nat(9), { minLength: 2, maxLength: 10 });
    fc.assert(
      fc.property(history, small, (drawn, weights) => {
        const { set, subject } = live('wrr', drawn, assertAllowed);
        for (let i = 0; i < set.weights.length; i++) set.weights[i] = weights[i % weights.length] ?? 0;
        subject.update();
        const sum = set.weights.reduce((total, one) => total + one, 0);
        for (const rounds of [1, 1, 10]) {
          const counts = tally(mapping(subject, rounds * sum), set.weights.length);
          for (const [index, count] of counts.entries()) {
            const expected = rounds * (set.weights[index] ?? 0);
            assert.ok(count <= expected + 2, `${index} of ${set.weights}: ${count} in ${rounds} rounds`);
            assert.ok(count >= expected - 4, `${index} of ${set.weights}: ${count} in ${rounds} rounds`);
          }
        }
      }),
      { numRuns: 500 },
    );
  });

  for (const scheduler of ['lc', 'wlc'] as const)
    test(`${scheduler} never passes over one that has fewer`, () => {
      fc.assert(
        fc.property(history, (drawn) => {
          live(scheduler, drawn, (set, picked) => {
            if (picked < 0) return;
            const load = (index: number) =>
              (set.taken[index] ?? 0) / (scheduler === 'wlc' ? (set.weights[index] ?? 0) : 1);
            for (let i = 0; i < set.weights.length; i++)
              if ((set.weights[i] ?? 0) > 0) assert.ok(load(picked) <= load(i), `${picked} before ${i}`);
          });
        }),
        { numRuns: 300 },
      );
    });
});
