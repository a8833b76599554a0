// Packet I/O through AF_PACKET memory-mapped rings: received frames are rewritten where they lie and sent from there
// (ring-sender.ts). Rings are worked off in chunks, in turn and in equal shares; timers and messages run between turns;
// with nothing to do, one poll(2) waits for all interfaces.

import { IpLayerNotice } from '../route/ip-layer-notice.ts';
import type { NextHops } from '../route/next-hop.ts';
import type { KnownSources } from '../steer/known-sources.ts';
import { IoError } from '../sys/io-error.ts';
import { poll } from '../sys/libc.ts';
import {
  CAPTURED_LEN,
  GSO_NONE,
  LINK_OFF,
  NETWORK_OFF,
  PACKET_LEN,
  PacketRing,
  RING_STATUS,
  type RingSocket,
  VLAN_TCI,
  VNET,
  VNET_HEADER_LEN,
} from '../sys/packet-ring.ts';
import { boundInterface, interfaceIndex, packetStatistics, pendingError } from '../sys/packet-socket.ts';
import { openRawSocket } from '../sys/raw-socket.ts';
import { ETHERNET_HEADER_LEN, ETHERTYPE_IPV4, ETHERTYPE_IPV6 } from '../wire/ethernet.ts';
import { Frame, type Sending } from '../wire/frame.ts';
import { LongPackets, WHOLE_OFF } from './long-packets.ts';
import {
  bookLostFrames,
  IO_COLUMN,
  IO_COUNTERS,
  type IoOptions,
  type OnPacket,
  type PacketIo,
  rowOfRing,
} from './packet-io.ts';
import { RawSender } from './raw-sender.ts';
import { RingSender } from './ring-sender.ts';
import { takeApart } from './segments.ts';

const ROW = IO_COUNTERS.length;
const SEND_BUFFER_BYTES = 8 << 20;
/** Packets of one ring processed before what they became is sent, and before the next ring's turn. */
const CHUNK = 64;
/** Milliseconds after which timers, sockets and messages run. */
const TURN_MS = 20;
/** ... and while nothing arrives: each time costs a process that is idle some processor time. */
const IDLE_MS = 100;
/** The kernel queues a long packet a moment before its frame is ready: after so long there is none. */
const STRAY_MS = 100;

/** Our own mark in the status of a frame that is being processed: the kernel uses the bits below and above. */
export const BEGUN = 1 << 16;

const LITTLE_ENDIAN = true; // the kernel's structures are in the host's order
const VLAN_ID_MASK = 0xfff;

const POLLIN = 1;
const POLLFD_WORDS = 2;

/**
 * Starts receiving from `sockets` (Rings.sockets of one worker); they stay open when it is closed. Throws an IoError, with
 * nothing left open, when a socket to send with cannot be opened.
 */
export function openRingIo(options: IoOptions, sockets: readonly RingSocket[]): PacketIo {
  return new RingIo(options, sockets);
}

class RingIo implements PacketIo {
  readonly mode = 'ring';
  /** Those that anybody's packets come by, one per port, and behind them those for known sources. */
  readonly #rings: RingPort[] = [];
  readonly #hops: NextHops;
  readonly #others: IoOptions['others'];
  readonly #sender: RingSender;
  readonly #notice: IpLayerNotice | undefined;
  readonly #nowMs: () => number;
  /** struct pollfd per ring and for the next hops: fd, events and revents. */
  readonly #pollFds: Int32Array;
  readonly #busyPoll: boolean;
  #closed = false;

