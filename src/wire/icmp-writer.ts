// ICMP (RFC 792, RFC 1191 for the next-hop MTU) and ICMPv6 (RFC 4443) error messages: how one is built, and
// how one is read. Both have type, code, checksum and a second word (next-hop MTU, pointer, or unused) before
// the embedded packet.
import type { Family } from './address.ts';
import { fold, pseudoSum, sumBytes } from './checksum.ts';
import { copyBytes, type Frame } from './frame.ts';
import * as ipv4 from './ipv4.ts';
import { scanOptions } from './ipv4-options.ts';
import * as ipv6 from './ipv6.ts';
import { ExtensionChain, walkExtensions } from './ipv6-extensions.ts';
import * as opp from './opp.ts';
import { type Packet, setIpv4Addresses, setIpv6Addresses } from './packet.ts';
import * as udp from './udp.ts';

export const ICMP_HEADER_LEN = 8;
/**
 * RFC 1812, 4.3.2.3: as much of the packet as fits without the error exceeding 576 bytes; RFC 4443, 2.4:
 * 1,280.
 */
const MAX_EMBEDDED_4 = 576 - ipv4.IPV4_HEADER_LEN - ICMP_HEADER_LEN;
const MAX_EMBEDDED_6 = ipv6.IPV6_MTU_MIN - ipv6.IPV6_HEADER_LEN - ICMP_HEADER_LEN;
export const ICMP_MAX_LEN = ipv6.IPV6_MTU_MIN;

export const ICMP = {
  unreachable: 3,
  timeExceeded: 11,
  parameterProblem: 12,
} as const;
export const ICMP_UNREACHABLE = {
  protocol: 2,
  port: 3,
  fragmentationNeeded: 4,
} as const;

export const ICMPV6 = {
  unreachable: 1,
  packetTooBig: 2,
  timeExceeded: 3,
  parameterProblem: 4,
} as const;
export const ICMPV6_UNREACHABLE = { port: 4 } as const;
export const ICMPV6_PARAMETER = {
  unknownNextHeader: 1,
  unknownOption: 2,
} as const;

export const maxEmbedded = (family: Family): number => (family === 4 ? MAX_EMBEDDED_4 : MAX_EMBEDDED_6);

/**
 * Writes a whole ICMP error packet to `out` at `outOff` that embeds the head of frame.bytes[off, off +
 * totalLen), a packet of the same family. `rest` is the second word, `addresses` the source and destination.
 * Returns its length.
 */
export function writeIcmpError(
  out: Frame,
  outOff: number,
  family: Family,
  type: number,
  code: number,
  rest: number,
  addresses: Int32Array,
  frame: Frame,
  off: number,
  totalLen: number,
): number {
  const { view } = out;
  const embeddedLen = Math.min(totalLen, maxEmbedded(family));
  const icmpLen = ICMP_HEADER_LEN + embeddedLen;
  const tos = 0xc0; // RFC 1812, 4.3.2.5: internetwork control
  let icmpOff = outOff + ipv4.IPV4_HEADER_LEN;
  let pseudo = 0;
  if (family === 4) {
    const packetLen = ipv4.IPV4_HEADER_LEN + icmpLen;
    ipv4.writeHeader(view, outOff, tos, packetLen, 0, true, 64, ipv4.PROTOCOL_ICMP, addresses);
    ipv4.fillChecksum(view, outOff);
  } else {
    icmpOff = outOff + ipv6.IPV6_HEADER_LEN;
    const word = ipv6.wordOfTrafficClass(tos);
    ipv6.writeHeader(view, outOff, word, icmpLen, ipv6.NEXT_ICMPV6, 64, addresses);
    pseudo = pseudoSum(addresses, ipv6.NEXT_ICMPV6, icmpLen);
  }
  view.setUint8(icmpOff, type);
  view.setUint8(icmpOff + 1, code);
  view.setUint16(icmpOff + 2, 0);
  view.setUint32(icmpOff + 4, rest);
  copyBytes(out, icmpOff + ICMP_HEADER_LEN, frame, off, embeddedLen);
  view.setUint16(icmpOff + 2, ~fold(pseudo + sumBytes(view, icmpOff, icmpLen)) & 0xffff);
  return icmpOff + icmpLen - outOff;
}

export const type = (view: DataView, icmpOff: number): number => view.getUint8(icmpOff);
export const code = (view: DataView, icmpOff: number): number => view.getUint8(icmpOff + 1);
/** The second word of the message: next-hop MTU, pointer, or unused. */
export const rest = (view: DataView, icmpOff: number): number => view.getUint32(icmpOff + 4);

/** Whether the packet (PARSE_OTHER_PROTOCOL) is an ICMP error; its message starts at packet.udpOff. */
export function isIcmpError(packet: Packet, view: DataView): boolean {
  const { family, protocol, udpOff, off, totalLen } = packet;
  if (off + totalLen - udpOff < ICMP_HEADER_LEN) return false;
  const messageType = type(view, udpOff);
  if (family === 6) {
    return (
      protocol === ipv6.NEXT_ICMPV6 &&
      messageType >= ICMPV6.unreachable &&
      messageType <= ICMPV6.parameterProblem
    );
  }
  if (protocol !== ipv4.PROTOCOL_ICMP || ipv4.isFragment(view, off)) return false;
  return (
    messageType === ICMP.unreachable ||
    messageType === ICMP.timeExceeded ||
    messageType === ICMP.parameterProblem
  );
}

