// Packet I/O through the kernel's rings as a mode (io-mode.ts). The control plane opens the rings of all
// workers and keeps them, so that a worker's successor finds what waits in them, and says which packets come
// in by which: by the steering program, or where that cannot be had, to one worker by a capture filter.
import { type KernelSteering, openKernelSteering } from '../steer/kernel-steering.ts';
import { KnownSources, type KnownSpec, knownSpec } from '../steer/known-sources.ts';
import { randomSteeringKey } from '../steer/steering.ts';
import { explain, IoError } from '../sys/io-error.ts';
import type { RingSocket } from '../sys/packet-ring.ts';
import { captureFilters, sayComplaints } from './capture-program.ts';
import {
  type CaptureSpec,
  capturedByBoth,
  type IoHost,
  type IoMode,
  type IoRequest,
  isSameCapture,
} from './io-mode.ts';
import { openRingIo } from './ring.ts';
import { openFilteredRings, openSteeredRings } from './ring-sockets.ts';

export interface RingStart {
  readonly mode: 'ring';
  /** See SteeredRings.sockets; the descriptors are those of the rings, in this order, ... */
  readonly rings: readonly { readonly frameBytes: number; readonly frames: number }[];
  /** ... and where known sources have rings of their own, that of their table. */
  readonly known: KnownSpec | undefined;
  readonly busyPoll: boolean;
}

declare module './packet-io.ts' {
  interface IoStarts {
    ring: RingStart;
  }
}

export const ringMode: IoMode<RingStart> = {
  name: 'ring',
  workersMax: Number.POSITIVE_INFINITY,
  lacks: () => undefined,
  complaintAbout: (capture) => complaintAbout(capture),
  openHost: (request) => hostOf(request, openSteered(request) ?? openFiltered(request)),
  open: ({ rings, known, busyPoll }, fds, options) =>
    openRingIo(
      { ...options, known: known && new KnownSources(known, fds[rings.length]), busyPoll },
      rings.map((ring, index) => ({ fd: fds[index], ...ring })),
    ),
};

function complaintAbout({ ports, vips, lips }: CaptureSpec): string | undefined {
  try {
    loadSteering(ports.length, 1, randomSteeringKey(), knownSpec(1)).close();
    return undefined;
  } catch (error) {
    if (!(error instanceof IoError)) throw error;
    const { complaint } = captureFilters(ports, vips, lips);
    return (
      complaint &&
      `${complaint}; with the steering program it would not, but ${error.message} (${error.hint})`
    );
  }
}

/** The rings, and what says who gets what. */
interface Way {
  /** Of each worker. */
  readonly sockets: readonly (readonly RingSocket[])[];
  readonly known: { spec: KnownSpec; fd: number } | undefined;
  start(): void;
  /** Lets in these packets and no others. Throws an IoError, with what was let in before. */
  letIn(capture: CaptureSpec): void;
  /** Called when a plan is at work for good. */
  settle(): void;
  close(): void;
}

function hostOf({ capture, busyPoll, log }: IoRequest, way: Way): IoHost<RingStart> {
  let atWork = capture;
  const describe = (worker: number): RingStart => {
    const rings = way.sockets[worker].map(({ frameBytes, frames }) => ({ frameBytes, frames }));
    return { mode: 'ring', rings, known: way.known?.spec, busyPoll };
  };
  way.settle();
  return {
    mode: 'ring',
    workers: way.sockets.length,
    describe,
    fds: (worker) => {
      const rings = way.sockets[worker].map(({ fd }) => fd);
      return way.known === undefined ? rings : [...rings, way.known.fd];
    },
    start: () => way.start(),
    prepare: (wanted) => {
      if (isSameCapture(atWork, wanted)) return { describe, commit: () => {}, undo: () => {} };
      way.letIn(capturedByBoth(atWork, wanted));
      return {
        describe,
        commit: () => {
          way.letIn(wanted);
          atWork = wanted;
          way.settle();
        },
        undo: () => {
          try {
            way.letIn(atWork);
          } catch (error) {
            if (!(error instanceof IoError)) throw error;
            const { message, hint } = error;
            log.error(`packets to addresses that are not served come in as well: ${message} (${hint})`);
          }
        },
      };
    },
    close: () => way.close(),
  };
}

/** Undefined where the steering program cannot be had, which is said. Throws an IoError. */
function openSteered({
  capture,
  workers,
  steeringKey,
  bufferSize,
  maxSessions,
  log,
}: IoRequest): Way | undefined {
  const { ports } = capture;
  const known = knownSpec(maxSessions);
  const letIn = (spec: CaptureSpec) => explained(() => steering.change(spec));
  let steering: KernelSteering;
  try {
    steering = loadSteering(ports.length, workers, steeringKey, known);
  } catch (error) {
    if (!(error instanceof IoError)) throw error;
    const loss = workers === 1 ? '' : `one worker instead of ${workers}, and `;
    log.warn(
      `${loss}a flood may cost clients with sessions packets: known sources have no rings of their own, ` +
        `${error.message} (${error.hint})`,
    );
    return undefined;
  }
  try {
    letIn(capture);
    const { programs } = steering;
    const rings = openSteeredRings({ ports, bufferSize, workers, programs });
    return {
      sockets: rings.sockets,
      known: { spec: known, fd: steering.knownFd },
      start: () => explained(() => rings.start()),
      letIn,
      settle: () => {},
      close: () => {
        rings.close();
        steering.close();
      },
    };
  } catch (error) {
    steering.close();
    throw error;
  }
}

/** Throws an IoError. */
function openFiltered({ capture, bufferSize, log }: IoRequest): Way {
  const { ports } = capture;
  const filtersOf = ({ ports, vips, lips }: CaptureSpec) => captureFilters(ports, vips, lips);
  const say = sayComplaints(log);
  let atWork = filtersOf(capture);
  const rings = openFilteredRings({ ports, bufferSize, filters: atWork.filters });
  return {
    sockets: [rings.sockets],
    known: undefined,
    start: () => rings.start(),
    letIn: (spec) => {
      const filters = filtersOf(spec);
      rings.change(filters.filters);
      atWork = filters;
    },
    settle: () => say(atWork),
    close: () => rings.close(),
  };
}

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
