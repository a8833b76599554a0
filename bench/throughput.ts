// Packets per second through each forwarder, by payload and by number of flows, one way and there and back.
import type { ForwarderKey } from './forwarders/all.ts';
import { type Entrant, FULL_RATE, Lineup } from './lineup.ts';
import { figureOf, ratioOf } from './statistics.ts';
import { count, formatTable, thousands, times } from './table.ts';
import { type Aim, compared, type Target } from './targets.ts';

export interface ThroughputOptions {
  forwarders: readonly ForwarderKey[];
  payloads: readonly number[];
  flows: readonly number[];
  rounds: number;
  /** Of each measurement. */
  seconds: number;
}

interface Course {
  payloadLen: number;
  flows: number;
}
type Way = 'one way' | 'echo';
/** Packets per second by forwarder, one for each round. */
type Samples = Map<ForwarderKey, number[]>;

/** Columns of README's table. */
const IN_README: readonly ForwarderKey[] = ['xdp', 'tc', 'ring', 'pcap', 'nginx', 'kernel'];
const README_RATIOS: readonly [ForwarderKey, ForwarderKey][] = [
  ['xdp', 'kernel'],
  ['xdp', 'nginx'],
  ['tc', 'kernel'],
  ['ring', 'kernel'],
  ['ring', 'nginx'],
];

/** What stays the same while the other changes. */
const BASE: Course = { payloadLen: 64, flows: 64 };
interface Side {
  key: ForwarderKey;
  flows: number;
}

/** How many times what one delivers the other is to deliver, one way. */
interface Comparison {
  ours: Side;
  theirs: Side;
  least: number;
}

const at = (ours: ForwarderKey, theirs: ForwarderKey, flows: number, least: number): Comparison => ({
  ours: { key: ours, flows },
  theirs: { key: theirs, flows },
  least,
});
const alone = (key: ForwarderKey, flows: number, base: number, least: number): Comparison => ({
  ours: { key, flows },
  theirs: { key, flows: base },
  least,
});

const COMPARISONS: readonly Comparison[] = [
  at('xdp', 'kernel', 64, 3.5),
  at('xdp', 'kernel', 50_000, 3.5),
  at('xdp', 'nginx', 64, 12),
  at('xdp', 'nginx', 10_000, 20),
  alone('xdp', 1_000_000, 64, 0.4),
  at('tc', 'kernel', 64, 1.3),
  at('ring', 'kernel', 64, 0.9),
  at('ring', 'kernel', 50_000, 1),
  at('ring', 'nginx', 64, 3),
  at('ring', 'nginx', 10_000, 3),
  alone('ring', 1_000_000, 64, 0.5),
  at('services', 'ring', 64, 0.95),
  at('services', 'ring', 10_000, 0.95),
  at('services', 'ring', 1_000_000, 0.95),
];

const NAMES: Partial<Record<ForwarderKey, string>> = {
  kernel: 'kernel DNAT+SNAT',
  services: 'ring with 1,000 services',
};
const nameOf = (key: ForwarderKey): string => NAMES[key] ?? key;

function aimOf({ ours, theirs, least }: Comparison): Aim {
  const whose = ours.key === theirs.key ? `itself at ${count(theirs.flows)}` : nameOf(theirs.key);
  return { what: `${nameOf(ours.key)} by ${whose}, ${count(ours.flows)} flows`, wanted: `at least ${least}` };
}

/** Those that the usual forwarders are measured for. */
export const THROUGHPUT_AIMS: readonly Aim[] = COMPARISONS.filter(({ ours }) => ours.key !== 'services').map(
  aimOf,
);

/**
 * What is offered in a second try, of what the first, at full rate, delivered: some deliver more when less is
 * lost.
 */
const SECOND_TRY = 1.1;
/**
 * What is offered for the way there and back, of what goes one way: half would be the same number of packets.
 */
const ECHO_TRIES = [0.45, 0.6, 0.8];

