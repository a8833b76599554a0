// The datapath alone, without packet I/O: nanoseconds and bytes of garbage per packet for each walk of
// docs/architecture.md. Each number of sessions is measured in a fresh process.
import { measureInChild } from './child.ts';
import type { DatapathInput, WalkFigures } from './datapath-process.ts';
import { count, formatTable } from './table.ts';

export interface DatapathOptions {
  sessions: readonly number[];
  payloads: readonly number[];
  quick: boolean;
  /** Folder for CPU profiles. */
  profileDir?: string | undefined;
}

/** So large that nothing is collected while bytes are counted. */
const HEAP_OPTIONS = ['--expose-gc', '--min-semi-space-size=256', '--max-semi-space-size=256'];

/** Measures and prints. */
export async function measureDatapath(options: DatapathOptions): Promise<void> {
  const { payloads, quick, profileDir } = options;
  const rows = new Map<string, string[]>();
  const header = ['walk'];
  for (const sessions of options.sessions) {
    for (const payloadLen of payloads) {
      const input: DatapathInput = {
        sessions,
        payloadLen,
        rounds: quick ? 3 : 7,
        packets: quick ? 100_000 : 300_000,
      };
      const profile = profileDir === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profileDir}`];
      const walks = await measureInChild<WalkFigures[]>('./datapath-process.ts', input, [
        ...HEAP_OPTIONS,
        ...profile,
      ]);
      header.push(`${count(sessions)}/${payloadLen} B: ns`, 'garbage B');
      for (const { name, nanoseconds, bytes } of walks) {
        const row = rows.get(name) ?? [name];
        row.push(nanoseconds.toFixed(0), bytes === undefined ? 'collected' : bytes.toFixed(1));
        rows.set(name, row);
      }
    }
  }
  console.log('\ndatapath alone, by sessions / payload: per packet, without packet I/O; median of rounds');
  console.log(formatTable(header, [...rows.values()]).join('\n'));
}
