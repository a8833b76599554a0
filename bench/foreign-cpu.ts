// How much processor time programs took that have no part in a measurement: figures from a machine that
// others use too are low, and a reader should see why. From /proc/stat and /proc/<pid>/stat (proc(5)); time
// in interrupts counts for nobody.
import { readFileSync } from 'node:fs';
import { processTicks, TICKS_PER_SECOND } from './usage.ts';

export class ForeignCpu {
  readonly #ours: () => readonly number[];
  readonly #startMs = performance.now();
  readonly #start: number;

  /** Starts to count; `ours` lists the pids that take part, and must list the same at the end. */
  constructor(ours: () => readonly number[]) {
    this.#ours = ours;
    this.#start = this.#ticks();
  }

  /** The share of one processor that others used since the start; 0.5 is half of one. */
  share(): number {
    const seconds = (performance.now() - this.#startMs) / 1000;
    return Math.max(0, (this.#ticks() - this.#start) / TICKS_PER_SECOND / seconds);
  }

  #ticks(): number {
    const [user = 0, nice = 0, system = 0] = busyTicks(readFileSync('/proc/stat', 'utf8'));
    return user + nice + system - this.#ours().reduce((sum, pid) => sum + processTicks(pid), 0);
  }
}

/** user, nice and system of all processors together, from the text of /proc/stat. */
export function busyTicks(text: string): number[] {
  const fields = /^cpu +(.*)$/m.exec(text)?.[1] ?? '';
  return fields.split(' ').slice(0, 3).map(Number);
}
