// Sends IP packets at layer 2, gathered to batches for sendmmsg(2). A packet whose next hop is not known goes
// through the IP layer (raw-sender.ts), which finds it. Packets of a receive ring are sent from where they
// are; what lies in other frames is copied, because those are used again before the batch goes out.

import type { NextHops } from '../route/next-hop.ts';
import { PAIR_WORDS } from '../route/pair-table.ts';
import { addressOf, poll } from '../sys/libc.ts';
import type { PacketRing } from '../sys/packet-ring.ts';
import { type MemoryStart, memoryStart, SendBatch } from '../sys/send-batch.ts';
import { SuperSocket } from '../sys/super-socket.ts';
import { ETHERNET_HEADER_LEN, ETHERTYPE_IPV4, ETHERTYPE_IPV6 } from '../wire/ethernet.ts';
import { copyBytes, Frame, GATHERED_MAX, type Sending } from '../wire/frame.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';
import { UDP_HEADER_LEN } from '../wire/udp.ts';
import { IO_COLUMN } from './packet-io.ts';
import { type RawSender, readPair } from './raw-sender.ts';
import { forEachSegment } from './segments.ts';
import { columnOfErrno, refusesKind } from './send-error.ts';

/** Packets per sendmmsg call. */
const BATCH = GATHERED_MAX;
/** A copied packet's place in the arena; longer ones, rare, take the way through the IP layer. */
const COPY_BYTES = 2048;

/**
 * How often a batch tries a full queue of the device again at once, and then after a wait, before a packet is
 * lost.
 */
const RETRIES = 20;
const WAIT_MS = 1;
/** So many waits in so many milliseconds, for all devices together: the packets for the others wait, too. */
const WAITS = 5;
const WAITS_PER_MS = 100;

export class RingSender {
  readonly #hops: NextHops;
  readonly #raw: RawSender;
  readonly #batch: SendBatch;
  readonly #super: SuperSocket;
  readonly #counters: Float64Array;
  readonly #row: number;
  readonly #onSettled: (wasSent: boolean) => void;
  readonly #ringFrames: Frame[] = [];
  readonly #ringStarts: MemoryStart[] = [];
  readonly #arena = new Frame(Buffer.from(new ArrayBuffer(BATCH * COPY_BYTES)));
  readonly #arenaStart = memoryStart(Number(addressOf(this.#arena.bytes)));
  readonly #pair = new Int32Array(PAIR_WORDS);
  /**
   * Interfaces that lost a packet for want of room and took none since: they are not tried twice, nor waited
   * for.
   */
  readonly #full = new Set<number>();
  /** Of the super packet that is taken apart: datagrams sent so far. */
  #sentApart = 0;
  #nowMs = 0;
  #waits = 0;
  #waitsSinceMs = 0;

  /** Counts in the IO_COUNTERS row that starts at counters[row]. `onSettled` as in IoOptions. */
  constructor(
    hops: NextHops,
    raw: RawSender,
    sendBuffer: number,
    counters: Float64Array,
    row: number,
    onSettled: (wasSent: boolean) => void,
  ) {
    this.#hops = hops;
    this.#raw = raw;
    this.#batch = new SendBatch(BATCH, sendBuffer);
    this.#super = new SuperSocket(sendBuffer);
    this.#counters = counters;
    this.#row = row;
    this.#onSettled = onSettled;
  }

  /** Packets in this frame, which covers the ring, may be sent from where they are. */
  addRing(frame: Frame, ring: PacketRing): void {
    this.#ringFrames.push(frame);
    this.#ringStarts.push(memoryStart(ring.address));
  }

  /** To be called before each received packet is handed to the datapath. */
  startPacket(nowMs: number): void {
    this.#nowMs = nowMs;
  }

