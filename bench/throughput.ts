// Packets per second through each forwarder, by payload and by number of flows, one way and there and back.
import type { ForwarderKey } from './forwarders/all.ts';
import { type Entrant, FULL_RATE, Lineup } from './lineup.ts';
import { figureOf, ratioOf } from './statistics.ts';
import { count, formatTable, shortOfLeast, type Target, thousands, times } from './table.ts';

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

/** What stays the same while the other changes. */
const BASE: Course = { payloadLen: 64, flows: 64 };
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

function targets(results: ReadonlyMap<Course, Samples>): Target[] {
  const samplesAt = (flows: number, key: ForwarderKey): readonly number[] => {
    const course = [...results.keys()].find(
      (candidate) => candidate.flows === flows && candidate.payloadLen === BASE.payloadLen,
    );
    return (course && results.get(course)?.get(key)) ?? [];
  };
  const found: Target[] = [];
  const compare = (
    what: string,
    ours: readonly number[],
    theirs: readonly number[],
    wanted: number,
  ): void => {
    if (ours.length === 0 || theirs.length === 0) return;
    const ratio = ratioOf(ours, theirs);
    found.push({
      what,
      measured: `${times(ratio)} times`,
      wanted: `at least ${wanted}`,
      short: shortOfLeast(ratio.median, wanted),
    });
  };
  for (const flows of [64, 10_000]) {
    const what = `ring by nginx, 64 B one way, ${count(flows)} flows`;
    compare(what, samplesAt(flows, 'ring'), samplesAt(flows, 'nginx'), 3);
  }
  compare(
    'ring by kernel DNAT+SNAT, 64 B one way, 50,000 flows',
    samplesAt(50_000, 'ring'),
    samplesAt(50_000, 'kernel'),
    1,
  );
  for (const flows of [64, 10_000, 1_000_000]) {
    const what = `ring with 1,000 services by itself with one, ${count(flows)} flows`;
    compare(what, samplesAt(flows, 'services'), samplesAt(flows, 'ring'), 0.95);
  }
  const many = samplesAt(1_000_000, 'ring');
  compare('ring at 1,000,000 flows by itself at 64', many, samplesAt(64, 'ring'), 0.5);
  return found;
}
