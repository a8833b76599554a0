// Bytes of memory per session, everything that grows with them included: records, index, lru-cache, lport
// pools.
import { measureInChild } from './child.ts';
import type { MemoryFigures } from './memory-process.ts';
import { count, formatTable } from './table.ts';
import { shortOfMost, type Target } from './targets.ts';

const WANTED_BYTES = 300;
/** Fewer make less difference than the process does by itself. */
const LEAST_SESSIONS = 100_000;

/**
 * Measures each number of sessions, where it is large enough, in a fresh process, prints, and returns what
 * became of the target.
 */
export async function measureMemory(sessionCounts: readonly number[]): Promise<Target[]> {
  const targets: Target[] = [];
  const rows: string[][] = [];
  const counts = sessionCounts.filter((sessions) => sessions >= LEAST_SESSIONS);
  if (counts.length === 0) throw new Error(`--sessions: memory needs ${count(LEAST_SESSIONS)} at least`);
  for (const sessions of counts) {
    const figures = await measureInChild<MemoryFigures>('./memory-process.ts', { sessions }, ['--expose-gc']);
    const each = (bytes: number): string => (bytes / sessions).toFixed(0);
    rows.push([
      count(sessions),
      each(figures.rss),
      each(figures.records),
      each(figures.arrays),
      each(figures.heap),
      (figures.rss / 2 ** 20).toFixed(0),
    ]);
    targets.push({
      what: `memory at ${count(sessions)} sessions`,
      measured: `${each(figures.rss)} bytes per session`,
      wanted: `under ${WANTED_BYTES}`,
      short: shortOfMost(figures.rss / sessions, WANTED_BYTES),
    });
  }
  console.log(
    '\nmemory: bytes per session, growth of the resident set from before the table to all sessions open',
  );
  const header = ['sessions', 'resident', 'of it: records', 'arrays', 'heap', 'resident MiB'];
  console.log(formatTable(header, rows).join('\n'));
  return targets;
}
