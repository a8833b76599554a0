// Packet I/O through the kernel's rings as a mode (io-mode.ts). The control plane opens the rings of all
// workers and keeps them, so that a worker's successor finds what waits in them, and says which packets come
// in by which: by the steering program, or where that cannot be had, by capture filters to one worker.
import { type KernelSteering, openKernelSteering } from '../steer/kernel-steering.ts';
import { KnownSources, type KnownSpec, knownSpec } from '../steer/known-sources.ts';
import { randomSteeringKey } from '../steer/steering.ts';
import { explain, IoError } from '../sys/io-error.ts';
import { SysError } from '../sys/libc.ts';
import type { RingSocket } from '../sys/packet-ring.ts';
import { captureFilters, type Remedy, refusalBy } from './capture-program.ts';
import { filteredHost } from './filtered-host.ts';
import {
  type CaptureSpec,
  capturedByBoth,
  type IoHost,
  type IoMode,
  type IoRequest,
  isSameCapture,
} from './io-mode.ts';
import { openRingIo } from './ring.ts';
import { applyFilters, openFilteredRings, openSteeredRings } from './ring-sockets.ts';

export interface RingStart {
  readonly mode: 'ring';
  /** See SteeredRings.sockets; the descriptors are those of the rings, in this order, ... */
  readonly rings: readonly { readonly frameBytes: number; readonly frames: number }[];
  /** ... and where known sources have rings of their own, that of their table. */
  readonly known: KnownSpec | undefined;
  readonly busyPoll: boolean;
  /** Without the steering program: one per ring. */
  readonly filters: readonly Uint8Array[] | undefined;
}

declare module './packet-io.ts' {
  interface IoStarts {
    ring: RingStart;
  }
}

export const ringMode: IoMode<RingStart> = {
  name: 'ring',
  workersMax: Number.POSITIVE_INFINITY,
  canWait: true,
  canBeSteered: true,
  lacks: () => undefined,
  refusalOf: (capture) => {
    try {
      loadSteering(capture.ports.length, 1, randomSteeringKey(), knownSpec(1)).close();
      return undefined;
    } catch (error) {
      const remedy = remedyFor(error);
      return refusalBy(() => captureFilters(capture, remedy));
    }
  },
  openHost: (request) => openHost(request),
  open: ({ rings, known, busyPoll, filters }, fds, options) =>
    openRingIo(
      { ...options, known: known && new KnownSources(known, fds[rings.length]), busyPoll, filters },
      rings.map((ring, index) => ({ fd: fds[index], ...ring })),
    ),
};

function openHost(request: IoRequest): IoHost<RingStart> {
  const { capture, workers, steeringKey, maxSessions, hot, log } = request;
  const known = knownSpec(maxSessions);
  let steering: KernelSteering;
  try {
    steering = loadSteering(capture.ports.length, workers, steeringKey, known, hot);
  } catch (error) {
    const remedy = remedyFor(error);
    const { message, hint } = error as IoError;
    const loss = workers === 1 ? '' : `one worker instead of ${workers}, and `;
    log.warn(
      `${loss}a flood may cost clients with sessions packets: known sources have no rings of their own, ` +
        `${message} (${hint})`,
    );
    return openFiltered(request, remedy);
  }
  try {
    return openSteered(request, steering, known);
  } catch (error) {
    steering.close();
    throw error;
  }
}

/** Where there are filters for want of the steering program. Throws any other error on. */
function remedyFor(error: unknown): Remedy {
  if (!(error instanceof IoError)) throw error;
  const isForRights = error.cause instanceof SysError && error.cause.code === 'EPERM';
  return { because: `; a filter is needed because ${error.message}`, instead: error.hint, isForRights };
}

const describeRings = (sockets: readonly RingSocket[]): RingStart['rings'] =>
  sockets.map(({ frameBytes, frames }) => ({ frameBytes, frames }));

/** Throws an IoError. */
function openSteered(
  { capture, workers, bufferSize, busyPoll, log }: IoRequest,
  steering: KernelSteering,
  known: KnownSpec,
): IoHost<RingStart> {
  const letIn = (spec: CaptureSpec) => explained(() => steering.change(spec));
  letIn(capture);
  const { ports } = capture;
  const rings = openSteeredRings({ ports, bufferSize, workers, programs: steering.programs });
  let atWork = capture;
  const describe = (worker: number): RingStart => ({
    mode: 'ring',
    rings: describeRings(rings.sockets[worker]),
    known,
    busyPoll,
    filters: undefined,
  });
  return {
    mode: 'ring',
    workers,
    isSteered: true,
    describe,
    fds: (worker) => [...rings.sockets[worker].map(({ fd }) => fd), steering.knownFd],
    start: () => explained(() => rings.start()),
    stamp: (isWanted) => explained(() => rings.stamp(isWanted)),
    prepare: (wanted) => {
      if (isSameCapture(atWork, wanted)) return { describe, commit: () => {}, undo: () => {} };
      letIn(capturedByBoth(atWork, wanted));
      return {
        describe,
        commit: () => {
          letIn(wanted);
          atWork = wanted;
        },
        undo: () => {
          try {
            letIn(atWork);
          } catch (error) {
            if (!(error instanceof IoError)) throw error;
            const { message, hint } = error;
            log.error(`packets to addresses that are not served come in as well: ${message} (${hint})`);
          }
        },
      };
    },
    close: () => {
      rings.close();
      steering.close();
    },
  };
}

/** Throws an IoError. */
const openFiltered = ({ capture, bufferSize, busyPoll }: IoRequest, remedy: Remedy): IoHost<RingStart> =>
  filteredHost('ring', capture, remedy, () => {
    const { sockets, close } = openFilteredRings({ ports: capture.ports, bufferSize });
    const rings = describeRings(sockets);
    return {
      startWith: (filters) => ({ mode: 'ring', rings, known: undefined, busyPoll, filters }),
      fds: sockets.map(({ fd }) => fd),
      start: (filters) => applyFilters(sockets, filters),
      close,
    };
  });

/** Throws an IoError. */
const loadSteering = (...given: Parameters<typeof openKernelSteering>): KernelSteering =>
  explained(() => openKernelSteering(...given));

/** Throws an IoError where `doIt` throws a SysError. */
function explained<T>(doIt: () => T): T {
  try {
    return doIt();
  } catch (error) {
    throw explain(error, 'the steering program does not work', steeringHint);
  }
}

const steeringHint = (code: string): string =>
  code === 'EPERM'
    ? 'give the process CAP_BPF'
    : 'the kernel may be too old, or have too little memory for it';
