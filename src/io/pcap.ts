// Packet I/O through the packages cap (capture, libpcap) and raw-socket (send, one socket per family). Bounds
// the work per turn of the event loop, so that timers and messages run however much arrives; per port,
// packets keep their order.
//
// measured (2 processors, veth, 64-byte payloads, a relay that only rewrites addresses): 210,000 packets/s at
// most; 190,000 to 220,000 at 340,000 offered, the most the generator makes. With 30 us of work per packet
// 27,500 at most and 27,500 at 350,000 offered, 13 times that. A timer of 10 ms fired at least every 24 ms.
// Slices of 1 ms: 10 % fewer packets; of 20 ms: 5 % more, timers 50 ms late.

import type { NextHops } from '../route/next-hop.ts';
import { SysError } from '../sys/libc.ts';
import { interfaceIndex, packetStatistics, pendingError } from '../sys/packet-socket.ts';
import { openRawSocket, type RawSocket } from '../sys/raw-socket.ts';
import { ETHERTYPE_IPV4, ETHERTYPE_IPV6 } from '../wire/ethernet.ts';
import { Frame } from '../wire/frame.ts';
import { Backlog } from './backlog.ts';
import { ANY_LENGTH, type Capture, openCapture } from './cap-package.ts';
import { LargePackets, largeFrom } from './large-packets.ts';
import { pcapLacks } from './optional-package.ts';
import {
  bookLostFrames,
  IO_COLUMN,
  IO_COUNTERS,
  type IoOptions,
  type IoStart,
  type PacketIo,
} from './packet-io.ts';
import { RawSender } from './raw-sender.ts';
import { openPackageSocket } from './raw-socket-package.ts';

const ROW = IO_COUNTERS.length;

/** Milliseconds for which packets are processed before timers, sockets and messages run. */
const SLICE_MS = 5;
/**
 * Packets of one port processed before the next port's turn within a slice, and between looks at the clock.
 */
const CHUNK = 16;
/** Four times what the kernel's buffer holds by default, since it fills again while it is emptied. */
const BACKLOG_PACKETS = 4096;
const BACKLOG_BYTES = 8 << 20;
/**
 * After so many packets lost within one callback it is one that would not end, and the kernel is told to
 * stop.
 */
const ENDLESS = 4096;

/**
 * Where the IP header of a captured frame lies: at a multiple of 4, HEADROOM and the longest link header
 * behind 0.
 */
const IP_OFF = 80;
const FRAME_BYTES = IP_OFF + 65_536 + 64;
const ENOPROTOOPT = 92;

export interface PcapStart {
  readonly mode: 'pcap';
  /** One per port. */
  readonly filters: readonly Uint8Array[];
  /** Bytes of the kernel's buffer per port. */
  readonly bufferSize: number;
}

declare module './packet-io.ts' {
  interface IoStarts {
    pcap: PcapStart;
  }
}

type PcapOptions = IoOptions & Omit<PcapStart, 'mode'>;

/**
 * Starts capturing. libpcap gives each packet a slot that fits the largest frame, 128 KiB on an interface
 * with segmentation offloads: 64 MiB of `bufferSize` hold about 500 to 1,000 packets, however small they are.
 * Throws an IoError, with nothing left open, when a port or the raw socket cannot be opened.
 */
export function openPcapIo(options: PcapOptions): PacketIo {
  const lacks = pcapLacks();
  if (lacks !== undefined) throw lacks;
  return new PcapIo(options);
}

/** The package cannot tell the kernel the source: where rules ask for that, another socket does. */
function openSocket(family: 4 | 6, sendBuffer: number, hops: NextHops): RawSocket | undefined {
  const usual = openPackageSocket(family, sendBuffer);
  if (usual === undefined) return undefined;
  let bySource: RawSocket | undefined;
  return {
    send(bytes, off, len, pair) {
      if (!hops.isBySource) return usual.send(bytes, off, len, pair);
      bySource ??= openRawSocket(family, sendBuffer);
      return (bySource ?? usual).send(bytes, off, len, pair);
    },
    close() {
      usual.close();
      bySource?.close();
    },
  };
}

class PcapIo implements PacketIo {
  readonly #ports: Port[] = [];
  readonly #hops: NextHops;
  readonly #sender: RawSender;
  readonly #nowMs: () => number;
  #turnIsDue = false;
  #closed = false;

