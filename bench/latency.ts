// How long a request and its answer take through each forwarder, and how much of that is the forwarder's: the
// same way through a machine that only routes is measured in the same rounds. Both ends are XDP programs that
// read the kernel's clock (bpf/), so no program that measures must be woken up, and none adds its own delays.
import type { ForwarderKey } from './forwarders/all.ts';
import { Lineup, type Result } from './lineup.ts';
import { figureOf } from './statistics.ts';
import { count, formatTable, percent, shortOfMost, type Target } from './table.ts';

export interface LatencyOptions {
  forwarders: readonly ForwarderKey[];
  rates: readonly number[];
  rounds: number;
  /** Of each measurement. */
  seconds: number;
}

const COURSE = { payloadLen: 64, flows: 64, echo: true };
const QUANTILES = ['p50', 'p99', 'p999'] as const;
type Quantile = (typeof QUANTILES)[number];
const TARGET_RATE = 10_000;
const WANTED_ADDED_NS = 1e6;

/** Measures, prints, and returns what became of the targets. */
export function measureLatency(options: LatencyOptions): Promise<Target[]> {
  console.log('request and answer, 64 B, 64 flows');
  return Lineup.with([...options.forwarders, 'direct'], async (lineup) => {
    await lineup.warmUp();
    const outcomes = new Map<string, Result[]>();
    for (const rate of options.rates) {
      for (let round = 0; round < options.rounds; round++) {
        for (const entrant of lineup.turn(round, COURSE.flows)) {
          const key = `${entrant.key} ${rate}`;
          const outcome = await lineup.shoot(entrant, { ...COURSE, rate, seconds: options.seconds });
          outcomes.set(key, [...(outcomes.get(key) ?? []), outcome]);
        }
      }
    }
    const of = (key: ForwarderKey, rate: number): readonly Result[] => outcomes.get(`${key} ${rate}`) ?? [];
    const added = (key: ForwarderKey, rate: number, quantile: Quantile): number => {
      const direct = of('direct', rate);
      return figureOf(of(key, rate).map((outcome, round) => outcome[quantile] - direct[round][quantile]))
        .median;
    };
    const hasProcesses = (key: ForwarderKey): boolean => (lineup.find(key)?.forwarder.pids().length ?? 0) > 0;
    for (const rate of options.rates) {
      const rows = lineup.entrants.map(({ key, forwarder }) => {
        const rounds = of(key, rate);
        const lost = figureOf(rounds.map(({ sent, answeredInAll }) => 1 - answeredInAll / sent)).median;
        return [
          forwarder.name,
          ...QUANTILES.map((quantile) =>
            microseconds(figureOf(rounds.map((outcome) => outcome[quantile])).median),
          ),
          ...QUANTILES.map((quantile) => (key === 'direct' ? '-' : microseconds(added(key, rate, quantile)))),
          percent(lost),
          hasProcesses(key) ? percent(figureOf(rounds.map(({ cpu }) => cpu)).median) : '-',
        ];
      });
      const header = ['p50', 'p99', 'p99.9', 'added: p50', 'p99', 'p99.9', 'no answer', 'its cpu'];
      console.log(`\n${formatTable([`${count(rate)}/s, µs`, ...header], rows).join('\n')}`);
    }
    const rate = options.rates.includes(TARGET_RATE) ? TARGET_RATE : options.rates[0];
    return lineup.find('ring') === undefined ? [] : targets(rate, added, lineup.find('nginx') !== undefined);
  });
}

function targets(
  rate: number,
  added: (key: ForwarderKey, rate: number, quantile: Quantile) => number,
  hasNginx: boolean,
): Target[] {
  const p999 = added('ring', rate, 'p999');
  const found: Target[] = [
    {
      what: `ring adds at ${count(rate)}/s, p99.9`,
      measured: `${microseconds(p999)} µs`,
      wanted: `below ${microseconds(WANTED_ADDED_NS)} µs`,
      short: shortOfMost(p999, WANTED_ADDED_NS),
    },
  ];
  if (hasNginx) {
    const [ours, theirs] = [added('ring', rate, 'p99'), added('nginx', rate, 'p99')];
    found.unshift({
      what: `ring adds at ${count(rate)}/s, p99`,
      measured: `${microseconds(ours)} µs`,
      wanted: `not above nginx's ${microseconds(theirs)} µs`,
      short: shortOfMost(ours, theirs),
    });
  }
  return found;
}

const microseconds = (nanoseconds: number): string => (nanoseconds / 1000).toFixed(1);
