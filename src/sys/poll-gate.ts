// Puts an epoll instance (epoll(7)) in the place of a socket's descriptor, so that somebody else's event
// loop, which polls that number, can be held off and never meets an error condition.
import { check, close, dup, dup3, epoll_create1, epoll_ctl } from './libc.ts';

const O_CLOEXEC = 0x80000;
const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;
const EPOLLIN = 1;

/** A socket whose descriptor number now belongs to an epoll instance that watches the socket. */
export interface PollGate {
  /** The socket itself, under a new number, for getsockopt and setsockopt. */
  readonly fd: number;
  /** While closed the old number is never readable, whatever arrives. */
  setOpen(open: boolean): void;
  close(): void;
}

/**
 * Puts an epoll instance in the place of descriptor `fd`. Whoever polls `fd` sees it readable when the socket
 * has packets or an error, and never sees an error condition (an epoll descriptor has none), and it can be
 * told not to be readable. Reading through a memory-mapped ring is not affected. The caller still owns `fd`
 * and closes it.
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
