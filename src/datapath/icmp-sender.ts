// ICMP errors that we send, within limits (icmp-limit.ts): about packets we cannot forward (RFC 1812, 4.3;
// RFC 4443), and other hosts' about packets of a session, translated.
import type { Origin } from '../uoa/origin.ts';
import type { Family } from '../wire/address.ts';
import { Frame } from '../wire/frame.ts';
import type { IcmpMessage } from '../wire/icmp-translation.ts';
import {
  ICMP,
  ICMP_MAX_LEN,
  ICMP_UNREACHABLE,
  ICMPV6,
  ICMPV6_PARAMETER,
  ICMPV6_UNREACHABLE,
  writeIcmpError,
} from '../wire/icmp-writer.ts';
import type { Packet } from '../wire/packet.ts';
import { COUNTER, counterRow } from './counters.ts';
import type { Departures } from './departures.ts';
import { ICMP_KIND, IcmpLimit } from './icmp-limit.ts';
import { DROP, VERDICT, type Verdict } from './verdict.ts';

export class IcmpSender {
  readonly #departures: Departures;
  readonly #counters: Float64Array;
  readonly #limit: IcmpLimit;
  readonly #isAnswerable: (packet: Packet) => boolean;
  readonly #out = new Frame(Buffer.alloc(ICMP_MAX_LEN));
  readonly #message: IcmpMessage = { type: 0, code: 0, rest: 0 };
  readonly #addresses = new Int32Array(8);

  /**
   * `isAnswerable`: see answerable.ts; asked of each packet that an error is to be about. `seed`: two random
   * int32.
   */
  constructor(
    departures: Departures,
    counters: Float64Array,
    seed: readonly [number, number],
    isAnswerable: (packet: Packet) => boolean,
  ) {
    this.#departures = departures;
    this.#counters = counters;
    this.#limit = new IcmpLimit(seed);
    this.#isAnswerable = isAnswerable;
  }

  /** The packet's TTL ran out here: to its sender, from the address it was sent to. */
  timeExceeded(frame: Frame, packet: Packet, serviceIndex: number, nowMs: number): void {
    const type = packet.family === 4 ? ICMP.timeExceeded : ICMPV6.timeExceeded;
    this.#aboutPacket(ICMP_KIND.timeExceeded, type, 0, 0, frame, packet, serviceIndex, nowMs);
  }

  /** Nobody takes the packet any more: its sender's program is told. */
  portUnreachable(frame: Frame, packet: Packet, serviceIndex: number, nowMs: number): void {
    const type = packet.family === 4 ? ICMP.unreachable : ICMPV6.unreachable;
    const code = packet.family === 4 ? ICMP_UNREACHABLE.port : ICMPV6_UNREACHABLE.port;
    this.#aboutPacket(ICMP_KIND.unreachable, type, code, 0, frame, packet, serviceIndex, nowMs);
  }

  /** `mtu` is the largest packet of the same family that could go. */
  tooBig(frame: Frame, packet: Packet, mtu: number, serviceIndex: number, nowMs: number): void {
    const type = packet.family === 4 ? ICMP.unreachable : ICMPV6.packetTooBig;
    const code = packet.family === 4 ? ICMP_UNREACHABLE.fragmentationNeeded : 0;
    this.#aboutPacket(ICMP_KIND.tooBig, type, code, mtu, frame, packet, serviceIndex, nowMs);
  }

  /**
   * The IPv6 option at `optionOff` says what its sender wants to know (RFC 8200, 4.2: 10, 11), or not (01).
   */
  unknownOption(frame: Frame, packet: Packet, optionOff: number, serviceIndex: number, nowMs: number): void {
    if (frame.view.getUint8(optionOff) >>> 6 === 1) return;
    const pointer = optionOff - packet.off;
    const { parameterProblem } = ICMPV6;
    const code = ICMPV6_PARAMETER.unknownOption;
    const kind = ICMP_KIND.parameterProblem;
    this.#aboutPacket(kind, parameterProblem, code, pointer, frame, packet, serviceIndex, nowMs);
  }

  /**
   * Sends an error of another host from addresses[0..3] to addresses[4..7], its embedded packet at `off`
   * rewritten already to `family`. `origin` is that of the session.
   */
  pass(
    kind: number,
    message: IcmpMessage,
    family: Family,
    addresses: Int32Array,
    frame: Frame,
    off: number,
    len: number,
    serviceIndex: number,
    origin: Origin,
    nowMs: number,
  ): Verdict {
    if (!this.#limit.take(kind, origin.addresses, origin.family, nowMs)) return this.#suppress(serviceIndex);
    return this.#emit(true, message, family, addresses, frame, off, len, serviceIndex);
  }

  #aboutPacket(
    kind: number,
    type: number,
    code: number,
    rest: number,
    frame: Frame,
    packet: Packet,
    serviceIndex: number,
    nowMs: number,
  ): void {
    if (!this.#isAnswerable(packet)) return;
    const { family, addresses, off, totalLen } = packet;
    if (!this.#limit.take(kind, addresses, family, nowMs)) {
      this.#suppress(serviceIndex);
      return;
    }
    const message = this.#message;
    message.type = type;
    message.code = code;
    message.rest = rest;
    for (let i = 0; i < 8; i++) this.#addresses[i] = addresses[i ^ 4];
    this.#emit(false, message, family, this.#addresses, frame, off, totalLen, serviceIndex);
  }

  #emit(
    isTranslated: boolean,
    { type, code, rest }: IcmpMessage,
    family: Family,
    addresses: Int32Array,
    frame: Frame,
    off: number,
    len: number,
    serviceIndex: number,
  ): Verdict {
    const packetLen = writeIcmpError(this.#out, 0, family, type, code, rest, addresses, frame, off, len);
    const wasSent = isTranslated
      ? this.#departures.icmpTranslated(this.#out, 0, packetLen, serviceIndex)
      : this.#departures.icmp(this.#out, 0, packetLen, serviceIndex);
    return wasSent ? VERDICT.forward : DROP.send_failed;
  }

  #suppress(serviceIndex: number): Verdict {
    this.#counters[counterRow(serviceIndex) + COUNTER.icmpSuppressed]++;
    return DROP.icmp_rate_limited;
  }
}
