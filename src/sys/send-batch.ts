// Packets for one interface, gathered and sent with one sendmmsg(2) call on an AF_PACKET socket that is bound
// to it. Their bytes are read when the call is made, from wherever they are: only addresses are kept.
import { InterfaceSockets } from './interface-sockets.ts';
import { addressOf, lastErrno, sendmmsg } from './libc.ts';

const SOL_PACKET = 263;
const PACKET_QDISC_BYPASS = 20;
const MSG_DONTWAIT = 0x40;

const MMSGHDR_LEN = 64; // struct msghdr (56), msg_len (4), padding
const MESSAGE_WORDS = MMSGHDR_LEN / 4;
const IOV_WORD = 4;
const IOV_COUNT_WORD = 6;
const IOV_LEN = 16;
const IOV_WORDS = IOV_LEN / 4;
const HIGH = 0x1_0000_0000;

export class SendBatch {
  readonly max: number;
  /** Packets gathered. */
  count = 0;
  /** errno of the last call that could not send all. */
  errno = 0;
  /** -1: none was selected. */
  interfaceIndex = -1;
  readonly #sockets: InterfaceSockets;
  #fd = -1;
  readonly #messages: Buffer;
  readonly #messageWords: Int32Array;
  readonly #iovs: Buffer;
  readonly #iovWords: Int32Array;

  /** `max` packets at a time; `sendBuffer` bytes may wait in the kernel, for each interface. */
  constructor(max: number, sendBuffer: number) {
    this.max = max;
    this.#sockets = new InterfaceSockets(sendBuffer, SOL_PACKET, PACKET_QDISC_BYPASS, 'PACKET_QDISC_BYPASS');
    this.#messages = Buffer.from(new ArrayBuffer(max * MMSGHDR_LEN));
    this.#messageWords = new Int32Array(this.#messages.buffer);
    this.#iovs = Buffer.from(new ArrayBuffer(max * IOV_LEN));
    this.#iovWords = new Int32Array(this.#iovs.buffer);
    const iovs = Number(addressOf(this.#iovs));
    for (let i = 0; i < max; i++) {
      const message = i * MESSAGE_WORDS;
      writePointer(this.#messageWords, message + IOV_WORD, memoryStart(iovs + i * IOV_LEN));
      this.#messageWords[message + IOV_COUNT_WORD] = 1;
    }
  }

  /**
   * The interface of the packets that are added from now on, with none gathered. False: no socket can be
   * bound to it.
   */
  select(interfaceIndex: number): boolean {
    if (interfaceIndex === this.interfaceIndex) return true;
    this.interfaceIndex = -1; // its socket may make room for the other
    const fd = this.#sockets.of(interfaceIndex);
    if (fd < 0) return false;
    this.#fd = fd;
    this.interfaceIndex = interfaceIndex;
    return true;
  }

  /** Adds the frame (link header first) at `start` + `off`. There must be room. */
  add(start: MemoryStart, off: number, byteLength: number): void {
    const at = this.count++;
    const iov = at * IOV_WORDS;
    const low = start.low + off;
    this.#iovWords[iov] = low;
    this.#iovWords[iov + 1] = low < HIGH ? start.high : start.high + 1;
    this.#iovWords[iov + 2] = byteLength;
  }

  /**
   * Sends what was gathered from index `from` on; returns how many went. When that is not all, `errno` says
   * why.
   */
  send(from: number): number {
    const messages = from === 0 ? this.#messages : this.#messages.subarray(from * MMSGHDR_LEN);
    const sent = sendmmsg(this.#fd, messages, this.count - from, MSG_DONTWAIT);
    if (sent >= 0) return sent;
    this.errno = lastErrno();
    return 0;
  }

  close(): void {
    this.#sockets.close();
    this.interfaceIndex = -1;
  }
}

/** An address in two halves: the remainder of a number beyond 2^32 costs more than all else here. */
export interface MemoryStart {
  readonly low: number;
  readonly high: number;
}

/** Addresses are below 2^53, so they are exact as numbers. */
export const memoryStart = (address: number): MemoryStart => ({
  low: address % HIGH,
  high: Math.floor(address / HIGH),
});

export function writePointer(words: Int32Array, at: number, { low, high }: MemoryStart): void {
  words[at] = low | 0;
  words[at + 1] = high;
}
