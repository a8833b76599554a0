// What finding a packet's session costs, in a small table and in one that no processor cache holds. Each size
// is measured in a fresh process.
import { measureInChild } from './child.ts';
import type { LookupFigures, LookupInput } from './lookup-process.ts';
import { count, formatTable } from './table.ts';

export interface LookupOptions {
  sessions: readonly number[];
  rounds: number;
}

const LOOKUPS = 500_000;

/** Measures and prints. */
export async function measureLookup({ sessions, rounds }: LookupOptions): Promise<void> {
  const rows: string[][] = [];
  for (const size of sessions) {
    const input: LookupInput = { sessions: size, rounds, lookups: LOOKUPS };
    const { inbound, outbound, unknown } = await measureInChild<LookupFigures>(
      './lookup-process.ts',
      input,
      [],
    );
    rows.push([count(size), ...[inbound, outbound, unknown].map((nanoseconds) => nanoseconds.toFixed(0))]);
  }
  console.log(
    '\nfinding a session: nanoseconds per lookup, hash and setting of the tuple included; median of rounds',
  );
  console.log(
    formatTable(['sessions', "by client's packet", "by real server's", 'of no session'], rows).join('\n'),
  );
}
