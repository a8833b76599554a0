// Packets for one AF_PACKET socket, gathered and sent with one sendmmsg(2) call. Their bytes are read when the call is
// made, from wherever they are: only addresses are kept.
import { addressOf, check, close, lastErrno, sendmmsg, setsockopt, socket } from './libc.ts';
import { linkAddress } from './packet-ring.ts';

const AF_PACKET = 17;
const SOCK_RAW = 3;
const SOL_SOCKET = 1;
const SO_SNDBUF = 7;
const SO_SNDBUFFORCE = 32;
const SOL_PACKET = 263;
const PACKET_QDISC_BYPASS = 20;
const MSG_DONTWAIT = 0x40;

const MMSGHDR_LEN = 64; // struct msghdr (56), msg_len (4), padding
const MESSAGE_WORDS = MMSGHDR_LEN / 4;
const NAME_WORD = 0;
const NAME_LEN_WORD = 2;
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
  readonly #fd: number;
  readonly #messages: Buffer;
  readonly #messageWords: Int32Array;
  readonly #iovs: Buffer;
  readonly #iovWords: Int32Array;
  readonly #linkAddresses = new Map<number, { bytes: Buffer; start: MemoryStart }>();
  /** Where each message was last sent to. */
  readonly #interfaces: Int32Array;

  /** `max` packets at a time; `sendBuffer` bytes may wait in the kernel. Throws a SysError. */
  constructor(max: number, sendBuffer: number) {
    this.max = max;
    this.#fd = check(socket(AF_PACKET, SOCK_RAW, 0), 'socket'); // protocol 0: it receives nothing
    const one = Int32Array.of(1);
    check(setsockopt(this.#fd, SOL_PACKET, PACKET_QDISC_BYPASS, one, 4), 'setsockopt PACKET_QDISC_BYPASS');
    const size = Int32Array.of(sendBuffer);
    if (setsockopt(this.#fd, SOL_SOCKET, SO_SNDBUFFORCE, size, 4) !== 0)
      check(setsockopt(this.#fd, SOL_SOCKET, SO_SNDBUF, size, 4), 'setsockopt SO_SNDBUF');
    this.#messages = Buffer.from(new ArrayBuffer(max * MMSGHDR_LEN));
    this.#messageWords = new Int32Array(this.#messages.buffer);
    this.#iovs = Buffer.from(new ArrayBuffer(max * IOV_LEN));
    this.#iovWords = new Int32Array(this.#iovs.buffer);
    this.#interfaces = new Int32Array(max);
    const iovs = Number(addressOf(this.#iovs));
    for (let i = 0; i < max; i++) {
      const message = i * MESSAGE_WORDS;
      this.#messageWords[message + NAME_LEN_WORD] = 20; // struct sockaddr_ll
      writePointer(this.#messageWords, message + IOV_WORD, memoryStart(iovs + i * IOV_LEN));
      this.#messageWords[message + IOV_COUNT_WORD] = 1;
    }
  }

  /** Adds the frame (link header first) at `start` + `off`, to go out on the interface. There must be room. */
  add(start: MemoryStart, off: number, byteLength: number, interfaceIndex: number): void {
    const at = this.count++;
    if (this.#interfaces[at] !== interfaceIndex) this.#setInterface(at, interfaceIndex);
    const iov = at * IOV_WORDS;
    const low = start.low + off;
    this.#iovWords[iov] = low;
    this.#iovWords[iov + 1] = low < HIGH ? start.high : start.high + 1;
    this.#iovWords[iov + 2] = byteLength;
  }

  /** Sends what was gathered from index `from` on; returns how many went. When that is not all, `errno` says why. */
  send(from: number): number {
    const messages = from === 0 ? this.#messages : this.#messages.subarray(from * MMSGHDR_LEN);
    const sent = sendmmsg(this.#fd, messages, this.count - from, MSG_DONTWAIT);
    if (sent >= 0) return sent;
    this.errno = lastErrno();
    return 0;
  }

  close(): void {
    close(this.#fd);
  }

  #setInterface(at: number, interfaceIndex: number): void {
    let known = this.#linkAddresses.get(interfaceIndex);
    if (known === undefined) {
      const bytes = linkAddress(interfaceIndex);
      known = { bytes, start: memoryStart(Number(addressOf(bytes))) };
      this.#linkAddresses.set(interfaceIndex, known);
    }
    this.#interfaces[at] = interfaceIndex;
    writePointer(this.#messageWords, at * MESSAGE_WORDS + NAME_WORD, known.start);
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

function writePointer(words: Int32Array, at: number, { low, high }: MemoryStart): void {
  words[at] = low | 0;
  words[at + 1] = high;
}