  /** See PacketIo.send. */
  send(frame: Frame, off: number, len: number): Sending {
    const { view } = frame;
    const pair = this.#pair;
    const isIpv6 = view.getUint8(off) >>> 4 === 6;
    readPair(pair, frame, off);
    const hop = this.#hops.find(pair, this.#nowMs);
    const ring = this.#ringFrames.indexOf(frame);
    const isShort = ring >= 0 || len <= COPY_BYTES - ETHERNET_HEADER_LEN;
    if (hop === undefined || !isShort || len > hop.link.mtu || !this.#select(hop.interfaceIndex)) {
      if (!this.#raw.admits(pair, this.#nowMs)) return false;
      this.flush(); // or it would overtake
      return this.#raw.sendAdmitted(frame, off, len, pair);
    }
    const ethertype = isIpv6 ? ETHERTYPE_IPV6 : ETHERTYPE_IPV4;
    const batch = this.#batch;
    if (ring >= 0) {
      hop.writeHeader(view, off, ethertype);
      const start = this.#ringStarts[ring];
      batch.add(start, off - ETHERNET_HEADER_LEN, len + ETHERNET_HEADER_LEN);
    } else {
      const at = batch.count * COPY_BYTES;
      copyBytes(this.#arena, at + ETHERNET_HEADER_LEN, frame, off, len);
      hop.writeHeader(this.#arena.view, at + ETHERNET_HEADER_LEN, ethertype);
      batch.add(this.#arenaStart, at, len + ETHERNET_HEADER_LEN);
    }
    // The next fragment's header will be written over the end of this one.
    const isFragment = isIpv6
      ? ipv6.nextHeader(view, off) === ipv6.NEXT_FRAGMENT
      : ipv4.isFragment(view, off);
    if (isFragment) return this.#flush(batch.count - 1);
    if (batch.count === BATCH) this.flush();
    return 'gathered';
  }

  /** See SendSuper: at once, because where it lies the next one is read to. */
  sendSuper(frame: Frame, off: number, len: number, segmentLen: number): number {
    const { view } = frame;
    const isIpv6 = view.getUint8(off) >>> 4 === 6;
    const headersLen = (isIpv6 ? ipv6.IPV6_HEADER_LEN : ipv4.IPV4_HEADER_LEN) + UDP_HEADER_LEN;
    const pair = this.#pair;
    readPair(pair, frame, off);
    this.flush(); // or it would overtake
    const hop = this.#hops.find(pair, this.#nowMs);
    if (hop === undefined || headersLen + segmentLen > hop.link.mtu)
      return this.#sendApart(frame, off, len, segmentLen);
    hop.writeHeader(view, off, isIpv6 ? ETHERTYPE_IPV6 : ETHERTYPE_IPV4);
    const io = this.#counters;
    const datagrams = Math.ceil((len - headersLen) / segmentLen);
    const start = off - ETHERNET_HEADER_LEN;
    const udpAt = ETHERNET_HEADER_LEN + headersLen - UDP_HEADER_LEN;
    for (let retries = 0; ; ) {
      const device = hop.interfaceIndex;
      const errno = this.#super.send(device, frame.bytes, start, off + len - start, udpAt, segmentLen);
      if (errno === 0) {
        io[this.#row + IO_COLUMN.sent] += datagrams;
        io[this.#row + IO_COLUMN.sentInSuper] += datagrams;
        this.#full.delete(device);
        return datagrams;
      }
      if (refusesKind(errno)) return this.#sendApart(frame, off, len, segmentLen);
      const column = columnOfErrno(errno);
      if (column === IO_COLUMN.sendNoBuffer && this.#mayRetry(retries++, device)) continue;
      io[this.#row + column] += datagrams;
      return 0;
    }
  }

  #sendApart(frame: Frame, off: number, len: number, segmentLen: number): number {
    this.#sentApart = 0;
    forEachSegment(frame, off, off + len, segmentLen, this.#onSegment, true);
    return this.#sentApart;
  }

  readonly #onSegment = (frame: Frame, off: number, end: number): void => {
    const sending = this.send(frame, off, end - off);
    // Nobody waits to be told of it.
    if (sending === 'gathered' ? this.#flush(this.#batch.count - 1) : sending) this.#sentApart++;
  };

  /** A batch is for one interface: what was gathered for another goes first. */
  #select(interfaceIndex: number): boolean {
    if (interfaceIndex === this.#batch.interfaceIndex) return true;
    this.flush();
    return this.#batch.select(interfaceIndex);
  }

  /** Sends what is gathered. After it received frames may be given back to the kernel. */
  flush(): void {
    this.#flush(this.#batch.count);
  }

  /** Tells what became of the first `gathered` packets, and returns what became of the last. */
  #flush(gathered: number): boolean {
    const batch = this.#batch;
    const counters = this.#counters;
    let done = 0;
    let retries = 0;
    let wasSent = true;
    while (done < batch.count) {
      const sent = batch.send(done);
      if (sent > 0) {
        wasSent = true;
        for (const end = done + sent; done < end; done++) {
          // One by one, so that who kills the process in between leaves at most one that only this counts.
          counters[this.#row + IO_COLUMN.sent]++;
          if (done < gathered) this.#onSettled(true);
        }
        if (this.#full.size > 0) this.#full.delete(batch.interfaceIndex);
        continue;
      }
      const column = columnOfErrno(batch.errno);
      if (column === IO_COLUMN.sendNoBuffer && this.#mayRetry(retries++, batch.interfaceIndex)) continue;
      counters[this.#row + column]++;
      wasSent = false;
      if (done++ < gathered) this.#onSettled(false);
    }
    batch.count = 0;
    return wasSent;
  }

  /** Whether the device, which has no room, is to be tried again; waits before that when it is time to. */
  #mayRetry(retries: number, device: number): boolean {
    if (this.#full.has(device)) return false;
    if (retries < RETRIES) return true;
    if ((this.#nowMs - this.#waitsSinceMs) >>> 0 >= WAITS_PER_MS) {
      this.#waitsSinceMs = this.#nowMs;
      this.#waits = 0;
    }
    if (this.#waits === WAITS) {
      this.#full.add(device);
      return false;
    }
    this.#waits++;
    poll(null, 0, WAIT_MS); // POLLOUT says whether the socket has room, not the device
    return true;
  }

  close(): void {
    this.#batch.close();
    this.#super.close();
    this.#raw.close();
    this.#hops.close();
  }
}
