// What the datapath processes begin with, made once: the memory that all map, the sockets between them, and
// what each is told.
import { commonBytes, type DatapathMemory, mapMemory, memoryBytes } from '../datapath/memory.ts';
import type { IoHost } from '../io/io-mode.ts';
import { createSharedMemory } from '../sys/shared-memory.ts';
import { closeSocketPair, openSocketPair, type SocketPair } from '../sys/socket-pair.ts';
import { ioCells, type WorkerReplan } from '../worker-protocol.ts';
import type { WorkerSpec } from '../workers.ts';
import type { FastPath } from './fast-path.ts';

/** What may wait for one worker from the others: some dozens of the largest datagrams. */
const HANDOVER_BYTES = 4 << 20;

export interface WorkerSpecs {
  /** One per worker. */
  specs: WorkerSpec[];
  /** The same memory as the workers see, one region per worker. */
  memories: DatapathMemory[];
  /** Closes the sockets, when no worker will start any more. */
  close(): void;
}

/** `replans` has what each worker goes by. Throws a SysError. */
export function makeWorkerSpecs(
  replans: readonly WorkerReplan[],
  io: IoHost,
  fast: FastPath | undefined,
): WorkerSpecs {
  const [{ plan }] = replans as readonly [WorkerReplan];
  const cells = ioCells(plan.ports.length);
  const common = commonBytes(plan);
  const regionBytes = memoryBytes(plan, cells);
  const allBytes = common + regionBytes * replans.length;
  const memoryOff = (worker: number) => common + worker * regionBytes;
  const { fd, buffer } = createSharedMemory('uoa-proxy', allBytes);
  const pairs = replans.length === 1 ? [] : replans.map(() => openSocketPair(HANDOVER_BYTES));
  const specs = replans.map((replan, worker): WorkerSpec => {
    const ioFds = io.fds(worker);
    return {
      start: {
        kind: 'start',
        ...replan,
        memoryOff: memoryOff(worker),
        memoryBytes: allBytes,
        ioFds: ioFds.length,
        fast: fast?.partOf(worker),
      },
      fds: [fd, ...handOverFds(pairs, worker), ...ioFds, ...(fast?.fds ?? [])],
    };
  });
  const memories = replans.map((own, worker) => mapMemory(buffer, own.plan, cells, memoryOff(worker)));
  return { specs, memories, close: () => pairs.forEach(closeSocketPair) };
}

/** What a worker reads from the others, and how it reaches each. */
const handOverFds = (pairs: readonly SocketPair[], worker: number): number[] =>
  pairs.length === 0 ? [] : [pairs[worker].receiveFd, ...pairs.map(({ sendFd }) => sendFd)];
