// The package raw-socket (SOCK_RAW, raw(7)), its only importer, with the types it lacks. Its documented send() queues
// and sends one packet per turn of the event loop; here its native send is called, which is sendto(2) and returns at
// once.
import { createRequire } from 'node:module';
import { IoError } from './io-error.ts';

const IPPROTO_RAW = 255;
const SOL_SOCKET = 1;
const SO_SNDBUF = 7;
const SO_SNDBUFFORCE = 32;
const IPPROTO_IP = 0;
const IP_HDRINCL = 3;
const IP_NODEFRAG = 22;
const IPPROTO_IPV6 = 41;
const IPV6_HDRINCL = 36;

interface RawPackageSocket {
  readonly wrap: RawSocket;
  setOption(level: number, option: number, value: number): void;
  pauseRecv(): void;
  on(event: 'error', listener: (error: Error) => void): void;
}
interface RawPackage {
  createSocket(options: { protocol: number; addressFamily: number }): RawPackageSocket;
  readonly AddressFamily: { readonly IPv4: number; readonly IPv6: number };
}

export interface RawSocket {
  /** sendto(2): throws an Error whose message is strerror(3)'s text. `callback` is called before it returns. */
  send(buffer: Buffer, off: number, len: number, address: string, callback: (sent: number) => void): void;
  close(): void;
}

/** Opens a socket that sends whole IPv4 packets as they are given. `sendBuffer` is in bytes. */
export function openRawSocket(sendBuffer: number): RawSocket {
  const raw = loadRaw();
  try {
    return open(raw, raw.AddressFamily.IPv4, sendBuffer, (socket) => {
      socket.setOption(IPPROTO_IP, IP_HDRINCL, 1);
      // Connection tracking would hold our fragments until the last one is there, and send them cut anew.
      socket.setOption(IPPROTO_IP, IP_NODEFRAG, 1);
    });
  } catch (error) {
    throw explainOpen(error);
  }
}

/**
 * The same for IPv6; undefined when the kernel has no IPv6. Nothing there spares fragments the connection tracking of
 * the kernel (nf_defrag_ipv6_hooks.c) but that they are marked untracked before it, as the guard does.
 */
export function openRawSocket6(sendBuffer: number): RawSocket | undefined {
  const raw = loadRaw();
  try {
    return open(raw, raw.AddressFamily.IPv6, sendBuffer, (socket) => {
      socket.setOption(IPPROTO_IPV6, IPV6_HDRINCL, 1);
    });
  } catch (error) {
    if (/Address family not supported/.test(reason(error))) return undefined;
    throw explainOpen(error);
  }
}

function loadRaw(): RawPackage {
  try {
    return createRequire(import.meta.url)('raw-socket') as RawPackage;
  } catch (error) {
    throw new IoError(
      `the package raw-socket cannot be loaded: ${reason(error)}`,
      'install the Debian packages build-essential and python3, then run: npm rebuild raw-socket',
      error,
    );
  }
}

function open(
  raw: RawPackage,
  addressFamily: number,
  sendBuffer: number,
  setOptions: (socket: RawPackageSocket) => void,
): RawSocket {
  const socket = raw.createSocket({ protocol: IPPROTO_RAW, addressFamily });
  socket.pauseRecv(); // a socket of IPPROTO_RAW receives nothing; without this it would keep the process alive
  socket.on('error', () => {}); // only its polling reports here, which was just stopped
  try {
    setOptions(socket);
    try {
      socket.setOption(SOL_SOCKET, SO_SNDBUFFORCE, sendBuffer); // CAP_NET_ADMIN; not bound by net.core.wmem_max
    } catch {
      socket.setOption(SOL_SOCKET, SO_SNDBUF, sendBuffer);
    }
  } catch (error) {
    socket.wrap.close();
    throw error;
  }
  return socket.wrap;
}

function explainOpen(error: unknown): IoError {
  const text = reason(error);
  return new IoError(
    `cannot open a raw socket: ${text}`,
    /not permitted|denied/i.test(text)
      ? 'sending needs CAP_NET_RAW: run as root or give the process that capability'
      : 'see the message of the kernel',
    error,
  );
}

function reason(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split('\n')[0]!;
}
