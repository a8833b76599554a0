// ICMP echo (RFC 792, RFC 4443 4.1) over a raw socket (raw(7), icmp(7)), which needs CAP_NET_RAW; the
// kernel's ping sockets would need a sysctl instead. Of all ICMP that comes to this host the kernel hands
// over echo replies only.
import koffi from 'koffi';
import { check, close, setsockopt, socket } from './libc.ts';
import { Message } from './message.ts';
import { setReceiveBuffer } from './socket-buffer.ts';

const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_RAW_NONBLOCK_CLOEXEC = 0x80803;
const SOL_RAW = 255;
const ICMP_FILTER = 1;
const SOL_ICMPV6 = 58;
const ICMPV6_FILTER = 1;
const RECEIVE_BUFFER_BYTES = 4 << 20;
const HEADER_LEN = 8; // type, code, checksum (2), identifier (2), sequence number (2)

/** A family's protocol, its types of request and reply, and how all types but the reply are filtered out. */
const KINDS = {
  4: { domain: AF_INET, protocol: 1, request: 8, reply: 0, level: SOL_RAW, option: ICMP_FILTER, words: 1 },
  6: {
    ...{ domain: AF_INET6, protocol: 58, request: 128, reply: 129 },
    ...{ level: SOL_ICMPV6, option: ICMPV6_FILTER, words: 8 },
  },
};

export interface EchoReply {
  ip: string;
  sequence: number;
  data: Uint8Array;
}

export interface PingSocket {
  /** Sends an echo request; `sequence` is 0 to 65,535. Throws a SysError. */
  send(ip: string, sequence: number, data: Uint8Array): void;
  /** The next reply to `identifier`, whoever sent it; undefined when there is none. Throws a SysError. */
  receive(): EchoReply | undefined;
  close(): void;
}

/** `onReadable` is called while there is something to receive. Throws a SysError. */
export function openPingSocket(family: 4 | 6, identifier: number, onReadable: () => void): PingSocket {
  const { domain, protocol, request, reply, level, option, words } = KINDS[family];
  const fd = check(socket(domain, SOCK_RAW_NONBLOCK_CLOEXEC, protocol), 'socket');
  try {
    const filter = new Int32Array(words).fill(-1);
    filter[reply >> 5] &= ~(1 << (reply & 31));
    check(setsockopt(fd, level, option, filter, filter.byteLength), 'setsockopt ICMP_FILTER');
    setReceiveBuffer(fd, RECEIVE_BUFFER_BYTES);
  } catch (error) {
    close(fd);
    throw error;
  }
  const message = new Message();
  const poll = koffi.node.poll(fd, { readable: true }, onReadable);
  return {
    send(ip, sequence, data) {
      const bytes = Buffer.alloc(HEADER_LEN + data.length);
      bytes[0] = request;
      bytes.writeUInt16BE(identifier, 4);
      bytes.writeUInt16BE(sequence, 6);
      bytes.set(data, HEADER_LEN);
      if (family === 4) bytes.writeUInt16BE(checksum(bytes), 2); // over IPv6 the kernel fills it in
      message.send(fd, bytes, { ip, port: 0 });
    },
    receive() {
      for (;;) {
        const length = message.receive(fd);
        if (length < 0) return undefined;
        const packet = Buffer.from(message.data(length));
        // IPv4 comes with its header.
        const bytes = family === 4 ? packet.subarray((packet[0] & 0x0f) * 4) : packet;
        if (bytes.length < HEADER_LEN || bytes[0] !== reply || bytes.readUInt16BE(4) !== identifier) continue;
        return { ip: message.ip, sequence: bytes.readUInt16BE(6), data: bytes.subarray(HEADER_LEN) };
      }
    },
    close() {
      poll.close(); // before the descriptor: libuv must not watch a number that may be given out again
      close(fd);
    },
  };
}

function checksum(bytes: Buffer): number {
  let sum = 0;
  for (let off = 0; off < bytes.length; off += 2) sum += (bytes[off] << 8) | (bytes[off + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
