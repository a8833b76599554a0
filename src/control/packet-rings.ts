// Opens the rings of all workers, or settles for pcap and says why.
import { availableParallelism } from 'node:os';
import type { Logger } from 'pino';
import type { Config } from '../config/schema.ts';
import { IoError } from '../io/io-error.ts';
import type { IoPort, PacketIo } from '../io/packet-io.ts';
import { openRings, type Rings } from '../io/ring-sockets.ts';
import type { SteeringPlan } from '../io/steering.ts';
import { steeringProgram } from '../io/steering-program.ts';

export interface ProvidedIo {
  /** Undefined where packet I/O is pcap. */
  rings: Rings | undefined;
  ioMode: PacketIo['mode'];
  workers: number;
}

/** How many workers there will be, if the rings can be opened. */
export function wantedWorkers({ io, services }: Config, log: Logger): number {
  if (io.mode === 'pcap') return 1;
  // Each needs an lport of every LIP, or some clients would find none.
  const most = Math.min(...services.map(({ lports }) => lports.last - lports.first + 1));
  const wanted = io.workers === 'auto' ? Math.max(1, availableParallelism() - 1) : io.workers;
  const workers = Math.min(wanted, most);
  if (workers < wanted) log.warn(`${workers} of ${wanted} workers: a service has no more lports than that`);
  return workers;
}

/** Throws an IoError. */
export function provideRings(
  { io }: Config,
  ports: readonly IoPort[],
  filters: readonly string[],
  steering: SteeringPlan | undefined,
  log: Logger,
): ProvidedIo {
  if (io.mode === 'pcap') return { rings: undefined, ioMode: 'pcap', workers: 1 };
  const workers = steering?.workers ?? 1;
  const programs = steeringPrograms(steering, ports);
  try {
    const rings = openRings({ ports, filters, bufferSize: io.bufferSize, workers, steering: programs });
    return { rings, ioMode: 'ring', workers };
  } catch (error) {
    if (io.mode === 'ring' || !(error instanceof IoError)) throw error;
    log.warn(`io.mode auto: pcap, because ring does not work here: ${error.message} (${error.hint})`);
    return { rings: undefined, ioMode: 'pcap', workers: 1 };
  }
}

/** One per port; none for one worker. */
export const steeringPrograms = (
  steering: SteeringPlan | undefined,
  ports: readonly IoPort[],
): Uint8Array[] => (steering === undefined ? [] : ports.map(({ side }) => steeringProgram(steering, side)));
