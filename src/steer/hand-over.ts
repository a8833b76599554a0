// How workers pass packets on to one another: what the kernel gave to one and belongs to another, above all
// datagrams put together from fragments, which bear no ports. One pair of datagram sockets (unix(7)) per
// worker, made by the control plane; each message is one packet behind a short header.
import { recv, send as sendTo } from '../sys/libc.ts';
import { copyBytes, Frame, HEADROOM } from '../wire/frame.ts';

const HEADER_LEN = 8; // port index (4), largest fragment (4), in the host's order
const PACKET_MAX = 65_535 + 40;
const LITTLE_ENDIAN = true;
const MSG_DONTWAIT = 0x40;
/** Packets taken in per turn, so that one worker's fragments do not stop another's packets. */
const TURN_MAX = 64;

export type OnHandedOver = (
  frame: Frame,
  off: number,
  end: number,
  portIndex: number,
  largestFragment: number,
) => void;

export class HandOver {
  readonly self: number;
  /** Readable when packets are there. */
  readonly fd: number;
  readonly #sendFds: readonly number[];
  readonly #in = new Frame(Buffer.from(new ArrayBuffer(HEADROOM + HEADER_LEN + PACKET_MAX)));
  readonly #out = new Frame(Buffer.from(new ArrayBuffer(HEADER_LEN + PACKET_MAX)));

  /** `sendFds[worker]` leads to that worker, `fd` brings what was sent to worker `self`. */
  constructor(self: number, fd: number, sendFds: readonly number[]) {
    this.self = self;
    this.fd = fd;
    this.#sendFds = sendFds;
  }

  /** Hands the packet at frame.bytes[off, end) to another worker. False: its queue is full. */
  handOver(
    worker: number,
    frame: Frame,
    off: number,
    end: number,
    portIndex: number,
    largestFragment: number,
  ): boolean {
    const out = this.#out;
    const len = end - off;
    out.view.setInt32(0, portIndex, LITTLE_ENDIAN);
    out.view.setInt32(4, largestFragment, LITTLE_ENDIAN);
    copyBytes(out, HEADER_LEN, frame, off, len);
    return Number(sendTo(this.#sendFds[worker], out.bytes, HEADER_LEN + len, MSG_DONTWAIT)) >= 0;
  }

  /** Calls `onPacket` for what others sent; returns how many there were. */
  receive(onPacket: OnHandedOver): number {
    const { bytes } = this.#in;
    const message = (bytes as Buffer).subarray(HEADROOM - HEADER_LEN);
    let count = 0;
    for (; count < TURN_MAX; count++) {
      const len = Number(recv(this.fd, message, message.length, MSG_DONTWAIT));
      if (len <= HEADER_LEN) break;
      const portIndex = message.readInt32LE(0);
      const largestFragment = message.readInt32LE(4);
      onPacket(this.#in, HEADROOM, HEADROOM - HEADER_LEN + len, portIndex, largestFragment);
    }
    return count;
  }
}
