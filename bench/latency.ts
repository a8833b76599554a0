// How long a request and its answer take through each forwarder, and how much of that is the forwarder's: the
// same way through a machine that only routes is measured in the same rounds. Both ends are XDP programs that
// read the kernel's clock (bpf/), so no program that measures must be woken up, and none adds its own delays.
import type { ForwarderKey } from './forwarders/all.ts';
import { Lineup, type Result } from './lineup.ts';
import { figureOf } from './statistics.ts';
import { count, formatTable, percent } from './table.ts';
import { type Aim, atMost, type Target } from './targets.ts';

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
const WANTED_XDP_NS = 20_000;

const microseconds = (nanoseconds: number): string => (nanoseconds / 1000).toFixed(1);
const inMicroseconds = (nanoseconds: number): string => `${microseconds(nanoseconds)} µs`;

const xdpAim = (rate: number): Aim => ({
  what: `xdp adds at ${count(rate)}/s, p99`,
  wanted: `below ${inMicroseconds(WANTED_XDP_NS)}`,
});
const xdpKernelAim = (rate: number): Aim => ({
  what: `xdp adds at ${count(rate)}/s, p99, by kernel DNAT+SNAT`,
  wanted: 'below its',
});
const ringAim = (rate: number): Aim => ({
  what: `ring adds at ${count(rate)}/s, p99.9`,
  wanted: `below ${inMicroseconds(WANTED_ADDED_NS)}`,
});
export const LATENCY_AIMS: readonly Aim[] = [
  xdpAim(TARGET_RATE),
  xdpKernelAim(TARGET_RATE),
  ringAim(TARGET_RATE),
];

type Outcomes = (key: ForwarderKey, rate: number) => readonly Result[];

/** By round, nanoseconds more than without a proxy. */
function addedOf(of: Outcomes, key: ForwarderKey, rate: number, quantile: Quantile): number[] {
  const direct = of('direct', rate);
  return of(key, rate).map((outcome, round) => outcome[quantile] - direct[round]![quantile]);
}

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
    const of: Outcomes = (key, rate) => outcomes.get(`${key} ${rate}`) ?? [];
    const added = (key: ForwarderKey, rate: number, quantile: Quantile): number =>
      figureOf(addedOf(of, key, rate, quantile)).median;
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
    const rounds = (key: ForwarderKey, quantile: Quantile): number[] => addedOf(of, key, rate, quantile);
    return targets(rate, (key) => lineup.find(key) !== undefined, rounds);
  });
}

function targets(
  rate: number,
  isThere: (key: ForwarderKey) => boolean,
  rounds: (key: ForwarderKey, quantile: Quantile) => number[],
): Target[] {
  const found: Target[] = [];
  if (isThere('xdp')) {
    found.push(atMost(xdpAim(rate), rounds('xdp', 'p99'), WANTED_XDP_NS, inMicroseconds));
    if (isThere('kernel')) {
      const { median } = figureOf(rounds('kernel', 'p99'));
      const aim = { ...xdpKernelAim(rate), wanted: `below ${inMicroseconds(median)}` };
      found.push(atMost(aim, rounds('xdp', 'p99'), median, inMicroseconds));
    }
  }
  if (!isThere('ring')) return found;
  if (isThere('nginx')) {
    const { median } = figureOf(rounds('nginx', 'p99'));
    const aim = {
      what: `ring adds at ${count(rate)}/s, p99, by nginx`,
      wanted: `below ${inMicroseconds(median)}`,
    };
    found.push(atMost(aim, rounds('ring', 'p99'), median, inMicroseconds));
  }
  found.push(atMost(ringAim(rate), rounds('ring', 'p999'), WANTED_ADDED_NS, inMicroseconds));
  return found;
}
