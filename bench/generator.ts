// The load generator, a process of its own inside a network namespace: sends prepared frames with sendmmsg(2) on an
// AF_PACKET socket (packet(7)) at a paced rate. Told what to do by load.ts; says what it really sent.
import { addressOf, bindSocket, check, lastErrno, sendmmsg, setsockopt, socket } from '../src/sys/libc.ts';
import { interfaceIndex } from '../src/sys/packet-socket.ts';
import { dieWithParent } from '../src/sys/process.ts';
import { BATCH, BULK_MIN_BYTES, Pacing } from './pacing.ts';
import { type FrameFields, segmentedFrame, udpFrame } from './udp-frame.ts';

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
const SOL_SOCKET = 1;
const SO_SNDBUFFORCE = 32;
const SEND_BUFFER_BYTES = 128 << 20;
const MSG_DONTWAIT = 0x40;
const SOL_PACKET = 263;
const PACKET_VNET_HDR = 15;
const PACKET_QDISC_BYPASS = 20;
const MMSGHDR_LEN = 64; // struct msghdr (56), msg_len (4), padding
const IOV_LEN = 16;
const ENOBUFS = 105;
const EAGAIN = 11;
/**
 * From this rate on, packets are made by the kernel, a few of one flow at a time. Measured on one processor: 750,000
 * packets/s one by one, 1,260,000 in eights, of which the receiving side of the link takes its part.
 */
const BULK_RATE = 300_000;
const BULK_SEGMENTS = 8;
const NAP_MS = 0.05;

/** A socket and the messages that it sends in turn, each of which the kernel makes `perMessage` packets of. */
class Sender {
  readonly perMessage: number;
  readonly #fd: number;
  readonly #from: Uint8Array[];
  /** What the kernel reads by its address: held, or it would be collected. */
  readonly held: readonly Uint8Array[];
  #next = 0;

  constructor({ device, frames }: Flows, perMessage: number) {
    this.perMessage = perMessage;
    this.#fd = check(socket(AF_PACKET, SOCK_RAW, 0), 'socket'); // protocol 0: it receives nothing
    const address = Buffer.alloc(20); // struct sockaddr_ll
    address.writeUInt16LE(AF_PACKET, 0);
    address.writeInt32LE(interfaceIndex(device), 4);
    check(bindSocket(this.#fd, address, address.length), 'bind');
    // Packets on their way count against the buffer; at the default size a slow receiver would hold the generator back.
    const buffer = Int32Array.of(SEND_BUFFER_BYTES);
    check(setsockopt(this.#fd, SOL_SOCKET, SO_SNDBUFFORCE, buffer, 4), 'setsockopt SO_SNDBUFFORCE');
    const option = perMessage === 1 ? PACKET_QDISC_BYPASS : PACKET_VNET_HDR;
    check(setsockopt(this.#fd, SOL_PACKET, option, Int32Array.of(1), 4), 'setsockopt');

    const packets = frames.map((frame) =>
      perMessage === 1 ? udpFrame(frame) : segmentedFrame(frame, perMessage),
    );
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

  /** Sends `count` messages, at most BATCH; returns how many the kernel took. */
  send(count: number): number {
    const taken = sendmmsg(this.#fd, this.#from[this.#next]!, count, MSG_DONTWAIT);
    if (taken < 0) {
      const errno = lastErrno();
      if (errno !== ENOBUFS && errno !== EAGAIN) check(taken, 'sendmmsg');
      return 0;
    }
    this.#next = (this.#next + taken) % this.#from.length;
    return taken;
  }
}

function offer(sender: Sender, rate: number, seconds: number): Sent {
  const nap = new Int32Array(new SharedArrayBuffer(4));
  const startMs = performance.now();
  const endMs = startMs + seconds * 1000;
  const pacing = new Pacing(rate / sender.perMessage, startMs);
  let taken = 0;
  let wanted = 0;
  for (let nowMs = startMs; nowMs < endMs; nowMs = performance.now()) {
    const count = pacing.take(nowMs);
    if (count > 0) {
      wanted += count;
      taken += sender.send(count);
    } else if (rate < BULK_RATE) {
      Atomics.wait(nap, 0, 0, NAP_MS);
    }
  }
  return {
    packets: taken * sender.perMessage,
    refused: (wanted - taken) * sender.perMessage,
    seconds: (performance.now() - startMs) / 1000,
  };
}

dieWithParent();
let single: Sender | undefined;
let bulk: Sender | undefined;
process.on('message', (message: ToGenerator) => {
  if (message.kind === 'flows') {
    single = new Sender(message.flows, 1);
    const { payloadLen } = message.flows.frames[0]!;
    bulk = new Sender(message.flows, Math.max(BULK_SEGMENTS, Math.ceil(BULK_MIN_BYTES / payloadLen)));
    process.send?.({ kind: 'ready' } satisfies FromGenerator);
  } else if (single !== undefined && bulk !== undefined) {
    const sender = message.rate < BULK_RATE ? single : bulk;
    const sent = offer(sender, message.rate, message.seconds);
    process.send?.({ kind: 'sent', sent } satisfies FromGenerator);
  }
});
process.on('disconnect', () => process.exit(0));
