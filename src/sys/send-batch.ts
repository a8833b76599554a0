// Packets for one interface, gathered and sent with one sendmmsg(2) call on an AF_PACKET socket that is bound
// to it: to name the interface with each packet would cost the kernel time for each. Their bytes are read
// when the call is made, from wherever they are: only addresses are kept.
import {
  addressOf,
  bindSocket,
  check,
  close,
  lastErrno,
  SysError,
  sendmmsg,
  setsockopt,
  socket,
} from './libc.ts';
import { linkAddress } from './packet-ring.ts';
import { setSendBuffer } from './socket-buffer.ts';

const AF_PACKET = 17;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0x80000;
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
/** Interfaces may come and go (those of containers), and nothing says which never come back. */
const SOCKETS_MAX = 256;

export class SendBatch {
  readonly max: number;
  /** Packets gathered. */
  count = 0;
  /** errno of the last call that could not send all. */
  errno = 0;
  /** -1: none was selected. */
  interfaceIndex = -1;
  readonly #sendBuffer: number;
  /** Sockets by interface. */
  readonly #fds = new Map<number, number>();
  #fd = -1;
  readonly #messages: Buffer;
  readonly #messageWords: Int32Array;
  readonly #iovs: Buffer;
  readonly #iovWords: Int32Array;

  /** `max` packets at a time; `sendBuffer` bytes may wait in the kernel, for each interface. */
  constructor(max: number, sendBuffer: number) {
    this.max = max;
    this.#sendBuffer = sendBuffer;
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
    const fd = this.#fds.get(interfaceIndex) ?? this.#open(interfaceIndex);
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
    for (const fd of this.#fds.values()) close(fd);
    this.#fds.clear();
    this.interfaceIndex = -1;
  }

  /** -1: it cannot be opened. */
  #open(interfaceIndex: number): number {
    if (this.#fds.size >= SOCKETS_MAX) this.close();
    const fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0); // protocol 0: it receives nothing
    if (fd < 0) return -1;
    try {
      const one = Int32Array.of(1);
      check(setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, one, 4), 'setsockopt PACKET_QDISC_BYPASS');
      setSendBuffer(fd, this.#sendBuffer);
      const address = linkAddress(interfaceIndex);
      check(bindSocket(fd, address, address.length), 'bind');
    } catch (error) {
      close(fd);
      if (!(error instanceof SysError)) throw error;
      return -1;
    }
    this.#fds.set(interfaceIndex, fd);
    return fd;
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
