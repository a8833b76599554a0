// A buffer that packets stand in, with the two views the hot path needs, made once per buffer and never per packet.

/** Bytes that must lie before the IP header of a packet handed to the datapath, so that headers can grow in place. */
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

/** Hands the IP packet at frame.bytes[off, off + len) to the packet I/O before it returns; false: it was not sent. */
export type Send = (frame: Frame, off: number, len: number) => boolean;
