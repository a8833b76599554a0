// ICMP error messages for IPv4 (RFC 792, RFC 1191 for the next-hop MTU): how one is built.
import { fold, sumBytes } from './checksum.ts';
import type { Frame } from './frame.ts';
import * as ipv4 from './ipv4.ts';

export const ICMP_HEADER_LEN = 8;
/** RFC 1812, 4.3.2.3: as much of the packet as fits without the error exceeding 576 bytes. */
export const ICMP_MAX_EMBEDDED = 576 - ipv4.IPV4_HEADER_LEN - ICMP_HEADER_LEN;

export const ICMP_TIME_EXCEEDED = 11;
export const ICMP_UNREACHABLE = 3;
export const ICMP_FRAGMENTATION_NEEDED = 4;

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
