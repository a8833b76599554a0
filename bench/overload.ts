// What a forwarder still delivers when more comes than it can take: its capacity is searched, then 1, 2 and 5
// times as much is offered, as far as the source can make it.
import type { ForwarderKey } from './forwarders/all.ts';
import { type Entrant, FULL_RATE, Lineup } from './lineup.ts';
import type { Outcome } from './load-protocol.ts';
import { figureOf } from './statistics.ts';
import { formatTable, percent, thousands } from './table.ts';
import { shortOfLeast, type Target } from './targets.ts';

export interface OverloadOptions {
  forwarders: readonly ForwarderKey[];
  rounds: number;
  /** Of each measurement. */
  seconds: number;
  /** How often the gap is halved in which the capacity is. */
  searchSteps: number;
}

const COURSE = { payloadLen: 64, flows: 64 };
const MULTIPLES = [1, 2, 5];
/** The capacity: the most that is delivered while not more than this is lost. */
const LOSS_LIMIT = 0.01;
const LEAST_RATE = 10_000;
const WANTED_OF_PEAK = 0.85;

/** Measures, prints, and returns what became of the target. */
export function measureOverload(options: OverloadOptions): Promise<Target[]> {
  console.log('64 B, 64 flows, one way');
  return Lineup.with(options.forwarders, async (lineup) => {
    await lineup.warmUp();
    const capacities = new Map<ForwarderKey, { rate: number; most: number }>();
    for (const entrant of lineup.entrants) {
      await lineup.open(entrant, COURSE.flows);
      capacities.set(entrant.key, await searchCapacity(lineup, entrant, options));
    }
    const outcomes = new Map<ForwarderKey, Outcome[][]>();
    for (let round = 0; round < options.rounds; round++) {
      for (const entrant of lineup.turn(round, COURSE.flows)) {
        const { rate } = capacities.get(entrant.key)!;
        const row = outcomes.get(entrant.key) ?? MULTIPLES.map(() => []);
        for (const [index, multiple] of MULTIPLES.entries()) {
          const aim = { ...COURSE, rate: Math.min(FULL_RATE, multiple * rate), seconds: options.seconds };
          row[index].push(await lineup.shoot(entrant, aim));
        }
        outcomes.set(entrant.key, row);
      }
    }
    return report(lineup, capacities, outcomes);
  });
}

/** Halves the gap between a rate without and one with loss; `most` is the most that was ever delivered. */
async function searchCapacity(
  lineup: Lineup,
  entrant: Entrant,
  { seconds, searchSteps }: OverloadOptions,
): Promise<{ rate: number; most: number }> {
  let most = 0;
  const shoot = async (rate: number): Promise<Outcome> => {
    const outcome = await lineup.shoot(entrant, { ...COURSE, rate, seconds });
    most = Math.max(most, outcome.delivered / outcome.seconds);
    return outcome;
  };
  await shoot(FULL_RATE);
  // A forwarder that got no processor time meanwhile is given some rate to start from.
  let [good, bad] = [0, Math.max(1.3 * most, LEAST_RATE)];
  for (let step = 0; step < searchSteps; step++) {
    // The first rates to try are high ones: most forwarders deliver nearly their most without loss.
    const rate = good === 0 ? 0.75 * bad : (good + bad) / 2;
    const { sent, deliveredInAll } = await shoot(rate);
    if (sent - deliveredInAll <= LOSS_LIMIT * sent) good = rate;
    else bad = rate;
  }
  return { rate: good || bad, most };
}

function report(
  { entrants }: Lineup,
  capacities: ReadonlyMap<ForwarderKey, { rate: number; most: number }>,
  outcomes: ReadonlyMap<ForwarderKey, Outcome[][]>,
): Target[] {
  const targets: Target[] = [];
  const rows = entrants.map(({ key, forwarder }) => {
    const steps = outcomes.get(key)!;
    const delivered = steps.map((rounds) =>
      figureOf(rounds.map(({ delivered, seconds }) => delivered / seconds)),
    );
    // Against the most that was ever delivered, also with loss: the harder comparison.
    const peak = Math.max(capacities.get(key)!.most, ...delivered.map(({ median }) => median));
    const cells = steps.flatMap((rounds, index) => {
      const offered = figureOf(rounds.map(({ sent, seconds }) => sent / seconds)).median;
      const figure = delivered[index];
      return [`${(offered / 1000).toFixed(0)} k`, thousands(figure), percent(figure.median / peak)];
    });
    if (key === 'ring') {
      const least = Math.min(...delivered.slice(1).map(({ median }) => median)) / peak;
      targets.push({
        what: 'ring delivers past its capacity',
        measured: `${percent(least)} of the most it ever delivered`,
        wanted: `over ${percent(WANTED_OF_PEAK)}`,
        short: shortOfLeast(least, WANTED_OF_PEAK),
      });
    }
    return [forwarder.name, `${(capacities.get(key)!.rate / 1000).toFixed(0)} k`, ...cells];
  });
  const header = [
    'packets/s',
    'capacity (1% loss)',
    ...MULTIPLES.flatMap((multiple) => [`${multiple}x: offered`, 'delivered', 'of the most']),
  ];
  console.log(`\n${formatTable(header, rows).join('\n')}`);
  return targets;
}
