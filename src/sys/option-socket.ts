// Sockets of a real server that sees what clients' packets carry beside their payload: a UDP socket with the IP options
// of each datagram (IP_RECVOPTS, ip(7)), and a raw socket for an IP protocol of its own (raw(7)). Non-blocking; nothing
// is known here about what the options mean.
import koffi from 'koffi';
import { bindSocket, check, close, getsockname, setsockopt, socket } from './libc.ts';
import { Message, writeSocketAddress } from './message.ts';

const AF_INET = 2;
const SOCK_DGRAM = 2;
const SOCK_RAW = 3;
const SOCK_NONBLOCK_CLOEXEC = 0x80800;
const SOL_SOCKET = 1;
const SO_RCVBUF = 8;
const SOL_IP = 0;
const IP_RECVOPTS = 6;
const IP_RETOPTS = 7;
const RECEIVE_BUFFER_BYTES = 4 << 20;

interface Waitable {
  readonly fd: number;
  /** Resolves true as soon as there is something to receive, false after `timeoutMs`. One waiter at a time. */
  wait(timeoutMs: number): Promise<boolean>;
  /** Closes the socket; a waiter gets false. */
  close(): void;
}

export interface Datagram {
  payload: Uint8Array;
  /** The IP options as they were in the header, padding included; empty without any. */
  options: Uint8Array;
  srcIp: string;
  srcPort: number;
}

export interface OptionSocket extends Waitable {
  /** The bound port, also when 0 was asked for. */
  readonly port: number;
  /** The next datagram; undefined when there is none. */
  receive(): Datagram | undefined;
  /** Sends a datagram, which may be empty, with these IP options (needs CAP_NET_RAW for ones unknown to Linux). */
  send(payload: Uint8Array, ip: string, port: number, options?: Uint8Array): void;
}

export interface RawReceiver extends Waitable {
  /** The next packet from its IP header on; undefined when there is none. */
  receive(): Uint8Array | undefined;
  /** Sends `bytes` behind an IP header of the kernel's making, from the address bound to. */
  send(bytes: Uint8Array, ip: string): void;
}

/** Opens a UDP socket bound to ip:port. Throws a SysError. */
export function openOptionSocket(address: { ip: string; port: number }): OptionSocket {
  const fd = openBound(SOCK_DGRAM, 0, address.ip, address.port);
  check(setsockopt(fd, SOL_IP, IP_RECVOPTS, Int32Array.of(1), 4), 'setsockopt IP_RECVOPTS');
  const name = Buffer.alloc(16);
  check(getsockname(fd, name, Int32Array.of(16)), 'getsockname');
  const message = new Message();
  return {
    fd,
    port: name.readUInt16BE(2),
    receive() {
      const length = message.receive(fd);
      if (length < 0) return undefined;
      return {
        payload: message.data(length),
        options: message.control(SOL_IP, IP_RECVOPTS),
        srcIp: message.ip,
        srcPort: message.port,
      };
    },
    send(payload, ip, port, options) {
      const control =
        options === undefined || options.length === 0
          ? undefined
          : { level: SOL_IP, type: IP_RETOPTS, data: options };
      message.send(fd, payload, { ip, port }, control);
    },
    ...waiting(fd),
  };
}

/** Opens a raw socket for one IP protocol; `ip` is the local address, 0.0.0.0 for any. Needs CAP_NET_RAW. */
export function openRawReceiver(protocol: number, ip = '0.0.0.0'): RawReceiver {
  const fd = openBound(SOCK_RAW, protocol, ip, 0);
  const message = new Message();
  return {
    fd,
    receive() {
      const length = message.receive(fd);
      return length < 0 ? undefined : message.data(length);
    },
    send(bytes, to) {
      message.send(fd, bytes, { ip: to, port: 0 });
    },
    ...waiting(fd),
  };
}

function openBound(type: number, protocol: number, ip: string, port: number): number {
  const fd = check(socket(AF_INET, type | SOCK_NONBLOCK_CLOEXEC, protocol), 'socket');
  try {
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, Int32Array.of(RECEIVE_BUFFER_BYTES), 4); // as far as the system allows
    const name = Buffer.alloc(16);
    writeSocketAddress(name, 0, ip, port);
    check(bindSocket(fd, name, 16), 'bind');
    return fd;
  } catch (error) {
    close(fd);
    throw error;
  }
}

function waiting(fd: number): Pick<Waitable, 'wait' | 'close'> {
  const poll = koffi.node.poll(fd, { readable: true }, () => {});
  poll.stop();
  let settle: ((readable: boolean) => void) | undefined;
  let closed = false;
  return {
    wait(timeoutMs) {
      if (closed) return Promise.resolve(false);
      return new Promise((resolve) => {
        const timer = setTimeout(() => settle?.(false), timeoutMs);
        settle = (readable) => {
          settle = undefined;
          clearTimeout(timer);
          if (!closed) poll.stop();
          resolve(readable);
        };
        poll.start({ readable: true }, () => settle?.(true));
      });
    },
    close() {
      if (closed) return;
      closed = true;
      poll.close(); // before the descriptor: libuv must not watch a number that may be given out again
      close(fd);
      settle?.(false);
    },
  };
}
