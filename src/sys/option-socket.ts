// Sockets of a real server that sees what clients' packets carry beside their payload: a UDP socket with the
// IP options of each datagram (IP_RECVOPTS, ip(7)) or its IPv6 destination options (IPV6_RECVDSTOPTS, RFC
// 3542), and a raw socket for an IP protocol of its own (raw(7)). Non-blocking; nothing is known here about
// what the options mean.
import { bindSocket, check, close, getsockname, setsockopt, socket } from './libc.ts';
import { Message, writeSocketAddress } from './message.ts';
import { type Waitable, waiting } from './waitable.ts';

const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_DGRAM = 2;
const SOCK_RAW = 3;
const SOCK_NONBLOCK_CLOEXEC = 0x80800;
const SOL_SOCKET = 1;
const SO_RCVBUF = 8;
const SOL_IP = 0;
const IP_RECVOPTS = 6;
const IP_RETOPTS = 7;
const SOL_IPV6 = 41;
const IPV6_V6ONLY = 26;
const IPV6_RECVPKTINFO = 49;
const IPV6_PKTINFO = 50;
const IPV6_RECVDSTOPTS = 58;
const IPV6_DSTOPTS = 59;
const IPV6_HEADER_LEN = 40;
const RECEIVE_BUFFER_BYTES = 4 << 20;

/** 6 for a socket that takes IPv6 only; when not given, that of the address. */
export type Family = 4 | 6;

export interface Datagram {
  payload: Uint8Array;
  /**
   * IPv4: the IP options as they were in the header, padding included. IPv6: the first destination options
   * header from its next-header byte on. Empty without any.
   */
  options: Uint8Array;
  srcIp: string;
  srcPort: number;
}

export interface OptionSocket extends Waitable {
  /** The bound port, also when 0 was asked for. */
  readonly port: number;
  /** The next datagram; undefined when there is none. */
  receive(): Datagram | undefined;
  /**
   * Sends a datagram, which may be empty, with these options in the form of Datagram (the kernel sets the
   * next-header byte). Needs CAP_NET_RAW over IPv6, and over IPv4 for options unknown to Linux.
   */
  send(payload: Uint8Array, ip: string, port: number, options?: Uint8Array): void;
}

export interface RawReceiver extends Waitable {
  /**
   * The next packet from its IP header on; undefined when there is none. Over IPv6 the kernel hands over
   * neither header nor extension headers: a header with the packet's addresses, protocol and length is made.
   */
  receive(): Uint8Array | undefined;
  /** Sends `bytes` behind an IP header of the kernel's making, from the address bound to. */
  send(bytes: Uint8Array, ip: string): void;
}

/** Opens a UDP socket bound to ip:port. Throws a SysError. */
export function openOptionSocket(address: { ip: string; port: number; family?: Family }): OptionSocket {
  const { ip, family = familyOf(ip) } = address;
  const fd = openBound(SOCK_DGRAM, 0, ip, address.port, family);
  const level = family === 6 ? SOL_IPV6 : SOL_IP;
  const received = family === 6 ? IPV6_DSTOPTS : IP_RECVOPTS;
  const sent = family === 6 ? IPV6_DSTOPTS : IP_RETOPTS;
  turnOn(fd, level, family === 6 ? IPV6_RECVDSTOPTS : IP_RECVOPTS);
  const name = Buffer.alloc(28);
  check(getsockname(fd, name, Int32Array.of(name.length)), 'getsockname');
  const message = new Message();
  return {
    fd,
    port: name.readUInt16BE(2),
    receive() {
      const length = message.receive(fd);
      if (length < 0) return undefined;
      return {
        payload: message.data(length),
        options: message.control(level, received),
        srcIp: message.ip,
        srcPort: message.port,
      };
    },
    send(payload, to, port, options) {
      const control =
        options === undefined || options.length === 0 ? undefined : { level, type: sent, data: options };
      message.send(fd, payload, { ip: to, port }, control);
    },
    ...waiting(fd),
  };
}

/**
 * Opens a raw socket for one IP protocol; `ip` is the local address, 0.0.0.0 or :: for any. Needs
 * CAP_NET_RAW.
 */
export function openRawReceiver(protocol: number, ip = '0.0.0.0', family = familyOf(ip)): RawReceiver {
  const fd = openBound(SOCK_RAW, protocol, ip, 0, family);
  if (family === 6) turnOn(fd, SOL_IPV6, IPV6_RECVPKTINFO);
  const message = new Message();
  return {
    fd,
    receive() {
      const length = message.receive(fd);
      if (length < 0) return undefined;
      return family === 6 ? withHeader(message, protocol, length) : message.data(length);
    },
    send(bytes, to) {
      message.send(fd, bytes, { ip: to, port: 0 });
    },
    ...waiting(fd),
  };
}

function withHeader(message: Message, protocol: number, length: number): Uint8Array {
  const packet = Buffer.alloc(IPV6_HEADER_LEN + length);
  packet[0] = 0x60;
  packet.writeUInt16BE(length, 4);
  packet[6] = protocol;
  packet[7] = 64;
  packet.set(message.addressBytes, 8);
  packet.set(message.control(SOL_IPV6, IPV6_PKTINFO).subarray(0, 16), 24);
  packet.set(message.data(length), IPV6_HEADER_LEN);
  return packet;
}

function familyOf(ip: string): Family {
  return ip.includes(':') ? 6 : 4;
}

function turnOn(fd: number, level: number, option: number): void {
  check(setsockopt(fd, level, option, Int32Array.of(1), 4), `setsockopt ${level}/${option}`);
}

function openBound(type: number, protocol: number, ip: string, port: number, family: Family): number {
  const domain = family === 6 ? AF_INET6 : AF_INET;
  const fd = check(socket(domain, type | SOCK_NONBLOCK_CLOEXEC, protocol), 'socket');
  try {
    // As far as the system allows.
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, Int32Array.of(RECEIVE_BUFFER_BYTES), 4);
    if (family === 6 && type === SOCK_DGRAM) turnOn(fd, SOL_IPV6, IPV6_V6ONLY);
    const name = Buffer.alloc(28);
    check(bindSocket(fd, name, writeSocketAddress(name, 0, ip, port)), 'bind');
    return fd;
  } catch (error) {
    close(fd);
    throw error;
  }
}
