// Sends whole IPv4 packets through one raw socket: the kernel routes them by their destination, finds the neighbor and
// writes the link header. Each call is counted in exactly one column; nothing is thrown and nothing waits.
import { formatIpv4 } from '../wire/address.ts';
import type { Frame } from '../wire/frame.ts';
import * as ipv4 from '../wire/ipv4.ts';
import { IO_COLUMN } from './packet-io.ts';
import { openRawSocket, type RawSocket } from './raw-socket-package.ts';

const CACHE_BITS = 12;

/** Texts of strerror(3), which is all that raw-socket tells; in English because Node never calls setlocale(3). */
const COLUMN_OF: Record<string, number> = {
  'Message too long': IO_COLUMN.sendTooBig,
  'No buffer space available': IO_COLUMN.sendNoBuffer,
  'Resource temporarily unavailable': IO_COLUMN.sendNoBuffer,
  'Network is unreachable': IO_COLUMN.sendUnreachable,
  'No route to host': IO_COLUMN.sendUnreachable,
  'Network is down': IO_COLUMN.sendUnreachable,
  'No such device': IO_COLUMN.sendUnreachable,
};

export class RawSender {
  readonly #socket: RawSocket;
  readonly #counters: Float64Array;
  readonly #row: number;
  readonly #cachedAddress = new Int32Array(1 << CACHE_BITS);
  readonly #cachedText: string[] = new Array(1 << CACHE_BITS).fill('0.0.0.0');
  readonly #buffers = new WeakMap<Frame, Buffer>();

  /** Counts in the IO_COUNTERS row that starts at counters[row]. `sendBuffer` is the socket's buffer in bytes. */
  constructor(sendBuffer: number, counters: Float64Array, row: number) {
    this.#socket = openRawSocket(sendBuffer);
    this.#counters = counters;
    this.#row = row;
  }

  /** See PacketIo.send. */
  send(frame: Frame, off: number, len: number): boolean {
    const { bytes } = frame;
    try {
      this.#socket.send(
        bytes instanceof Buffer ? bytes : this.#bufferOf(frame),
        off,
        len,
        this.#textOf(ipv4.dst(frame.view, off)),
        ignoreResult,
      );
    } catch (error) {
      const column = COLUMN_OF[(error as Error).message] ?? IO_COLUMN.sendError;
      this.#counters[this.#row + column]!++;
      return false;
    }
    this.#counters[this.#row + IO_COLUMN.sent]!++;
    return true;
  }

  close(): void {
    this.#socket.close();
  }

  /** raw-socket wants the address as text: a direct-mapped cache spares making it for each packet. */
  #textOf(address: number): string {
    const slot = Math.imul(address, 0x9e3779b1) >>> (32 - CACHE_BITS);
    if (this.#cachedAddress[slot] !== address) {
      this.#cachedAddress[slot] = address;
      this.#cachedText[slot] = formatIpv4(address);
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
