// Processor time and memory of processes, from /proc (proc(5)).
import { readFileSync } from 'node:fs';

/** Clock ticks per second of /proc, a constant of Linux on all its platforms. */
export const TICKS_PER_SECOND = 100;

/** Time in user and system mode so far, in ticks; 0 for one that has ended. */
export function processTicks(pid: number): number {
  const text = read(pid, 'stat');
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return text === '' ? 0 : Number(fields[11]) + Number(fields[12]); // utime, stime
}

/** Bytes of memory; what several processes share counts once among them. */
export function memoryOf(pids: readonly number[]): number {
  return pids.reduce(
    (sum, pid) => sum + 1024 * Number(/^Pss: +(\d+)/m.exec(read(pid, 'smaps_rollup'))?.[1] ?? 0),
    0,
  );
}

function read(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    return ''; // ended
  }
}
