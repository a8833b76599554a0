// How much may wait in a socket (SO_RCVBUF, SO_SNDBUF, socket(7)). With CAP_NET_ADMIN net.core.rmem_max and
// wmem_max do not bound it; without, it is as much of it as they allow.
import { check, setsockopt } from './libc.ts';

export const SOL_SOCKET = 1;
export const SO_SNDBUF = 7;
const SO_RCVBUF = 8;
export const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;

/** Throws a SysError. */
export function setReceiveBuffer(fd: number, bytes: number): void {
  set(fd, SO_RCVBUFFORCE, SO_RCVBUF, bytes, 'setsockopt SO_RCVBUF');
}

/** Throws a SysError. */
export function setSendBuffer(fd: number, bytes: number): void {
  set(fd, SO_SNDBUFFORCE, SO_SNDBUF, bytes, 'setsockopt SO_SNDBUF');
}

function set(fd: number, forced: number, bounded: number, bytes: number, what: string): void {
  const value = Int32Array.of(bytes);
  if (setsockopt(fd, SOL_SOCKET, forced, value, 4) !== 0)
    check(setsockopt(fd, SOL_SOCKET, bounded, value, 4), what);
}
