// An ICMP error about a packet of a session (RFC 5508, 4.2; between families RFC 7915): passed on to the side
// that sent the packet, about the packet as that side sent it, without our UOA. To that side it comes from
// VIP or LIP, because other addresses of ours or behind us mean nothing there. Fragmentation needed and
// packet too big also teach the session the path MTU towards its real server.
import type { Leg } from '../session/leg.ts';
import { HANDSHAKE, learnMtu, lportOf } from '../session/session.ts';
import { baseOf, isInbound } from '../session/tuple-index.ts';
import { startHandshake } from '../uoa/handshake.ts';
import type { Origin } from '../uoa/origin.ts';
import { hasProxyHeader, removeProxyHeader } from '../uoa/proxy-v2.ts';
import { stripUoa } from '../uoa/strip.ts';
import { type Family, isSameAddress } from '../wire/address.ts';
import { copyBytes, Frame, HEADROOM } from '../wire/frame.ts';
import { type IcmpMessage, translateIcmp } from '../wire/icmp-translation.ts';
import * as icmp from '../wire/icmp-writer.ts';
import { IPV4_MAX_HEADER_LEN, IPV4_MAX_LEN } from '../wire/ipv4.ts';
import { clearRecords } from '../wire/ipv4-options.ts';
import { IPV6_HEADER_LEN, IPV6_MTU_MIN } from '../wire/ipv6.ts';
import { Packet } from '../wire/packet.ts';
import { UDP_HEADER_LEN } from '../wire/udp.ts';
import { COUNTER, count } from './counters.ts';
import { DIRECTION } from './departures.ts';
import { addedTo, addressesToClient, mtuToRealServer, originOf } from './ends.ts';
import { handOver } from './hand-over.ts';
import { handshakeChanged, wasHandshakeOver } from './handshake-events.ts';
import { ICMP_KIND } from './icmp-limit.ts';
import { rewriteEmbedded, rewrittenLen } from './rewrite.ts';
import { SERVER_COUNTER, serverRow } from './server-cells.ts';
import { DROP, VERDICT, type Verdict } from './verdict.ts';
import type { Walk } from './walk.ts';

/** Linux' own floor (net.ipv4.route.min_pmtu): no path is narrower, but an attacker may say so. */
const IPV4_PATH_MTU_MIN = 552;

/** The packet that the error embeds, and its tuple as the answer to it would have. */
const embedded = new Packet();
const answer = new Packet();
const message: IcmpMessage = { type: 0, code: 0, rest: 0 };

/** Where a copy of an embedded packet starts, and room for its header to become the other family's. */
const COPY_OFF = HEADROOM + IPV4_MAX_HEADER_LEN;
const copy = new Frame(Buffer.alloc(COPY_OFF + icmp.ICMP_MAX_LEN));

