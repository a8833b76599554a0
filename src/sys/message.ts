// struct msghdr (recvmsg(2)) for 64-bit Linux with one buffer each for address, data and control messages,
// all in one block of memory that does not move. One call at a time uses it; results are valid until the
// next.
import { SocketAddress } from 'node:net';
import { addressOf, check, inet_pton, lastErrno, recvmsg, SysError, sendmsg } from './libc.ts';

const HEADER_LEN = 56; // name, namelen, iov, iovlen, control, controllen, flags: 8 bytes each
const IOV_LEN = 16;
const NAME_LEN = 32; // struct sockaddr_in6, padded
const CONTROL_LEN = 4096; // a destination options header alone may have 2,048 bytes
const CMSG_HEADER_LEN = 16; // len (8), level (4), type (4)
const DATA_LEN = 65_536;

const HEADER = 0;
const IOV = HEADER + HEADER_LEN;
const NAME = IOV + IOV_LEN;
const CONTROL = NAME + NAME_LEN;
const DATA = CONTROL + CONTROL_LEN;

const AF_INET = 2;
const AF_INET6 = 10;
const IPV4_LEN = 16; // struct sockaddr_in
const IPV6_LEN = 28; // struct sockaddr_in6
const EAGAIN = 11;
const ECONNREFUSED = 111;

export class Message {
  readonly #bytes = Buffer.from(new ArrayBuffer(DATA + DATA_LEN));
  readonly #header = this.#bytes.subarray(HEADER, HEADER_LEN);

  constructor() {
    const base = addressOf(this.#bytes);
    this.#bytes.writeBigUInt64LE(base + BigInt(NAME), HEADER);
    this.#bytes.writeBigUInt64LE(base + BigInt(IOV), HEADER + 16);
    this.#bytes.writeBigUInt64LE(1n, HEADER + 24);
    this.#bytes.writeBigUInt64LE(base + BigInt(CONTROL), HEADER + 32);
    this.#bytes.writeBigUInt64LE(base + BigInt(DATA), IOV);
  }

  /**
   * Receives one datagram from a non-blocking socket: its length, or -1 when there is none. Throws a
   * SysError.
   */
  receive(fd: number): number {
    this.#bytes.writeUInt32LE(NAME_LEN, HEADER + 8);
    this.#bytes.writeBigUInt64LE(BigInt(DATA_LEN), IOV + 8);
    this.#bytes.writeBigUInt64LE(BigInt(CONTROL_LEN), HEADER + 40);
    for (;;) {
      const length = Number(recvmsg(fd, this.#header, 0));
      if (length >= 0) return length;
      const errno = lastErrno();
      if (errno === EAGAIN) return -1;
      if (errno !== ECONNREFUSED) throw new SysError('recvmsg', errno);
    }
  }

  /** The sender's address after receive(), as text. */
  get ip(): string {
    return formatAddress(this.addressBytes);
  }

  /** A copy of the sender's address after receive(): 4 bytes, or 16. */
  get addressBytes(): Uint8Array {
    const isIpv6 = this.#bytes.readUInt16LE(NAME) === AF_INET6;
    const off = NAME + (isIpv6 ? 8 : 4);
    return Uint8Array.from(this.#bytes.subarray(off, off + (isIpv6 ? 16 : 4)));
  }

  get port(): number {
    return this.#bytes.readUInt16BE(NAME + 2);
  }

  /** After receive() from a packet socket: struct sockaddr_ll (packet(7)). */
  get link(): { protocol: number; interfaceIndex: number; hardware: number; direction: number } {
    return {
      protocol: this.#bytes.readUInt16BE(NAME + 2),
      interfaceIndex: this.#bytes.readInt32LE(NAME + 4),
      hardware: this.#bytes.readUInt16LE(NAME + 8),
      direction: this.#bytes.readUInt8(NAME + 10),
    };
  }

  /** A copy of the first `length` bytes received. */
  data(length: number): Uint8Array {
    return new Uint8Array(this.#bytes.buffer.slice(DATA, DATA + length));
  }

  /** A copy of the first control message of this level and type after receive(); empty when there is none. */
  control(level: number, type: number): Uint8Array {
    const end = CONTROL + Number(this.#bytes.readBigUInt64LE(HEADER + 40));
    for (let off = CONTROL; off + CMSG_HEADER_LEN <= end; ) {
      const length = Number(this.#bytes.readBigUInt64LE(off));
      if (length < CMSG_HEADER_LEN) break;
      if (this.#bytes.readInt32LE(off + 8) === level && this.#bytes.readInt32LE(off + 12) === type) {
        return new Uint8Array(this.#bytes.buffer.slice(off + CMSG_HEADER_LEN, off + length));
      }
      off += (length + 7) & ~7;
    }
    return new Uint8Array(0);
  }

  /** Sends `payload` to ip:port, with at most one control message. Throws a SysError. */
  send(
    fd: number,
    payload: Uint8Array,
    to: { ip: string; port: number },
    control?: { level: number; type: number; data: Uint8Array },
  ): void {
    const nameLen = writeSocketAddress(this.#bytes, NAME, to.ip, to.port);
    this.#bytes.writeUInt32LE(nameLen, HEADER + 8);
    this.#bytes.set(payload, DATA);
    this.#bytes.writeBigUInt64LE(BigInt(payload.length), IOV + 8);
    let controlLen = 0;
    if (control !== undefined) {
      controlLen = CMSG_HEADER_LEN + control.data.length;
      this.#bytes.writeBigUInt64LE(BigInt(controlLen), CONTROL);
      this.#bytes.writeInt32LE(control.level, CONTROL + 8);
      this.#bytes.writeInt32LE(control.type, CONTROL + 12);
      this.#bytes.set(control.data, CONTROL + CMSG_HEADER_LEN);
      controlLen = (controlLen + 7) & ~7;
    }
    this.#bytes.writeBigUInt64LE(BigInt(controlLen), HEADER + 40);
    this.#bytes.writeInt32LE(0, HEADER + 48);
    check(Number(sendmsg(fd, this.#header, 0)), 'sendmsg');
  }
}

/**
 * Writes a struct sockaddr_in (ip(7)) of 16 bytes, or a sockaddr_in6 (ipv6(7)) of 28, and returns its length.
 */
export function writeSocketAddress(bytes: Buffer, off: number, ip: string, port: number): number {
  const isIpv6 = ip.includes(':');
  const length = isIpv6 ? IPV6_LEN : IPV4_LEN;
  bytes.fill(0, off, off + length);
  bytes.writeUInt16LE(isIpv6 ? AF_INET6 : AF_INET, off);
  bytes.writeUInt16BE(port, off + 2);
  const address = bytes.subarray(isIpv6 ? off + 8 : off + 4, off + length);
  if (inet_pton(isIpv6 ? AF_INET6 : AF_INET, ip, address) !== 1) {
    throw new RangeError(`not an IP address: ${ip}`);
  }
  return length;
}

/** 4 or 16 bytes as text, IPv6 as RFC 5952 wants it. */
function formatAddress(address: Uint8Array): string {
  if (address.length === 4) return address.join('.');
  const groups = Array.from({ length: 8 }, (_, index) =>
    ((address[2 * index] << 8) | address[2 * index + 1]).toString(16),
  ).join(':');
  return new SocketAddress({ address: groups, family: 'ipv6' }).address;
}
