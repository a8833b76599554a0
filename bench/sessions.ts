// Sessions that come and stay: how many new ones per second, a flood of sources that nobody answers, and what
// a full table of sessions costs, in memory and while nothing happens.
import { setTimeout as sleep } from 'node:timers/promises';
import type { ForwarderKey } from './forwarders/all.ts';
import { MAX_SESSIONS } from './forwarders/proxy.ts';
import { type Entrant, FULL_RATE, Lineup } from './lineup.ts';
import { sumOf } from './metrics.ts';
import { figureOf } from './statistics.ts';
import { count, formatTable, percent, thousands } from './table.ts';
import { shortOfLeast, shortOfMost, type Target } from './targets.ts';
import { memoryOf, processTicks, TICKS_PER_SECOND } from './usage.ts';
import { Watcher } from './watcher.ts';

export interface SessionsOptions {
  forwarders: readonly ForwarderKey[];
  rounds: number;
  /** Of each measurement of new sessions. */
  seconds: number;
  /** Sources of the flood. */
  sources: number;
  /** Whether the table is filled before it is idle, and that of each proxy, not only of the first. */
  thorough: boolean;
  idleSeconds: number;
}

const PAYLOAD_LEN = 64;
const FLOOD_SHOT_SECONDS = 1;
/** Sessions that are there during the flood, and the rate at which their packets come afterwards. */
const REGULARS = { flows: 64, rate: 10_000 };
/** The flood's sources are none of those before. */
const FIRST_OF_FLOOD = 4_000_000;
const FIRST_OF_FILLING = 20_000_000;
const FILL_ATTEMPTS = 4;
const SETTLE_MS = 3000;
const WANTED_PER_SECOND = 100_000;
/** Less than one tick in the three seconds between two pictures of top(1) half of the time. */
const WANTED_IDLE = 0.005;
const PROXIES: readonly ForwarderKey[] = ['ring', 'ring2', 'pcap'];

/** Measures, prints, and returns what became of the targets. */
export async function measureSessions(options: SessionsOptions): Promise<Target[]> {
  // New sessions go the same way with a fast path.
  const slow = options.forwarders.filter((key) => key !== 'xdp' && key !== 'tc');
  console.log('new sessions: each packet from another source, 64 B, one way');
  const opened = await Lineup.with(slow, (lineup) => measureOpening(lineup, options));
  const proxies = slow.filter((key) => PROXIES.includes(key)).slice(0, options.thorough ? PROXIES.length : 1);
  if (proxies.length === 0) return opened;
  console.log(`\nflood of ${count(options.sources)} sources, then a table full of idle sessions`);
  const flooded = await Lineup.with(proxies, (lineup) => measureFlood(lineup, options));
  return [...opened, ...flooded];
}

async function measureOpening(lineup: Lineup, { rounds, seconds }: SessionsOptions): Promise<Target[]> {
  const samples = new Map<ForwarderKey, number[]>();
  const next = new Map<ForwarderKey, number>();
  const rateOf = ({ forwarder }: Entrant): number =>
    Math.min(FULL_RATE, forwarder.maxSessions / ((rounds + 1) * seconds));
  for (let round = 0; round <= rounds; round++) {
    for (const entrant of lineup.turn(round, 1)) {
      const { key } = entrant;
      const firstFlow = next.get(key) ?? 0;
      const aim = {
        payloadLen: PAYLOAD_LEN,
        flows: FIRST_OF_FLOOD,
        firstFlow,
        rate: rateOf(entrant),
        seconds,
      };
      const outcome = await lineup.shoot(entrant, aim);
      next.set(key, firstFlow + outcome.sent);
      // The first round is for compilers to get to work.
      if (round > 0) samples.set(key, [...(samples.get(key) ?? []), outcome.delivered / outcome.seconds]);
    }
  }
  const rows = lineup.entrants.map((entrant) => [
    entrant.forwarder.name,
    thousands(figureOf(samples.get(entrant.key)!)),
    `${(rateOf(entrant) / 1000).toFixed(0)} k`,
  ]);
  console.log(`\n${formatTable(['', 'new sessions/s', 'asked for'], rows).join('\n')}`);
  const ours = samples.get('ring');
  if (ours === undefined) return [];
  const { median } = figureOf(ours);
  return [
    {
      what: 'ring, new sessions',
      measured: `${count(median)}/s`,
      wanted: `at least ${count(WANTED_PER_SECOND)}/s`,
      short: shortOfLeast(median, WANTED_PER_SECOND),
    },
  ];
}

