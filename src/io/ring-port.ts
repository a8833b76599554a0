// One ring of a port: takes its frames to the datapath where the kernel put them, and gives them back when
// what they became is sent. The ring outlives the process: a successor goes on behind what its predecessor
// had begun.

import type { KnownSources } from '../steer/known-sources.ts';
import { IoError } from '../sys/io-error.ts';
import {
  CAPTURED_LEN,
  GSO_NONE,
  GSO_TYPE_MASK,
  GSO_UDP_L4,
  LINK_OFF,
  NANOSECONDS,
  NETWORK_OFF,
  PACKET_LEN,
  PacketRing,
  RING_STATUS,
  type RingSocket,
  SECONDS,
  VLAN_TCI,
  VNET,
  VNET_CHECKSUM_VERIFIED,
  VNET_HEADER_LEN,
  VNET_NEEDS_CHECKSUM,
} from '../sys/packet-ring.ts';
import { boundInterface, interfaceIndex, packetStatistics, pendingError } from '../sys/packet-socket.ts';
import { ETHERNET_HEADER_LEN, ETHERTYPE_IPV4, ETHERTYPE_IPV6 } from '../wire/ethernet.ts';
import { Frame, LOOK_AHEAD_MAX } from '../wire/frame.ts';
import { type DealtWith, type DealtWithIndex, stampOf } from './dealt-with.ts';
import { LongPackets, WHOLE_OFF } from './long-packets.ts';
import {
  bookLostFrames,
  IO_COLUMN,
  IO_COUNTERS,
  type IoOptions,
  type OnPacket,
  rowOfIntake,
  SIDE,
} from './packet-io.ts';
import type { RingSender } from './ring-sender.ts';
import { takeApart } from './segments.ts';

const ROW = IO_COUNTERS.length;
/** Packets of one ring processed before what they became is sent, and before the next ring's turn. */
const CHUNK = 64;
const LINE = 64;
/** The kernel queues a long packet a moment before its frame is ready: after so long there is none. */
const STRAY_MS = 100;

/**
 * Our own mark in the status of a frame that is being processed: the kernel uses the bits below and above.
 */
export const BEGUN = 1 << 16;
/** Another one: the process that this one took over from has dealt with the packet. It counts as foreign. */
const DEALT_WITH = 1 << 17;

const LITTLE_ENDIAN = true; // the kernel's structures are in the host's order
const VLAN_ID_MASK = 0xfff;

export interface RingOptions extends IoOptions {
  /** Whose packets come by rings of their own, where there are such. */
  known: KnownSources | undefined;
  /** Never wait for packets, look for them: lower latency, all of a processor. */
  busyPoll: boolean;
  /** What the rings let in, one per ring, where that is this process's to say. */
  filters: readonly Uint8Array[] | undefined;
}

export class RingPort {
  readonly #options: RingOptions;
  readonly #onPacket: OnPacket;
  /** Of the port. */
  readonly #index: number;
  readonly #row: number;
  /** Of two rings of a port, one keeps an eye on the interface. */
  readonly #isFirst: boolean;
  /** Clients come by it. */
  readonly #isWan: boolean;
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
  #isVerified = false;
  #isDown = false;
  /** Where the packets that were looked at stand, and whatever was read of them. */
  readonly #aheadOffs = new Int32Array(LOOK_AHEAD_MAX);
  #read = 0;

