// What traffic says about a server: counters in, a reason out, by a clock of the test.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Passive, type TrafficCounters, type TrafficFailure } from '../../src/health/passive.ts';
import { healthOf } from './sample.ts';

const none: TrafficCounters = { unreachable: 0, onewayEnded: 0, answered: 0 };

/** One row per second: what is added to the counters, and what is expected, if anything. */
type Row = [added: Partial<TrafficCounters>, failure?: TrafficFailure];

function play(
  settings: object,
  rows: Row[],
  passive = new Passive(healthOf(settings)),
  beginMs = 0,
): Passive {
  const total = { ...none, unreachable: 1000, onewayEnded: 1000, answered: 1000 }; // from before
  passive.observe(total, beginMs);
  for (const [second, [added, failure]] of rows.entries()) {
    for (const [name, count] of Object.entries(added)) total[name as keyof TrafficCounters] += count;
    assert.deepEqual(passive.observe(total, beginMs + 1000 * (second + 1)), failure, `second ${second + 1}`);
  }
  return passive;
}

const quiet = (seconds: number): Row[] => Array.from({ length: seconds }, () => [{}]);
const errors = (count: number, within = '10s') => ({
  isSilence: false,
  reason: `${count} ICMP unreachable errors within ${within}`,
});
const silent = (count: number) => ({
  isSilence: true,
  reason: `${count} sessions ended without an answer within 10s, and no new one got any`,
});

const cases: [string, object, Row[]][] = [
  ['nothing is a failure when both keys are 0', {}, [[{ unreachable: 1e6, onewayEnded: 1e6 }]]],
  [
    'errors within the window add up',
    { unreachable: 10 },
    [[{ unreachable: 9 }], ...quiet(8), [{ unreachable: 1 }, errors(10)]],
  ],
  [
    'errors older than the window do not count',
    { unreachable: 10 },
    [[{ unreachable: 9 }], ...quiet(10), [{ unreachable: 9 }], [{ unreachable: 1 }, errors(10)]],
  ],
  [
    'after a failure errors are counted from zero',
    { unreachable: 3 },
    [[{ unreachable: 7 }, errors(7)], [{ unreachable: 2 }], [{ unreachable: 1 }, errors(3)]],
  ],
  [
    'errors count however much the server answers others',
    { unreachable: 3 },
    [[{ unreachable: 3, answered: 1000 }, errors(3)]],
  ],
  [
    'sessions that end unanswered add up while no new one is answered',
    { silent: 5 },
    [...quiet(8), [{ onewayEnded: 4 }], ...quiet(3), [{ onewayEnded: 1 }, silent(5)]],
  ],
  [
    'silence is judged when it was observed for a whole window',
    { silent: 5 },
    [[{ onewayEnded: 9 }], ...quiet(8), [{}, silent(9)]],
  ],
  [
    'one new session that is answered protects for a window, whatever ends meanwhile',
    { silent: 5 },
    [
      ...quiet(20),
      [{ answered: 1 }],
      ...Array.from({ length: 9 }, (): Row => [{ onewayEnded: 100 }]),
      [{ onewayEnded: 100 }, silent(1000)],
    ],
  ],
  [
    'new sessions that are answered once per window protect for ever',
    { silent: 5 },
    Array.from(
      { length: 100 },
      (_, second): Row => [{ onewayEnded: 100, answered: second % 10 === 9 ? 1 : 0 }],
    ),
  ],
  [
    'after a failure silence is observed for a whole window again',
    { silent: 5 },
    [...quiet(10), [{ onewayEnded: 5 }, silent(5)], [{ onewayEnded: 50 }], ...quiet(8), [{}, silent(50)]],
  ],
  [
    'sessions that ended longer ago than the window do not count',
    { silent: 5 },
    [[{ onewayEnded: 4 }], ...quiet(10), [{ onewayEnded: 4 }]],
  ],
  [
    'a long window is kept in few samples',
    { unreachable: 10, window: '1h' },
    [[{ unreachable: 5 }], ...quiet(3500), [{ unreachable: 5 }, errors(10, '3600s')]],
  ],
  [
    'what is older than a long window does not count',
    { unreachable: 10, window: '1h' },
    [[{ unreachable: 5 }], ...quiet(3720), [{ unreachable: 5 }]],
  ],
];
for (const [name, settings, rows] of cases) test(name, () => void play(settings, rows));

test('counters that start again at zero are no failure, and count from there', () => {
  const passive = play({ unreachable: 3, silent: 3 }, [[{ unreachable: 2, onewayEnded: 2 }]]);
  assert.equal(passive.observe(none, 2000), undefined);
  assert.equal(passive.observe({ ...none, unreachable: 2 }, 3000), undefined);
  assert.deepEqual(passive.observe({ ...none, unreachable: 3 }, 4000), errors(3));
});

test('what is forgotten does not count any more, and a whole window begins', () => {
  const passive = play({ unreachable: 3, silent: 3 }, [...quiet(20), [{ unreachable: 2, onewayEnded: 2 }]]);
  passive.forget();
  play({}, [[{ unreachable: 2, onewayEnded: 5 }], ...quiet(8), [{}, silent(5)]], passive, 21_000);
});

test('observing is wanted where one of the two keys is set', () => {
  const wanted = [{}, { unreachable: 1 }, { silent: 1 }].map((settings) =>
    Passive.isWanted(healthOf(settings)),
  );
  assert.deepEqual(wanted, [false, true, true]);
});
