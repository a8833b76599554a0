// Builds IPv4 packets for tests, right ones and deliberately wrong ones (RFC 791, 768, 792). Imports nothing
// of src/: expected bytes must never come from the code under test.
import { concat, ip4, onesSum, u16, u32 } from './bytes.ts';
import { datagram, UDP, type UdpFields } from './udp.ts';

/** The fields of an IPv4 header that a test may choose; lengths and checksums are right unless overridden. */
export interface Ipv4Fields {
  src: string;
  dst: string;
  /** Default 64. */
  ttl?: number;
  tos?: number;
  /** Default 0x1234. */
  id?: number;
  df?: boolean;
  mf?: boolean;
  /** In units of 8 bytes, as in the header. */
  fragOffset?: number;
  /** Padded with zero bytes to a multiple of 4. */
  options?: Uint8Array;
  version?: number;
  /** Header length in 32-bit words, as in the header. */
  ihl?: number;
  totalLength?: number;
  ipChecksum?: 'valid' | 'bad';
}

export interface Udp4Fields extends Ipv4Fields, UdpFields {}

export interface Icmp4Fields extends Ipv4Fields {
  type: number;
  code: number;
  /** Bytes 4 to 8, e.g. the next-hop MTU. */
  rest?: number;
  body?: Uint8Array;
}

export function udp4(fields: Udp4Fields): Uint8Array {
  return ipv4(fields, UDP, datagram(fields));
}

export function icmp4(fields: Icmp4Fields): Uint8Array {
  const body = fields.body ?? new Uint8Array(0);
  const message = concat(Uint8Array.of(fields.type, fields.code, 0, 0), u32(fields.rest ?? 0), body);
  message.set(u16(onesSum(message) ^ 0xffff), 2);
  return ipv4(fields, 1, message);
}

/** Any protocol: `data` is what follows the IP header. */
export function ipv4(fields: Ipv4Fields, protocol: number, data: Uint8Array): Uint8Array {
  const options = padded(fields.options ?? new Uint8Array(0));
  const flags = (fields.df ? 0x4000 : 0) | (fields.mf ? 0x2000 : 0) | (fields.fragOffset ?? 0);
  const header = concat(
    Uint8Array.of(((fields.version ?? 4) << 4) | (fields.ihl ?? 5 + options.length / 4), fields.tos ?? 0),
    u16(fields.totalLength ?? 20 + options.length + data.length),
    u16(fields.id ?? 0x1234),
    u16(flags),
    Uint8Array.of(fields.ttl ?? 64, protocol),
    u16(0),
    ip4(fields.src),
    ip4(fields.dst),
    options,
  );
  const packet = withHeaderChecksum(concat(header, data), header.length);
  if (fields.ipChecksum === 'bad') packet.set([packet[10] ^ 1, packet[11] ^ 1], 10);
  return packet;
}

/** A copy of `packet` with another IP identification and a header checksum that is right again. */
export function withId(packet: Uint8Array, id: number): Uint8Array {
  const copy = packet.slice();
  copy.set(u16(id), 4);
  return withHeaderChecksum(copy, ((copy[0] ?? 0) & 15) * 4);
}

/** `packet` itself, its header checksum computed anew. */
export function withHeaderChecksum(packet: Uint8Array, headerLen: number): Uint8Array {
  packet.set(u16(0), 10);
  packet.set(u16(onesSum(packet.subarray(0, headerLen)) ^ 0xffff), 10);
  return packet;
}

function padded(options: Uint8Array): Uint8Array {
  return concat(options, new Uint8Array((4 - (options.length % 4)) % 4));
}