  constructor(options: RingOptions, socket: RingSocket, ring: number, sender: RingSender) {
    const ports = options.ports.length;
    this.#isFirst = ring < ports;
    this.#index = this.#isFirst ? ring : ring - ports;
    this.#row = rowOfIntake(ring, ports) * ROW;
    this.#known = this.#isFirst ? options.known : undefined;
    const { name, side } = options.ports[this.#index];
    this.#isWan = (side & SIDE.wan) !== 0;
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

  /** See PacketIo.noteClient. */
  noteClient(words: Int32Array, at: number, clientPort: number): void {
    if (this.#isWan) this.#known?.noteClient(words, at, clientPort, this.#index);
  }

  /**
   * Goes on where a process that had this ring before was. The counter of received frames, which both share,
   * says which frame is next. Frames before that one which bear our mark are counted, and were only not given
   * back. Those from it on the predecessor had begun: they may be what ended it, so they are not tried again.
   */
  #skipBegun(): void {
    const { counters } = this.#options;
    const { frames } = this.#ring;
    const received = counters[this.#row + IO_COLUMN.received];
    // Done and counted, but not given back any more.
    for (let n = Math.max(0, received - CHUNK); n < received; n++) this.#giveBackBegun(n % frames);
    let skipped = 0;
    while (this.#giveBackBegun((received + skipped) % frames)) skipped++;
    this.#head = (received + skipped) % frames;
    counters[this.#row + IO_COLUMN.received] += skipped;
    // Those that it had given to its datapath are the datapath's to count.
    bookLostFrames(counters, this.#row);
  }

  /**
   * Marks what another process has dealt with, which had it in a ring of its own: a moment after this one, so
   * that it is here, maybe behind frames that another processor has not filled yet.
   */
  leaveOut(dealtWith: DealtWithIndex): void {
    const words = this.#words;
    const { frameBytes, frames } = this.#ring;
    for (let n = 0, at = this.#head; n < frames; n++, at = at + 1 === frames ? 0 : at + 1) {
      const base = at * frameBytes;
      const status = Atomics.load(words, base >>> 2);
      if ((status & RING_STATUS.user) === 0) continue;
      const stamp = (status & RING_STATUS.stamped) === 0 ? undefined : this.#stampOf(base);
      if (dealtWith.take(this.#frameUs(base), stamp)) Atomics.store(words, base >>> 2, status | DEALT_WITH);
    }
  }

  /** How many frames lie ready. */
  get waiting(): number {
    const { frameBytes, frames } = this.#ring;
    const words = this.#words;
    let count = 0;
    for (let at = this.#head; count < frames; count++, at = at + 1 === frames ? 0 : at + 1)
      if ((Atomics.load(words, (at * frameBytes) >>> 2) & RING_STATUS.user) === 0) break;
    return count;
  }

  /** What was worked off. Of what came in until `sinceUs` all was, or is taken for such. */
  dealtWith(sinceUs: number): DealtWith {
    const { frameBytes, frames } = this.#ring;
    const stamps: number[] = [];
    let untilUs = sinceUs;
    let lastUs = 0;
    // Given back, and whole as long as the kernel is not there again: it may be writing ahead of us.
    for (let n = 1; n <= frames / 2; n++) {
      const base = ((this.#head - n + frames) % frames) * frameBytes;
      const us = this.#frameUs(base);
      if (us <= sinceUs) continue;
      stamps.push(this.#stampOf(base));
      lastUs = Math.max(lastUs, us);
      // What was before it is not known any more.
      if (n + 1 > frames / 2) untilUs = us;
    }
    return { untilUs, stamps: Float64Array.from(stamps), lastUs };
  }

  #stampOf(base: number): number {
    const { view } = this.#frame;
    return stampOf(
      view.getUint32(base + SECONDS, LITTLE_ENDIAN),
      view.getUint32(base + NANOSECONDS, LITTLE_ENDIAN),
    );
  }

  #frameUs(base: number): number {
    const { view } = this.#frame;
    const seconds = view.getUint32(base + SECONDS, LITTLE_ENDIAN);
    return seconds * 1e6 + view.getUint32(base + NANOSECONDS, LITTLE_ENDIAN) / 1e3;
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
   * To be called after each poll. A long packet is read from the socket's queue. If a predecessor began its
   * frame and ended before it read the packet, that packet is still there, and the socket is ready for ever,
   * also with an empty ring. So when it was ready for STRAY_MS without a frame, the queue is emptied.
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

  /** Works off up to CHUNK frames, sends what they became, and gives them back. Returns their number. */
  process(nowMs: number): number {
    const words = this.#words;
    const { frameBytes, frames } = this.#ring;
    const first = this.#head;
    let at = first;
    let count = 0;
    let seen = 0;
    while (count < CHUNK) {
      if (count >= seen) seen = count + this.#lookAhead(at);
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
    // Counted first: a successor of this process (#skipBegun) gives back what is counted, and cannot count
    // again.
    this.#options.counters[this.#row + IO_COLUMN.received] += count;
    for (let n = 0, give = first; n < count; n++) {
      Atomics.store(words, (give * frameBytes) >>> 2, 0);
      give = give + 1 === frames ? 0 : give + 1;
    }
    this.#head = at;
    return count;
  }

  /**
   * Looks at the packets that lie ready from this frame on, some of them. Returns after how many it is to be
   * done again.
   */
  #lookAhead(first: number): number {
    const { lookAhead } = this.#options;
    if (lookAhead?.begin() !== true) return CHUNK;
    const words = this.#words;
    const { view } = this.#frame;
    const { frameBytes, frames } = this.#ring;
    const offs = this.#aheadOffs;
    let count = 0;
    for (let at = first; count < LOOK_AHEAD_MAX; at = at + 1 === frames ? 0 : at + 1) {
      const base = at * frameBytes;
      if ((Atomics.load(words, base >>> 2) & RING_STATUS.user) === 0) break;
      offs[count++] = base + view.getUint16(base + NETWORK_OFF, LITTLE_ENDIAN);
    }
    if (count < 2) return 1;
    // The kernel wrote them on another processor: they are fetched at the same time, too.
    let read = 0;
    for (let i = 0; i < count; i++) read ^= words[offs[i] >>> 2] ^ words[(offs[i] + LINE) >>> 2];
    this.#read ^= read;
    for (let i = 0; i < count; i++) lookAhead.see(this.#frame, offs[i]);
    lookAhead.fetch();
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
    const isAnothers = hasVlan && (view.getUint16(base + VLAN_TCI, LITTLE_ENDIAN) & VLAN_ID_MASK) !== 0;
    if (isAnothers || (status & DEALT_WITH) !== 0) {
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
    const isOne = view.getUint8(vnet + VNET.gsoType) === GSO_NONE;
    // Those of the parts of a super packet are unfinished.
    this.#isVerified = isOne && (view.getUint8(vnet + VNET.flags) & VNET_CHECKSUM_VERIFIED) !== 0;
    if (isOne) this.#onPart(frame, off, end, false);
    else if (!this.#passWhole(frame, vnet, linkOff, off, end)) takeApart(frame, vnet, off, end, this.#onPart);
    if (isSource && this.#isAnswered) known!.note();
  }

  /** A super packet about which nothing is to be decided; false: it is to be taken apart. */
  #passWhole(frame: Frame, vnet: number, linkOff: number, off: number, end: number): boolean {
    const { superPackets, counters } = this.#options;
    const { view } = frame;
    const isUdp =
      (view.getUint8(vnet + VNET.gsoType) & GSO_TYPE_MASK) === GSO_UDP_L4 &&
      (view.getUint8(vnet + VNET.flags) & VNET_NEEDS_CHECKSUM) !== 0;
    const segmentLen = view.getUint16(vnet + VNET.gsoSize, LITTLE_ENDIAN);
    if (superPackets === undefined || !isUdp || segmentLen === 0) return false;
    const udpOff = linkOff + view.getUint16(vnet + VNET.checksumStart, LITTLE_ENDIAN);
    const nowMs = this.#partMs;
    const datagrams = superPackets.accept(frame, off, end, this.#index, nowMs, segmentLen, udpOff);
    if (datagrams === 0) return false;
    counters[this.#row + IO_COLUMN.split] += datagrams - 1;
    counters[this.#row + IO_COLUMN.judged] += datagrams;
    this.#isAnswered = superPackets.forward(frame);
    return true;
  }

  readonly #onPart = (frame: Frame, off: number, end: number, isMerged: boolean): void => {
    if (this.#parts++ > 0) this.#count(IO_COLUMN.split);
    this.#count(IO_COLUMN.judged);
    this.#isAnswered = this.#onPacket(frame, off, end, this.#index, this.#partMs, isMerged, this.#isVerified);
  };

  #count(column: number): void {
    this.#options.counters[this.#row + column]++;
  }

  poll(): void {
    const { name } = this.#options.ports[this.#index];
    this.#options.counters[this.#row + IO_COLUMN.lostKernel] += packetStatistics(this.fd).drops;
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
