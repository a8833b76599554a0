// ICMP errors that we send, within a rate limit: about packets we cannot forward (RFC 1812, 4.3), and other hosts' about
// packets of a session, translated.
import { Frame, type Send } from '../wire/frame.ts';
import {
  ICMP_FRAGMENTATION_NEEDED,
  ICMP_TIME_EXCEEDED,
  ICMP_UNREACHABLE,
  writeIcmpError,
} from '../wire/icmp.ts';
import type { Packet } from '../wire/packet.ts';
import { COUNTER, counterRow } from './counters.ts';
import { DROP, VERDICT, type Verdict } from './verdict.ts';

/** Errors per second and at once, as the Linux kernel's defaults (icmp_msgs_per_sec, icmp_msgs_burst). */
const PER_SECOND = 1000;
const BURST = 50;

export class IcmpSender {
  readonly #send: Send;
  readonly #counters: Float64Array;
  readonly #out = new Frame(Buffer.alloc(640));
  #tokens = BURST;
  #refilledAt = 0;

  constructor(send: Send, counters: Float64Array) {
    this.#send = send;
    this.#counters = counters;
  }

  /** The packet's TTL ran out here: to its sender, from the address it was sent to. */
  timeExceeded(frame: Frame, packet: Packet, serviceIndex: number, nowMs: number): void {
    this.#aboutPacket(ICMP_TIME_EXCEEDED, 0, 0, frame, packet, serviceIndex, nowMs);
  }

  fragmentationNeeded(frame: Frame, packet: Packet, mtu: number, serviceIndex: number, nowMs: number): void {
    this.#aboutPacket(ICMP_UNREACHABLE, ICMP_FRAGMENTATION_NEEDED, mtu, frame, packet, serviceIndex, nowMs);
  }

  /** Sends an error of another host, its embedded packet rewritten already, from `src` to `dst`. */
  pass(
    type: number,
    code: number,
    rest: number,
    src: number,
    dst: number,
    frame: Frame,
    off: number,
    len: number,
    serviceIndex: number,
    nowMs: number,
  ): Verdict {
    const column = COUNTER.icmpTranslated;
    return this.#emit(column, type, code, rest, src, dst, frame, off, len, serviceIndex, nowMs);
  }

  #aboutPacket(
    type: number,
    code: number,
    rest: number,
    frame: Frame,
    packet: Packet,
    serviceIndex: number,
    nowMs: number,
  ): void {
    const { src, dst, off, totalLen } = packet;
    this.#emit(COUNTER.icmpSent, type, code, rest, dst, src, frame, off, totalLen, serviceIndex, nowMs);
  }

  #emit(
    column: number,
    type: number,
    code: number,
    rest: number,
    src: number,
    dst: number,
    frame: Frame,
    off: number,
    len: number,
    serviceIndex: number,
    nowMs: number,
  ): Verdict {
    const row = counterRow(serviceIndex);
    if (!this.#takeToken(nowMs)) {
      this.#counters[row + COUNTER.icmpSuppressed]++;
      return DROP.icmp_rate_limited;
    }
    const packetLen = writeIcmpError(this.#out, 0, type, code, rest, src, dst, frame, off, len);
    if (!this.#send(this.#out, 0, packetLen)) return DROP.send_failed;
    this.#counters[row + column]++;
    return VERDICT.forward;
  }

  #takeToken(nowMs: number): boolean {
    const elapsedMs = (nowMs - this.#refilledAt) | 0;
    if (elapsedMs !== 0) {
      // The clock wraps after 24 days without an error: a full bucket is right then too.
      const gained = elapsedMs < 0 ? BURST : (elapsedMs * PER_SECOND) / 1000;
      this.#tokens = Math.min(BURST, this.#tokens + gained);
      this.#refilledAt = nowMs;
    }
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }
}
