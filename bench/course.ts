// One course: packets of one size in one direction through a forwarder. Searches the peak, then offers 1, 2 and 5 times
// the peak, and prints what was offered, what arrived, where the rest was lost, and whether others disturbed.
import { setTimeout as sleep } from 'node:timers/promises';
import { LIPS, type Topology, VIPS, VPORT } from '../src/lab/topology.ts';
import { ForeignCpu } from './foreign-cpu.ts';
import { FIRST_LPORT, type Forwarder } from './forwarder.ts';
import { Generator, macOf, Sink } from './load.ts';
import type { Losses, Watcher } from './losses.ts';
import { findPeak, lossOf, type Peak, type Step } from './peak.ts';
import { count, formatTable, percent } from './table.ts';

export type Direction = 'inbound' | 'outbound';

export interface CourseOptions {
  direction: Direction;
  payloadLen: number;
  /** Of each step. */
  seconds: number;
  flows: number;
  /** Rates of the search, and how often it halves the last gap. */
  ladder: readonly number[];
  refinements: number;
}

export interface MeasuredStep extends Step {
  load: string;
  losses?: Losses;
  slowestScrapeMs?: number;
  /** Share of one processor that programs without part in the measurement used. */
  foreignCpu: number;
}

const MULTIPLES = [1, 2, 5] as const;
const WARM_UP = { rate: 30_000, seconds: 1.5 };
/** A step during which others used more of a processor is repeated, so often at most; the calmest one counts. */
const CALM_SHARE = 0.05;
const CALM_ATTEMPTS = 3;
const DRAIN_TIMEOUT_MS = 3000;
const HEADER = [
  'load',
  'offered/s',
  'delivered/s',
  'loss',
  'of peak',
  'lost: kernel',
  'backlog',
  'dropped',
  'elsewhere',
  '/metrics ms',
  "others' cpu",
];

/** Where packets enter and where they are counted. Holds both ends for as long as a forwarder is measured. */
export class Course {
  readonly title: string;
  readonly #topology: Topology;
  readonly #options: CourseOptions;

  constructor(topology: Topology, options: CourseOptions) {
    this.#topology = topology;
    this.#options = options;
    this.title = `${options.direction}, ${options.payloadLen}-byte payloads, ${options.flows} flows`;
  }

