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
