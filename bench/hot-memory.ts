// What hot sessions cost in memory beside what all sessions do: two proxies that differ in nothing but the
// fast path, with the same sessions open. The kernel's maps count as the kernel says, processes as usual.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { proxy } from './forwarders/proxy.ts';
import { type Entrant, Lineup } from './lineup.ts';
import { count, formatTable } from './table.ts';
import { type Aim, atMost, type Target } from './targets.ts';

const WANTED_BYTES = 250;

const aimOf = (sessions: number): Aim => ({
  what: `memory of a hot session beside that of others, of ${count(sessions)}`,
  wanted: `at most ${WANTED_BYTES} bytes`,
});
export const HOT_MEMORY_AIMS: readonly Aim[] = [aimOf(1_000_000)];

interface Memory {
  processes: number;
  maps: number;
}

/** Measures, prints, and returns what became of the target, for each number of sessions. */
export async function measureHotMemory(sessionCounts: readonly number[]): Promise<Target[]> {
  const targets: Target[] = [];
  const rows: string[][] = [];
  for (const sessions of sessionCounts) {
    const options = { mode: 'ring', opensPerSecond: 100_000, maxSessions: sessions } as const;
    const starts = { ring: proxy(options), xdp: proxy({ ...options, fastPath: 'xdp' }) };
    const figures = await Lineup.with(
      ['ring', 'xdp'],
      async (lineup) => {
        for (const entrant of lineup.entrants) await lineup.open(entrant, sessions);
        const able = lineup.turn(0, sessions);
        const of = (key: string): Memory | undefined => {
          const found = able.find((entrant) => entrant.key === key);
          return found && memoryOf(found);
        };
        const [slow, fast] = [of('ring'), of('xdp')];
        if (slow === undefined || fast === undefined) return undefined;
        return { processes: fast.processes - slow.processes, maps: fast.maps - slow.maps };
      },
      starts,
    );
    if (figures === undefined) continue;
    const [processes, maps] = [figures.processes / sessions, figures.maps / sessions];
    rows.push([count(sessions), (processes + maps).toFixed(0), maps.toFixed(0), processes.toFixed(0)]);
    const bytes = (value: number): string => `${value.toFixed(0)} bytes`;
    targets.push(atMost(aimOf(sessions), [processes + maps], WANTED_BYTES, bytes));
  }
  const header = ['sessions, all hot', 'bytes for each', "of it: kernel's maps", 'processes'];
  if (rows.length > 0) console.log(`\n${formatTable(header, rows).join('\n')}`);
  return targets;
}

function memoryOf({ forwarder }: Entrant): Memory {
  const maps = new Map<string, number>();
  let processes = 0;
  for (const pid of forwarder.pids()) {
    processes += ownMemory(pid);
    for (const [id, bytes] of mapsOf(pid)) maps.set(id, bytes);
  }
  return { processes, maps: [...maps.values()].reduce((sum, bytes) => sum + bytes, 0) };
}

/** Bytes, without the kernel's maps where they are mapped; what is shared counts once among those who do. */
function ownMemory(pid: number): number {
  let sum = 0;
  let isMap = false;
  for (const line of readFileSync(`/proc/${pid}/smaps`, 'utf8').split('\n')) {
    if (/^[0-9a-f]+-[0-9a-f]+ /.test(line)) isMap = line.includes('bpf-map');
    const pss = /^Pss: +(\d+)/.exec(line)?.[1];
    if (pss !== undefined && !isMap) sum += 1024 * Number(pss);
  }
  return sum;
}

/** Maps of a process by their number, and bytes of each (fdinfo of bpf; exact since Linux 6.4). */
function mapsOf(pid: number): [id: string, bytes: number][] {
  return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
    try {
      if (!readlinkSync(`/proc/${pid}/fd/${fd}`).includes('bpf-map')) return [];
      const text = readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8');
      const field = (name: string): string => new RegExp(`^${name}:\\s*(\\d+)`, 'm').exec(text)?.[1] ?? '';
      return [[field('map_id'), Number(field('memlock'))] as [string, number]];
    } catch {
      return []; // closed meanwhile
    }
  });
}
