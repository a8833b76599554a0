// Packets that are longer than a frame of the ring: their frames are marked RING_STATUS.copy and hold their
// beginnings, and the packets wait, whole, in the socket's queue. Both are in the same order, and no such
// frame lacks its packet (with a queue that is full the kernel cuts the packet and leaves out the mark). So
// what stands in the queue before a frame's packet belongs to a frame that is done and counted, and is
// dropped.
import { CAPTURED_LEN, LINK_OFF, PACKET_LEN, type PacketRing, VNET_HEADER_LEN } from '../sys/packet-ring.ts';
import { ETHERNET_HEADER_LEN } from '../wire/ethernet.ts';
import { Frame, HEADROOM } from '../wire/frame.ts';

const MAX_LEN = ETHERNET_HEADER_LEN + 65_536 + 64;
/**
 * Bytes that tell one packet from another: Ethernet, IPv6 and UDP headers, or more of IPv4. No payload: a
 * sender on this host may change it as long as the kernel only refers to it (splice(2)).
 */
const COMPARED = 62;
const ENETDOWN = 100;
const LITTLE_ENDIAN = true; // the kernel's structures are in the host's order

/** Where the link header of a packet that was read stands. */
export const WHOLE_OFF = HEADROOM + VNET_HEADER_LEN;

export class LongPackets {
  /** What they are read to, one at a time. */
  readonly frame = new Frame(Buffer.alloc(WHOLE_OFF + MAX_LEN));
  readonly #ring: PacketRing;
  readonly #ringFrame: Frame;
  readonly #room: Uint8Array;
  #wentDown = false;

  /** `ringFrame` covers the ring. */
  constructor(ring: PacketRing, ringFrame: Frame) {
    this.#ring = ring;
    this.#ringFrame = ringFrame;
    this.#room = this.frame.bytes.subarray(HEADROOM);
  }

  /**
   * Takes the packet of the ring's frame at `base` off the queue; returns its length from the link header on,
   * or -1.
   */
  take(base: number): number {
    const { view } = this.#ringFrame;
    const len = view.getUint32(base + PACKET_LEN, LITTLE_ENDIAN);
    for (;;) {
      const read = this.#read() - VNET_HEADER_LEN;
      if (read < 0) return -1;
      if (read === len && this.#startsLike(base)) return len <= MAX_LEN ? len : -1;
    }
  }

  /** Drops what is in the queue. */
  clear(): void {
    while (this.#read() >= 0);
  }

  /**
   * Whether reading met the socket's error, which says once that the interface went down; asking clears it.
   */
  wentDown(): boolean {
    const wentDown = this.#wentDown;
    this.#wentDown = false;
    return wentDown;
  }

  /** Negative: the queue is empty. */
  #read(): number {
    let len = this.#ring.readWhole(this.#room);
    // The error comes before the packets, which stay.
    while (len === -ENETDOWN) {
      this.#wentDown = true;
      len = this.#ring.readWhole(this.#room);
    }
    return len;
  }

  #startsLike(base: number): boolean {
    const { bytes, view } = this.#ringFrame;
    const whole = this.frame.bytes;
    const linkOff = base + view.getUint16(base + LINK_OFF, LITTLE_ENDIAN);
    const compared = Math.min(COMPARED, view.getUint32(base + CAPTURED_LEN, LITTLE_ENDIAN));
    for (let i = 0; i < compared; i++) {
      if (bytes[linkOff + i] !== whole[WHOLE_OFF + i]) return false;
    }
    return true;
  }
}
