// A buffer that packets stand in, with the two views the hot path needs, made once per buffer and never per
// packet.

/**
 * Bytes that must lie before the IP header of a packet handed to the datapath, so that headers can grow in
 * place.
 */
export const HEADROOM = 64;

export class Frame {
  readonly bytes: Uint8Array;
  readonly view: DataView;

  /** `bytes` is kept and written to; it may be a Buffer. */
  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }
}

/** From here on a native copy is faster, which makes a view of what it copies. */
const NATIVE_MIN = 128;

/**
 * Copies `len` bytes from from.bytes[off] to to.bytes[at]; they may not overlap.
 *
 * measured: 30 ns for 64 bytes, and 50 to 60 ns for 256 or 1,200 (a loop over bytes: 110, 430, 2,000).
 */
export function copyBytes(to: Frame, at: number, from: Frame, off: number, len: number): void {
  if (len >= NATIVE_MIN) {
    const { buffer, byteOffset } = from.bytes;
    to.bytes.set(new Uint8Array(buffer, byteOffset + off, len), at);
    return;
  }
  const { view } = to;
  const source = from.view;
  let done = 0;
  for (; done + 16 <= len; done += 16) {
    view.setInt32(at + done, source.getInt32(off + done));
    view.setInt32(at + done + 4, source.getInt32(off + done + 4));
    view.setInt32(at + done + 8, source.getInt32(off + done + 8));
    view.setInt32(at + done + 12, source.getInt32(off + done + 12));
  }
  for (; done < len; done++) view.setUint8(at + done, source.getUint8(off + done));
}

/** Packets that a packet I/O looks at before it hands over the first of them, at most. */
export const LOOK_AHEAD_MAX = 16;

/** Packets that a packet I/O may have gathered at most. */
export const GATHERED_MAX = 64;

/**
 * What became of a packet that was to be sent: it was, or was refused, or (`gathered`) goes with others in a
 * moment. Of those that were gathered the packet I/O says later, perhaps before Send returns, in their order
 * and of each once, whether it was sent.
 */
export type Sending = boolean | 'gathered';

/**
 * Hands the IP packet at frame.bytes[off, off + len) to the packet I/O before it returns. What became of a
 * fragment is known at once.
 */
export type Send = (frame: Frame, off: number, len: number) => Sending;

/**
 * Sends the super packet at frame.bytes[off, off + len), an IP header without options or extension headers
 * and a UDP header whose checksum is unfinished (the sum of its pseudo-header), in datagrams of `segmentLen`
 * bytes of payload, the last one of what is left. Returns how many of them were sent.
 */
export type SendSuper = (frame: Frame, off: number, len: number, segmentLen: number) => number;
