// Sends whole IP packets through one raw socket per family: the kernel routes them, finds the neighbor and
// writes the link header. Each call is sent or counted in one column of errors; nothing waits here.

import type { NextHops } from '../route/next-hop.ts';
import { PAIR_WORDS, TO } from '../route/pair-table.ts';
import { IoError } from '../sys/io-error.ts';
import { SysError } from '../sys/libc.ts';
import type { RawSocket } from '../sys/raw-socket.ts';
import { V4_MAPPED } from '../wire/address.ts';
import type { Frame } from '../wire/frame.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';
import { IO_COLUMN } from './packet-io.ts';
import { columnOfErrno } from './send-error.ts';

/**
 * Of each socket. More than the kernel lets wait for all neighbors together (1,024 in a family, gc_thresh3,
 * with 208 KiB each, unres_qlen_bytes), so that those which do not answer leave room for the others; devices'
 * queues are bounded themselves.
 */
const SEND_BUFFER_BYTES = 256 << 20;

export class RawSender {
  readonly #hops: NextHops;
  readonly #socket: RawSocket;
  /** Undefined on a host without IPv6. */
  readonly #socket6: RawSocket | undefined;
  readonly #counters: Float64Array;
  readonly #row: number;
  readonly #pair = new Int32Array(PAIR_WORDS);

  /**
   * `open` opens a socket of a family with so many bytes of send buffer. Counts in the IO_COUNTERS row that
   * starts at counters[row]. Throws an IoError, with nothing left open.
   */
  constructor(
    open: (family: 4 | 6, sendBuffer: number) => RawSocket | undefined,
    hops: NextHops,
    counters: Float64Array,
    row: number,
  ) {
    this.#hops = hops;
    this.#counters = counters;
    this.#row = row;
    let socket: RawSocket | undefined;
    try {
      socket = open(4, SEND_BUFFER_BYTES);
      if (socket === undefined) throw new Error('the kernel has no IPv4');
      this.#socket = socket;
      this.#socket6 = open(6, SEND_BUFFER_BYTES);
    } catch (error) {
      socket?.close();
      throw explainOpen(error);
    }
  }

  /**
   * Whether a packet between these addresses may be given to `send` now; counts it when not. Throws a
   * SysError when netlink fails.
   */
  admits(pair: Int32Array, nowMs: number): boolean {
    if (this.#hops.admits(pair, nowMs)) return true;
    this.#counters[this.#row + IO_COLUMN.sendUnresolved]++;
    return false;
  }

  /** See PacketIo.send. */
  send(frame: Frame, off: number, len: number, nowMs: number): boolean {
    const pair = this.#pair;
    readPair(pair, frame, off);
    return this.admits(pair, nowMs) && this.sendAdmitted(frame, off, len, pair);
  }

  /** Sends a packet between these addresses that was admitted. */
  sendAdmitted(frame: Frame, off: number, len: number, pair: Int32Array): boolean {
    const counters = this.#counters;
    const socket = frame.bytes[off] >>> 4 === 6 ? this.#socket6 : this.#socket;
    if (socket === undefined) {
      counters[this.#row + IO_COLUMN.sendUnreachable]++;
      return false;
    }
    const errno = socket.send(frame.bytes, off, len, pair);
    if (errno !== 0) {
      counters[this.#row + columnOfErrno(errno)]++;
      return false;
    }
    counters[this.#row + IO_COLUMN.sent]++;
    counters[this.#row + IO_COLUMN.sentByIp]++;
    return true;
  }

  close(): void {
    this.#socket.close();
    this.#socket6?.close();
  }
}

/** Source and destination of the packet at frame.bytes[off]. */
export function readPair(pair: Int32Array, { view }: Frame, off: number): void {
  if (view.getUint8(off) >>> 4 === 6) {
    ipv6.readAddresses(pair, view, off);
    return;
  }
  pair[0] = 0;
  pair[1] = 0;
  pair[2] = V4_MAPPED;
  pair[3] = ipv4.src(view, off);
  pair[TO] = 0;
  pair[TO + 1] = 0;
  pair[TO + 2] = V4_MAPPED;
  pair[TO + 3] = ipv4.dst(view, off);
}

function explainOpen(error: unknown): unknown {
  if (error instanceof IoError) return error;
  const text = (error as Error).message.split('\n')[0];
  const isDenied =
    (error instanceof SysError && error.code === 'EPERM') || /not permitted|denied/i.test(text);
  return new IoError(
    `cannot open a raw socket: ${text}`,
    isDenied
      ? 'sending needs CAP_NET_RAW: run as root or give the process that capability'
      : 'see the message of the kernel',
    error,
  );
}
