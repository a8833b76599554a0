// The IPv6 header and the fragment header (RFC 8200) at an offset of a DataView. Getters and setters only;
// who calls them has checked lengths.
import { ADDRESS_WORDS } from './address.ts';

export const IPV6_HEADER_LEN = 40;
/** Every link carries 1,280 bytes in one piece (RFC 8200, 5). */
export const IPV6_MTU_MIN = 1280;
export const FRAGMENT_HEADER_LEN = 8;

export const NEXT_HOP_BY_HOP = 0;
export const NEXT_ROUTING = 43;
export const NEXT_FRAGMENT = 44;
export const NEXT_ICMPV6 = 58;
export const NEXT_DESTINATION = 60;

const PAYLOAD_LEN = 4;
const NEXT_HEADER = 6;
const HOP_LIMIT = 7;
const SRC = 8;
const DST = 24;

const FRAGMENT_OFFSET = 2;
const FRAGMENT_ID = 4;

/** Version, traffic class and flow label. */
export const firstWord = (view: DataView, off: number): number => view.getInt32(off);
export const trafficClass = (view: DataView, off: number): number => (view.getUint16(off) >>> 4) & 0xff;
/** Bytes behind the fixed header. */
export const payloadLen = (view: DataView, off: number): number => view.getUint16(off + PAYLOAD_LEN);
export const nextHeader = (view: DataView, off: number): number => view.getUint8(off + NEXT_HEADER);
export const hopLimit = (view: DataView, off: number): number => view.getUint8(off + HOP_LIMIT);

/** First word of a header with this traffic class and no flow label. */
export const wordOfTrafficClass = (value: number): number => (6 << 28) | (value << 20);

/** Reads source and destination into eight words (wire/address.ts). */
export function readAddresses(addresses: Int32Array, view: DataView, off: number): void {
  for (let i = 0; i < 2 * ADDRESS_WORDS; i++) addresses[i] = view.getInt32(off + SRC + 4 * i);
}

export function setPayloadLen(view: DataView, off: number, len: number): void {
  view.setUint16(off + PAYLOAD_LEN, len);
}

export function setNextHeader(view: DataView, off: number, value: number): void {
  view.setUint8(off + NEXT_HEADER, value);
}

export function setTrafficClass(view: DataView, off: number, value: number): void {
  view.setUint16(off, (view.getUint16(off) & 0xf00f) | (value << 4));
}

/** Writes a fresh fixed header; `word` is as of firstWord, source and destination are eight words. */
export function writeHeader(
  view: DataView,
  off: number,
  word: number,
  payloadLenValue: number,
  nextHeaderValue: number,
  hopLimitValue: number,
  addresses: Int32Array,
): void {
  view.setInt32(off, word);
  setPayloadLen(view, off, payloadLenValue);
  setNextHeader(view, off, nextHeaderValue);
  view.setUint8(off + HOP_LIMIT, hopLimitValue);
  for (let i = 0; i < ADDRESS_WORDS; i++) {
    view.setInt32(off + SRC + 4 * i, addresses[i]);
    view.setInt32(off + DST + 4 * i, addresses[ADDRESS_WORDS + i]);
  }
}

/** Offset in bytes of the data behind the fragment header at `at`. */
export const fragmentOffset = (view: DataView, at: number): number =>
  view.getUint16(at + FRAGMENT_OFFSET) & 0xfff8;
export const hasMoreFragments = (view: DataView, at: number): boolean =>
  (view.getUint16(at + FRAGMENT_OFFSET) & 1) !== 0;
export const fragmentId = (view: DataView, at: number): number => view.getInt32(at + FRAGMENT_ID);

/** Writes a fragment header; `offset` is in bytes, a multiple of 8. */
export function writeFragmentHeader(
  view: DataView,
  at: number,
  next: number,
  offset: number,
  more: boolean,
  id: number,
): void {
  view.setUint8(at, next);
  view.setUint8(at + 1, 0);
  view.setUint16(at + FRAGMENT_OFFSET, offset | (more ? 1 : 0));
  view.setInt32(at + FRAGMENT_ID, id);
}
