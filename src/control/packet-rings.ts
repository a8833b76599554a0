// Opens the rings of all workers, or settles for pcap and says why.
import { availableParallelism } from 'node:os';
import type { Logger } from 'pino';
import { type Config, MAX_WORKERS } from '../config/schema.ts';
import type { CaptureFilter } from '../io/capture-program.ts';
import { pcapLacks } from '../io/optional-package.ts';
import type { IoPort, PacketIo } from '../io/packet-io.ts';
import { openRings, type Rings } from '../io/ring-sockets.ts';
import { type KnownPlan, openKnown, planKnown } from '../steer/known-sources.ts';
import type { SteeringPlan } from '../steer/steering.ts';
import { steeringProgram } from '../steer/steering-program.ts';
import { cpuQuota } from '../sys/cpu-quota.ts';
import { IoError } from '../sys/io-error.ts';
import { close, SysError } from '../sys/libc.ts';

export interface ProvidedIo {
  /** Undefined where packet I/O is pcap. */
  rings: Rings | undefined;
  ioMode: PacketIo['mode'];
  workers: number;
  /** What the rings know known sources by, where those have rings of their own. */
  known: { plan: KnownPlan; fd: number } | undefined;
}

/** How many workers there will be, if the rings can be opened. */
export function wantedWorkers({ io, services }: Config, log: Logger): number {
  if (io.mode === 'pcap') return 1;
  // Each needs an lport of every LIP, or some clients would find none.
  const most = Math.min(...services.map(({ lports }) => lports.last - lports.first + 1));
  const wanted = io.workers === 'auto' ? workersFor(availableParallelism(), cpuQuota(), log) : io.workers;
  const workers = Math.min(wanted, most);
  if (workers < wanted) log.warn(`${workers} of ${wanted} workers: a service has no more lports than that`);
  return workers;
}

/** `auto`: one less than the processors; where something allows only less, that is said. */
export function workersFor(processors: number, quota: number | undefined, log: Logger): number {
  const wanted = Math.max(1, processors - 1);
  const byQuota = Math.max(1, Math.floor(quota ?? wanted));
  const workers = Math.min(wanted, byQuota, MAX_WORKERS);
  if (workers < wanted) {
    const why =
      workers === byQuota
        ? `its cgroup lets it use ${Number(quota!.toFixed(2))} processors`
        : 'there are never more';
    log.info(`io.workers auto: ${workers} of ${wanted} for ${processors} processors, because ${why}`);
  }
  return workers;
}

/** Throws an IoError. */
export function provideRings(
  { io, sessions }: Config,
  ports: readonly IoPort[],
  filters: readonly CaptureFilter[],
  steering: SteeringPlan | undefined,
  log: Logger,
): ProvidedIo {
  if (io.mode === 'pcap') return PCAP;
  const workers = steering?.workers ?? 1;
  const programs = steeringPrograms(steering, ports);
  const open = (known: ProvidedIo['known']): ProvidedIo => {
    const { bufferSize } = io;
    const onComplaint = (message: string) => log.warn(message);
    const rings = openRings({ ports, filters, bufferSize, workers, steering: programs, known, onComplaint });
    return { rings, ioMode: 'ring', workers, known };
  };
  try {
    return openWithKnown(open, sessions.max, log);
  } catch (error) {
    if (io.mode === 'ring' || !(error instanceof IoError)) throw error;
    const lacks = pcapLacks();
    if (lacks !== undefined) {
      throw new IoError(
        `io.mode auto: ring does not work here: ${error.message}; and ${lacks.message}`,
        `for ring: ${error.hint}; for pcap: ${lacks.hint}`,
        error,
      );
    }
    log.warn(`io.mode auto: pcap, because ring does not work here: ${error.message} (${error.hint})`);
    return PCAP;
  }
}

const PCAP: ProvidedIo = { rings: undefined, ioMode: 'pcap', workers: 1, known: undefined };

/** Where the kernel does not let us have that, without, which is said. */
function openWithKnown(
  open: (known: ProvidedIo['known']) => ProvidedIo,
  maxSessions: number,
  log: Logger,
): ProvidedIo {
  let fd = -1;
  try {
    const plan = planKnown(maxSessions);
    fd = openKnown(plan);
    return open({ plan, fd });
  } catch (error) {
    if (fd >= 0) close(fd);
    if (!(error instanceof SysError || error instanceof IoError)) throw error;
    const without = open(undefined);
    const hint = error instanceof IoError ? error.hint : hintFor(error);
    log.warn(
      `a flood may cost clients with sessions packets: they have no rings of their own, ${error.message} (${hint})`,
    );
    return without;
  }
}

const hintFor = ({ code }: SysError): string =>
  code === 'EPERM'
    ? 'give the process CAP_BPF'
    : 'the kernel may be too old, or have too little memory for it';

export function closeRings({ rings, known }: ProvidedIo): void {
  rings?.close();
  if (known !== undefined) close(known.fd);
}

/** What a worker gets, see FIRST_RING_FD. */
export const ringFds = ({ rings, known }: ProvidedIo, worker: number): number[] => [
  ...(rings?.sockets[worker]?.map(({ fd }) => fd) ?? []),
  ...(known === undefined ? [] : [known.fd]),
];

/** One per port; none for one worker. */
export const steeringPrograms = (
  steering: SteeringPlan | undefined,
  ports: readonly IoPort[],
): Uint8Array[] => (steering === undefined ? [] : ports.map(({ side }) => steeringProgram(steering, side)));
