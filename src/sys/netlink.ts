// A netlink socket to the kernel's routing tables (netlink(7), NETLINK_ROUTE), non-blocking. What the
// messages mean is not known here; that a datagram came from the kernel, and came whole, is.

import { explain } from './io-error.ts';
import {
  addressOf,
  bindSocket,
  check,
  close,
  lastErrno,
  recvmsg,
  SysError,
  sendmsg,
  setsockopt,
  socket,
} from './libc.ts';
import { setReceiveBuffer } from './socket-buffer.ts';

const AF_NETLINK = 16;
const SOCK_RAW = 3;
const SOCK_NONBLOCK_CLOEXEC = 0x80800;
const NETLINK_ROUTE = 0;
const SOL_NETLINK = 270;
const NETLINK_ADD_MEMBERSHIP = 1;
/** An error says why in words, and does not repeat the request. */
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const MSG_TRUNC = 0x20;
const EINTR = 4;
const EAGAIN = 11;
const ENOBUFS = 105;

/**
 * Answers to a dump come in datagrams as large as the reader's buffer, up to 32 KiB; one message may be
 * larger.
 */
const DATA_LEN = 65_536;
const SOCKET_ADDRESS_LEN = 12; // struct sockaddr_nl: family (2), padding (2), port id (4), groups (4)
const HEADER_LEN = 56; // struct msghdr
const IOV = HEADER_LEN;
const NAME = IOV + 16;
const CONTROL_BYTES = NAME + 16;

/** What receive() says instead of a length. */
export const NOTHING = 0;
/** The kernel had more to say than the socket's buffer holds, or a datagram was cut: something is lost. */
export const OVERRUN = -1;

export class NetlinkSocket {
  readonly fd: number;
  /** Holds the datagram that receive() took, until its next call. */
  readonly view: DataView;
  readonly #data = Buffer.from(new ArrayBuffer(DATA_LEN));
  readonly #header = Buffer.from(new ArrayBuffer(CONTROL_BYTES));
  readonly #sendHeader = Buffer.from(new ArrayBuffer(CONTROL_BYTES));

  /**
   * Subscribes to the multicast `groups` (RTNLGRP_ numbers); one that the kernel does not know is left out.
   * The receive buffer is `bufferBytes` with CAP_NET_ADMIN, else as much of it as net.core.rmem_max allows.
   * Throws a SysError.
   */
  constructor(groups: readonly number[], bufferBytes: number) {
    this.view = new DataView(this.#data.buffer, this.#data.byteOffset, DATA_LEN);
    this.fd = check(socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK_CLOEXEC, NETLINK_ROUTE), 'socket AF_NETLINK');
    try {
      setReceiveBuffer(this.fd, bufferBytes);
      for (const option of [NETLINK_CAP_ACK, NETLINK_EXT_ACK])
        setsockopt(this.fd, SOL_NETLINK, option, Int32Array.of(1), 4);
      const name = Buffer.alloc(SOCKET_ADDRESS_LEN);
      name.writeUInt16LE(AF_NETLINK, 0);
      check(bindSocket(this.fd, name, name.length), 'bind AF_NETLINK');
      for (const group of groups) {
        setsockopt(this.fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, Int32Array.of(group), 4);
      }
    } catch (error) {
      close(this.fd);
      throw error;
    }
    const base = addressOf(this.#header);
    this.#header.writeBigUInt64LE(base + BigInt(NAME), 0);
    this.#header.writeBigUInt64LE(base + BigInt(IOV), 16);
    this.#header.writeBigUInt64LE(1n, 24);
    this.#header.writeBigUInt64LE(addressOf(this.#data), IOV);
    this.#header.writeBigUInt64LE(BigInt(DATA_LEN), IOV + 8);
  }

  /** The length of the next datagram from the kernel, NOTHING or OVERRUN. Throws a SysError. */
  receive(): number {
    for (;;) {
      this.#header.writeUInt32LE(SOCKET_ADDRESS_LEN, 8);
      const length = Number(recvmsg(this.fd, this.#header, 0));
      if (length < 0) {
        const errno = lastErrno();
        if (errno === EAGAIN) return NOTHING;
        if (errno === ENOBUFS) return OVERRUN;
        if (errno === EINTR) continue;
        throw new SysError('recvmsg AF_NETLINK', errno);
      }
      const isFromKernel = this.#header.readUInt32LE(NAME + 4) === 0;
      if (!isFromKernel || length === 0) continue;
      return this.#header.readUInt32LE(48) & MSG_TRUNC ? OVERRUN : length;
    }
  }

  /** Sends a request to the kernel. Throws a SysError. */
  send(request: Uint8Array): void {
    const header = this.#sendHeader;
    header.writeBigUInt64LE(addressOf(header) + BigInt(IOV), 16);
    header.writeBigUInt64LE(1n, 24);
    header.writeBigUInt64LE(addressOf(request), IOV);
    header.writeBigUInt64LE(BigInt(request.length), IOV + 8);
    check(Number(sendmsg(this.fd, header, 0)), 'sendmsg AF_NETLINK');
  }

  close(): void {
    close(this.fd);
  }
}

/** A SysError of the constructor as an IoError, in words: `what` cannot be done. Any other error as it is. */
export function explainNetlink(
  what: string,
  error: unknown,
  hint = 'the kernel must offer NETLINK_ROUTE sockets; a seccomp profile may forbid them',
): unknown {
  return explain(error, what, () => hint);
}
