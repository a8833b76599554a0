// The datapath process, forked by proxy.ts: maps the shared memory, joins packet I/O and datapath, and tells its parent
// how it fares. Wiring only. It dies with its parent.
import { randomBytes } from 'node:crypto';
import { Datapath } from './datapath/datapath.ts';
import { type DatapathMemory, mapMemory, memoryBytes } from './datapath/memory.ts';
import { IoError } from './io/io-error.ts';
import type { PacketIo } from './io/packet-io.ts';
import { openPcapIo } from './io/pcap.ts';
import { dieWithParent } from './sys/process.ts';
import { mapSharedMemory } from './sys/shared-memory.ts';
import {
  type FromWorker,
  ioCells,
  MEMORY_FD,
  nowMs,
  type ToWorker,
  type WorkerStart,
} from './worker-protocol.ts';

/** How often expiry and the kernel's loss counters are looked after. */
const TICK_MS = 100;

runWorker();

function runWorker(): void {
  dieWithParent(Number(process.argv[2]));
  let io: PacketIo | undefined;
  let timer: NodeJS.Timeout | undefined;
  process.on('message', (message: ToWorker) => {
    if (message.kind === 'stop') {
      clearInterval(timer);
      io?.close();
      process.exit(0);
    }
    try {
      ({ io, timer } = start(message));
      tell({ kind: 'ready' });
    } catch (error) {
      if (!(error instanceof IoError)) throw error;
      tell({ kind: 'failed', message: error.message, hint: error.hint });
    }
  });
  // The parent decides when to stop: a terminal's Ctrl-C reaches the whole process group.
  process.on('SIGINT', () => {});
  process.on('SIGTERM', () => {});
  process.on('disconnect', () => process.exit(1));
}

function start({ plan, filters, bufferSize }: WorkerStart): { io: PacketIo; timer: NodeJS.Timeout } {
  const cells = ioCells(plan.ports.length);
  const memory: DatapathMemory = mapMemory(mapSharedMemory(MEMORY_FD, memoryBytes(plan, cells)), plan, cells);
  const seed = new Int32Array(new Uint8Array(randomBytes(8)).buffer);
  const clock = new MonotonicClock();
  let io: PacketIo;
  const datapath = new Datapath(plan, memory, (frame, off, len) => io.send(frame, off, len), [
    seed[0],
    seed[1],
  ]);
  io = openPcapIo({
    ports: plan.ports,
    filters,
    bufferSize,
    onPacket: (frame, off, end, portIndex) => {
      datapath.receive(frame, off, end, portIndex, clock.nowMs());
    },
    counters: memory.io,
    onFailure: (message, final) => {
      tell({ kind: 'warning', message });
      if (final) setImmediate(() => process.exit(1));
    },
  });
  const timer = setInterval(() => {
    datapath.tick(clock.nowMs());
    io.poll();
  }, TICK_MS);
  return { io, timer };
}

/** nowMs without a bigint per packet. */
class MonotonicClock {
  readonly #offsetMs = nowMs() - performance.now();

  nowMs(): number {
    return (performance.now() + this.#offsetMs) | 0;
  }
}

function tell(message: FromWorker): void {
  process.send?.(message);
}
