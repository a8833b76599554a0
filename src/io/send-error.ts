// The column of IO_COUNTERS that a packet is counted in which the kernel did not send.
import os from 'node:os';
import { IO_COLUMN } from './packet-io.ts';

const { errno } = os.constants;
const COLUMN_OF: Record<number, number> = {
  [errno.EMSGSIZE]: IO_COLUMN.sendTooBig,
  [errno.EAGAIN]: IO_COLUMN.sendNoBuffer,
  [errno.ENOBUFS]: IO_COLUMN.sendNoBuffer,
  [errno.ENETUNREACH]: IO_COLUMN.sendUnreachable,
  [errno.EHOSTUNREACH]: IO_COLUMN.sendUnreachable,
  [errno.ENETDOWN]: IO_COLUMN.sendUnreachable,
  [errno.ENODEV]: IO_COLUMN.sendUnreachable,
  [errno.ENXIO]: IO_COLUMN.sendUnreachable,
  // IPv6 wants an address of the host's on the way, whatever the packet's source.
  [errno.EADDRNOTAVAIL]: IO_COLUMN.sendUnreachable,
};

export const columnOfErrno = (errno: number): number => COLUMN_OF[errno] ?? IO_COLUMN.sendError;

/** Whether the kernel or the device says that it sends no such packets, whenever it is asked. */
export const refusesKind = (code: number): boolean =>
  code === errno.EINVAL || code === errno.EOPNOTSUPP || code === errno.EIO || code === errno.EMSGSIZE;
