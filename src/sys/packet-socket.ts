// AF_PACKET sockets that somebody else (libpcap) opened in this process: find them, read what the kernel counts and
// reports about them (packet(7)), and put a gate before their poll descriptor.
import { readdirSync } from 'node:fs';
import {
  check,
  close,
  dup,
  dup3,
  epoll_create1,
  epoll_ctl,
  getsockopt,
  if_nametoindex,
  setsockopt,
} from './libc.ts';

const SOL_SOCKET = 1;
const SO_ERROR = 4;
const SO_GET_FILTER = 26;
const SO_DOMAIN = 39;
const AF_PACKET = 17;
const SOL_PACKET = 263;
const PACKET_STATISTICS = 6;
const PACKET_IGNORE_OUTGOING = 23;
const O_CLOEXEC = 0x80000;
const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;
const EPOLLIN = 1;

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
 * Packets that passed the socket's filter and how many of them found the buffer full, both since the last call
 * (PACKET_STATISTICS starts again at zero when it is read). `packets` includes `drops`.
 */
export function packetStatistics(fd: number): { packets: number; drops: number } {
  length[0] = 12;
  check(getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, value, length), 'getsockopt PACKET_STATISTICS');
  return { packets: value[0]! >>> 0, drops: value[1]! >>> 0 };
}

/** Stops the socket from seeing what this host sends. False on a kernel before 4.20, which cannot. */
export function ignoreOutgoing(fd: number): boolean {
  value[0] = 1;
  return setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, value, 4) === 0;
}

/** Instructions of the socket's classic BPF filter; 0 when it has none. */
export function filterLength(fd: number): number {
  length[0] = 0;
  const count = getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, null, length);
  return count === 0 ? length[0]! : 0;
}

/** The socket's pending error (errno, 0: none), which this call clears. ENETDOWN: its interface went down or away. */
export function pendingError(fd: number): number {
  length[0] = 4;
  check(getsockopt(fd, SOL_SOCKET, SO_ERROR, value, length), 'getsockopt SO_ERROR');
  return value[0]!;
}

/** The kernel's index of an interface in this network namespace; 0 when there is none of that name. */
export function interfaceIndex(name: string): number {
  return if_nametoindex(name);
}

/** A socket whose descriptor number now belongs to an epoll instance that watches the socket. */
export interface PollGate {
  /** The socket itself, under a new number, for getsockopt and setsockopt. */
  readonly fd: number;
  /** While closed the old number is never readable, whatever arrives. */
  setOpen(open: boolean): void;
  close(): void;
}

/**
 * Puts an epoll instance in the place of descriptor `fd`. Whoever polls `fd` sees it readable when the socket has
 * packets or an error, and never sees an error condition (an epoll descriptor has none), and it can be told not to be
 * readable. Reading through a memory-mapped ring is not affected. The caller still owns `fd` and closes it.
 */
export function gatePolling(fd: number): PollGate {
  const real = check(dup(fd), 'dup');
  const epoll = check(epoll_create1(O_CLOEXEC), 'epoll_create1');
  check(dup3(epoll, fd, O_CLOEXEC), 'dup3');
  const event = new Uint8Array(16); // struct epoll_event: 12 bytes on x86-64, 16 elsewhere, `events` first
  event[0] = EPOLLIN;
  let isOpen = false;
  const gate: PollGate = {
    fd: real,
    setOpen(open) {
      if (open === isOpen) return;
      check(epoll_ctl(epoll, open ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, real, event), 'epoll_ctl');
      isOpen = open;
    },
    close() {
      close(epoll);
      close(real);
    },
  };
  gate.setOpen(true);
  return gate;
}
