// Packet I/O through AF_PACKET memory-mapped rings: received frames are rewritten where they lie and sent
// from there (ring-sender.ts). Rings are worked off in chunks, in turn and in equal shares; timers and
// messages run between turns; with nothing to do, one poll(2) waits for all interfaces.

import type { NextHops } from '../route/next-hop.ts';
import { poll } from '../sys/libc.ts';
import type { RingSocket } from '../sys/packet-ring.ts';
import { openRawSocket } from '../sys/raw-socket.ts';
import type { Frame, Sending } from '../wire/frame.ts';
import { type DealtWith, DealtWithIndex, joined } from './dealt-with.ts';
import { IO_COUNTERS, type IoOptions, type IoStart, type PacketIo } from './packet-io.ts';
import { RawSender } from './raw-sender.ts';
import { type RingOptions, RingPort } from './ring-port.ts';
import { RingSender } from './ring-sender.ts';
import { applyFilters } from './ring-sockets.ts';

const ROW = IO_COUNTERS.length;
const SEND_BUFFER_BYTES = 8 << 20;
/** Milliseconds after which timers, sockets and messages run. */
const TURN_MS = 20;
/** ... and while nothing arrives: each time costs a process that is idle some processor time. */
const IDLE_MS = 100;

/** What lies in the rings at one moment takes less. */
const DRAIN_MS = 1000;

const POLLIN = 1;
const POLLFD_WORDS = 2;

/**
 * Starts receiving from `sockets` (SteeredRings.sockets of one worker); they stay open when it is closed.
 * Throws an IoError, with nothing left open, when a socket to send with cannot be opened.
 */
export function openRingIo(options: RingOptions, sockets: readonly RingSocket[]): PacketIo {
  return new RingIo(options, sockets);
}

class RingIo implements PacketIo {
  readonly #sockets: readonly RingSocket[];
  /** Those that anybody's packets come by, one per port, and behind them those for known sources. */
  readonly #rings: RingPort[] = [];
  readonly #ports: number;
  readonly #hops: NextHops;
  readonly #others: IoOptions['others'];
  readonly #sender: RingSender;
  readonly #nowMs: () => number;
  /**
   * struct pollfd per ring, for each of the others, for the next hops and for messages: fd, events and
   * revents.
   */
  readonly #pollFds: Int32Array;
  readonly #busyPoll: boolean;
  #hasMessage = false;
  /** What is in the rings, and comes in, is another process's. */
  #isDrained = false;
  #closed = false;

