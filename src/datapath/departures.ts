// What leaves the datapath, and what is counted of it. A packet I/O that gathers packets says only later
// which of them the kernel took, and counters never go down: so nothing counts as sent before it was. What is
// to be counted of each packet that was gathered waits here, first in, first out, in arrays of fixed length.
import { HANDSHAKE } from '../session/session.ts';
import { onCarrierSent, onUoaRefused, onUoaSent } from '../uoa/handshake.ts';
import { type Frame, GATHERED_MAX, type Send, type SendSuper } from '../wire/frame.ts';
import { COUNTER, counterRow, dropColumn } from './counters.ts';
import type { DatapathMemory } from './memory.ts';
import { SERVER_COUNTER } from './server-cells.ts';
import { DROP } from './verdict.ts';

const INBOUND = 0;
const OUTBOUND = 1;
export const DIRECTION = { inbound: INBOUND, outbound: OUTBOUND } as const;
export type Direction = (typeof DIRECTION)[keyof typeof DIRECTION];

const KIND = {
  packet: 0,
  withUoa: 1,
  carrier: 2,
  icmp: 3,
  icmpTranslated: 4,
  withHeader: 5,
  repeated: 6,
} as const;
/** No trial of a session: the words of none begin there. */
const NO_TRIAL = 0;
type Kind = (typeof KIND)[keyof typeof KIND];

/** A power of two, with room for the packet under way. */
const SLOTS = 2 * GATHERED_MAX;

const FORWARDED = [COUNTER.inboundForwarded, COUNTER.outboundForwarded];
const SERVER_PACKETS = [SERVER_COUNTER.inboundPackets, SERVER_COUNTER.outboundPackets];
const SERVER_BYTES = [SERVER_COUNTER.inboundBytes, SERVER_COUNTER.outboundBytes];

export class Departures {
  /** Of the packet under way: its direction, and its length as it came. */
  direction: Direction = INBOUND;
  receivedLen = 0;
  /** First cell of the row of the real server that it goes to or comes from. */
  serverRow = 0;
  readonly #send: Send;
  readonly #sendSuper: SendSuper | undefined;
  readonly #memory: DatapathMemory;
  #first = 0;
  #count = 0;
  readonly #kinds = new Uint8Array(SLOTS);
  readonly #rows = new Int32Array(SLOTS);
  readonly #directions = new Uint8Array(SLOTS);
  readonly #serverRows = new Int32Array(SLOTS);
  readonly #lens = new Int32Array(SLOTS);
  /** Of what carries a UOA: the words of its session's handshake, and when it was sent. */
  readonly #handshakes = new Int32Array(SLOTS);
  readonly #times = new Int32Array(SLOTS);

  constructor(send: Send, memory: DatapathMemory, sendSuper?: SendSuper) {
    this.#send = send;
    this.#sendSuper = sendSuper;
    this.#memory = memory;
  }

  /** The packet under way, rewritten. False: it was refused, and nothing is counted, here and below. */
  packet(frame: Frame, off: number, len: number, serviceIndex: number): boolean {
    return this.#hand(frame, off, len, KIND.packet, serviceIndex, 0, 0);
  }