  /** Measures the forwarder, prints all steps and returns them, the peak as `peak`, what is past it behind it. */
  async run(forwarder: Forwarder, watcher?: Watcher): Promise<MeasuredStep[]> {
    const { ladder, refinements } = this.#options;
    const { generator, sink } = await this.#openEnds();
    const steps: MeasuredStep[] = [];
    const offer = async (
      rate: number,
      load: string,
      seconds = this.#options.seconds,
    ): Promise<MeasuredStep> => {
      let calmest: MeasuredStep | undefined;
      for (let n = 0; n < CALM_ATTEMPTS && (calmest?.foreignCpu ?? 1) > CALM_SHARE; n++) {
        const step = await this.#offer({ generator, sink, watcher }, { rate, seconds, load }).finally(() =>
          forwarder.check(),
        );
        if (step.foreignCpu < (calmest?.foreignCpu ?? Number.POSITIVE_INFINITY)) calmest = step;
      }
      steps.push(calmest!);
      return calmest!;
    };
    try {
      const warm = await offer(WARM_UP.rate, 'warm-up', WARM_UP.seconds);
      if (warm.delivered === 0) throw new Error(`${forwarder.name} delivers nothing`);
      const peak = await findPeak((rate) => offer(rate, 'search'), { ladder, refinements });
      steps.push({ ...peak.step, load: 'peak' });
      for (const multiple of MULTIPLES) {
        await offer(Math.round(multiple * peak.step.delivered), `${multiple} x peak`);
      }
      this.#report(forwarder, peak, steps);
      return steps;
    } finally {
      generator.stop();
      sink.remove();
    }
  }

  async #openEnds(): Promise<{ generator: Generator; sink: Sink }> {
    const { namespaces, clientIps, serverIps, wan, lan } = this.#topology;
    const { direction, payloadLen, flows } = this.#options;
    const isInbound = direction === 'inbound';
    const [from, to] = isInbound ? (['client', 'rs'] as const) : (['rs', 'client'] as const);
    const [cip, rip] = [clientIps[4][0]!, serverIps[4][0]!];
    const link = {
      srcMac: macOf(namespaces[from], 'eth0'),
      dstMac: macOf(namespaces.lb, isInbound ? wan : lan),
      payloadLen,
    };
    const frames = Array.from({ length: flows }, (_, flow) =>
      isInbound
        ? { ...link, src: cip, dst: VIPS[4], sport: 10_000 + flow, dport: VPORT }
        : { ...link, src: rip, dst: LIPS[4][0], sport: VPORT, dport: FIRST_LPORT + flow },
    );
    const match = isInbound ? `ip daddr ${rip} udp dport ${VPORT}` : `ip saddr ${VIPS[4]} udp sport ${VPORT}`;
    const sink = new Sink(namespaces[to], 'eth0', match);
    return { sink, generator: await Generator.start(namespaces[from], { device: 'eth0', frames }) };
  }

  async #offer(
    { generator, sink, watcher }: { generator: Generator; sink: Sink; watcher: Watcher | undefined },
    { rate, seconds, load }: { rate: number; seconds: number; load: string },
  ): Promise<MeasuredStep> {
    const lossesBefore = await watcher?.losses();
    const arrivedBefore = sink.read();
    watcher?.slowestMs();
    const foreign = new ForeignCpu(() => [process.pid, ...this.#topology.pids()]);
    const sent = await generator.offer(rate, seconds);
    const foreignCpu = foreign.share();
    const arrived = (await drained(sink)) - arrivedBefore;
    const losses = await watcher?.losses();
    return {
      load,
      asked: rate,
      offered: sent.packets / sent.seconds,
      delivered: arrived / sent.seconds,
      sent: sent.packets,
      lost: Math.max(0, sent.packets - arrived),
      foreignCpu,
      ...(losses && lossesBefore ? { losses: difference(losses, lossesBefore) } : {}),
      ...(watcher ? { slowestScrapeMs: watcher.slowestMs() } : {}),
    };
  }

  #report(forwarder: Forwarder, peak: Peak, rows: readonly MeasuredStep[]): void {
    const end = {
      forwarder: 'more than 1% loss above it',
      generator: 'the generator can make no more, so the true peak may be higher',
      ladder: 'more was not tried',
    }[peak.limitedBy];
    console.log(`\n${forwarder.name} (${forwarder.note}), ${this.title}`);
    console.log(
      formatTable(
        HEADER,
        rows.map((row) => cells(row, peak.step.delivered)),
      ).join('\n'),
    );
    console.log(
      `peak: ${count(peak.step.delivered)} packets/s with at most 1% loss; ${end}; most delivered: ${count(peak.most)}`,
    );
  }
}

function cells(step: MeasuredStep, peak: number): string[] {
  const { losses, slowestScrapeMs } = step;
  const known = losses ? losses.kernel + losses.backlog + losses.dropped + losses.sendErrors : 0;
  return [
    step.load,
    count(step.offered),
    count(step.delivered),
    percent(lossOf(step)),
    percent(step.delivered / peak),
    losses ? count(losses.kernel) : '-',
    losses ? count(losses.backlog) : '-',
    losses ? count(losses.dropped + losses.sendErrors) : '-',
    count(Math.max(0, step.lost - known)),
    slowestScrapeMs === undefined ? '-' : slowestScrapeMs.toFixed(0),
    percent(step.foreignCpu),
  ];
}

/** The count once nothing more arrives. */
async function drained(sink: Sink): Promise<number> {
  const deadline = Date.now() + DRAIN_TIMEOUT_MS;
  let before = -1;
  let now = sink.read();
  while (now !== before && Date.now() < deadline) {
    await sleep(200);
    before = now;
    now = sink.read();
  }
  return now;
}

function difference(after: Losses, before: Losses): Losses {
  return {
    kernel: after.kernel - before.kernel,
    backlog: after.backlog - before.backlog,
    dropped: after.dropped - before.dropped,
    sendErrors: after.sendErrors - before.sendErrors,
  };
}
