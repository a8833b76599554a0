// What sessions that go by the fast path lose when the proxy is killed and started again, restarted, and told
// to reload: datagrams without an answer, under 10,000 round trips per second. The proxy has a bpffs of its
// own, in which what forwards outlives it.
import { mkdtempSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { run } from '../src/lab/namespace.ts';
import type { Restarts } from './forwarders/forwarder.ts';
import { proxy } from './forwarders/proxy.ts';
import { Lineup } from './lineup.ts';
import { count, formatTable } from './table.ts';
import { type Aim, atMost, type Target, unmeasured } from './targets.ts';

export interface RestartsOptions {
  rounds: number;
  /** Of each; what happens does so after the first. */
  seconds: number;
}

const FLOWS = 64;
const RATE = 10_000;
const AFTER_MS = 1_000;
const SETTLE_MS = 1_000;

const KINDS = {
  'kill -9 and start': ({ kill }: Restarts) => kill(),
  'restart (run --takeover)': ({ takeOver }: Restarts) => takeOver(),
  reload: ({ reload }: Restarts) => reload(),
} as const;
type Kind = keyof typeof KINDS;

const aimOf = (kind: Kind): Aim => ({
  what: `datagrams of hot sessions lost by ${kind}, at ${count(RATE)}/s`,
  wanted: '0',
});
const ALL = Object.keys(KINDS) as Kind[];
export const RESTART_AIMS: readonly Aim[] = ALL.map(aimOf);

/** Measures, prints, and returns what became of the targets. */
export async function measureRestarts(options: RestartsOptions): Promise<Target[]> {
  const bpffs = mkdtempSync(join(tmpdir(), 'uoa-bench-bpffs-'));
  run(['mount', '-t', 'bpf', 'none', bpffs]);
  try {
    const start = proxy({
      mode: 'ring',
      fastPath: 'xdp',
      opensPerSecond: 100_000,
      maxSessions: 10_000,
      bpffs,
    });
    return await Lineup.with(['xdp'], (lineup) => measure(lineup, options), { xdp: start });
  } finally {
    run(['umount', '-l', bpffs]);
    rmdirSync(bpffs);
  }
}

async function measure(lineup: Lineup, { rounds, seconds }: RestartsOptions): Promise<Target[]> {
  const entrant = lineup.find('xdp');
  if (entrant === undefined) throw new Error(lineup.missing.join(', '));
  const lost = new Map<Kind, number[]>(ALL.map((kind) => [kind, []]));
  const sent = new Map<Kind, number>();
  const failed = new Map<Kind, string>();
  for (let round = 0; round < rounds; round++) {
    for (const kind of ALL.filter((one) => !failed.has(one))) {
      try {
        await lineup.open(entrant, FLOWS);
        if (lineup.turn(round, FLOWS).length === 0) throw new Error('no session became hot');
        await sleep(SETTLE_MS); // what is still under way counts for nobody
        const aim = { payloadLen: 64, flows: FLOWS, rate: RATE, seconds, echo: true };
        const happens = sleep(AFTER_MS).then(() => KINDS[kind](entrant.forwarder.restarts!));
        const [outcome] = await Promise.all([lineup.shoot(entrant, aim), happens]);
        lost.get(kind)!.push(outcome.sent - outcome.answeredInAll);
        sent.set(kind, (sent.get(kind) ?? 0) + outcome.sent);
      } catch (error) {
        const [first, second] = (error as Error).message.split('\n');
        failed.set(kind, second || first!); // of a program that ended its own words
        console.error(error);
      }
      lineup.forget(entrant);
    }
  }
  const measured = ALL.filter((kind) => !failed.has(kind));
  const rows = measured.map((kind) => [kind, count(sent.get(kind)!), lost.get(kind)!.map(count).join(', ')]);
  console.log(`\n${formatTable(['', 'datagrams', 'lost in each round'], rows).join('\n')}`);
  return ALL.map((kind) => {
    const why = failed.get(kind);
    if (why !== undefined) return unmeasured(aimOf(kind), why);
    const worst = Math.max(...lost.get(kind)!);
    return atMost(aimOf(kind), [worst], 0, (value) => `${count(value)}${rounds > 1 ? ' at most' : ''}`);
  });
}