/** Judges the ICMP error (icmp.isIcmpError) in walk.packet. Pass when it is about no session of ours. */
export function icmpError(walk: Walk, frame: Frame, portIndex: number, nowMs: number): Verdict {
  const { packet } = walk;
  const { view } = frame;
  const { family, udpOff: icmpOff } = packet;
  const end = packet.off + packet.totalLen;
  if (!icmp.parseEmbedded(embedded, frame, family, icmpOff + icmp.ICMP_HEADER_LEN, end)) return VERDICT.pass;
  if (!isSameAddress(embedded.addresses, 0, packet.addresses, 4)) return VERDICT.pass;
  answer.family = family;
  for (let i = 0; i < 8; i++) answer.addresses[i] = embedded.addresses[i ^ 4];
  answer.sport = embedded.dport;
  answer.dport = embedded.sport;
  const entry = walk.table.find(answer);
  if (entry < 0) {
    const passedOn = handOver(walk, frame, packet, answer.addresses, answer.sport, answer.dport, portIndex);
    return passedOn === VERDICT.forward ? VERDICT.pass : passedOn;
  }

  const base = baseOf(entry);
  const { counters, records, servers } = walk.memory;
  const service = walk.directory.serviceOf(base);
  const wasInbound = !isInbound(entry);
  walk.metadata.belongsTo(service, wasInbound ? DIRECTION.outbound : DIRECTION.inbound);
  if (wasInbound && !walk.directory.facesRealServers(portIndex)) return DROP.wrong_interface;
  if (!icmp.icmpIntact(packet, view)) return DROP.bad_icmp;

  message.type = icmp.type(view, icmpOff);
  message.code = icmp.code(view, icmpOff);
  message.rest = icmp.rest(view, icmpOff);
  const embeddedTo = embeddedEnd(view, family, end);
  message.rest = usedRest(family);
  if (embeddedTo < embedded.udpOff + UDP_HEADER_LEN) return DROP.bad_icmp;
  const leg = walk.directory.legOf(base);
  const origin = originOf(records, base, service);
  if (wasInbound) {
    const refused = saysUnreadable(packet, leg) ? leg.receiver.choiceIn(frame, embedded, origin) : -1;
    if (refused >= 0) {
      count(counters, service.index, COUNTER.uoaUnsupported);
      servers[serverRow(leg.realServerIndex) + SERVER_COUNTER.refusals]++;
      leg.receiver.refuse(refused, nowMs);
      const wasOver = wasHandshakeOver(walk, base);
      startHandshake(records, base + HANDSHAKE, nowMs);
      handshakeChanged(walk, base, wasOver);
      return VERDICT.consumed;
    }
  }
  if (wasInbound && isUnreachable(family) && comesFromRealServer(packet, leg)) {
    servers[serverRow(leg.realServerIndex) + SERVER_COUNTER.unreachable]++;
    if (isPortUnreachable(family)) walk.directory.announcements.unreachable(leg.realServerIndex, nowMs);
  }
  const isAboutSize = isTooBig(family);
  if (isAboutSize) {
    const mtu = mtuOf(family);
    if (mtu >= embedded.totalLen) return DROP.bad_icmp;
    if (wasInbound && mtu < mtuToRealServer(records, base, leg, nowMs)) {
      learnMtu(records, base, mtu, nowMs);
      walk.table.events?.narrowed(base);
    }
    message.rest = wasInbound ? mtuForClient(family, mtu, addedTo(leg, origin.family)) : mtu;
  }

  const toFamily = wasInbound ? origin.family : leg.family;
  // Only a forged error is about a packet that was too long to come from IPv4 or to go there.
  if (toFamily === 4 && rewrittenLen(embedded, toFamily) > IPV4_MAX_LEN) return DROP.bad_icmp;
  forgetUoa(family);
  if (toFamily !== family && !translateIcmp(message, family)) return DROP.icmp_untranslatable;
  let len = copyEmbedded(frame, embeddedTo);
  if (wasInbound) {
    if (bringsHeader(leg, len, origin)) len = removeProxyHeader(copy, embedded, len, origin);
    // As the client sent it: from the client to the VIP.
    rewriteEmbedded(copy, embedded, toFamily, origin.addresses, origin.cport, origin.vport);
    const toClient = addressesToClient(records, base, service, toFamily);
    const kind = isAboutSize ? ICMP_KIND.tooBig : ICMP_KIND.toClient;
    return pass(walk, kind, toFamily, toClient, len, origin, nowMs);
  }
  rewriteEmbedded(copy, embedded, toFamily, leg.from, leg.rport, lportOf(records, base));
  const kind = isAboutSize ? ICMP_KIND.tooBig : ICMP_KIND.toRealServer;
  return pass(walk, kind, toFamily, leg.towards, len, origin, nowMs);
}

/**
 * Whether the real server itself says that it does not know the protocol, option or header that a UOA is. Not
 * more than that: a client's own options draw parameter problems too, and must not end the UOA of others.
 */
function saysUnreadable(packet: Packet, leg: Leg): boolean {
  if (!comesFromRealServer(packet, leg)) return false;
  const { family } = packet;
  const { type, code, rest } = message;
  const { uoaOff, uoaLen } = embedded.options;
  const pointer = embedded.off + (family === 4 ? rest >>> 24 : rest);
  const pointsAtUoa = pointer >= uoaOff && pointer < uoaOff + uoaLen;
  if (family === 4) {
    if (type === icmp.ICMP.parameterProblem) return pointsAtUoa;
    const isProtocol = type === icmp.ICMP.unreachable && code === icmp.ICMP_UNREACHABLE.protocol;
    return isProtocol && embedded.oppLen !== 0;
  }
  if (type !== icmp.ICMPV6.parameterProblem) return false;
  if (code === icmp.ICMPV6_PARAMETER.unknownNextHeader) return embedded.hasUoa;
  return code === icmp.ICMPV6_PARAMETER.unknownOption && pointsAtUoa;
}

/** A router's error tells of the way or of somebody who claims to be one, not of the real server. */
function comesFromRealServer({ addresses }: Packet, leg: Leg): boolean {
  return isSameAddress(addresses, 0, leg.from, 0);
}

/** Host, protocol or port: what it comes from does not take our packets. */
function isUnreachable(family: Family): boolean {
  const { type } = message;
  return type === (family === 4 ? icmp.ICMP.unreachable : icmp.ICMPV6.unreachable) && !isTooBig(family);
}

/** Of an unreachable: nobody listens there, as while a program starts again. */
const isPortUnreachable = (family: Family): boolean =>
  message.code === (family === 4 ? icmp.ICMP_UNREACHABLE.port : icmp.ICMPV6_UNREACHABLE.port);

function isTooBig(family: Family): boolean {
  const { type, code } = message;
  if (family === 6) return type === icmp.ICMPV6.packetTooBig;
  return type === icmp.ICMP.unreachable && code === icmp.ICMP_UNREACHABLE.fragmentationNeeded;
}

