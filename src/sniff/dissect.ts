// Takes an IPv4 or IPv6 packet with a UDP datagram apart, with the UOA in every form, for the lab's receivers and for
// what it prints. By no code of the proxy's, so that a mistake there shows here.
import { addressText, toMapped } from './endpoint.ts';
import { findInDestinationOptions, findInIpOptions, readOppHeader, type Uoa } from './uoa-option.ts';

export interface Dissected {
  srcIp: string;
  dstIp: string;
  sport: number;
  dport: number;
  /** Of a first fragment the part that it has. */
  payload: Uint8Array;
  uoa: Uoa | undefined;
  /** Not the whole datagram. */
  isFragment: boolean;
  /** The UDP checksum verifies, or there is none over IPv4; not looked at in fragments. */
  isSumRight: boolean;
}

export const PROTOCOL_OPP = 248;
const PROTOCOL_UDP = 17;
const NEXT_FRAGMENT = 44;
const NEXT_DESTINATION_OPTIONS = 60;
const UDP_HEADER_LEN = 8;

/** A packet from its IP header on; undefined when it is no UDP datagram, or a fragment without its ports. */
export function dissect(bytes: Uint8Array): Dissected | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes[0]! >>> 4 === 4) {
    const headerLen = (bytes[0]! & 15) * 4;
    const fragment = view.getUint16(6) & 0x3fff;
    if ((fragment & 0x1fff) !== 0) return undefined;
    return dissectUpper(
      bytes.subarray(12, 16),
      bytes.subarray(16, 20),
      bytes[9]!,
      bytes.subarray(headerLen, view.getUint16(2)),
      {
        uoa: findInIpOptions(bytes.subarray(20, headerLen)),
        isFragment: fragment !== 0,
      },
    );
  }
  const end = 40 + view.getUint16(4);
  let next = bytes[6]!;
  let at = 40;
  let uoa: Uoa | undefined;
  let isFragment = false;
  for (; next === NEXT_FRAGMENT || next === NEXT_DESTINATION_OPTIONS; ) {
    let len = 8;
    if (next === NEXT_FRAGMENT) {
      if (view.getUint16(at + 2) >>> 3 !== 0) return undefined;
      isFragment = (view.getUint16(at + 2) & 1) !== 0;
    } else {
      len += bytes[at + 1]! * 8;
      uoa = findInDestinationOptions(bytes.subarray(at, at + len));
    }
    next = bytes[at]!;
    at += len;
  }
  return dissectUpper(bytes.subarray(8, 24), bytes.subarray(24, 40), next, bytes.subarray(at, end), {
    uoa,
    isFragment,
  });
}

/** From behind the IP header on: an opp header, if `protocol` says so, and UDP. */
function dissectUpper(
  src: Uint8Array,
  dst: Uint8Array,
  protocol: number,
  bytes: Uint8Array,
  outer: Pick<Dissected, 'uoa' | 'isFragment'>,
): Dissected | undefined {
  let { uoa } = outer;
  let udp = bytes;
  let inner = protocol;
  if (protocol === PROTOCOL_OPP) {
    const oppLen = (bytes[2]! << 8) | bytes[3]!;
    uoa = readOppHeader(bytes.subarray(0, oppLen));
    inner = bytes[1]!;
    udp = bytes.subarray(oppLen);
  }
  if (inner !== PROTOCOL_UDP || udp.length < UDP_HEADER_LEN) return undefined;
  const view = new DataView(udp.buffer, udp.byteOffset, udp.byteLength);
  const udpLen = view.getUint16(4);
  if (!outer.isFragment && udpLen > udp.length) return undefined;
  const hasSum = view.getUint16(6) !== 0;
  return {
    srcIp: addressText(src),
    dstIp: addressText(dst),
    sport: view.getUint16(0),
    dport: view.getUint16(2),
    payload: udp.slice(UDP_HEADER_LEN, udpLen),
    uoa,
    isFragment: outer.isFragment,
    isSumRight: hasSum ? udpChecksum(src, dst, udp.subarray(0, udpLen)) === 0 : src.length === 4,
  };
}

/** What belongs into the checksum field when that is zero; 0 over a datagram whose checksum is right. */
export function udpChecksum(src: Uint8Array, dst: Uint8Array, udp: Uint8Array): number {
  // The 0xffff of the IPv4-mapped form adds nothing in one's complement: one pseudo-header serves both families.
  let sum = sumWords(toMapped(src)) + sumWords(toMapped(dst)) + PROTOCOL_UDP + udp.length + sumWords(udp);
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000);
  return ~sum & 0xffff;
}

function sumWords(bytes: Uint8Array): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += (bytes[at]! << 8) | (bytes[at + 1] ?? 0);
  return sum;
}
