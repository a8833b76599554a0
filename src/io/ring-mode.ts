// Packet I/O through the kernel's rings as a mode (io-mode.ts). The control plane opens the rings of all workers and keeps them, so
// that a worker's successor finds what waits in them; filters and steering are its business, too.
import type { Logger } from 'pino';
import { type KnownPlan, KnownSources, openKnown, planKnown } from '../steer/known-sources.ts';
import { steeringPlan } from '../steer/steering.ts';
import { steeringProgram } from '../steer/steering-program.ts';
import { IoError } from '../sys/io-error.ts';
import { close, SysError } from '../sys/libc.ts';
import { type CaptureFilters, captureFilters, sayComplaints } from './capture-program.ts';
import {
  type CaptureSpec,
  capturedByBoth,
  type IoChange,
  type IoHost,
  type IoMode,
  type IoRequest,
} from './io-mode.ts';
import type { IoStart } from './packet-io.ts';
import { openRingIo } from './ring.ts';
import { openRings, type Rings } from './ring-sockets.ts';

export interface RingStart extends IoStart {
  readonly mode: 'ring';
  /** See Rings.sockets; the descriptors are those of the rings, in this order, ... */
  readonly rings: readonly { readonly frameBytes: number; readonly frames: number }[];
  /** ... and where known sources have rings of their own, that of their table. */
  readonly known: KnownPlan | undefined;
  readonly busyPoll: boolean;
}

export const ringMode: IoMode<RingStart> = {
  name: 'ring',
  workersMax: Number.POSITIVE_INFINITY,
  openHost: (request) => openWithKnown((known) => new RingHost(request, known), request),
  open: ({ rings, known, busyPoll }, fds, options) =>
    openRingIo(
      { ...options, known: known && new KnownSources(known, fds[rings.length]!), busyPoll },
      rings.map((ring, index) => ({ fd: fds[index]!, ...ring })),
    ),
};

/** The known sources and the descriptor of their table. */
type Known = { plan: KnownPlan; fd: number } | undefined;

/** Where the kernel does not let known sources have rings of their own, without, which is said. Throws an IoError. */
function openWithKnown(open: (known: Known) => RingHost, { maxSessions, log }: IoRequest): RingHost {
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

/** What comes in, as programs. */
interface Programs {
  readonly spec: CaptureSpec;
  readonly capture: CaptureFilters;
  /** One per port; none for one worker. */
  readonly steering: readonly Uint8Array[];
}

class RingHost implements IoHost<RingStart> {
  readonly mode = 'ring';
  readonly workers: number;
  readonly #rings: Rings;
  readonly #known: Known;
  readonly #busyPoll: boolean;
  readonly #steeringKey: readonly number[];
  readonly #log: Logger;
  readonly #say: (filters: CaptureFilters) => void;
  #atWork: Programs;

  constructor({ capture, workers, steeringKey, bufferSize, busyPoll, log }: IoRequest, known: Known) {
    this.workers = workers;
    this.#known = known;
    this.#busyPoll = busyPoll;
    this.#steeringKey = steeringKey;
    this.#log = log;
    this.#say = sayComplaints(log);
    this.#atWork = this.#programsOf(capture);
    const { steering } = this.#atWork;
    const { filters } = this.#atWork.capture;
    const onComplaint = (message: string) => log.warn(message);
    const { ports } = capture;
    this.#rings = openRings({ ports, filters, bufferSize, workers, steering, known, onComplaint });
    this.#say(this.#atWork.capture);
  }

  describe(worker: number): RingStart {
    const rings = this.#rings.sockets[worker]!.map(({ frameBytes, frames }) => ({ frameBytes, frames }));
    return { mode: 'ring', rings, known: this.#known?.plan, busyPoll: this.#busyPoll };
  }

  fds(worker: number): readonly number[] {
    const rings = this.#rings.sockets[worker]!.map(({ fd }) => fd);
    return this.#known === undefined ? rings : [...rings, this.#known.fd];
  }

  start(): void {
    this.#rings.start();
  }

  prepare(capture: CaptureSpec): IoChange<RingStart> {
    const before = this.#atWork;
    const after = this.#programsOf(capture);
    this.#attach(this.#programsOf(capturedByBoth(before.spec, capture)));
    return {
      describe: (worker) => this.describe(worker),
      commit: () => {
        this.#attach(after);
        this.#atWork = after;
        this.#say(after.capture);
      },
      undo: () => {
        try {
          this.#attach(before);
        } catch (error) {
          if (!(error instanceof IoError)) throw error;
          const { message, hint } = error;
          this.#log.error(`packets to addresses that are not served come in as well: ${message} (${hint})`);
        }
      },
    };
  }

  close(): void {
    this.#rings.close();
    if (this.#known !== undefined) close(this.#known.fd);
  }

  #programsOf(spec: CaptureSpec): Programs {
    const { ports, vips, lips } = spec;
    const plan = steeringPlan(spec, this.workers, this.#steeringKey);
    const steering = plan === undefined ? [] : ports.map(({ side }) => steeringProgram(plan, side));
    return { spec, capture: captureFilters(ports, vips, lips), steering };
  }

  #attach({ capture, steering }: Programs): void {
    this.#rings.change(capture.filters, steering);
  }
}