/** The path MTU that the message tells, bytes, but none that is smaller than any path's. */
function mtuOf(family: Family): number {
  const { rest } = message;
  if (family === 6) return Math.max(IPV6_MTU_MIN, Math.min(rest, 0xffff));
  return Math.max(IPV4_PATH_MTU_MIN, rest & 0xffff);
}

/** What goes on over a path of that MTU once it is `added` bytes longer; of IPv6 everybody may send 1,280. */
function mtuForClient(family: Family, mtu: number, added: number): number {
  return family === 6 ? Math.max(IPV6_MTU_MIN, mtu - added) : mtu - added;
}

/**
 * Whether the copy, of whose datagram `len` bytes are there, brings our header of PROXY protocol. Where
 * nothing of its payload is there, it does if all do.
 */
function bringsHeader({ proxyV2 }: Leg, len: number, origin: Origin): boolean {
  if (proxyV2 === undefined || (proxyV2 === 'first' && len <= UDP_HEADER_LEN)) return false;
  return hasProxyHeader(copy, embedded, len, origin);
}

/**
 * Where the embedded packet ends: an error may say its length and have extensions behind it (RFC 4884), which
 * are about another network, as may those of before that say none (5.5); they are left out, and so is the
 * length. What stands behind a packet that is shorter than its place is not the packet's.
 */
function embeddedEnd(view: DataView, family: Family, end: number): number {
  const { off } = embedded;
  const packetEnd = Math.min(end, off + embedded.totalLen);
  const { type, rest } = message;
  if (family === 6 && type !== icmp.ICMPV6.unreachable && type !== icmp.ICMPV6.timeExceeded) return packetEnd;
  const len = family === 6 ? (rest >>> 24) * 8 : ((rest >>> 16) & 0xff) * 4;
  if (len !== 0) return Math.min(packetEnd, off + len);
  return icmp.hasExtensionsAt(view, off + icmp.EXTENDED_LEN, end)
    ? Math.min(packetEnd, off + icmp.EXTENDED_LEN)
    : packetEnd;
}

/**
 * Of the second word what it is for: a next-hop MTU or a pointer; whatever else a router wrote there stays
 * behind.
 */
function usedRest(family: Family): number {
  const { type, rest } = message;
  if (family === 6)
    return type === icmp.ICMPV6.packetTooBig || type === icmp.ICMPV6.parameterProblem ? rest : 0;
  if (isTooBig(4)) return rest & 0xffff;
  return type === icmp.ICMP.parameterProblem ? (rest & 0xff00_0000) >>> 0 : 0;
}

/** A pointer behind what is taken out of the embedded packet moves with the bytes that it points at. */
function forgetUoa(family: Family): void {
  const { off, udpOff, oppLen, options } = embedded;
  if (family === 6) {
    const removed = udpOff - off - IPV6_HEADER_LEN;
    if (message.type === icmp.ICMPV6.parameterProblem && message.rest >= udpOff - off)
      message.rest -= removed;
    return;
  }
  if (message.type !== icmp.ICMP.parameterProblem || !embedded.hasUoa) return;
  const removed = oppLen + options.uoaLen;
  const end = oppLen > 0 ? udpOff : options.uoaOff + options.uoaLen;
  const pointer = message.rest >>> 24;
  if (pointer >= end - off) message.rest -= removed << 24;
  message.rest >>>= 0;
}

/**
 * Copies the head of the embedded packet, points `embedded` at the copy, and takes UOA out of an IPv4 one,
 * and what was written into its options on its way; of an IPv6 one only the fixed header and the datagram
 * will go on. Returns how many bytes of the datagram are there.
 */
function copyEmbedded(frame: Frame, end: number): number {
  const len = Math.min(end - embedded.off, icmp.ICMP_MAX_LEN);
  copyBytes(copy, COPY_OFF, frame, embedded.off, len);
  const copyEnd = COPY_OFF + len;
  embedded.udpOff += COPY_OFF - embedded.off;
  embedded.off = COPY_OFF;
  if (embedded.family === 4) {
    if (embedded.hasUoa) stripUoa(copy, embedded);
    clearRecords(copy.view, embedded.off, embedded.headerLen, true);
  }
  return copyEnd - embedded.udpOff;
}

/** Sends the error about the rewritten copy, of whose datagram `len` bytes are there. */
function pass(
  { icmp, metadata }: Pick<Walk, 'icmp' | 'metadata'>,
  kind: number,
  family: Family,
  addresses: Int32Array,
  len: number,
  origin: Origin,
  nowMs: number,
): Verdict {
  const { off, headerLen } = embedded;
  const { serviceIndex } = metadata;
  return icmp.pass(kind, message, family, addresses, copy, off, headerLen + len, serviceIndex, origin, nowMs);
}