  constructor(options: RingOptions, sockets: readonly RingSocket[]) {
    const { ports, counters } = options;
    this.#sockets = sockets;
    this.#ports = ports.length;
    this.#nowMs = options.nowMs;
    this.#busyPoll = options.busyPoll;
    const row = ports.length * ROW;
    this.#hops = options.hops;
    const raw = new RawSender(openRawSocket, this.#hops, counters, row);
    this.#sender = new RingSender(this.#hops, raw, SEND_BUFFER_BYTES, counters, row, options.onSettled);
    this.#others = options.others;
    this.#pollFds = new Int32Array((sockets.length + this.#others.length + 2) * POLLFD_WORDS);
    try {
      if (options.filters !== undefined) applyFilters(sockets, options.filters);
      for (const [index, socket] of sockets.entries()) {
        const ring = new RingPort(options, socket, index, this.#sender);
        this.#rings.push(ring);
        this.#watch(index, ring.fd);
      }
    } catch (error) {
      this.close();
      throw error;
    }
    for (const [index, { fd }] of this.#others.entries()) this.#watch(sockets.length + index, fd);
    this.#watch(sockets.length + this.#others.length, this.#hops.fd);
    this.#watch(sockets.length + this.#others.length + 1, options.messagesFd);
    if (!options.isWaiting) setImmediate(() => this.#turn());
  }

  leaveOut(dealtWith: readonly DealtWith[]): void {
    const indexes = dealtWith.map((of) => new DealtWithIndex(of));
    for (const [index, ring] of this.#rings.entries()) {
      const ofPort = indexes[index % this.#ports];
      if (ofPort !== undefined) ring.leaveOut(ofPort);
    }
  }

  begin(): void {
    setImmediate(() => this.#turn());
  }

  send(frame: Frame, off: number, len: number): Sending {
    return this.#sender.send(frame, off, len);
  }

  sendSuper(frame: Frame, off: number, len: number, segmentLen: number): number {
    return this.#sender.sendSuper(frame, off, len, segmentLen);
  }

  flush(): void {
    if (!this.#closed) this.#sender.flush();
  }

  poll(): void {
    if (this.#closed) return;
    const nowMs = this.#nowMs();
    this.#hops.update(nowMs);
    for (const ring of this.#rings) ring.poll();
  }

  noteClient(words: Int32Array, at: number, port: number): void {
    for (const ring of this.#rings) ring.noteClient(words, at, port);
  }

  reconfigure(start: IoStart): void {
    if (start.mode !== 'ring') throw new Error(`told of ${start.mode}`);
    if (start.filters !== undefined) applyFilters(this.#sockets, start.filters);
  }

  drain(): void {
    this.#isDrained = true;
    const end = performance.now() + DRAIN_MS;
    const left = this.#rings.map(({ waiting }) => waiting);
    while (left.some((frames) => frames > 0) && performance.now() < end)
      for (const [index, ring] of this.#rings.entries())
        if (left[index] > 0) left[index] -= ring.process(this.#nowMs());
    while (this.#workOffOthers(this.#nowMs()) > 0 && performance.now() < end);
  }

  leave(sinceUs: number): readonly DealtWith[] {
    const end = performance.now() + DRAIN_MS;
    while (this.#workOffOthers(this.#nowMs()) > 0 && performance.now() < end);
    return Array.from({ length: this.#ports }, (_, port) =>
      joined(
        this.#rings.filter((_, index) => index % this.#ports === port).map((ring) => ring.dealtWith(sinceUs)),
      ),
    );
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#sender.close();
  }

  #watch(index: number, fd: number): void {
    this.#pollFds[index * POLLFD_WORDS] = fd;
    this.#pollFds[index * POLLFD_WORDS + 1] = POLLIN;
  }

  /**
   * A turn of the event loop costs more than a packet: so one of ours lasts, and waits for packets itself.
   */
  #turn(): void {
    const start = performance.now();
    const end = start + TURN_MS;
    let isIdle = true;
    this.#hasMessage = false;
    for (let now = start; now < end && !this.#closed && !this.#hasMessage; now = performance.now()) {
      if (this.#work()) isIdle = false;
      else if (!this.#closed) this.#wait(this.#busyPoll ? 0 : isIdle ? IDLE_MS : Math.ceil(end - now));
    }
    if (!this.#closed) setImmediate(() => this.#turn());
  }

  /** Processes what is there, some of each ring; false when there was nothing. */
  #work(): boolean {
    const nowMs = this.#nowMs();
    let total = 0;
    // In equal shares: a busy real server sends more than a known source may, and its answers come by the
    // ring of the unknown ones then.
    if (!this.#isDrained)
      for (const ring of this.#rings) {
        total += ring.process(nowMs);
        if (this.#closed) return true;
      }
    return total + this.#workOffOthers(nowMs) > 0;
  }

  #workOffOthers(nowMs: number): number {
    let total = 0;
    for (const other of this.#others) {
      this.#sender.startPacket(nowMs);
      const taken = other.receive(nowMs);
      if (taken > 0) this.#sender.flush();
      total += taken;
    }
    return total;
  }

  #wait(timeoutMs: number): void {
    const fds = this.#pollFds;
    const count = this.#rings.length + this.#others.length + 2;
    if (poll(fds, count, timeoutMs) <= 0) {
      for (const ring of this.#rings) ring.dropStray(false, this.#nowMs);
      return;
    }
    let failed = false;
    for (let i = 0; i < count; i++) {
      const revents = fds[i * POLLFD_WORDS + 1] >>> 16;
      if (i === count - 1) {
        // A large one comes in pieces, one per turn.
        this.#hasMessage = revents !== 0;
        break;
      }
      if ((revents & ~POLLIN) !== 0) failed = true;
      fds[i * POLLFD_WORDS + 1] = POLLIN;
      if (i < this.#rings.length) this.#rings[i].dropStray(revents !== 0, this.#nowMs);
      if (i === count - 2 && revents !== 0) this.#hops.update(this.#nowMs());
    }
    // An interface that is down makes its socket ready for ever, until its error is read.
    if (failed) this.poll();
  }
}
