// The UDP header (RFC 768) at an offset of a DataView, and its checksum in the three states a packet can
// arrive with.
import { fold, pseudoSum } from './checksum.ts';
import { PROTOCOL_UDP } from './ipv4.ts';

export const UDP_HEADER_LEN = 8;

const DPORT = 2;
const LENGTH = 4;
const CHECKSUM = 6;

export const sport = (view: DataView, off: number): number => view.getUint16(off);
export const dport = (view: DataView, off: number): number => view.getUint16(off + DPORT);
export const length = (view: DataView, off: number): number => view.getUint16(off + LENGTH);
export const checksum = (view: DataView, off: number): number => view.getUint16(off + CHECKSUM);

export function writePorts(view: DataView, off: number, sportValue: number, dportValue: number): void {
  view.setUint16(off, sportValue);
  view.setUint16(off + DPORT, dportValue);
}

export function writeLength(view: DataView, off: number, value: number): void {
  view.setUint16(off + LENGTH, value);
}

export function writeChecksum(view: DataView, off: number, value: number): void {
  view.setUint16(off + CHECKSUM, value);
}

/**
 * Whether the checksum field may be trusted or completed: zero (not used), right, or unfinished, which is
 * what a local peer with checksum offload hands over: the folded pseudo-header sum, not complemented (Linux
 * CHECKSUM_PARTIAL). A corrupt datagram passes for unfinished once in 65,536 times. `addresses` is the
 * packet's source and destination, `payloadSum` the sum of the payload bytes. Zero is for IPv4 only (RFC
 * 8200, 8.1); the caller knows the family.
 */
export function checksumAcceptable(
  view: DataView,
  off: number,
  addresses: Int32Array,
  payloadSum: number,
): boolean {
  const field = checksum(view, off);
  if (field === 0) return true;
  const len = length(view, off);
  const pseudo = pseudoSum(addresses, PROTOCOL_UDP, len);
  const sum = fold(pseudo + sport(view, off) + dport(view, off) + len + field + payloadSum);
  return sum === 0xffff || field === fold(pseudo);
}

/**
 * The checksum field after `oldSum` (addresses and ports as they were) became `newSum`, for a datagram whose
 * payload is not all there (RFC 1624). Zero, "not used", stays zero.
 */
export function adjustChecksum(field: number, oldSum: number, newSum: number): number {
  if (field === 0) return 0;
  const sum = (~field & 0xffff) + (0xffff - fold(oldSum)) + fold(newSum);
  return ~fold(sum) & 0xffff || 0xffff;
}

/**
 * The checksum field for the header as it stands and these addresses; never 0, which would mean "not used".
 */
export function computeChecksum(
  view: DataView,
  off: number,
  addresses: Int32Array,
  payloadSum: number,
): number {
  const len = length(view, off);
  const sum =
    pseudoSum(addresses, PROTOCOL_UDP, len) + sport(view, off) + dport(view, off) + len + payloadSum;
  return ~fold(sum) & 0xffff || 0xffff;
}