  constructor(options: PcapOptions) {
    const { ports, counters } = options;
    this.#hops = options.hops;
    this.#nowMs = options.nowMs;
    const open = (family: 4 | 6, sendBuffer: number) => openSocket(family, sendBuffer, options.hops);
    this.#sender = new RawSender(open, this.#hops, counters, ports.length * ROW);
    try {
      for (let index = 0; index < ports.length; index++) {
        this.#ports.push(new Port(options, index, () => this.#scheduleTurn()));
      }
    } catch (error) {
      this.close();
      throw error;
    }
  }

  send(frame: Frame, off: number, len: number): boolean {
    return this.#sender.send(frame, off, len, this.#nowMs());
  }

  poll(): void {
    if (this.#closed) return;
    this.#hops.update(this.#nowMs());
    for (const port of this.#ports) port.poll();
  }

  noteClient(): void {}

  reconfigure(start: IoStart): void {
    if (start.mode !== 'pcap') throw new Error(`told of ${start.mode}`);
    for (const [index, port] of this.#ports.entries()) port.setFilter(start.filters[index]);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const port of this.#ports) port.close();
    this.#sender.close();
    this.#hops.close();
  }

  /**
   * A turn follows each batch of captured packets, after the timers, sockets and messages that were waiting.
   */
  #scheduleTurn(): void {
    if (this.#turnIsDue || this.#closed) return;
    this.#turnIsDue = true;
    setImmediate(() => this.#turn());
  }

  #turn(): void {
    this.#turnIsDue = false;
    if (this.#closed) return;
    for (const port of this.#ports) port.startTurn();
    const end = performance.now() + SLICE_MS;
    let left: number;
    try {
      do {
        left = 0;
        for (const port of this.#ports) left += port.processBacklog(CHUNK);
      } while (left > 0 && performance.now() < end);
    } finally {
      if (this.#ports.some((port) => port.hasBacklog)) this.#scheduleTurn();
    }
  }
}

class Port {
  readonly #options: PcapOptions;
  readonly #index: number;
  readonly #row: number;
  readonly #frame: Frame;
  readonly #capture: Capture;
  readonly #backlog = new Backlog(BACKLOG_PACKETS, BACKLOG_BYTES);
  readonly #scheduleTurn: () => void;
  readonly #interfaceIndex: number;
  readonly #large: LargePackets | undefined;
  #inTurn = 0;
  #sliceEnd = 0;
  #lostInTurn = 0;
  /** Longer packets may be several in one, and nothing tells. */
  #longestWhole = Number.POSITIVE_INFINITY;
  /** Of the large packet under way. */
  #parts = 0;
  #isDown = false;
  #closed = false;

  constructor(options: PcapOptions, index: number, scheduleTurn: () => void) {
    const { name, mac, loopback, mtu } = options.ports[index];
    this.#options = options;
    this.#index = index;
    this.#row = index * ROW;
    bookLostFrames(options.counters, this.#row);
    this.#scheduleTurn = scheduleTurn;
    const bytes = Buffer.from(new ArrayBuffer(FRAME_BYTES));
    this.#frame = new Frame(bytes);
    const open = (linkHeaderLen: number) =>
      openCapture(
        name,
        options.filters[index],
        options.bufferSize,
        bytes.subarray(IP_OFF - linkHeaderLen),
        (byteLength) => this.#onFrame(byteLength),
      );
    // The link type is known only once the capture is open, the place of the frame must be said before.
    const guess = mac !== '' || loopback ? 14 : 0;
    let capture = open(guess);
    if (capture.linkHeaderLen !== guess) {
      capture.close();
      capture = open(capture.linkHeaderLen);
    }
    this.#capture = capture;
    this.#interfaceIndex = interfaceIndex(name);
    const { linkHeaderLen, isCooked } = capture;
    if (isCooked) return; // the link's own header is not known
    capture.setMax(largeFrom(mtu, linkHeaderLen));
    try {
      this.#large = new LargePackets(
        this.#interfaceIndex,
        { mtu, linkHeaderLen, bufferSize: options.bufferSize },
        options.filters[index],
        (isLost) => this.#onLarge(isLost),
        (frame, off, end, isMerged) => this.#onLargePart(frame, off, end, isMerged),
      );
    } catch (error) {
      if (error instanceof SysError && error.errno === ENOPROTOOPT) {
        // gVisor, for one.
        this.#longestWhole = mtu;
        capture.setMax(ANY_LENGTH);
        const text = `${name}: this kernel does not tell which packets were merged: those longer than its MTU are dropped`;
        options.onFailure(text, false);
        return;
      }
      capture.close();
      throw error;
    }
  }

  get hasBacklog(): boolean {
    return this.#backlog.count > 0;
  }

  /**
   * Within one callback cap hands over all that the kernel has, and what arrives meanwhile. What exceeds the
   * slice is only copied, so that the callback ends soon; then nothing is fetched until it is processed. So
   * packets that are too many are lost in the kernel, where they cost this process nothing.
   */
  #onFrame(byteLength: number): void {
    if (this.#closed) return;
    const { counters, onPacket } = this.#options;
    counters[this.#row + IO_COLUMN.received]++;
    const { linkHeaderLen, linkProtocolOff } = this.#capture;
    const end = IP_OFF - linkHeaderLen + byteLength;
    if (linkProtocolOff >= 0) {
      const protocol = this.#frame.view.getUint16(IP_OFF - linkHeaderLen + linkProtocolOff);
      if (protocol !== ETHERTYPE_IPV4 && protocol !== ETHERTYPE_IPV6) {
        counters[this.#row + IO_COLUMN.foreign]++;
        return;
      }
    }
    if (this.#backlog.count === 0 && this.#hasTime()) {
      counters[this.#row + IO_COLUMN.judged]++;
      const isMerged = end - IP_OFF > this.#longestWhole;
      onPacket(this.#frame, IP_OFF, end, this.#index, this.#options.nowMs(), isMerged, false);
    } else if (this.#backlog.push(this.#frame.bytes, IP_OFF, end)) {
      if (this.#backlog.count === 1) {
        this.#capture.hold(true);
        this.#scheduleTurn();
      }
    } else {
      counters[this.#row + IO_COLUMN.lostBacklog]++;
      if (++this.#lostInTurn === ENDLESS) this.#capture.stop(true);
    }
  }

  #onLarge(isLost: boolean): void {
    const { counters } = this.#options;
    this.#parts = 0;
    counters[this.#row + IO_COLUMN.received]++;
    if (isLost) counters[this.#row + IO_COLUMN.lostBacklog]++;
  }

  #onLargePart(frame: Frame, off: number, end: number, isMerged: boolean): void {
    const { counters, nowMs, onPacket } = this.#options;
    if (this.#parts++ > 0) counters[this.#row + IO_COLUMN.split]++;
    counters[this.#row + IO_COLUMN.judged]++;
    onPacket(frame, off, end, this.#index, nowMs(), isMerged, false);
  }

  #hasTime(): boolean {
    const position = this.#inTurn++;
    if (position % CHUNK !== 0) return true;
    const now = performance.now();
    if (position === 0) {
      this.#sliceEnd = now + SLICE_MS;
      this.#scheduleTurn();
    }
    return now < this.#sliceEnd;
  }

  setFilter(filter: Uint8Array): void {
    this.#capture.setFilter(filter);
    this.#large?.setFilter(filter);
  }

  startTurn(): void {
    if (this.#lostInTurn >= ENDLESS) this.#capture.stop(false);
    this.#inTurn = 0;
    this.#lostInTurn = 0;
  }

  /** Processes up to `max` packets that had to wait and returns how many still do. */
  processBacklog(max: number): number {
    const backlog = this.#backlog;
    if (backlog.count === 0) return 0;
    const { counters, onPacket, nowMs } = this.#options;
    for (let n = 0; n < max && backlog.count > 0 && !this.#closed; n++) {
      const off = backlog.firstOff;
      const end = backlog.firstEnd;
      backlog.shift(); // first, so that a packet at which the program fails is not tried again
      counters[this.#row + IO_COLUMN.judged]++;
      onPacket(backlog.frame, off, end, this.#index, nowMs(), end - off > this.#longestWhole, false);
    }
    if (backlog.count === 0 && !this.#closed) this.#capture.hold(false);
    return backlog.count;
  }

  poll(): void {
    const { name } = this.#options.ports[this.#index];
    const { fd } = this.#capture;
    const lost = packetStatistics(fd).drops + (this.#large?.lost() ?? 0);
    this.#options.counters[this.#row + IO_COLUMN.lostKernel] += lost;
    const failed = pendingError(fd) !== 0; // reading it also ends the socket's being readable because of it
    const removed = interfaceIndex(name) !== this.#interfaceIndex;
    const wasDown = this.#isDown;
    this.#isDown = removed;
    if (removed && !wasDown) {
      this.#options.onFailure(
        `interface ${name} was removed: nothing is captured on it until a restart`,
        true,
      );
    } else if (failed && !removed) {
      this.#options.onFailure(`interface ${name} went down: nothing is captured on it until it is up`, false);
    }
  }

  close(): void {
    this.#closed = true;
    this.#capture.close();
    this.#large?.close();
  }
}
