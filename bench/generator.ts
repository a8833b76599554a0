// The load generator, a process of its own inside a network namespace: sends prepared frames with sendmmsg(2) on an
// AF_PACKET socket (packet(7), PACKET_QDISC_BYPASS) at a paced rate. Told what to do by load.ts; says what it really sent.
import { addressOf, bindSocket, check, lastErrno, sendmmsg, setsockopt, socket } from '../src/sys/libc.ts';
import { interfaceIndex } from '../src/sys/packet-socket.ts';
import { dieWithParent } from '../src/sys/process.ts';
import { BATCH, Pacing } from './pacing.ts';
import { type FrameFields, udpFrame } from './udp-frame.ts';

export interface Flows {
  /** Interface to send on. */
  device: string;
  /** One frame per flow, sent in turn. */
  frames: FrameFields[];
}
export type ToGenerator = { kind: 'flows'; flows: Flows } | { kind: 'offer'; rate: number; seconds: number };
export interface Sent {
  packets: number;
  /** Packets that the kernel did not take; not among `packets`. */
  refused: number;
  seconds: number;
}
export type FromGenerator = { kind: 'ready' } | { kind: 'sent'; sent: Sent };

const AF_PACKET = 17;
const SOCK_RAW = 3;
const SOL_PACKET = 263;
const PACKET_QDISC_BYPASS = 20;
const MMSGHDR_LEN = 64; // struct msghdr (56), msg_len (4), padding
const IOV_LEN = 16;
const ENOBUFS = 105;
const EAGAIN = 11;
/** Above this rate waiting would cost more than it saves. */
const SPIN_RATE = 300_000;
const NAP_MS = 0.05;

class Sender {
  readonly #fd: number;
  readonly #from: Uint8Array[];
  /** What the kernel reads by its address: held, or it would be collected. */
  readonly held: readonly Uint8Array[];
  #next = 0;

  constructor({ device, frames }: Flows) {
    this.#fd = check(socket(AF_PACKET, SOCK_RAW, 0), 'socket'); // protocol 0: it receives nothing
    const address = Buffer.alloc(20); // struct sockaddr_ll
    address.writeUInt16LE(AF_PACKET, 0);
    address.writeInt32LE(interfaceIndex(device), 4);
    check(bindSocket(this.#fd, address, address.length), 'bind');
    check(setsockopt(this.#fd, SOL_PACKET, PACKET_QDISC_BYPASS, Int32Array.of(1), 4), 'setsockopt');

    const packets = frames.map(udpFrame);
    const iovs = Buffer.alloc(packets.length * IOV_LEN);
    packets.forEach((packet, index) => {
      iovs.writeBigUInt64LE(addressOf(packet), index * IOV_LEN);
      iovs.writeBigUInt64LE(BigInt(packet.length), index * IOV_LEN + 8);
    });
    // The first flows stand at the end again, so that a batch may begin at any flow.
    const messages = Buffer.alloc((packets.length + BATCH) * MMSGHDR_LEN);
    for (let index = 0; index < packets.length + BATCH; index++) {
      const iov = addressOf(iovs) + BigInt((index % packets.length) * IOV_LEN);
      messages.writeBigUInt64LE(iov, index * MMSGHDR_LEN + 16);
      messages.writeBigUInt64LE(1n, index * MMSGHDR_LEN + 24);
    }
    this.#from = packets.map((_, index) => messages.subarray(index * MMSGHDR_LEN));
    this.held = [...packets, iovs, messages];
  }

  offer(rate: number, seconds: number): Sent {
    const nap = new Int32Array(new SharedArrayBuffer(4));
    const startMs = performance.now();
    const endMs = startMs + seconds * 1000;
    const pacing = new Pacing(rate, startMs);
    const sent: Sent = { packets: 0, refused: 0, seconds: 0 };
    for (let nowMs = startMs; nowMs < endMs; nowMs = performance.now()) {
      const count = pacing.take(nowMs);
      if (count > 0) this.#send(count, sent);
      else if (rate < SPIN_RATE) Atomics.wait(nap, 0, 0, NAP_MS);
    }
    sent.seconds = (performance.now() - startMs) / 1000;
    return sent;
  }

  #send(count: number, sent: Sent): void {
    const taken = sendmmsg(this.#fd, this.#from[this.#next]!, count, 0);
    if (taken < 0) {
      const errno = lastErrno();
      if (errno !== ENOBUFS && errno !== EAGAIN) check(taken, 'sendmmsg');
    }
    const packets = Math.max(0, taken);
    sent.packets += packets;
    sent.refused += count - packets;
    this.#next = (this.#next + packets) % this.#from.length;
  }
}

dieWithParent();
let sender: Sender | undefined;
process.on('message', (message: ToGenerator) => {
  if (message.kind === 'flows') {
    sender = new Sender(message.flows);
    process.send?.({ kind: 'ready' } satisfies FromGenerator);
  } else if (sender !== undefined) {
    process.send?.({
      kind: 'sent',
      sent: sender.offer(message.rate, message.seconds),
    } satisfies FromGenerator);
  }
});
process.on('disconnect', () => process.exit(0));
