// Super packets, which are several datagrams of one flow with the same headers (UDP_SEGMENT, GRO): those of a
// session about whose packets nothing is left to decide are rewritten once and go on as they came. Each of
// their datagrams counts. All others are to be taken apart, and each datagram judged by itself.
import type { Service } from '../service/service.ts';
import { cportOf, familyOfClient, HANDSHAKE, lportOf } from '../session/session.ts';
import { baseOf, isInbound } from '../session/tuple-index.ts';
import { noteInbound, staysQuiet } from '../uoa/handshake.ts';
import type { Frame } from '../wire/frame.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';
import { PARSE_OK, parse } from '../wire/packet.ts';
import * as udp from '../wire/udp.ts';
import { DIRECTION, type Direction } from './departures.ts';
import { addressesToClient, mtuToClient, mtuToRealServer } from './ends.ts';
import type { OnForwarded } from './options.ts';
import { rewriteUnfinished } from './rewrite.ts';
import { serverRow } from './server-cells.ts';
import type { Walk } from './walk.ts';

export class SuperPackets {
  readonly #walk: Walk;
  readonly #onForwarded: OnForwarded | undefined;
  // Of the one that was accepted last:
  #base = 0;
  #direction: Direction = DIRECTION.inbound;
  #segmentLen = 0;
  #nowMs = 0;
  #datagrams = 0;

  constructor(walk: Walk, onForwarded: OnForwarded | undefined) {
    this.#walk = walk;
    this.#onForwarded = onForwarded;
  }

  /**
   * Of how many datagrams the packet at frame.bytes[off, end) is, when it may go on as it is; else 0, and
   * nothing has changed. `segmentLen` is the payload of all of them but the last; the UDP header, whose
   * checksum is unfinished, stands at `udpOff`.
   */
  accept(
    frame: Frame,
    off: number,
    end: number,
    portIndex: number,
    nowMs: number,
    segmentLen: number,
    udpOff: number,
  ): number {
    const { packet, table, directory } = this.#walk;
    this.#walk.metadata.portIndex = portIndex;
    this.#segmentLen = segmentLen;
    this.#nowMs = nowMs;
    this.#datagrams = 0;
    if (parse(packet, frame, off, end) !== PARSE_OK || !this.#isPlain(frame, udpOff)) return 0;
    const entry = table.find(packet);
    if (entry < 0) return 0;
    const base = baseOf(entry);
    if (table.isExpired(base, nowMs)) return 0;
    const service = directory.serviceOf(base);
    this.#base = base;
    this.#direction = isInbound(entry) ? DIRECTION.inbound : DIRECTION.outbound;
    const fits = isInbound(entry)
      ? this.#fitsInbound(service, portIndex)
      : this.#fitsOutbound(service, portIndex);
    if (fits) this.#datagrams = Math.ceil(packet.payloadLen / segmentLen);
    return this.#datagrams;
  }

  /**
   * Forwards the packet that was accepted just now. True: it was sent, in whole or in part, in a session that
   * both ends have used.
   */
  forward(frame: Frame): boolean {
    if (!this.#send(frame)) return false;
    const { directory, metadata, table } = this.#walk;
    const isFromItsSide =
      this.#direction === DIRECTION.outbound || directory.facesClients(metadata.portIndex);
    this.#onForwarded?.(this.#base, isFromItsSide);
    return table.isNormal(this.#base);
  }

  /** Whether it was sent, in whole or in part. */
  #send(frame: Frame): boolean {
    const { packet, table, directory, departures, memory, metadata } = this.#walk;
    const { records } = memory;
    const { view } = frame;
    const base = this.#base;
    const service = directory.serviceOf(base);
    const leg = directory.legOf(base);
    const headersLen = packet.headerLen + udp.UDP_HEADER_LEN;
    memory.begun[0] += this.#datagrams;
    metadata.concerns(service, this.#direction);
    departures.receivedLen = packet.payloadLen + this.#datagrams * headersLen;
    departures.serverRow = serverRow(leg.realServerIndex);
    metadata.countReceived(this.#datagrams);
    table.touch(base, this.#nowMs);
    if (this.#direction === DIRECTION.inbound) {
      if (leg.receiver.choice(this.#nowMs) >= 0) noteInbound(records, base + HANDSHAKE, this.#nowMs);
      rewriteUnfinished(view, packet, leg.towards, lportOf(records, base), leg.rport);
    } else {
      const toClient = addressesToClient(records, base, service, packet.family);
      rewriteUnfinished(view, packet, toClient, service.vport, cportOf(records, base));
    }
    return departures.superPacket(
      frame,
      packet.off,
      packet.totalLen,
      service.index,
      this.#segmentLen,
      this.#datagrams,
    );
  }

  /** Nothing in its headers needs a look, and it is more than one datagram. */
  #isPlain({ view }: Frame, udpOff: number): boolean {
    const { packet } = this.#walk;
    const { family, off, headerLen, payloadLen, datagramLen } = packet;
    const isIpv4 = family === 4;
    return (
      packet.udpOff === udpOff &&
      packet.oppLen === 0 &&
      headerLen === (isIpv4 ? ipv4.IPV4_HEADER_LEN : ipv6.IPV6_HEADER_LEN) &&
      datagramLen === udp.UDP_HEADER_LEN + payloadLen &&
      payloadLen > this.#segmentLen &&
      udp.checksum(view, udpOff) !== 0 &&
      (isIpv4 ? ipv4.ttl(view, off) : ipv6.hopLimit(view, off)) > 1
    );
  }

  /** As the walk of inbound.ts: what would drop it, answer it, move its session, or bring a UOA. */
  #fitsInbound(service: Service, portIndex: number): boolean {
    const { packet, directory, memory } = this.#walk;
    const { records } = memory;
    const base = this.#base;
    const { addresses, ports } = directory;
    if (!addresses.mayBeClient(packet.addresses, packet.sport, ports[portIndex])) return false;
    const leg = directory.legOf(base);
    if (leg.family !== packet.family || directory.weightOf(leg) < 0) return false;
    // Each of its datagrams may have to bring a header.
    if (leg.proxyV2 !== undefined) return false;
    if (this.#largestLen() > mtuToRealServer(records, base, leg, this.#nowMs)) return false;
    const choice = leg.receiver.choice(this.#nowMs);
    if (choice < 0) return true;
    const telling = directory.tellingOf(choice, leg, this.#nowMs);
    return staysQuiet(records, base + HANDSHAKE, service, telling, this.#nowMs);
  }

  /** As that of outbound.ts. */
  #fitsOutbound(service: Service, portIndex: number): boolean {
    const { packet, directory, memory, table } = this.#walk;
    const base = this.#base;
    if (!directory.facesRealServers(portIndex) || !table.isNormal(base)) return false;
    if (familyOfClient(memory.records, base) !== packet.family) return false;
    const len = this.#largestLen();
    return len <= mtuToClient(this.#walk, base, service.vips, len);
  }

  /** Of its datagrams as packets. */
  #largestLen(): number {
    return this.#walk.packet.headerLen + udp.UDP_HEADER_LEN + this.#segmentLen;
  }
}
