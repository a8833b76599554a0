// A bounded first-in first-out queue of packets in one block of memory: records of HEADROOM free bytes and
// the packet, each in one piece, starting at a multiple of 4. Pure arithmetic; knows no socket and allocates
// nothing after its construction. A record may be written to (the headroom, the packet) until it is shifted.
import { Frame, HEADROOM } from '../wire/frame.ts';

export class Backlog {
  /** The block; the oldest packet is frame.bytes[firstOff, firstEnd). */
  readonly frame: Frame;
  /** Packets in the queue. */
  count = 0;
  readonly #bytes: Buffer;
  readonly #offs: Int32Array;
  readonly #lens: Int32Array;
  #head = 0;
  #writeOff = 0;

  /** At most `maxPackets` packets in at most `byteLength` bytes, headroom included. */
  constructor(maxPackets: number, byteLength: number) {
    this.#bytes = Buffer.from(new ArrayBuffer(byteLength & ~3));
    this.frame = new Frame(this.#bytes);
    this.#offs = new Int32Array(maxPackets);
    this.#lens = new Int32Array(maxPackets);
  }

  get firstOff(): number {
    return this.#offs[this.#head];
  }

  get firstEnd(): number {
    return this.#offs[this.#head] + this.#lens[this.#head];
  }

  /**
   * Copies bytes[off, end) behind the newest packet. False, and nothing changed, when there is no room for
   * it.
   */
  push(bytes: Uint8Array, off: number, end: number): boolean {
    const len = end - off;
    const recordLen = (HEADROOM + len + 3) & ~3;
    const recordOff = this.#room(recordLen);
    if (recordOff < 0) return false;
    const packetOff = recordOff + HEADROOM;
    this.#bytes.set(bytes.subarray(off, end), packetOff);
    let tail = this.#head + this.count;
    if (tail >= this.#offs.length) tail -= this.#offs.length;
    this.#offs[tail] = packetOff;
    this.#lens[tail] = len;
    this.#writeOff = recordOff + recordLen;
    this.count++;
    return true;
  }

  /** Forgets the oldest packet; there must be one. */
  shift(): void {
    this.count--;
    this.#head = this.#head + 1 === this.#offs.length ? 0 : this.#head + 1;
  }

  /**
   * Where a record of `recordLen` bytes goes, or -1. Free: [write, size) and [0, first), or [write, first).
   */
  #room(recordLen: number): number {
    if (this.count === 0) return recordLen <= this.#bytes.length ? 0 : -1;
    if (this.count === this.#offs.length) return -1;
    const firstRecord = this.firstOff - HEADROOM;
    if (this.#writeOff > firstRecord) {
      if (this.#writeOff + recordLen <= this.#bytes.length) return this.#writeOff;
      return recordLen <= firstRecord ? 0 : -1;
    }
    return this.#writeOff + recordLen <= firstRecord ? this.#writeOff : -1;
  }
}
