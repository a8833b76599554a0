// A pair of connected datagram sockets (socketpair(2)): what is sent on one comes out of the other, in whole
// messages.
import { check, close, socketpair } from './libc.ts';
import { setSendBuffer } from './socket-buffer.ts';

const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0x80000;

export interface SocketPair {
  sendFd: number;
  receiveFd: number;
}

/** `sendBuffer` bytes may wait. Throws a SysError. */
export function openSocketPair(sendBuffer: number): SocketPair {
  const fds = new Int32Array(2);
  check(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, fds), 'socketpair');
  const [sendFd, receiveFd] = [fds[0], fds[1]];
  setSendBuffer(sendFd, sendBuffer);
  return { sendFd, receiveFd };
}

export function closeSocketPair({ sendFd, receiveFd }: SocketPair): void {
  close(sendFd);
  close(receiveFd);
}
