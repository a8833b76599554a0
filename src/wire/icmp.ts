// ICMP error messages for IPv4 (RFC 792, RFC 1191 for the next-hop MTU): how one is built, and how one is read.
import { fold, sumBytes } from './checksum.ts';
import type { Frame } from './frame.ts';
import * as ipv4 from './ipv4.ts';
import { scanOptions } from './ipv4-options.ts';
import * as opp from './opp.ts';
import type { Packet } from './packet.ts';
import * as udp from './udp.ts';

export const ICMP_HEADER_LEN = 8;
/** RFC 1812, 4.3.2.3: as much of the packet as fits without the error exceeding 576 bytes. */
export const ICMP_MAX_EMBEDDED = 576 - ipv4.IPV4_HEADER_LEN - ICMP_HEADER_LEN;

export const ICMP_TIME_EXCEEDED = 11;
export const ICMP_UNREACHABLE = 3;
export const ICMP_FRAGMENTATION_NEEDED = 4;
export const ICMP_PROTOCOL_UNREACHABLE = 2;
export const ICMP_PARAMETER_PROBLEM = 12;

/**
 * Writes a whole ICMP error packet to `out` at `outOff` that embeds the head of frame.bytes[off, off + totalLen).
 * `nextHopMtu` goes into the second half of the second word, 0 where the type has none. Returns its length.
 */
export function writeIcmpError(
  out: Frame,
  outOff: number,
  type: number,
  code: number,
  nextHopMtu: number,
  src: number,
  dst: number,
  frame: Frame,
  off: number,
  totalLen: number,
): number {
  const embeddedLen = Math.min(totalLen, ICMP_MAX_EMBEDDED);
  const icmpLen = ICMP_HEADER_LEN + embeddedLen;
  const icmpOff = outOff + ipv4.IPV4_HEADER_LEN;
  const tos = 0xc0; // RFC 1812, 4.3.2.5: internetwork control
  ipv4.writeHeader(
    out.view,
    outOff,
    tos,
    ipv4.IPV4_HEADER_LEN + icmpLen,
    0,
    true,
    64,
    ipv4.PROTOCOL_ICMP,
    src,
    dst,
  );
  ipv4.fillChecksum(out.view, outOff);
  out.view.setUint8(icmpOff, type);
  out.view.setUint8(icmpOff + 1, code);
  out.view.setUint16(icmpOff + 2, 0);
  out.view.setUint32(icmpOff + 4, nextHopMtu);
  for (let i = 0; i < embeddedLen; i++) out.bytes[icmpOff + ICMP_HEADER_LEN + i] = frame.bytes[off + i];
  out.view.setUint16(icmpOff + 2, ~fold(sumBytes(out.view, icmpOff, icmpLen)) & 0xffff);
  return ipv4.IPV4_HEADER_LEN + icmpLen;
}

export const type = (view: DataView, icmpOff: number): number => view.getUint8(icmpOff);
export const code = (view: DataView, icmpOff: number): number => view.getUint8(icmpOff + 1);
export const nextHopMtu = (view: DataView, icmpOff: number): number => view.getUint16(icmpOff + 6);
/** The second word of the message: next-hop MTU, pointer, or unused. */
export const rest = (view: DataView, icmpOff: number): number => view.getUint32(icmpOff + 4);

/** Where the ICMP message of the packet at `off` starts when it is an error that we may translate; else -1. */
export function icmpErrorOff(view: DataView, off: number, end: number): number {
  if (end - off < ipv4.IPV4_HEADER_LEN || ipv4.version(view, off) !== 4) return -1;
  const headerLen = ipv4.headerLen(view, off);
  if (ipv4.protocol(view, off) !== ipv4.PROTOCOL_ICMP || ipv4.isFragment(view, off)) return -1;
  const icmpOff = off + headerLen;
  if (headerLen < ipv4.IPV4_HEADER_LEN || end - icmpOff < ICMP_HEADER_LEN) return -1;
  const messageType = type(view, icmpOff);
  const isError =
    messageType === ICMP_UNREACHABLE ||
    messageType === ICMP_TIME_EXCEEDED ||
    messageType === ICMP_PARAMETER_PROBLEM;
  return isError ? icmpOff : -1;
}

/** Whether lengths and checksums of the ICMP packet at `off` are right, the bytes captured ending at `end`. */
export function icmpIntact(view: DataView, off: number, icmpOff: number, end: number): boolean {
  const totalLen = ipv4.totalLen(view, off);
  if (totalLen > end - off || totalLen < icmpOff - off + ICMP_HEADER_LEN) return false;
  if (!ipv4.checksumOk(view, off, icmpOff - off)) return false;
  return fold(sumBytes(view, icmpOff, off + totalLen - icmpOff)) === 0xffff;
}

/**
 * Reads the packet that an ICMP error embeds at frame.bytes[off, end), of which only the head may be there: IP header,
 * protocol-248 header if it has one, and UDP header. False when that much is not there or makes no sense. Its length
 * fields are those of the packet that was sent. Options are skipped by IHL: a receiver may have edited them.
 */
export function parseEmbedded(packet: Packet, frame: Frame, off: number, end: number): boolean {
  const { view } = frame;
  if (end - off < ipv4.IPV4_HEADER_LEN || ipv4.version(view, off) !== 4 || ipv4.isFragment(view, off))
    return false;
  const headerLen = ipv4.headerLen(view, off);
  if (headerLen < ipv4.IPV4_HEADER_LEN || headerLen > end - off) return false;
  if (!scanOptions(packet.options, view, off, headerLen)) return false;
  let udpOff = off + headerLen;
  let oppLen = 0;
  const protocol = ipv4.protocol(view, off);
  if (protocol === ipv4.PROTOCOL_OPP) {
    if (end - udpOff < opp.OPP_HEADER_LEN) return false;
    oppLen = opp.length(view, udpOff);
    if (oppLen < opp.OPP_HEADER_LEN || opp.innerProtocol(view, udpOff) !== ipv4.PROTOCOL_UDP) return false;
    udpOff += oppLen;
  } else if (protocol !== ipv4.PROTOCOL_UDP) {
    return false;
  }
  if (end - udpOff < udp.UDP_HEADER_LEN) return false;
  packet.off = off;
  packet.headerLen = headerLen;
  packet.totalLen = ipv4.totalLen(view, off);
  packet.oppLen = oppLen;
  packet.udpOff = udpOff;
  packet.sport = udp.sport(view, udpOff);
  packet.dport = udp.dport(view, udpOff);
  packet.addresses[3] = ipv4.src(view, off);
  packet.addresses[7] = ipv4.dst(view, off);
  return packet.totalLen >= udpOff - off + udp.UDP_HEADER_LEN;
}