  constructor(options: IoOptions, sockets: readonly RingSocket[]) {
    const { ports, counters } = options;
    this.#nowMs = options.nowMs;
    this.#busyPoll = options.busyPoll;
    const row = ports.length * ROW;
    this.#hops = options.hops;
    const raw = new RawSender(openRawSocket, this.#hops, counters, row);
    this.#sender = new RingSender(this.#hops, raw, SEND_BUFFER_BYTES, counters, row, options.onSettled);
    this.#notice = options.onIpLayer && new IpLayerNotice(options.onIpLayer);
    this.#others = options.others;
    this.#pollFds = new Int32Array((sockets.length + this.#others.length + 1) * POLLFD_WORDS);
    try {
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
    setImmediate(() => this.#turn());
  }

  send(frame: Frame, off: number, len: number): Sending {
    return this.#sender.send(frame, off, len);
  }

  poll(): void {
    if (this.#closed) return;
    const nowMs = this.#nowMs();
    this.#hops.update(nowMs);
    this.#notice?.look(this.#hops.reasons(), nowMs);
    for (const ring of this.#rings) ring.poll();
  }

  setFilters(): void {}

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#sender.close();
  }

  #watch(index: number, fd: number): void {
    this.#pollFds[index * POLLFD_WORDS] = fd;
    this.#pollFds[index * POLLFD_WORDS + 1] = POLLIN;
  }

  /** A turn of the event loop costs more than a packet: so one of ours lasts, and waits for packets itself. */
  #turn(): void {
    const start = performance.now();
    const end = start + TURN_MS;
    let isIdle = true;
    for (let now = start; now < end && !this.#closed; now = performance.now()) {
      if (this.#work()) isIdle = false;
      else if (!this.#closed) this.#wait(this.#busyPoll ? 0 : isIdle ? IDLE_MS : Math.ceil(end - now));
    }
    if (!this.#closed) setImmediate(() => this.#turn());
  }

  /** Processes what is there, some of each ring; false when there was nothing. */
  #work(): boolean {
    const nowMs = this.#nowMs();
    let total = 0;
    // In equal shares: a busy real server sends more than a known source may, and its answers are among the strangers then.
    for (const ring of this.#rings) {
      total += ring.process(CHUNK, nowMs);
      if (this.#closed) return true;
    }
    for (const other of this.#others) {
      this.#sender.startPacket(nowMs);
      const taken = other.receive(nowMs);
      if (taken > 0) this.#sender.flush();
      total += taken;
    }
    return total > 0;
  }

  #wait(timeoutMs: number): void {
    const fds = this.#pollFds;
    const count = this.#rings.length + this.#others.length + 1;
    if (poll(fds, count, timeoutMs) <= 0) {
      for (const ring of this.#rings) ring.dropStray(false, this.#nowMs);
      return;
    }
    let failed = false;
    for (let i = 0; i < count; i++) {
      const revents = fds[i * POLLFD_WORDS + 1]! >>> 16;
      if ((revents & ~POLLIN) !== 0) failed = true;
      fds[i * POLLFD_WORDS + 1] = POLLIN;
      if (i < this.#rings.length) this.#rings[i]!.dropStray(revents !== 0, this.#nowMs);
      if (i === count - 1 && revents !== 0) this.#hops.update(this.#nowMs());
    }
    // An interface that is down makes its socket ready for ever, until its error is read.
    if (failed) this.poll();
  }
}

class RingPort {
  readonly #options: IoOptions;
  readonly #onPacket: OnPacket;
  /** Of the port. */
  readonly #index: number;
  readonly #row: number;
  /** Of two rings of a port, one keeps an eye on the interface. */
  readonly #isFirst: boolean;
  /** Where to note whose packets shall come by the other ring. */
  readonly #known: KnownSources | undefined;
  readonly #sender: RingSender;
  readonly #ring: PacketRing;
  readonly #frame: Frame;
  /** The ring as 32-bit words, for the status of each frame. */
  readonly #words: Int32Array;
  readonly #long: LongPackets;
  readonly #interfaceIndex: number;
  #head = 0;
  /** See dropStray. */
  #mayHaveStray = false;
  #readySinceMs: number | undefined;
  /** Of the frame under way: packets given to the datapath so far, and when it was taken in. */
  #parts = 0;
  #partMs = 0;
  #isAnswered = false;
  #isDown = false;

  constructor(options: IoOptions, socket: RingSocket, ring: number, sender: RingSender) {
    const ports = options.ports.length;
    this.#isFirst = ring < ports;
    this.#index = this.#isFirst ? ring : ring - ports;
    this.#row = rowOfRing(ring, ports) * ROW;
    this.#known = this.#isFirst ? options.known : undefined;
    const { name } = options.ports[this.#index]!;
    this.#options = options;
    this.#onPacket = options.onPacket;
    this.#sender = sender;
    this.#interfaceIndex = interfaceIndex(name);
    if (boundInterface(socket.fd) !== this.#interfaceIndex) {
      throw new IoError(`interface ${name} was removed`, 'start the proxy again once it is there');
    }
    this.#ring = new PacketRing(socket);
    this.#frame = new Frame(this.#ring.bytes);
    const { buffer, byteOffset, byteLength } = this.#ring.bytes;
    this.#words = new Int32Array(buffer, byteOffset, byteLength >>> 2);
    this.#long = new LongPackets(this.#ring, this.#frame);
    this.#skipBegun();
    sender.addRing(this.#frame, this.#ring);
  }

  get fd(): number {
    return this.#ring.fd;
  }

  /**
   * Where to go on follows from how many frames were ever taken in, which the counters know, also from a process that had
   * this ring before. What it had begun is not tried again: it may be what ended it.
   */
  #skipBegun(): void {
    const { counters } = this.#options;
    const { frames } = this.#ring;
    const received = counters[this.#row + IO_COLUMN.received]!;
    // Done and counted, but not given back any more.
    for (let n = Math.max(0, received - CHUNK); n < received; n++) this.#giveBackBegun(n % frames);
    let skipped = 0;
    while (this.#giveBackBegun((received + skipped) % frames)) skipped++;
    this.#head = (received + skipped) % frames;
    counters[this.#row + IO_COLUMN.received]! += skipped;
    // Those that it had given to its datapath are the datapath's to count.
    bookLostFrames(counters, this.#row);
  }

  #giveBackBegun(index: number): boolean {
    const word = (index * this.#ring.frameBytes) >>> 2;
    const status = Atomics.load(this.#words, word);
    if ((status & BEGUN) === 0) return false;
    if ((status & RING_STATUS.copy) !== 0) this.#mayHaveStray = true;
    Atomics.store(this.#words, word, 0);
    return true;
  }

  /**
   * To be called after each poll. A predecessor of this process may not have come to read a long packet that it had begun: with
   * that the socket is ready for ever, also with an empty ring.
   */
  dropStray(isReady: boolean, clock: () => number): void {
    if (!this.#mayHaveStray) return;
    if (!isReady) {
      this.#mayHaveStray = false;
      return;
    }
    const status = Atomics.load(this.#words, (this.#head * this.#ring.frameBytes) >>> 2);
    if ((status & RING_STATUS.user) !== 0) return;
    const nowMs = clock();
    this.#readySinceMs ??= nowMs;
    if (((nowMs - this.#readySinceMs) | 0) < STRAY_MS) return;
    this.#long.clear();
    this.#mayHaveStray = false;
  }

  /** Works off up to `max` frames, sends what they became, and gives them back. Returns their number. */
  process(max: number, nowMs: number): number {
    const words = this.#words;
    const { frameBytes, frames } = this.#ring;
    const first = this.#head;
    let at = first;
    let count = 0;
    while (count < max) {
      const base = at * frameBytes;
      // With the barrier that the kernel's writes before it need on processors that reorder.
      const status = Atomics.load(words, base >>> 2);
      if ((status & RING_STATUS.user) === 0) break;
      words[base >>> 2] = status | BEGUN;
      this.#receive(base, status, nowMs);
      at = at + 1 === frames ? 0 : at + 1;
      count++;
    }
    if (count === 0) return 0;
    this.#sender.flush();
    // Counted first: a successor of this process (#skipBegun) gives back what is counted, and cannot count again.
    this.#options.counters[this.#row + IO_COLUMN.received]! += count;
    for (let n = 0, give = first; n < count; n++) {
      Atomics.store(words, (give * frameBytes) >>> 2, 0);
      give = give + 1 === frames ? 0 : give + 1;
    }
    this.#head = at;
    return count;
  }

  #receive(base: number, status: number, nowMs: number): void {
    const frame = this.#frame;
    const { view } = frame;
    const linkOff = base + view.getUint16(base + LINK_OFF, LITTLE_ENDIAN);
    const off = base + view.getUint16(base + NETWORK_OFF, LITTLE_ENDIAN);
    const hasVlan = (status & RING_STATUS.vlan) !== 0;
    const isLong = (status & RING_STATUS.copy) !== 0;
    // Before anything is decided: its packet must not stay in the queue.
    const wholeLen = isLong ? this.#long.take(base) : 0;
    // A tag with a number is another interface's, where the kernel delivers it once more.
    if (hasVlan && (view.getUint16(base + VLAN_TCI, LITTLE_ENDIAN) & VLAN_ID_MASK) !== 0) {
      this.#count(IO_COLUMN.foreign);
      return;
    }
    const capturedLen = view.getUint32(base + CAPTURED_LEN, LITTLE_ENDIAN);
    if (!isLong && capturedLen === view.getUint32(base + PACKET_LEN, LITTLE_ENDIAN)) {
      this.#handOver(frame, linkOff, off, linkOff + capturedLen, nowMs);
    } else if (isLong && wholeLen >= 0) {
      this.#handOver(this.#long.frame, WHOLE_OFF, WHOLE_OFF + off - linkOff, WHOLE_OFF + wholeLen, nowMs);
    } else {
      this.#count(IO_COLUMN.lostBacklog); // its queue was full, or its packet is not there
    }
  }

  #handOver(frame: Frame, linkOff: number, off: number, end: number, nowMs: number): void {
    const { view } = frame;
    if (off - linkOff === ETHERNET_HEADER_LEN) {
      const protocol = view.getUint16(off - 2);
      if (protocol !== ETHERTYPE_IPV4 && protocol !== ETHERTYPE_IPV6) {
        this.#count(IO_COLUMN.foreign);
        return;
      }
    }
    const vnet = linkOff - VNET_HEADER_LEN;
    this.#sender.startPacket(nowMs);
    const known = this.#known;
    // Before the packet is rewritten.
    const isSource = known?.look(view, off, this.#index) ?? false;
    this.#parts = 0;
    this.#partMs = nowMs;
    this.#isAnswered = false;
    if (view.getUint8(vnet + VNET.gsoType) === GSO_NONE) this.#onPart(frame, off, end, false);
    else takeApart(frame, vnet, off, end, this.#onPart);
    if (isSource && this.#isAnswered) known!.note();
  }

  readonly #onPart = (frame: Frame, off: number, end: number, isMerged: boolean): void => {
    if (this.#parts++ > 0) this.#count(IO_COLUMN.split);
    this.#count(IO_COLUMN.judged);
    this.#isAnswered = this.#onPacket(frame, off, end, this.#index, this.#partMs, isMerged);
  };

  #count(column: number): void {
    this.#options.counters[this.#row + column]!++;
  }

  poll(): void {
    const { name } = this.#options.ports[this.#index]!;
    this.#options.counters[this.#row + IO_COLUMN.lostKernel]! += packetStatistics(this.fd).drops;
    const wentDown = this.#long.wentDown();
    const failed = pendingError(this.fd) !== 0 || wentDown;
    if (!this.#isFirst) return;
    const removed = interfaceIndex(name) !== this.#interfaceIndex;
    const wasDown = this.#isDown;
    this.#isDown = removed;
    if (removed && !wasDown) {
      const message = `interface ${name} was removed: nothing is captured on it until a restart`;
      this.#options.onFailure(message, true);
    } else if (failed && !removed) {
      const message = `interface ${name} went down: nothing is captured on it until it is up`;
      this.#options.onFailure(message, false);
    }
  }
}
