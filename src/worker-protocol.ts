// What the control plane (proxy.ts, workers.ts) and the datapath processes (worker.ts) say to each other, and
// what both must agree on.
import type { DatapathPlan } from './datapath/plan.ts';
import { IO_COUNTERS, type IoPort, type IoStart, ioRows } from './io/packet-io.ts';
import type { SteeringSpec } from './steer/steering.ts';

/**
 * File descriptors in a datapath process: what these messages come by (Node's channel); the shared memory;
 * with several workers the socket on which the others pass packets on to it, and those to each worker; and
 * last those of its packet I/O (IoHost.fds).
 */
export const MESSAGES_FD = 3;
export const MEMORY_FD = 4;
export const INBOX_FD = MEMORY_FD + 1;
export const FIRST_OUTBOX_FD = INBOX_FD + 1;
export const firstIoFd = (workers: number): number => (workers === 1 ? INBOX_FD : FIRST_OUTBOX_FD + workers);

/** The plan with what the packet I/O must know of each port. */
export interface WorkerPlan extends DatapathPlan {
  readonly ports: readonly IoPort[];
}

export interface WorkerStart extends WorkerReplan {
  kind: 'start';
  /** Where this worker's part of the shared memory begins, and how long all of it is. */
  memoryOff: number;
  memoryBytes: number;
  /** How many descriptors its packet I/O has. */
  ioFds: number;
}

/** What takes the place of the plan at work; ports and memory stay. */
export interface WorkerReplan {
  plan: WorkerPlan;
  io: IoStart;
  /** Which worker a packet belongs to; undefined for one worker. */
  steering: SteeringSpec | undefined;
}

/**
 * Answered by `planned` or `failed` with its number: an answer may come when nobody waits for it any more.
 */
export interface ReplanRequest extends WorkerReplan {
  kind: 'replan';
  request: number;
}

export type ToWorker = WorkerStart | ReplanRequest | { kind: 'stop' };
export type FromWorker =
  | { kind: 'ready' }
  | { kind: 'planned'; request: number }
  | { kind: 'failed'; message: string; hint: string; request: number | undefined }
  | { kind: 'warning'; message: string }
  | { kind: 'info'; message: string };

/** Cells that the I/O counters take. */
export const ioCells = (ports: number): number => ioRows(ports) * IO_COUNTERS.length;

/** Milliseconds of the system's monotonic clock, the same for all processes, as an int32 that wraps. */
export const nowMs = (): number => Number((process.hrtime.bigint() / 1_000_000n) & 0xffff_ffffn) | 0;
