// The Internet checksum (RFC 1071): ones' complement sums of big-endian 16-bit words. Sums are plain numbers that may
// exceed 16 bits until folded; a checksum field holds the complement of the folded sum.

/**
 * Sum of view[off, off + len), a last odd byte padded with zero. Exact: 64 KiB of 32-bit words stay below 2^46.
 * Read as 32-bit words, because 2^16 = 1 modulo 0xffff: half the loads of 16-bit reads.
 */
export function sumBytes(view: DataView, off: number, len: number): number {
  let sum = 0;
  let at = off;
  const wordsEnd = off + (len & ~3);
  for (; at < wordsEnd; at += 4) sum += view.getUint32(at);
  const end = off + len;
  if (end - at >= 2) {
    sum += view.getUint16(at);
    at += 2;
  }
  if (at < end) sum += view.getUint8(at) << 8;
  return sum;
}

/** Folds a sum to 16 bits, carries added back in. */
export function fold(sum: number): number {
  let high = Math.floor(sum / 0x10000);
  let folded = sum - high * 0x10000 + high;
  while (folded > 0xffff) {
    high = Math.floor(folded / 0x10000);
    folded = folded - high * 0x10000 + high;
  }
  return folded;
}

/** Sum of the IPv4 pseudo-header (RFC 768): addresses as int32, protocol, length of the UDP header and payload. */
export function pseudoSumIpv4(src: number, dst: number, protocol: number, length: number): number {
  return (src >>> 0) + (dst >>> 0) + protocol + length;
}