async function measureFlood(lineup: Lineup, options: SessionsOptions): Promise<Target[]> {
  const rows: string[][] = [];
  const targets: Target[] = [];
  for (const entrant of lineup.entrants) {
    const { forwarder, network, key } = entrant;
    await lineup.open(entrant, REGULARS.flows);
    const pids = forwarder.pids();
    const before = memoryOf(pids);
    const watcher = new Watcher(network);
    try {
      await watcher.fresh();
      const { sent, delivered, seconds } = await flood(lineup, entrant, options.sources);
      const slowestMs = watcher.slowestMs();
      const regulars = await lineup.shoot(entrant, { ...REGULARS, payloadLen: PAYLOAD_LEN, seconds: 0.5 });
      const sessions = await fillTable(lineup, entrant, watcher, options.thorough ? FILL_ATTEMPTS : 0);
      watcher.stop();
      const idle = await idleShare(pids, options.idleSeconds);
      const grown = memoryOf(pids) - before;
      rows.push([
        forwarder.name,
        count(sent),
        seconds.toFixed(1),
        `${(delivered / seconds / 1000).toFixed(0)} k`,
        slowestMs.toFixed(0),
        percent(regulars.deliveredInAll / regulars.sent),
        count(sessions),
        (grown / sessions).toFixed(0),
        percent(idle),
      ]);
      if (key === 'ring') {
        targets.push({
          what: `processor time of ring with ${count(sessions)} idle sessions`,
          measured: percent(idle),
          wanted: `under ${percent(WANTED_IDLE)} of one processor`,
          short: shortOfMost(idle, WANTED_IDLE),
        });
      }
    } finally {
      watcher.stop();
    }
  }
  const header = [
    '',
    'sources',
    'seconds',
    'delivered/s',
    'slowest /metrics ms',
    'others after it',
    'sessions then',
    'bytes for each',
    'idle cpu',
  ];
  console.log(`\n${formatTable(header, rows).join('\n')}`);
  return targets;
}

/** At full rate until so many packets, each from another source, were sent. */
async function flood(
  lineup: Lineup,
  entrant: Entrant,
  sources: number,
): Promise<{ sent: number; delivered: number; seconds: number }> {
  let [sent, delivered, seconds] = [0, 0, 0];
  while (sent < sources) {
    const outcome = await lineup.shoot(entrant, {
      payloadLen: PAYLOAD_LEN,
      flows: sources,
      firstFlow: FIRST_OF_FLOOD + sent,
      rate: FULL_RATE,
      seconds: FLOOD_SHOT_SECONDS,
    });
    if (outcome.sent === 0) throw new Error('the source makes nothing');
    sent += outcome.sent;
    delivered += outcome.delivered;
    seconds += outcome.seconds;
  }
  return { sent, delivered, seconds };
}

/** Opens what the flood left free, slowly enough to lose none; returns how many sessions there are. */
async function fillTable(
  lineup: Lineup,
  entrant: Entrant,
  watcher: Watcher,
  attempts: number,
): Promise<number> {
  for (let attempt = 0; ; attempt++) {
    const text = await watcher.fresh();
    const sessions = sumOf(text, 'uoa_proxy_sessions');
    const free = sumOf(text, 'uoa_proxy_sessions_max') - sessions;
    if (free <= 0 || attempt === attempts) return sessions;
    const rate = entrant.forwarder.opensPerSecond;
    await lineup.shoot(entrant, {
      payloadLen: PAYLOAD_LEN,
      flows: FIRST_OF_FILLING,
      firstFlow: FIRST_OF_FILLING + attempt * MAX_SESSIONS,
      rate,
      seconds: (1.02 * free) / rate,
    });
  }
}

/** Of one processor. */
async function idleShare(pids: readonly number[], seconds: number): Promise<number> {
  await sleep(SETTLE_MS);
  const ticks = (): number => pids.reduce((sum, pid) => sum + processTicks(pid), 0);
  const [before, startMs] = [ticks(), performance.now()];
  await sleep(seconds * 1000);
  return (ticks() - before) / TICKS_PER_SECOND / ((performance.now() - startMs) / 1000);
}
