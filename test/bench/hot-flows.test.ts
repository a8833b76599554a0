// How the bench makes flows hot, at a forwarder of which nothing is there but its rule, and how fast it sends
// where little should be lost; and the distance of the two processors, which is real.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Distance } from '../../bench/distance.ts';
import { HotFlows } from '../../bench/hot-flows.ts';
import type { Aim } from '../../bench/load.ts';
import type { Outcome } from '../../bench/load-protocol.ts';
import { Pace } from '../../bench/pace.ts';

const ROUND_TRIPS = 4;

/**
 * Sessions are hot after some round trips. Of what is to be sent the load makes only `made`, in order, and
 * each packet numbered a multiple of `loses` is lost.
 */
class Rule {
  readonly trips: Uint32Array;
  readonly aims: Aim[] = [];
  readonly #made: number;
  readonly #loses: number;
  #packets = 0;

  constructor(flows: number, { made, loses }: { made: number; loses: number }) {
    this.trips = new Uint32Array(flows);
    this.#made = made;
    this.#loses = loses;
  }

  readonly shoot = async (aim: Aim): Promise<Outcome> => {
    this.aims.push(aim);
    const sent = Math.ceil(aim.rate * aim.seconds * this.#made);
    let came = 0;
    for (let packet = 0; packet < sent; packet++) {
      if (++this.#packets % this.#loses === 0) continue;
      came++;
      if (aim.echo) this.trips[(aim.firstFlow ?? 0) + (packet % aim.flows)]!++;
    }
    const answered = aim.echo ? came : 0;
    const times = { p50: 0, p99: 0, p999: 0 };
    return {
      ...times,
      seconds: aim.seconds,
      sent,
      arrived: sent,
      delivered: came,
      answered,
      deliveredInAll: came,
      answeredInAll: answered,
    };
  };

  readonly fastPath = {
    workers: [],
    rate: 1_000_000,
    hotSessions: () => this.trips.filter((trips) => trips >= ROUND_TRIPS).length,
  };
}

describe('flows that are to be hot', () => {
  test('are it at a load that makes half of what it is told to, and where packets are lost', async () => {
    const flows = 100_000;
    const rule = new Rule(flows, { made: 0.5, loses: 20 });
    const hotFlows = new HotFlows(rule.shoot, rule.fastPath);
    assert.ok((await hotFlows.open(flows)) >= 0.98 * flows);
    assert.equal(hotFlows.opened, flows);
  });

  test('are taken some at a time, and those that are there already are left alone', async () => {
    const rule = new Rule(50_000, { made: 1, loses: Number.POSITIVE_INFINITY });
    const hotFlows = new HotFlows(rule.shoot, rule.fastPath);
    assert.equal(await hotFlows.open(64), 64);
    const before = rule.trips[0]!;
    assert.equal(await hotFlows.open(50_000), 50_000);
    assert.equal(rule.trips[0], before);
    const most = Math.max(...rule.trips.subarray(64));
    assert.ok(most <= 4 * ROUND_TRIPS, `${most} round trips`);
  });

  test('are kept hot by a packet of each', async () => {
    const rule = new Rule(1_000, { made: 0.3, loses: Number.POSITIVE_INFINITY });
    const hotFlows = new HotFlows(rule.shoot, rule.fastPath);
    await hotFlows.open(1_000);
    rule.aims.length = 0;
    await hotFlows.keep();
    assert.ok(rule.aims.length > 0 && rule.aims.every(({ echo }) => !echo));
    assert.ok(rule.aims.some(({ firstFlow = 0, flows }) => firstFlow + flows === 1_000));
  });
});

test('a pace falls where much is lost, rises where nothing is, and stays within its bounds', () => {
  const pace = new Pace(100_000, { least: 50_000, most: 200_000, lost: 0.04 });
  pace.note(500, 0);
  assert.equal(pace.rate, 100_000, 'of few packets nothing is learned');
  pace.note(10_000, 9_800);
  assert.equal(pace.rate, 100_000);
  pace.note(10_000, 9_000);
  assert.equal(pace.rate, 75_000);
  for (let time = 0; time < 20; time++) pace.note(10_000, 9_000);
  assert.equal(pace.rate, 50_000);
  for (let time = 0; time < 20; time++) pace.note(10_000, 10_000);
  assert.equal(pace.rate, 200_000);
});

test('the distance of two processors is some nanoseconds', { timeout: 120_000 }, async () => {
  const distance = new Distance();
  try {
    // A machine that does something else may not run both at once.
    for (let left = 20; left > 0; left--) {
      const nanoseconds = await distance.measure();
      if (nanoseconds === undefined) continue;
      assert.ok(nanoseconds > 5 && nanoseconds < 1e6, `${nanoseconds}`);
      await distance.nearness();
      assert.match(distance.describe() ?? 'a cache line took none', /^a cache line took /);
      return;
    }
  } finally {
    distance.stop();
  }
});
