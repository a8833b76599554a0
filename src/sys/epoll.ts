// Several descriptors as one (epoll(7)).
import { check, close, epoll_create1, epoll_ctl } from './libc.ts';

const O_CLOEXEC = 0x80000;
const EPOLL_CTL_ADD = 1;
const EPOLLIN = 1;

/** A new descriptor that is readable while one of `fds` is readable or has an error. Throws a SysError. */
export function watchReadable(fds: readonly number[]): number {
  const epoll = check(epoll_create1(O_CLOEXEC), 'epoll_create1');
  const event = new Uint8Array(new ArrayBuffer(16)); // struct epoll_event: 12 bytes on x86-64, 16 elsewhere
  event[0] = EPOLLIN;
  try {
    for (const fd of fds) check(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, event), 'epoll_ctl');
  } catch (error) {
    close(epoll);
    throw error;
  }
  return epoll;
}
