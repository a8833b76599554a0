// Sends whole IP packets through one raw socket per family: the kernel routes them by their destination, finds the
// neighbor and writes the link header. Each call is sent or counted in one column of errors; nothing is thrown and nothing waits.
import { ADDRESS_WORDS, formatAddress, V4_MAPPED } from '../wire/address.ts';
import type { Frame } from '../wire/frame.ts';
import * as ipv4 from '../wire/ipv4.ts';
import { IO_COLUMN } from './packet-io.ts';
import { openRawSocket, openRawSocket6, type RawSocket } from './raw-socket-package.ts';

const CACHE_BITS = 12;
/** Place of the destination in an IPv6 header (RFC 8200, 3). */
const IPV6_DST = 24;

/** Texts of strerror(3), which is all that raw-socket tells; in English because Node never calls setlocale(3). */
const COLUMN_OF: Record<string, number> = {
  'Message too long': IO_COLUMN.sendTooBig,
  'No buffer space available': IO_COLUMN.sendNoBuffer,
  'Resource temporarily unavailable': IO_COLUMN.sendNoBuffer,
  'Network is unreachable': IO_COLUMN.sendUnreachable,
  'No route to host': IO_COLUMN.sendUnreachable,
  'Network is down': IO_COLUMN.sendUnreachable,
  'No such device': IO_COLUMN.sendUnreachable,
  // IPv6 wants an address of the host's on the way, whatever the packet's source.
  'Cannot assign requested address': IO_COLUMN.sendUnreachable,
};

export class RawSender {
  readonly #socket: RawSocket;
  /** Undefined on a host without IPv6. */
  readonly #socket6: RawSocket | undefined;
  readonly #counters: Float64Array;
  readonly #row: number;
  readonly #dst = new Int32Array(ADDRESS_WORDS);
  readonly #cachedAddresses = new Int32Array(ADDRESS_WORDS << CACHE_BITS);
  readonly #cachedText: string[] = new Array(1 << CACHE_BITS).fill('::');
  readonly #buffers = new WeakMap<Frame, Buffer>();

  /** Counts in the IO_COUNTERS row that starts at counters[row]. `sendBuffer` is the buffer of each socket in bytes. */
  constructor(sendBuffer: number, counters: Float64Array, row: number) {
    this.#socket = openRawSocket(sendBuffer);
    try {
      this.#socket6 = openRawSocket6(sendBuffer);
    } catch (error) {
      this.#socket.close();
      throw error;
    }
    this.#counters = counters;
    this.#row = row;
  }

  /** See PacketIo.send. */
  send(frame: Frame, off: number, len: number): boolean {
    const { bytes, view } = frame;
    const dst = this.#dst;
    let socket: RawSocket | undefined;
    if (bytes[off]! >>> 4 === 6) {
      socket = this.#socket6;
      for (let i = 0; i < ADDRESS_WORDS; i++) dst[i] = view.getInt32(off + IPV6_DST + 4 * i);
    } else {
      socket = this.#socket;
      dst[0] = 0;
      dst[1] = 0;
      dst[2] = V4_MAPPED;
      dst[3] = ipv4.dst(view, off);
    }
    if (socket === undefined) {
      this.#counters[this.#row + IO_COLUMN.sendUnreachable]!++;
      return false;
    }
    try {
      socket.send(
        bytes instanceof Buffer ? bytes : this.#bufferOf(frame),
        off,
        len,
        this.#textOf(dst),
        ignoreResult,
      );
    } catch (error) {
      const column = COLUMN_OF[(error as Error).message] ?? IO_COLUMN.sendError;
      this.#counters[this.#row + column]!++;
      return false;
    }
    this.#counters[this.#row + IO_COLUMN.sent]!++;
    this.#counters[this.#row + IO_COLUMN.sentByIp]!++;
    return true;
  }

  close(): void {
    this.#socket.close();
    this.#socket6?.close();
  }

  /** raw-socket wants the address as text: a direct-mapped cache spares making it for each packet. */
  #textOf(address: Int32Array): string {
    const a = address[0]!;
    const b = address[1]!;
    const c = address[2]!;
    const d = address[3]!;
    // Addresses of a subnet differ in their ends, those of a provider's customers in their beginnings.
    let mixed = Math.imul(a, 0x85ebca6b) ^ Math.imul(b, 0xc2b2ae35) ^ Math.imul(c, 0x27d4eb2f) ^ d;
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x9e3779b1);
    const slot = mixed >>> (32 - CACHE_BITS);
    const cached = this.#cachedAddresses;
    const at = slot * ADDRESS_WORDS;
    if (cached[at] !== a || cached[at + 1] !== b || cached[at + 2] !== c || cached[at + 3] !== d) {
      cached.set(address, at);
      this.#cachedText[slot] = formatAddress(address, 0);
    }
    return this.#cachedText[slot]!;
  }

  #bufferOf(frame: Frame): Buffer {
    let buffer = this.#buffers.get(frame);
    if (buffer === undefined) {
      const { bytes } = frame;
      buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      this.#buffers.set(frame, buffer);
    }
    return buffer;
  }
}

function ignoreResult(): void {}
