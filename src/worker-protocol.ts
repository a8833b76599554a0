// What the control plane (proxy.ts, workers.ts) and the datapath processes (worker.ts) say to each other, and
// what both must agree on.
import type { DatapathPlan } from './datapath/plan.ts';
import type { FastPathSizes } from './fast/layout.ts';
import { isSameAddresses } from './host/port-ranges.ts';
import type { DealtWith } from './io/dealt-with.ts';
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
  /** Its part of the fast path, whose descriptors are behind those: FAST_MAPS, in this order. */
  fast: FastPart | undefined;
  /** It makes all ready and waits for `adopt`: its sessions are in the memory only then. */
  isWaiting?: boolean | undefined;
}

/** What a worker has of the fast path's maps: as many sessions as of its plan, and hops. */
export interface FastPart {
  readonly sizes: FastPathSizes;
  readonly firstSession: number;
  readonly firstHop: number;
  readonly hops: number;
}

export const FAST_MAPS = ['hot', 'hot6', 'hot_buckets', 'hashing', 'hops'] as const;

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
export interface ReplanRequest extends ReplanChange {
  kind: 'replan';
  request: number;
}

/**
 * A WorkerReplan as what is different from the one that the worker goes by: of a thousand services mostly one
 * changes, and all are a megabyte.
 */
export interface ReplanChange {
  plan: Omit<WorkerPlan, 'services' | 'ownAddresses'>;
  services: ListChange<WorkerPlan['services'][number]>;
  ownAddresses: ListChange<string>;
  io: IoStart;
  steering: SteeringSpec | undefined | 'same';
}

/** Stretches of the list before, and between them what is new. */
type ListChange<T> = (Stretch | T[])[];

interface Stretch {
  from: number;
  count: number;
}

/** Services that are the same objects in both are not told of again. Without `before` all is new. */
export function changeBetween(before: WorkerReplan | undefined, after: WorkerReplan): ReplanChange {
  const { services, ownAddresses = [], ...plan } = after.plan;
  const { io, steering } = after;
  const isSteeredTheSame =
    before?.steering !== undefined && steering !== undefined && isSameAddresses(before.steering, steering);
  return {
    plan,
    services: listChange(before?.plan.services ?? [], services),
    ownAddresses: listChange(before?.plan.ownAddresses ?? [], ownAddresses),
    io,
    steering: isSteeredTheSame ? 'same' : steering, // key and workers stay as they are
  };
}

/** What `change` makes of `before`; what stays is the same object. */
export function withChange(before: WorkerReplan, change: ReplanChange): WorkerReplan {
  const { plan, io, steering } = change;
  const services = changedList(before.plan.services, change.services);
  const ownAddresses = changedList(before.plan.ownAddresses ?? [], change.ownAddresses);
  return {
    plan: { ...plan, services, ownAddresses },
    io,
    steering: steering === 'same' ? before.steering : steering,
  };
}

function listChange<T>(before: readonly T[], after: readonly T[]): ListChange<T> {
  const places = new Map(before.map((item, at) => [item, at]));
  const change: ListChange<T> = [];
  for (const item of after) {
    const at = places.get(item);
    const last = change.at(-1);
    if (at === undefined) {
      if (Array.isArray(last)) last.push(item);
      else change.push([item]);
    } else if (last !== undefined && !Array.isArray(last) && last.from + last.count === at) last.count++;
    else change.push({ from: at, count: 1 });
  }
  return change;
}

function changedList<T>(before: readonly T[], change: ListChange<T>): readonly T[] {
  const [first] = change;
  if (change.length === 1 && 'from' in first && first.from === 0 && first.count === before.length)
    return before;
  return change.flatMap((part) => ('from' in part ? before.slice(part.from, part.from + part.count) : part));
}

/**
 * For another process to go on. `hold`: that no session becomes hot meanwhile, or that they may again.
 * `drain`: to work off what came in. `leave`: the same with what others handed over meanwhile, to note what
 * the next one needs, and to end (PacketIo.drain, leave).
 */
export type DrainRequest = { readonly request: number } & DrainStep;
export type DrainStep =
  | { kind: 'hold'; isHeld: boolean }
  | { kind: 'drain' }
  | { kind: 'leave'; sinceUs: number };

/** To one that waits: its sessions are in the memory. It goes on to wait. */
export interface AdoptRequest {
  kind: 'adopt';
  dealtWith: DealtWithByPort;
}

export type DealtWithByPort = readonly DealtWith[];

export type ToWorker =
  | WorkerStart
  | AdoptRequest
  | { kind: 'go' }
  | ReplanRequest
  | DrainRequest
  | { kind: 'stop' };
export type FromWorker =
  /** All is ready: it waits for `adopt`, or `go`. */
  | { kind: 'waiting' }
  | { kind: 'ready' }
  | { kind: 'drained'; request: number; dealtWith: DealtWithByPort }
  | { kind: 'planned'; request: number }
  | { kind: 'failed'; message: string; hint: string; request: number | undefined }
  | { kind: 'warning'; message: string }
  | { kind: 'info'; message: string };

/** Cells that the I/O counters take. */
export const ioCells = (ports: number): number => ioRows(ports) * IO_COUNTERS.length;

/** Milliseconds of the system's monotonic clock, the same for all processes, as an int32 that wraps. */
export const nowMs = (): number => Number((process.hrtime.bigint() / 1_000_000n) & 0xffff_ffffn) | 0;
