// The package raw-socket (SOCK_RAW, raw(7)), its only importer, with the types it lacks. Its documented
// send() queues and sends one packet per turn of the event loop; here its native send is called, which is
// sendto(2) and returns at once.
import os from 'node:os';
import { IPPROTO_RAW, RAW_SOCKET_OPTIONS, type RawSocket } from '../sys/raw-socket.ts';
import { SO_SNDBUF, SO_SNDBUFFORCE, SOL_SOCKET } from '../sys/socket-buffer.ts';
import { ADDRESS_WORDS, formatAddress, isSameAddress } from '../wire/address.ts';
import { hashAddress } from '../wire/hash.ts';
import { loadOptional } from './optional-package.ts';

interface NativeSocket {
  /**
   * sendto(2): throws an Error whose message is strerror(3)'s text. `callback` is called before it returns.
   */
  send(buffer: Buffer, off: number, len: number, address: string, callback: (sent: number) => void): void;
  close(): void;
}
interface PackageSocket {
  readonly wrap: NativeSocket;
  setOption(level: number, option: number, value: number): void;
  pauseRecv(): void;
  on(event: 'error', listener: (error: Error) => void): void;
}
interface RawPackage {
  createSocket(options: { protocol: number; addressFamily: number }): PackageSocket;
  readonly AddressFamily: { readonly IPv4: number; readonly IPv6: number };
}

const CACHE_BITS = 12;
/** Where in a pair the destination is. */
const TO = ADDRESS_WORDS;

const { errno } = os.constants;
/**
 * Texts of strerror(3), which is all that raw-socket tells; in English because Node never calls setlocale(3).
 */
const ERRNO_OF: Record<string, number> = {
  'Message too long': errno.EMSGSIZE,
  'No buffer space available': errno.ENOBUFS,
  'Resource temporarily unavailable': errno.EAGAIN,
  'Network is unreachable': errno.ENETUNREACH,
  'No route to host': errno.EHOSTUNREACH,
  'Network is down': errno.ENETDOWN,
  'No such device': errno.ENODEV,
  'Cannot assign requested address': errno.EADDRNOTAVAIL,
};

/** As openRawSocket; throws an IoError when the package does not work, an Error when the kernel refuses. */
export function openPackageSocket(family: 4 | 6, sendBuffer: number): RawSocket | undefined {
  const { createSocket, AddressFamily } = loadOptional<RawPackage>('raw-socket');
  let socket: PackageSocket;
  try {
    const addressFamily = family === 6 ? AddressFamily.IPv6 : AddressFamily.IPv4;
    socket = createSocket({ protocol: IPPROTO_RAW, addressFamily });
  } catch (error) {
    if (/Address family not supported/.test((error as Error).message)) return undefined;
    throw error;
  }
  // A socket of IPPROTO_RAW receives nothing; without this it would keep the process alive.
  socket.pauseRecv();
  socket.on('error', () => {}); // only its polling reports here, which was just stopped
  try {
    for (const [level, option, value] of RAW_SOCKET_OPTIONS[family]) socket.setOption(level, option, value);
    try {
      // CAP_NET_ADMIN; not bound by net.core.wmem_max.
      socket.setOption(SOL_SOCKET, SO_SNDBUFFORCE, sendBuffer);
    } catch {
      socket.setOption(SOL_SOCKET, SO_SNDBUF, sendBuffer);
    }
  } catch (error) {
    socket.wrap.close();
    throw error;
  }
  return new SocketOfPackage(socket.wrap);
}

class SocketOfPackage implements RawSocket {
  readonly #socket: NativeSocket;
  readonly #cachedAddresses = new Int32Array(ADDRESS_WORDS << CACHE_BITS);
  readonly #cachedText: string[] = new Array(1 << CACHE_BITS).fill('::');
  readonly #buffers = new WeakMap<Uint8Array, Buffer>();

  constructor(socket: NativeSocket) {
    this.#socket = socket;
  }

  send(bytes: Uint8Array, off: number, len: number, pair: Int32Array): number {
    const buffer = bytes instanceof Buffer ? bytes : this.#bufferOf(bytes);
    try {
      this.#socket.send(buffer, off, len, this.#textOf(pair), ignoreResult);
      return 0;
    } catch (error) {
      return ERRNO_OF[(error as Error).message] ?? errno.EIO;
    }
  }

  close(): void {
    this.#socket.close();
  }

  /** The package wants the destination as text: a direct-mapped cache spares making it for each packet. */
  #textOf(pair: Int32Array): string {
    const slot = hashAddress(pair, TO, 0) >>> (32 - CACHE_BITS);
    const cached = this.#cachedAddresses;
    const at = slot * ADDRESS_WORDS;
    if (!isSameAddress(cached, at, pair, TO)) {
      for (let i = 0; i < ADDRESS_WORDS; i++) cached[at + i] = pair[TO + i];
      this.#cachedText[slot] = formatAddress(pair, TO);
    }
    return this.#cachedText[slot];
  }

  #bufferOf(bytes: Uint8Array): Buffer {
    let buffer = this.#buffers.get(bytes);
    if (buffer === undefined) {
      buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      this.#buffers.set(bytes, buffer);
    }
    return buffer;
  }
}

function ignoreResult(): void {}
