// ICMP errors that we send, within a rate limit: about packets we cannot forward (RFC 1812, 4.3; RFC 4443), and other
// hosts' about packets of a session, translated.
import type { Family } from '../wire/address.ts';
import { Frame, type Send } from '../wire/frame.ts';
import {
  ICMP,
  ICMP_MAX_LEN,
  ICMP_UNREACHABLE,
  ICMPV6,
  ICMPV6_PARAMETER,
  ICMPV6_UNREACHABLE,
  writeIcmpError,
} from '../wire/icmp.ts';
import type { IcmpMessage } from '../wire/icmp-translation.ts';
import type { Packet } from '../wire/packet.ts';
import { COUNTER, counterRow } from './counters.ts';
import { DROP, VERDICT, type Verdict } from './verdict.ts';

/** Errors per second and at once, as the Linux kernel's defaults (icmp_msgs_per_sec, icmp_msgs_burst). */
const PER_SECOND = 1000;
const BURST = 50;

export class IcmpSender {
  readonly #send: Send;
  readonly #counters: Float64Array;
  readonly #out = new Frame(Buffer.alloc(ICMP_MAX_LEN));
  readonly #message: IcmpMessage = { type: 0, code: 0, rest: 0 };
  readonly #addresses = new Int32Array(8);
  #tokens = BURST;
  #refilledAt = 0;

  constructor(send: Send, counters: Float64Array) {
    this.#send = send;
    this.#counters = counters;
  }

  /** The packet's TTL ran out here: to its sender, from the address it was sent to. */
  timeExceeded(frame: Frame, packet: Packet, serviceIndex: number, nowMs: number): void {
    const type = packet.family === 4 ? ICMP.timeExceeded : ICMPV6.timeExceeded;
    this.#aboutPacket(type, 0, 0, frame, packet, serviceIndex, nowMs);
  }

  /** Nobody takes the packet any more: its sender's program is told. */
  portUnreachable(frame: Frame, packet: Packet, serviceIndex: number, nowMs: number): void {
    const type = packet.family === 4 ? ICMP.unreachable : ICMPV6.unreachable;
    const code = packet.family === 4 ? ICMP_UNREACHABLE.port : ICMPV6_UNREACHABLE.port;
    this.#aboutPacket(type, code, 0, frame, packet, serviceIndex, nowMs);
  }

  /** `mtu` is the largest packet of the same family that could go. */
  tooBig(frame: Frame, packet: Packet, mtu: number, serviceIndex: number, nowMs: number): void {
    if (packet.family === 6)
      this.#aboutPacket(ICMPV6.packetTooBig, 0, mtu, frame, packet, serviceIndex, nowMs);
    else {
      const code = ICMP_UNREACHABLE.fragmentationNeeded;
      this.#aboutPacket(ICMP.unreachable, code, mtu, frame, packet, serviceIndex, nowMs);
    }
  }

  /** The IPv6 option at `optionOff` says what its sender wants to know (RFC 8200, 4.2: 10, 11), or not (01). */
  unknownOption(frame: Frame, packet: Packet, optionOff: number, serviceIndex: number, nowMs: number): void {
    if (frame.view.getUint8(optionOff) >>> 6 === 1) return;
    const pointer = optionOff - packet.off;
    const code = ICMPV6_PARAMETER.unknownOption;
    this.#aboutPacket(ICMPV6.parameterProblem, code, pointer, frame, packet, serviceIndex, nowMs);
  }

  /**
   * Sends an error of another host from addresses[0..3] to addresses[4..7], its embedded packet at `off` rewritten
   * already to `family`.
   */
  pass(
    message: IcmpMessage,
    family: Family,
    addresses: Int32Array,
    frame: Frame,
    off: number,
    len: number,
    serviceIndex: number,
    nowMs: number,
  ): Verdict {
    const column = COUNTER.icmpTranslated;
    return this.#emit(column, message, family, addresses, frame, off, len, serviceIndex, nowMs);
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
    const { family, addresses, off, totalLen } = packet;
    const message = this.#message;
    message.type = type;
    message.code = code;
    message.rest = rest;
    for (let i = 0; i < 8; i++) this.#addresses[i] = addresses[i ^ 4];
    const column = COUNTER.icmpSent;
    this.#emit(column, message, family, this.#addresses, frame, off, totalLen, serviceIndex, nowMs);
  }

  #emit(
    column: number,
    { type, code, rest }: IcmpMessage,
    family: Family,
    addresses: Int32Array,
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
    const packetLen = writeIcmpError(this.#out, 0, family, type, code, rest, addresses, frame, off, len);
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