/** Whether the checksums of the ICMP packet are right. */
export function icmpIntact(packet: Packet, view: DataView): boolean {
  const { family, off, udpOff, totalLen, addresses } = packet;
  const icmpLen = off + totalLen - udpOff;
  const sum = sumBytes(view, udpOff, icmpLen);
  if (family === 6) return fold(pseudoSum(addresses, ipv6.NEXT_ICMPV6, icmpLen) + sum) === 0xffff;
  return sum === 0xffff && ipv4.checksumOk(view, off, udpOff - off);
}

/**
 * Where extensions stand behind the embedded packet of an error that does not say its length (RFC 4884, 5.5).
 */
export const EXTENDED_LEN = 128;
const EXTENSION_VERSION = 2;
const EXTENSION_HEADER_LEN = 4;

/** Whether what stands from `at` to the message's end looks like extensions (RFC 4884, 7). */
export function hasExtensionsAt(view: DataView, at: number, end: number): boolean {
  const len = end - at;
  if (len < EXTENSION_HEADER_LEN || view.getUint8(at) >>> 4 !== EXTENSION_VERSION) return false;
  return view.getUint16(at + 2) === 0 || fold(sumBytes(view, at, len)) === 0xffff;
}

const chain = new ExtensionChain();

/**
 * Reads the packet that an ICMP error embeds at frame.bytes[off, end), of which only the head may be there:
 * IP header, protocol-248 header if it has one, and UDP header. False when that much is not there or makes no
 * sense, as options do that reach beyond their header. The length that it tells may be larger than what is
 * there. Nothing says that such a packet was ever sent. It may be the first fragment of a datagram.
 */
export function parseEmbedded(
  packet: Packet,
  frame: Frame,
  family: Family,
  off: number,
  end: number,
): boolean {
  const { view } = frame;
  packet.off = off;
  const isRight = family === 4 ? embeddedIpv4(packet, view, end) : embeddedIpv6(packet, view, end);
  if (!isRight) return false;
  packet.oppLen = 0;
  if (packet.protocol === ipv4.PROTOCOL_OPP) {
    if (end - packet.udpOff < opp.OPP_HEADER_LEN) return false;
    const oppLen = opp.length(view, packet.udpOff);
    if (oppLen < opp.OPP_HEADER_LEN || opp.innerProtocol(view, packet.udpOff) !== ipv4.PROTOCOL_UDP)
      return false;
    packet.oppLen = oppLen;
    packet.udpOff += oppLen;
  } else if (packet.protocol !== ipv4.PROTOCOL_UDP) {
    return false;
  }
  const { udpOff } = packet;
  const headLen = udpOff + udp.UDP_HEADER_LEN - off;
  if (headLen > end - off || headLen > maxEmbedded(family)) return false;
  packet.sport = udp.sport(view, udpOff);
  packet.dport = udp.dport(view, udpOff);
  return packet.totalLen >= headLen;
}

function embeddedIpv4(packet: Packet, view: DataView, end: number): boolean {
  const { off } = packet;
  if (end - off < ipv4.IPV4_HEADER_LEN || ipv4.version(view, off) !== 4) return false;
  if (ipv4.fragmentOffset(view, off) !== 0) return false;
  const headerLen = ipv4.headerLen(view, off);
  if (headerLen < ipv4.IPV4_HEADER_LEN || headerLen > end - off) return false;
  if (!scanOptions(packet.options, view, off, headerLen)) return false;
  setIpv4Addresses(packet, view, off);
  packet.headerLen = headerLen;
  packet.totalLen = ipv4.totalLen(view, off);
  packet.protocol = ipv4.protocol(view, off);
  packet.udpOff = off + headerLen;
  return true;
}

function embeddedIpv6(packet: Packet, view: DataView, end: number): boolean {
  const { off } = packet;
  if (end - off < ipv6.IPV6_HEADER_LEN || ipv4.version(view, off) !== 6) return false;
  setIpv6Addresses(packet, view, off);
  if (!walkExtensions(chain, packet.options, view, off, end)) return false;
  packet.protocol = chain.protocol;
  packet.udpOff = chain.endOff;
  if (chain.protocol === ipv6.NEXT_FRAGMENT) {
    if (end - chain.endOff < ipv6.FRAGMENT_HEADER_LEN || ipv6.fragmentOffset(view, chain.endOff) !== 0)
      return false;
    packet.protocol = view.getUint8(chain.endOff);
    packet.udpOff += ipv6.FRAGMENT_HEADER_LEN;
  }
  packet.headerLen = packet.udpOff - off;
  packet.totalLen = ipv6.IPV6_HEADER_LEN + ipv6.payloadLen(view, off);
  return true;
}
