// The Internet checksum (RFC 1071): ones' complement sums of big-endian 16-bit words. Sums are plain numbers that may
// exceed 16 bits until folded; a checksum field holds the complement of the folded sum.

/**
 * Folded sum of view[off, off + len), a last odd byte padded with zero. Exact: 64 KiB of 32-bit words stay below 2^46.
 * Folded, because a number beyond 2^31 is a heap object wherever the call is not inlined (16 bytes of garbage).
 * Read as 32-bit words, because 2^16 = 1 modulo 0xffff: half the loads of 16-bit reads. Sums beyond 2^31 are floating
 * point, and each addition waits for the one before: two independent sums, 175 instead of 355 ns for 1,200 bytes.
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

/** Sum of the IPv4 pseudo-header (RFC 768): addresses as int32, protocol, length of the UDP header and payload. */
export function pseudoSumIpv4(src: number, dst: number, protocol: number, length: number): number {
  return pairSum(src, dst) + protocol + length;
}

/** Sum of two addresses given as int32. */
export const pairSum = (src: number, dst: number): number => (src >>> 0) + (dst >>> 0);
