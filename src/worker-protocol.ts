// What the control plane (proxy.ts, workers.ts) and the datapath processes (worker.ts) say to each other, and what both
// must agree on.
import type { DatapathPlan } from './datapath/plan.ts';
import type { CaptureFilter } from './io/capture-program.ts';
import { IO_COUNTERS, type IoPort, ioRows } from './io/packet-io.ts';
import type { KnownPlan } from './steer/known-sources.ts';
import type { SteeringPlan } from './steer/steering.ts';

/**
 * File descriptors in a datapath process: the shared memory; its rings (Rings.sockets); where known sources have rings of
 * their own, the memory of those; and with several workers the socket on which the others pass packets on to it, and those
 * to each worker.
 */
export const MEMORY_FD = 4;
export const FIRST_RING_FD = MEMORY_FD + 1;

/** The plan with what the packet I/O must know of each port. */
export interface WorkerPlan extends DatapathPlan {
  readonly ports: readonly IoPort[];
}

export interface WorkerStart {
  kind: 'start';
  plan: WorkerPlan;
  /** Where this worker's part of the shared memory begins, and how long all of it is. */
  memoryOff: number;
  memoryBytes: number;
  /** One per port. */
  filters: CaptureFilter[];
  bufferSize: number;
  /** Frame size and number of the rings; undefined: packet I/O is pcap. */
  rings: { frameBytes: number; frames: number }[] | undefined;
  /** Undefined where known sources have no rings of their own. */
  known: KnownPlan | undefined;
  busyPoll: boolean;
  /** How packets are shared out to several workers. */
  steering: SteeringPlan | undefined;
}

/** What takes the place of the plan at work; ports and memory stay. */
export interface WorkerReplan {
  plan: WorkerPlan;
  filters: CaptureFilter[];
  steering: SteeringPlan | undefined;
}

/** Answered by `planned` or `failed` with its number: an answer may come when nobody waits for it any more. */
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
