// What the kernel counts and reports about AF_PACKET sockets (packet(7)), whether libpcap opened them in this
// process or a file beside this one did; and which descriptors of this process are such sockets.
import { readdirSync } from 'node:fs';
import { check, getsockname, getsockopt, if_nametoindex, setsockopt } from './libc.ts';

const SOL_SOCKET = 1;
const SO_ERROR = 4;
const SO_DOMAIN = 39;
const AF_PACKET = 17;
const SOL_PACKET = 263;
const PACKET_STATISTICS = 6;
const PACKET_IGNORE_OUTGOING = 23;

const value = new Int32Array(4);
const length = new Int32Array(1);

/** Descriptors of this process that are AF_PACKET sockets. */
export function packetSocketFds(): number[] {
  return readdirSync('/proc/self/fd').map(Number).filter(isPacketSocket);
}

function isPacketSocket(fd: number): boolean {
  length[0] = 4;
  return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, value, length) === 0 && value[0] === AF_PACKET;
}

/**
 * Packets that passed the socket's filter and how many of them found the buffer full, both since the last
 * call (PACKET_STATISTICS starts again at zero when it is read). `packets` includes `drops`.
 */
export function packetStatistics(fd: number): { packets: number; drops: number } {
  length[0] = 12;
  check(getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, value, length), 'getsockopt PACKET_STATISTICS');
  return { packets: value[0] >>> 0, drops: value[1] >>> 0 };
}

/** Stops the socket from seeing what this host sends. False on a kernel before 4.20, which cannot. */
export function ignoreOutgoing(fd: number): boolean {
  value[0] = 1;
  return setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, value, 4) === 0;
}

/**
 * The socket's pending error (errno, 0: none), which this call clears. ENETDOWN: its interface went down or
 * away.
 */
export function pendingError(fd: number): number {
  length[0] = 4;
  check(getsockopt(fd, SOL_SOCKET, SO_ERROR, value, length), 'getsockopt SO_ERROR');
  return value[0];
}

/** Index of the interface that the socket is bound to; -1 when that was removed. */
export function boundInterface(fd: number): number {
  const address = new Int32Array(5); // struct sockaddr_ll: family and protocol, index, type, address
  length[0] = address.byteLength;
  check(getsockname(fd, address, length), 'getsockname');
  return address[1];
}

/** The kernel's index of an interface in this network namespace; 0 when there is none of that name. */
export function interfaceIndex(name: string): number {
  return if_nametoindex(name);
}
