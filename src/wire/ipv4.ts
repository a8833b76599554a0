// The IPv4 header (RFC 791) at an offset of a DataView. Getters and setters only; who calls them has checked
// lengths.
import { V4_MAPPED } from './address.ts';
import { fold, sumBytes } from './checksum.ts';

export const IPV4_HEADER_LEN = 20;
export const IPV4_MAX_HEADER_LEN = 60;
export const IPV4_MAX_LEN = 0xffff;
export const PROTOCOL_ICMP = 1;
export const PROTOCOL_UDP = 17;
export const PROTOCOL_OPP = 248;
/** Every link carries 68 bytes in one piece (RFC 791). */
export const IPV4_MTU_MIN = 68;

const TOS = 1;
const TOTAL_LEN = 2;
const ID = 4;
const FRAGMENT = 6;
const TTL = 8;
const PROTOCOL = 9;
const CHECKSUM = 10;
const SRC = 12;
const DST = 16;

const DF = 0x4000;
const MF = 0x2000;
const OFFSET = 0x1fff;

export const version = (view: DataView, off: number): number => view.getUint8(off) >>> 4;
export const headerLen = (view: DataView, off: number): number => (view.getUint8(off) & 0x0f) << 2;
export const tos = (view: DataView, off: number): number => view.getUint8(off + TOS);
export const totalLen = (view: DataView, off: number): number => view.getUint16(off + TOTAL_LEN);
export const ttl = (view: DataView, off: number): number => view.getUint8(off + TTL);
export const protocol = (view: DataView, off: number): number => view.getUint8(off + PROTOCOL);
export const src = (view: DataView, off: number): number => view.getInt32(off + SRC);
export const dst = (view: DataView, off: number): number => view.getInt32(off + DST);
export const isDf = (view: DataView, off: number): boolean => (view.getUint16(off + FRAGMENT) & DF) !== 0;
export const isFragment = (view: DataView, off: number): boolean =>
  (view.getUint16(off + FRAGMENT) & (MF | OFFSET)) !== 0;
export const hasMoreFragments = (view: DataView, off: number): boolean =>
  (view.getUint16(off + FRAGMENT) & MF) !== 0;
/** Where the fragment's data stand in the whole datagram, bytes. */
export const fragmentOffset = (view: DataView, off: number): number =>
  (view.getUint16(off + FRAGMENT) & OFFSET) << 3;
export const id = (view: DataView, off: number): number => view.getUint16(off + ID);

/** Reads source and destination into eight words (wire/address.ts). */
export function readAddresses(addresses: Int32Array, view: DataView, off: number): void {
  addresses[0] = 0;
  addresses[1] = 0;
  addresses[2] = V4_MAPPED;
  addresses[3] = src(view, off);
  addresses[4] = 0;
  addresses[5] = 0;
  addresses[6] = V4_MAPPED;
  addresses[7] = dst(view, off);
}

/** `len` in bytes, a multiple of 4. */
export function setHeaderLen(view: DataView, off: number, len: number): void {
  view.setUint8(off, 0x40 | (len >>> 2));
}

export function setTotalLen(view: DataView, off: number, len: number): void {
  view.setUint16(off + TOTAL_LEN, len);
}

export function setProtocol(view: DataView, off: number, value: number): void {
  view.setUint8(off + PROTOCOL, value);
}

export function setTtl(view: DataView, off: number, value: number): void {
  view.setUint8(off + TTL, value);
}

/** Source and destination in eight words (wire/address.ts). */
export function setAddresses(view: DataView, off: number, addresses: Int32Array): void {
  view.setInt32(off + SRC, addresses[3]);
  view.setInt32(off + DST, addresses[7]);
}

export function setTos(view: DataView, off: number, value: number): void {
  view.setUint8(off + TOS, value);
}

export function setId(view: DataView, off: number, value: number): void {
  view.setUint16(off + ID, value);
}

/** Writes identification, flags and offset; `offset` is in bytes, a multiple of 8. DF is cleared. */
export function setFragment(
  view: DataView,
  off: number,
  idValue: number,
  offset: number,
  more: boolean,
): void {
  view.setUint16(off + ID, idValue);
  view.setUint16(off + FRAGMENT, (offset >>> 3) | (more ? MF : 0));
}

/** True when the header's checksum is right for its present length. */
export function checksumOk(view: DataView, off: number, len: number): boolean {
  return fold(sumBytes(view, off, len)) === 0xffff;
}

export function fillChecksum(view: DataView, off: number): void {
  view.setUint16(off + CHECKSUM, 0);
  view.setUint16(off + CHECKSUM, ~fold(sumBytes(view, off, headerLen(view, off))) & 0xffff);
}

/**
 * Writes a fresh 20-byte header without its checksum. Positional, because an object per carrier would be
 * garbage.
 */
export function writeHeader(
  view: DataView,
  off: number,
  tosValue: number,
  totalLenValue: number,
  id: number,
  df: boolean,
  ttlValue: number,
  protocolValue: number,
  addresses: Int32Array,
): void {
  setHeaderLen(view, off, IPV4_HEADER_LEN);
  setTos(view, off, tosValue);
  setTotalLen(view, off, totalLenValue);
  view.setUint16(off + ID, id);
  view.setUint16(off + FRAGMENT, df ? DF : 0);
  setTtl(view, off, ttlValue);
  setProtocol(view, off, protocolValue);
  setAddresses(view, off, addresses);
}