/** Measures, prints, and returns what became of the targets. */
export function measureThroughput(options: ThroughputOptions): Promise<Target[]> {
  const courses = [
    ...options.payloads.map((payloadLen) => ({ payloadLen, flows: BASE.flows })),
    ...options.flows.filter((flows) => flows !== BASE.flows).map((flows) => ({ ...BASE, flows })),
  ];
  return Lineup.with(options.forwarders, async (lineup) => {
    await lineup.warmUp();
    const oneWay = new Map<Course, Samples>();
    const echo = new Map<Course, Samples>();
    for (const course of courses) {
      for (const entrant of lineup.turn(0, course.flows)) await lineup.open(entrant, course.flows);
      const [there, back]: [Samples, Samples] = [new Map(), new Map()];
      for (let round = 0; round < options.rounds; round++) {
        for (const entrant of lineup.turn(round, course.flows)) {
          const best = await bestOneWay(lineup, entrant, course, options.seconds);
          add(there, entrant.key, best);
          add(back, entrant.key, await bestEcho(lineup, entrant, course, options.seconds, best));
        }
      }
      oneWay.set(course, there);
      echo.set(course, back);
    }
    report(lineup, 'one way', oneWay);
    report(lineup, 'echo', echo);
    console.log(`\nfor README.md:\n${markdown(oneWay).join('\n')}`);
    return targets(oneWay);
  });
}

async function bestOneWay(
  lineup: Lineup,
  entrant: Entrant,
  course: Course,
  seconds: number,
): Promise<number> {
  let best = 0;
  for (const rate of [FULL_RATE, undefined]) {
    const outcome = await lineup.shoot(entrant, {
      ...course,
      seconds,
      rate: rate ?? Math.max(1000, SECOND_TRY * best),
    });
    best = Math.max(best, outcome.delivered / outcome.seconds);
  }
  return best;
}

async function bestEcho(
  lineup: Lineup,
  entrant: Entrant,
  course: Course,
  seconds: number,
  oneWay: number,
): Promise<number> {
  let best = 0;
  for (const part of ECHO_TRIES) {
    const rate = Math.max(1000, part * oneWay);
    const outcome = await lineup.shoot(entrant, { ...course, seconds, rate, echo: true });
    best = Math.max(best, outcome.answered / outcome.seconds);
  }
  return best;
}

function add(samples: Samples, key: ForwarderKey, value: number): void {
  samples.set(key, [...(samples.get(key) ?? []), value]);
}

function report({ entrants }: Lineup, way: Way, results: ReadonlyMap<Course, Samples>): void {
  const [first, ...peers] = entrants;
  if (first === undefined) return;
  const rows = [...results].map(([course, samples]) => {
    const of = (key: ForwarderKey): readonly number[] => samples.get(key) ?? [];
    const cells = entrants.map(({ key }) => (of(key).length > 0 ? thousands(figureOf(of(key))) : '-'));
    const ratios = peers.map(({ key }) =>
      of(key).length > 0 && of(first.key).length > 0 ? times(ratioOf(of(first.key), of(key))) : '-',
    );
    return [`${course.payloadLen} B, ${count(course.flows)} flows`, ...cells, ...ratios];
  });
  const header = [
    way === 'one way' ? 'one way: packets/s delivered' : 'echo: round trips/s',
    ...entrants.map(({ forwarder }) => forwarder.name),
    ...peers.map(({ key }) => `${first.key}/${key}`),
  ];
  console.log(`\n${formatTable(header, rows).join('\n')}`);
}

/** README's table of this run: payloads of 64 bytes, by flows. */
function markdown(results: ReadonlyMap<Course, Samples>): string[] {
  const rows = [...results]
    .filter(([{ payloadLen, flows }]) => payloadLen === BASE.payloadLen && flows >= BASE.flows)
    .map(([{ flows }, samples]) => {
      const of = (key: ForwarderKey): readonly number[] => samples.get(key) ?? [];
      const cells = IN_README.map((key) => (of(key).length > 0 ? thousands(figureOf(of(key))) : '-'));
      const ratios = README_RATIOS.map(([ours, theirs]) =>
        of(ours).length > 0 && of(theirs).length > 0 ? ratioOf(of(ours), of(theirs)).median.toFixed(2) : '-',
      );
      return [count(flows), ...cells, ...ratios];
    });
  const header = ['flows', ...IN_README, ...README_RATIOS.map((pair) => pair.join(' / '))];
  return [header, header.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`);
}

function targets(results: ReadonlyMap<Course, Samples>): Target[] {
  const samplesAt = ({ key, flows }: Side): readonly number[] => {
    const course = [...results.keys()].find(
      (candidate) => candidate.flows === flows && candidate.payloadLen === BASE.payloadLen,
    );
    return (course && results.get(course)?.get(key)) ?? [];
  };
  return COMPARISONS.flatMap((comparison) => {
    const [ours, theirs] = [samplesAt(comparison.ours), samplesAt(comparison.theirs)];
    const isMeasured = ours.length > 0 && theirs.length > 0;
    return isMeasured ? [compared(aimOf(comparison), ours, theirs, comparison.least)] : [];
  });
}
