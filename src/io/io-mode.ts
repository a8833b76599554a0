// What a mode of packet I/O is (ring, pcap): two halves of one file, which nobody else looks into. IoHost is
// the half of the control plane, which holds what must outlive a worker and says who is let in; it describes
// to each worker, in plain data and file descriptors, what the other half makes a PacketIo of. modes.ts lists
// the modes.
import { isDeepStrictEqual } from 'node:util';
import type { Logger } from 'pino';
import { isSameAddresses, type LipPorts, type VipPort } from '../host/port-ranges.ts';
import type { HotMaps } from '../steer/kernel-steering.ts';
import type { IoError } from '../sys/io-error.ts';
import type { NoRoomError } from './no-room.ts';
import type { IoOptions, IoPort, IoStart, ModeName, PacketIo, StartOf } from './packet-io.ts';

/** What packets are to come in: on these ports, to these addresses of so many services. */
export interface CaptureSpec {
  readonly services: number;
  readonly ports: readonly IoPort[];
  readonly vips: readonly VipPort[];
  readonly lips: readonly LipPorts[];
}

/** Whether both let in the same. */
export const isSameCapture = (a: CaptureSpec, b: CaptureSpec): boolean =>
  isDeepStrictEqual(a.ports, b.ports) && isSameAddresses(a, b);

/** What comes in by either; the ports are those of `after`. */
export const capturedByBoth = (before: CaptureSpec, after: CaptureSpec): CaptureSpec => ({
  services: before.services + after.services,
  ports: after.ports,
  vips: [...before.vips, ...after.vips],
  lips: [...before.lips, ...after.lips],
});

export interface IoRequest {
  readonly capture: CaptureSpec;
  /** Workers that there shall be, at most IoMode.workersMax. */
  readonly workers: number;
  /** See SteeringSpec. */
  readonly steeringKey: readonly number[];
  /** Bytes of the kernel's buffer per port. */
  readonly bufferSize: number;
  /** Workers never wait for packets, they look for them: lower latency, all of a processor. */
  readonly busyPoll: boolean;
  /** Of all workers together. */
  readonly maxSessions: number;
  /** Packets of hot sessions are to be left to the fast path at tc, whose maps these are. */
  readonly hot?: HotMaps | undefined;
  readonly log: Logger;
}

/** The control plane's half. */
export interface IoHost<Start extends IoStart = IoStart> {
  readonly mode: Start['mode'];
  readonly workers: number;
  /** Packets can be left to a fast path. */
  readonly isSteered: boolean;
  /** What this worker opens its packet I/O from, together with `fds`. */
  describe(worker: number): Start;
  /** Descriptors that a worker inherits, in the order in which its half counts on them. */
  fds(worker: number): readonly number[];
  /** Lets packets in: they wait for the workers from now on. Throws an IoError. */
  start(): void;
  /**
   * For a takeover: that packets can be told apart by when they came in, in the rings of either process (see
   * DealtWith); to be said some time before `start`. Throws an IoError. Where it is `isSteered` only.
   */
  stamp?(isWanted: boolean): void;
  /**
   * For a change of the plan: where there may be several workers, which take it over one after the other,
   * lets in what comes by the capture at work and by this one. Throws an IoError, with nothing changed.
   */
  prepare(capture: CaptureSpec): IoChange<Start>;
  close(): void;
}

/** One of `commit` and `undo` ends it; `undo` also after a commit that failed. */
export interface IoChange<Start extends IoStart = IoStart> {
  /** What a worker goes by from the change on, see PacketIo.reconfigure. */
  describe(worker: number): Start;
  /** Lets in what comes by the new capture only. Throws an IoError. */
  commit(): void;
  /** Lets in what came in before it. What cannot be undone is logged. */
  undo(): void;
}

export interface IoMode<Start extends IoStart = IoStart> {
  readonly name: Start['mode'];
  readonly workersMax: number;
  /** It may be steered (IoHost.isSteered), which the fast path needs; false if left out. */
  readonly canBeSteered?: boolean;
  /** In a worker it can be open and wait (IoOptions.isWaiting). */
  readonly canWait?: boolean;
  /** What this host lacks for it, where that can be told without opening anything; undefined: nothing. */
  lacks(): IoError | undefined;
  /**
   * Why openHost and a change would refuse this capture on this host; undefined: they would not. Throws an
   * IoError where that cannot be told.
   */
  refusalOf(capture: CaptureSpec): NoRoomError | undefined;
  /**
   * In the control plane; nothing comes in yet. Throws an IoError, with nothing left open, where the mode
   * does not work.
   */
  openHost(request: IoRequest): IoHost<Start>;
  /** In a worker: starts receiving. Throws an IoError, with nothing of its own left open. */
  readonly open: (start: Start, fds: readonly number[], options: IoOptions) => PacketIo;
}

export type IoModes = { readonly [Name in ModeName]?: IoMode<StartOf<Name>> };
