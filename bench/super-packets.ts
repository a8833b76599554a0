// Datagrams of senders that hand many to the kernel as one (UDP_SEGMENT), as QUIC servers do, through each
// forwarder: datagrams per second that arrive at a real server's socket, with offloads on all the way.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { nodeArgv } from './child.ts';
import { BRINGS_XDP, FORWARDERS, type ForwarderKey } from './forwarders/all.ts';
import type { Forwarder } from './forwarders/forwarder.ts';
import { Network } from './network.ts';
import { loadCpu, onCpu } from './processors.ts';
import { figureOf } from './statistics.ts';
import { formatTable, thousands } from './table.ts';
import { type Aim, compared, type Target } from './targets.ts';
import { processTicks, TICKS_PER_SECOND } from './usage.ts';

export interface SuperOptions {
  forwarders: readonly ForwarderKey[];
  rounds: number;
  /** Of each measurement. */
  seconds: number;
}

export interface SuperInput {
  client: string;
  rs: string;
  flows: number;
  payloadLen: number;
  segments: number;
}

export interface SuperShot {
  /** Super packets per second; as many as can be when not given. */
  rate?: number;
  seconds: number;
}

/** Bytes of payload while the time ran, and what arrived of them by then. */
export interface SuperOutcome {
  seconds: number;
  sent: number;
  delivered: number;
}

const COURSE = { flows: 64, payloadLen: 1200, segments: 16 };
/** Of what the first try, at full rate, delivered: some deliver more when less is lost. */
const SECOND_TRY = 1.1;
const WARM_SECONDS = 1;
const WANTED = 3;

const aimOf = (key: ForwarderKey): Aim => ({
  what: `super packets (${COURSE.segments} x ${COURSE.payloadLen} B), ${key} by nginx`,
  wanted: `at least ${WANTED}`,
});
export const SUPER_AIMS: readonly Aim[] = [aimOf('tc'), aimOf('ring')];

interface Entrant {
  key: ForwarderKey;
  network: Network;
  forwarder: Forwarder;
  ends: ChildProcess;
  rates: number[];
  /** Nanoseconds of processor time that the forwarder's processes took for each. */
  costs: number[];
}

/** Measures, prints, and returns what became of the targets. */
export async function measureSuperPackets({ forwarders, rounds, seconds }: SuperOptions): Promise<Target[]> {
  const networks: Network[] = [];
  const entrants: Entrant[] = [];
  try {
    const wanted = forwarders.includes('ring') ? new Set([...forwarders, 'tc'] as const) : forwarders;
    // XDP sees no super packets, and gives none to peers without a program.
    const keys = [...wanted].filter((key) => !BRINGS_XDP.has(key));
    for (const key of keys) {
      const network = new Network(`${key}super`);
      network.fixVip();
      networks.push(network);
      try {
        const forwarder = await FORWARDERS[key](network);
        const ends = await startEnds(network);
        entrants.push({ key, network, forwarder, ends, rates: [], costs: [] });
        await shoot(ends, { seconds: WARM_SECONDS });
      } catch (error) {
        console.log(`not measured: ${key}: ${(error as Error).message}`);
      }
    }
    for (let round = 0; round < rounds; round++) {
      for (let at = 0; at < entrants.length; at++)
        await measure(entrants[(at + round) % entrants.length], seconds);
    }
  } finally {
    for (const { ends } of entrants) ends.kill('SIGKILL');
    for (const network of networks) network.remove();
  }
  return report(entrants);
}

async function startEnds({ client, rs }: Network): Promise<ChildProcess> {
  const input: SuperInput = { client, rs, ...COURSE };
  const [command = '', ...argv] = [...onCpu(loadCpu()), ...nodeArgv('./super-process.ts')];
  const ends = spawn(command, [...argv, JSON.stringify(input)], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  await answerOf(ends);
  return ends;
}

async function measure({ forwarder, ends, rates, costs }: Entrant, seconds: number): Promise<void> {
  const ticks = (): number => forwarder.pids().reduce((sum, pid) => sum + processTicks(pid), 0);
  let best = 0;
  let cost = 0;
  for (const isFirst of [true, false]) {
    const before = ticks();
    const perSecond = (SECOND_TRY * best) / COURSE.segments;
    const outcome = await shoot(ends, isFirst ? { seconds } : { seconds, rate: Math.max(100, perSecond) });
    const datagrams = outcome.delivered / COURSE.payloadLen;
    if (datagrams / outcome.seconds < best) continue;
    best = datagrams / outcome.seconds;
    cost = ((ticks() - before) / TICKS_PER_SECOND / Math.max(1, datagrams)) * 1e9;
  }
  forwarder.check();
  rates.push(best);
  costs.push(cost);
}

async function shoot(ends: ChildProcess, shot: SuperShot): Promise<SuperOutcome> {
  ends.send(shot);
  return (await answerOf(ends)) as SuperOutcome;
}

async function answerOf(ends: ChildProcess): Promise<unknown> {
  const ended = new AbortController();
  const exit = once(ends, 'exit', { signal: ended.signal }).then(() => {
    throw new Error('the load process ended');
  });
  exit.catch(() => {});
  try {
    const [answer] = await Promise.race([once(ends, 'message'), exit]);
    return answer;
  } finally {
    ended.abort();
  }
}

function report(entrants: readonly Entrant[]): Target[] {
  const { flows, payloadLen, segments } = COURSE;
  const rows = entrants.map(({ forwarder, rates, costs }) => [
    forwarder.name,
    thousands(figureOf(rates)),
    forwarder.pids().length === 0 ? '-' : figureOf(costs).median.toFixed(0),
  ]);
  const header = [
    `${segments} x ${payloadLen} B, ${flows} flows`,
    'datagrams/s delivered',
    'its cpu, ns each',
  ];
  console.log(`\n${formatTable(header, rows).join('\n')}`);
  const nginx = entrants.find(({ key }) => key === 'nginx');
  if (nginx === undefined) return [];
  return entrants
    .filter(({ key }) => key === 'ring' || key === 'tc')
    .map(({ key, rates }) => compared(aimOf(key), rates, nginx.rates, WANTED));
}
