// The equations of docs/operations.md, asked of a running proxy's /metrics and /stats, and what never goes
// back there.
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Rig } from './harness.ts';

type Labels = Record<string, string>;
type Stats = Record<'counters' | 'io', Record<string, number>>;

/** What /metrics and /stats say at one time. */
export class Books {
  readonly #series = new Map<string, { labels: Labels; value: number }[]>();
  readonly #counters = new Set<string>();
  readonly #stats: Stats;

  constructor(text: string, stats: Stats) {
    this.#stats = stats;
    for (const line of text.split('\n')) {
      const [, family, type] = /^# TYPE uoa_proxy_(\S+) (\S+)$/.exec(line) ?? [];
      if (type === 'counter') this.#counters.add(family);
      const [, name, labels = '', value] = /^uoa_proxy_(\w+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? [];
      if (name === undefined) continue;
      const parsed = Object.fromEntries(
        [...labels.matchAll(/(\w+)="([^"]*)"/g)].map(([, key, text]) => [key, text]),
      );
      const list = this.#series.get(name) ?? [];
      list.push({ labels: parsed, value: Number(value) });
      this.#series.set(name, list);
    }
  }

  /** Sum of a counter without `_total`; a series that is not there counted nothing. */
  sum(name: string, labels: Labels = {}): number {
    return (this.#series.get(`${name}_total`) ?? [])
      .filter((one) => Object.entries(labels).every(([key, value]) => one.labels[key] === value))
      .reduce((sum, { value }) => sum + value, 0);
  }

  /** What was dropped, as text. */
  drops(): string {
    const all = this.#series.get('drops_total') ?? [];
    return all.map(({ labels, value }) => `${labels.service} ${labels.reason} ${value}`).join(', ');
  }

  /** What came, what was lost on the way, and what was dropped. */
  totals(): string {
    const all = ['packets_total', 'io_received_total', 'io_lost_total'].flatMap((family) =>
      (this.#series.get(family) ?? [])
        .filter(({ value }) => value > 0)
        .map(({ labels, value }) => `${family} ${Object.values(labels).join(' ')} ${value}`),
    );
    return [...all, this.drops()].join(', ');
  }

  /** The equations that do not hold, as they are; `waiting` fragments may be held. */
  faults(waiting = 0): string[] {
    const faults: string[] = [];
    const check = (what: string, left: number, right: number): void => {
      if (left !== right) faults.push(`${what}: ${left} = ${right}`);
    };
    const valuesOf = (name: string, label: string) =>
      new Set((this.#series.get(name) ?? []).map(({ labels }) => labels[label]));
    for (const device of valuesOf('io_received_total', 'interface')) {
      for (const sources of ['any', 'known']) {
        const at = { interface: device, sources };
        const ended =
          this.sum('io_judged', at) +
          this.sum('io_foreign', at) +
          this.sum('io_lost', { ...at, where: 'backlog' });
        check(`${device} ${sources}`, this.sum('io_received', at) + this.sum('io_split', at), ended);
      }
    }
    for (const service of valuesOf('packets_total', 'service')) {
      const of = { service };
      const isNone = service === '';
      const ended =
        this.sum('forwarded_packets', of) +
        this.sum('drops', of) +
        this.sum('consumed_packets', of) +
        this.sum('passed_packets', of) +
        this.sum('fragments_joined', of) +
        (isNone ? waiting : 0);
      check(`service ${service}`, this.sum('packets', of), ended);
      if (isNone) continue;
      const sent = this.sum('forwarded_packets', of) - this.sum('icmp_translated', of);
      check(`real servers of ${service}`, this.sum('server_packets', of), sent);
    }
    // Over all, services that are gone too.
    const { counters: c, io } = this.#stats;
    const received = c.inboundPackets + c.outboundPackets + c.unassignedPackets;
    const fast = c.inboundFast + c.outboundFast;
    check('all', received, io.judged + c.datagramsReassembled + fast);
    const forwarded = c.inboundForwarded + c.outboundForwarded - fast;
    const whole = forwarded - c.datagramsFragmented + c.uoaCarrier + c.uoaRepeated;
    check('sent', io.sent, whole + c.fragmentsSent + c.icmpSent);
    return faults;
  }

  /** Counters that are less than in `before`, or are there no more. */
  backwards(before: Books): string[] {
    const faults: string[] = [];
    for (const family of before.#counters) {
      const values = new Map(
        (this.#series.get(family) ?? []).map(({ labels, value }) => [JSON.stringify(labels), value]),
      );
      for (const { labels, value } of before.#series.get(family) ?? []) {
        const now = values.get(JSON.stringify(labels));
        if (now !== undefined && now < value)
          faults.push(`${family} ${JSON.stringify(labels)}: ${value}, then ${now}`);
      }
    }
    return faults;
  }
}

export async function readBooks(rig: Rig): Promise<Books> {
  const { status, body } = await rig.get('/metrics');
  assert.equal(status, 200, '/metrics answers');
  const stats = await rig.get('/stats');
  assert.equal(stats.status, 200, '/stats answers');
  return new Books(body, JSON.parse(stats.body) as Stats);
}

/** Waits until the equations hold: until then packets may be under way. */
export async function balanced(rig: Rig, isDone: (books: Books) => boolean = () => true): Promise<Books> {
  const deadline = performance.now() + 30_000;
  for (;;) {
    const books = await readBooks(rig);
    const faults = books.faults();
    if (faults.length === 0 && isDone(books)) return books;
    assert.ok(
      performance.now() < deadline,
      `after 30 s: ${faults.join('; ') || `not all has come: ${books.totals()}`}`,
    );
    await sleep(100);
  }
}

/** Scrapes all the time; `end` tells what went back. */
export function watchBooks(rig: Rig): { end(): Promise<string[]> } {
  const faults: string[] = [];
  let isOver = false;
  const watching = (async () => {
    let before = await readBooks(rig);
    while (!isOver) {
      const now = await readBooks(rig);
      faults.push(...now.backwards(before));
      before = now;
      await sleep(20);
    }
  })();
  return {
    async end() {
      isOver = true;
      await watching;
      return faults;
    },
  };
}
