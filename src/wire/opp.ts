// The private protocol 248 between IP and UDP ("opp"): version << 4, inner protocol, length of this header
// including its option (big endian), one option in ipo's layout.

export const OPP_HEADER_LEN = 4;
/** Version nibbles for an IPv4 and an IPv6 client. */
export const OPP_VERSION_4 = 1;
export const OPP_VERSION_6 = 2;

export const version = (view: DataView, off: number): number => view.getUint8(off) >>> 4;
export const innerProtocol = (view: DataView, off: number): number => view.getUint8(off + 1);
export const length = (view: DataView, off: number): number => view.getUint16(off + 2);

export function writeHeader(
  view: DataView,
  off: number,
  versionValue: number,
  inner: number,
  len: number,
): void {
  view.setUint8(off, versionValue << 4);
  view.setUint8(off + 1, inner);
  view.setUint16(off + 2, len);
}
