// What the control plane (proxy.ts) and the datapath process (worker.ts) say to each other, and what both must agree on.
import type { DatapathPlan } from './datapath/plan.ts';
import { IO_COUNTERS, type IoPort } from './io/packet-io.ts';

/** File descriptor of the shared memory in the datapath process. */
export const MEMORY_FD = 4;

/** The plan with what the packet I/O must know of each port. */
export interface WorkerPlan extends DatapathPlan {
  readonly ports: readonly IoPort[];
}

export interface WorkerStart {
  kind: 'start';
  plan: WorkerPlan;
  /** One capture filter per port. */
  filters: string[];
  bufferSize: number;
}
export type ToWorker = WorkerStart | { kind: 'stop' };
export type FromWorker =
  | { kind: 'ready' }
  | { kind: 'failed'; message: string; hint: string }
  | { kind: 'warning'; message: string };

/** Cells that the I/O counters take: one row per port and one for what has no port. */
export const ioCells = (ports: number): number => (ports + 1) * IO_COUNTERS.length;

/** Milliseconds of the system's monotonic clock, the same for all processes, as an int32 that wraps. */
export const nowMs = (): number => Number((process.hrtime.bigint() / 1_000_000n) & 0xffff_ffffn) | 0;
