// CPU time and memory of another process of ours, from /proc (proc(5)). The datapath is a process of its own,
// so this process's figures say nothing about it.
import { readFileSync } from 'node:fs';

export interface ProcessUsage {
  cpuSeconds: number;
  residentBytes: number;
}

/**
 * CPU time of workers, of which each is one process after the other: a new one begins where the one before
 * was seen last.
 */
export class CpuTimes {
  readonly #seen = new Map<number, { pid: number; seconds: number; before: number }>();

  /** Of all processes of the worker until now, the last of which is `pid` and used so many seconds itself. */
  total(worker: number, pid: number, seconds: number): number {
    const last = this.#seen.get(worker);
    const before = last === undefined ? 0 : last.pid === pid ? last.before : last.before + last.seconds;
    this.#seen.set(worker, { pid, seconds, before });
    return before + seconds;
  }
}

/** USER_HZ, which is 100 on every architecture that Node runs on. */
const TICKS_PER_SECOND = 100;

/** Undefined when the process is gone. */
export function readProcessUsage(pid: number): ProcessUsage | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // Field 2 is the name in parentheses, which may itself hold spaces and parentheses; field 3 follows the
    // last one.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const [utime, stime] = [Number(fields[14 - 3]), Number(fields[15 - 3])];
    // Not /proc/PID/statm: that counts pages, whose size differs between arm64 kernels.
    const rss = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'));
    return { cpuSeconds: (utime + stime) / TICKS_PER_SECOND, residentBytes: Number(rss?.[1] ?? 0) * 1024 };
  } catch {
    return undefined; // ended between two reads, or before
  }
}
