// The IPv4 header (RFC 791) at an offset of a DataView. Getters and setters only; who calls them has checked lengths.
import { fold, sumBytes } from './checksum.ts';

export const IPV4_HEADER_LEN = 20;
export const IPV4_MAX_HEADER_LEN = 60;
export const PROTOCOL_ICMP = 1;
export const PROTOCOL_UDP = 17;
export const PROTOCOL_OPP = 248;

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
const MF_OR_OFFSET = 0x3fff;

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
  (view.getUint16(off + FRAGMENT) & MF_OR_OFFSET) !== 0;

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

export function setAddresses(view: DataView, off: number, srcIp: number, dstIp: number): void {
  view.setInt32(off + SRC, srcIp);
  view.setInt32(off + DST, dstIp);
}

/** True when the header's checksum is right for its present length. */
export function checksumOk(view: DataView, off: number, len: number): boolean {
  return fold(sumBytes(view, off, len)) === 0xffff;
}

export function fillChecksum(view: DataView, off: number): void {
  view.setUint16(off + CHECKSUM, 0);
  view.setUint16(off + CHECKSUM, ~fold(sumBytes(view, off, headerLen(view, off))) & 0xffff);
}

/** Writes a fresh 20-byte header without its checksum. Positional, because an object per carrier would be garbage. */
export function writeHeader(
  view: DataView,
  off: number,
  tosValue: number,
  totalLenValue: number,
  id: number,
  df: boolean,
  ttlValue: number,
  protocolValue: number,
  srcIp: number,
  dstIp: number,
): void {
  setHeaderLen(view, off, IPV4_HEADER_LEN);
  view.setUint8(off + TOS, tosValue);
  setTotalLen(view, off, totalLenValue);
  view.setUint16(off + ID, id);
  view.setUint16(off + FRAGMENT, df ? DF : 0);
  setTtl(view, off, ttlValue);
  setProtocol(view, off, protocolValue);
  setAddresses(view, off, srcIp, dstIp);
}
