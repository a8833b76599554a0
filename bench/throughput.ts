// Packets per second through the real program: client namespace -> LB namespace -> real-server namespace over veth pairs.
// The peak is searched, then 1, 2 and 5 times the peak is offered. The same for what a user might take instead.
import { buildTopology, type Topology } from '../src/lab/topology.ts';
import { Course, type Direction, type MeasuredStep } from './course.ts';
import { startKernelNat, startNginx, startProxy } from './forwarder.ts';
import { Watcher } from './losses.ts';
import { LADDER } from './peak.ts';
import { count, formatTable, percent, type Target } from './table.ts';

export interface ThroughputOptions {
  payloads: readonly number[];
  /** Of each step. */
  seconds: number;
  flows: number;
  /** One direction, no comparison, a coarser search. */
  quick: boolean;
}

const WANTED_OF_PEAK = 0.8;
const WANTED_SCRAPE_MS = 1000;
const QUICK_LADDER = LADDER.filter((rate) => rate >= 50_000);

/** Measures, prints, and returns what became of the targets. Throws when a program ends or delivers nothing. */
export async function throughput(options: ThroughputOptions): Promise<Target[]> {
  const topology = buildTopology({ kind: 'two-arm', clients: 1, servers: 1 });
  try {
    const targets: Target[] = [];
    for (const payloadLen of options.payloads) {
      const { rows, targets: met } = await measureProxy(topology, payloadLen, options);
      targets.push(...met);
      if (!options.quick) await compare(topology, makeCourse(topology, 'inbound', payloadLen, options), rows);
    }
    return targets;
  } finally {
    topology.remove();
  }
}

async function measureProxy(
  topology: Topology,
  payloadLen: number,
  options: ThroughputOptions,
): Promise<{ rows: MeasuredStep[]; targets: Target[] }> {
  const proxy = await startProxy(topology);
  const watcher = new Watcher(topology.namespaces.lb);
  try {
    const inbound = makeCourse(topology, 'inbound', payloadLen, options);
    const rows = await inbound.run(proxy, watcher);
    const targets = targetsOf(inbound, rows);
    if (!options.quick) {
      // The sessions that were just opened are answered, from the real server's side.
      const outbound = makeCourse(topology, 'outbound', payloadLen, options);
      targets.push(...targetsOf(outbound, await outbound.run(proxy, watcher)));
    }
    return { rows, targets };
  } finally {
    watcher.stop();
    await proxy.stop();
  }
}

/** The same course for other forwarders, and what the proxy reaches of their peak. */
async function compare(topology: Topology, course: Course, ours: readonly MeasuredStep[]): Promise<void> {
  const ourPeak = rowOf(ours, 'peak');
  const lines: string[][] = [];
  for (const start of [startKernelNat, startNginx]) {
    const peer = await start(topology);
    if (peer === undefined) {
      console.log('\nnginx stream: not installed (Debian packages nginx, libnginx-mod-stream), not compared');
      continue;
    }
    try {
      const rows = await course.run(peer);
      const peak = rowOf(rows, 'peak');
      const last = rows.at(-1)!;
      lines.push([
        peer.name,
        count(peak.delivered),
        (ourPeak.delivered / peak.delivered).toFixed(2),
        (ours.at(-1)!.delivered / last.delivered).toFixed(2),
      ]);
    } finally {
      await peer.stop();
    }
  }
  console.log(`\nuoa-proxy against others, ${course.title}`);
  print(formatTable(['', 'its peak/s', 'ours / its peak', 'ours / its, both at the highest load'], lines));
}

function makeCourse(
  topology: Topology,
  direction: Direction,
  payloadLen: number,
  { seconds, flows, quick }: ThroughputOptions,
): Course {
  const search = quick ? { ladder: QUICK_LADDER, refinements: 1 } : { ladder: LADDER, refinements: 3 };
  return new Course(topology, { direction, payloadLen, seconds, flows, ...search });
}

function targetsOf(course: Course, rows: readonly MeasuredStep[]): Target[] {
  const peak = rowOf(rows, 'peak');
  const past = rows.slice(rows.indexOf(peak) + 1).filter(({ asked }) => asked > peak.asked * 1.5);
  // Against the most that was ever delivered, also with loss: the harder comparison.
  const most = Math.max(...rows.map(({ delivered }) => delivered));
  const worst = Math.min(...past.map(({ delivered }) => delivered));
  const least = worst / most;
  const slowest = Math.max(...rows.map(({ slowestScrapeMs = 0 }) => slowestScrapeMs));
  return [
    {
      what: `delivered past the peak, ${course.title}`,
      measured: `${percent(least)} of the most ever delivered, ${percent(worst / peak.delivered)} of the peak`,
      wanted: `over ${percent(WANTED_OF_PEAK)}`,
      met: least > WANTED_OF_PEAK,
    },
    {
      what: `slowest answer of /metrics, ${course.title}`,
      measured: `${slowest.toFixed(0)} ms`,
      wanted: `under ${WANTED_SCRAPE_MS} ms`,
      met: slowest < WANTED_SCRAPE_MS,
    },
  ];
}

function rowOf(rows: readonly MeasuredStep[], load: string): MeasuredStep {
  const row = rows.find((candidate) => candidate.load === load);
  if (row === undefined) throw new Error(`there is no ${load}`);
  return row;
}

function print(lines: readonly string[]): void {
  console.log(lines.join('\n'));
}
