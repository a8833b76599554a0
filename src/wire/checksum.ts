// The Internet checksum (RFC 1071): ones' complement sums of big-endian 16-bit words. Sums are plain numbers
// that may exceed 16 bits until folded; a checksum field holds the complement of the folded sum.
import { V4_MAPPED } from './address.ts';

/**
 * Folded sum of view[off, off + len), a last odd byte padded with zero. Exact: 64 KiB of 32-bit words stay
 * below 2^46. Folded, because a number beyond 2^31 is a heap object wherever the call is not inlined (16
 * bytes of garbage). Read as 32-bit words, because 2^16 = 1 modulo 0xffff: half the loads of 16-bit reads.
 * Sums beyond 2^31 are floating point, and each addition waits for the one before: two independent sums, 175
 * instead of 355 ns for 1,200 bytes.
 */
export function sumBytes(view: DataView, off: number, len: number): number {
  let even = 0;
  let odd = 0;
  let at = off;
  const quadsEnd = off + (len & ~15);
  for (; at < quadsEnd; at += 16) {
    even += view.getUint32(at) + view.getUint32(at + 4);
    odd += view.getUint32(at + 8) + view.getUint32(at + 12);
  }
  let sum = even + odd;
  const wordsEnd = off + (len & ~3);
  for (; at < wordsEnd; at += 4) sum += view.getUint32(at);
  const end = off + len;
  if (end - at >= 2) {
    sum += view.getUint16(at);
    at += 2;
  }
  if (at < end) sum += view.getUint8(at) << 8;
  return fold(sum);
}

/** Folds a sum to 16 bits, carries added back in. */
export function fold(sum: number): number {
  let high = Math.floor(sum / 0x10000);
  let folded = sum - high * 0x10000 + high;
  while (folded > 0xffff) {
    high = Math.floor(folded / 0x10000);
    folded = folded - high * 0x10000 + high;
  }
  return folded | 0;
}

/**
 * Sum of a source and a destination address in eight words (wire/address.ts). Of a v4-mapped address only the
 * last word counts: the 0xffff before it is 0 in ones' complement.
 */
export function addressPairSum(addresses: Int32Array): number {
  const last = (addresses[3] >>> 0) + (addresses[7] >>> 0);
  if (addresses[2] === V4_MAPPED && addresses[0] === 0 && addresses[1] === 0) return last;
  let sum = last;
  for (let i = 0; i < 3; i++) sum += (addresses[i] >>> 0) + (addresses[i + 4] >>> 0);
  return sum;
}

/**
 * Sum of the pseudo-header of IPv4 (RFC 768) or IPv6 (RFC 8200, 8.1), which are the same sum: source and
 * destination in eight words, protocol, length of the UDP or ICMPv6 header and payload.
 */
export function pseudoSum(addresses: Int32Array, protocol: number, length: number): number {
  return addressPairSum(addresses) + protocol + length;
}