  /**
   * The packet under way with a UOA, a trial of the session at `base`. False: see packet; the trial does not
   * count.
   */
  withUoa(
    frame: Frame,
    off: number,
    len: number,
    serviceIndex: number,
    base: number,
    nowMs: number,
  ): boolean {
    onUoaSent(this.#memory.records, base + HANDSHAKE, nowMs);
    return this.#hand(frame, off, len, KIND.withUoa, serviceIndex, base + HANDSHAKE, nowMs);
  }

  /**
   * The packet under way with a header of PROXY protocol, `isTrial`: a trial of the session at `base`. False:
   * see withUoa.
   */
  withHeader(
    frame: Frame,
    off: number,
    len: number,
    serviceIndex: number,
    base: number,
    isTrial: boolean,
    nowMs: number,
  ): boolean {
    const handshake = isTrial ? base + HANDSHAKE : NO_TRIAL;
    if (isTrial) onUoaSent(this.#memory.records, handshake, nowMs);
    return this.#hand(frame, off, len, KIND.withHeader, serviceIndex, handshake, nowMs);
  }

  /** As withHeader, of one that went in fragments. */
  headerInFragments(serviceIndex: number, base: number, isTrial: boolean, nowMs: number): void {
    if (isTrial) onUoaSent(this.#memory.records, base + HANDSHAKE, nowMs);
    this.#memory.counters[counterRow(serviceIndex) + COUNTER.uoaHeader]++;
  }

  /**
   * A UOA of its own that goes ahead of the packet under way. When it is refused, the trial does not count.
   */
  carrier(frame: Frame, off: number, len: number, serviceIndex: number, base: number, nowMs: number): void {
    onUoaSent(this.#memory.records, base + HANDSHAKE, nowMs);
    onCarrierSent(this.#memory.records, base + HANDSHAKE, nowMs);
    this.#hand(frame, off, len, KIND.carrier, serviceIndex, base + HANDSHAKE, nowMs);
  }

  /**
   * The super packet under way, of so many datagrams, rewritten; `receivedLen` is that of all of them. False:
   * none was sent.
   */
  superPacket(
    frame: Frame,
    off: number,
    len: number,
    serviceIndex: number,
    segmentLen: number,
    datagrams: number,
  ): boolean {
    const sent = this.#sendSuper?.(frame, off, len, segmentLen) ?? 0;
    const row = counterRow(serviceIndex);
    // Where some were refused it is not known which: each counts with the mean length.
    const bytes = sent === datagrams ? this.receivedLen : Math.floor((this.receivedLen / datagrams) * sent);
    this.#countForwarded(row, this.direction, this.serverRow, bytes, sent);
    this.#memory.counters[row + dropColumn(DROP.send_failed)] += datagrams - sent;
    return sent > 0;
  }

  /** A client's datagram once more, without the UOA that it had: it was counted when it was sent with it. */
  repeated(frame: Frame, off: number, len: number, serviceIndex: number): void {
    this.#hand(frame, off, len, KIND.repeated, serviceIndex, 0, 0);
  }

  /** An ICMP error of ours. */
  icmp(frame: Frame, off: number, len: number, serviceIndex: number): boolean {
    return this.#hand(frame, off, len, KIND.icmp, serviceIndex, 0, 0);
  }

  /** The packet under way, which is an ICMP error, as the other side is to see it. */
  icmpTranslated(frame: Frame, off: number, len: number, serviceIndex: number): boolean {
    return this.#hand(frame, off, len, KIND.icmpTranslated, serviceIndex, 0, 0);
  }

  /** A fragment of the packet under way; when all were sent, `fragmented` is to be called. */
  fragment(frame: Frame, off: number, len: number, serviceIndex: number): boolean {
    if (this.#send(frame, off, len) !== true) return false;
    this.#memory.counters[counterRow(serviceIndex) + COUNTER.fragmentsSent]++;
    return true;
  }

  fragmented(serviceIndex: number): void {
    const row = counterRow(serviceIndex);
    this.#memory.counters[row + COUNTER.datagramsFragmented]++;
    this.#countForwarded(row, this.direction, this.serverRow, this.receivedLen);
  }

  /** What became of the packet that was gathered first among those of which nothing was said yet. */
  settled(wasSent: boolean): void {
    const at = this.#first;
    this.#first = (at + 1) & (SLOTS - 1);
    this.#count--;
    if (wasSent) this.#onSent(at);
    else {
      this.#onRefused(at);
      const kind = this.#kinds[at];
      if (kind !== KIND.carrier && kind !== KIND.icmp && kind !== KIND.repeated)
        this.#memory.counters[this.#rows[at] + dropColumn(DROP.send_failed)]++;
    }
  }

  #hand(
    frame: Frame,
    off: number,
    len: number,
    kind: Kind,
    serviceIndex: number,
    handshake: number,
    nowMs: number,
  ): boolean {
    const at = (this.#first + this.#count) & (SLOTS - 1);
    this.#kinds[at] = kind;
    this.#rows[at] = counterRow(serviceIndex);
    this.#directions[at] = this.direction;
    this.#serverRows[at] = this.serverRow;
    this.#lens[at] = this.receivedLen;
    this.#handshakes[at] = handshake;
    this.#times[at] = nowMs;
    this.#count++; // before it is handed over: what was gathered may be settled meanwhile, with this one
    const sending = this.#send(frame, off, len);
    if (sending === 'gathered') return true;
    this.#count--;
    if (sending) this.#onSent(at);
    else this.#onRefused(at);
    return sending;
  }

  #onSent(at: number): void {
    const { counters } = this.#memory;
    const row = this.#rows[at];
    switch (this.#kinds[at]) {
      case KIND.carrier:
        counters[row + COUNTER.uoaCarrier]++;
        return;
      case KIND.repeated:
        counters[row + COUNTER.uoaRepeated]++;
        return;
      case KIND.icmp:
        counters[row + COUNTER.icmpSent]++;
        return;
      case KIND.icmpTranslated:
        counters[row + COUNTER.icmpTranslated]++;
        counters[row + FORWARDED[this.#directions[at]]]++;
        return;
      case KIND.withUoa:
        counters[row + COUNTER.uoaInserted]++;
        break;
      case KIND.withHeader:
        counters[row + COUNTER.uoaHeader]++;
    }
    this.#countForwarded(row, this.#directions[at], this.#serverRows[at], this.#lens[at]);
  }

  #onRefused(at: number): void {
    const kind = this.#kinds[at];
    if (kind !== KIND.withUoa && kind !== KIND.carrier && kind !== KIND.withHeader) return;
    const { counters, records } = this.#memory;
    const handshake = this.#handshakes[at];
    if (handshake !== NO_TRIAL) onUoaRefused(records, handshake, this.#times[at], kind === KIND.carrier);
    counters[this.#rows[at] + COUNTER.uoaFailed]++;
  }

  #countForwarded(row: number, direction: number, serverRow: number, len: number, datagrams = 1): void {
    const { counters, servers } = this.#memory;
    counters[row + FORWARDED[direction]] += datagrams;
    servers[serverRow + SERVER_PACKETS[direction]] += datagrams;
    servers[serverRow + SERVER_BYTES[direction]] += len;
  }
}
