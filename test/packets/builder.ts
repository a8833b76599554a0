// Builds IPv4 packets for tests, right ones and deliberately wrong ones (RFC 791, 768, 792; protocol 248 as in
// docs/wire-formats.md). Imports nothing of src/: expected bytes must never come from the code under test.
import { concat, ip4, onesSum, u16, u32 } from './bytes.ts';

export const UDP = 17;
export const OPP = 248;

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

export interface Udp4Fields extends Ipv4Fields {
  sport: number;
  dport: number;
  payload?: Uint8Array;
  udpLength?: number;
  /** Bytes behind the UDP datagram but inside the IP packet (RFC 9868's surplus area). */
  surplus?: Uint8Array;
  /**
   * 'partial' is what a local or veth peer leaves with checksum offload: the folded pseudo-header sum, not complemented.
   * 'zero' means that the sender computed none.
   */
  checksum?: 'valid' | 'zero' | 'partial' | 'bad';
}

export interface Opp4Fields extends Udp4Fields {
  /** What follows the four header bytes: normally one UOA option. */
  option: Uint8Array;
  /** Default 1: client is IPv4. */
  oppVersion?: number;
  /** Default 17. */
  inner?: number;
  /** Default 4 + option length. */
  oppLength?: number;
}

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

/** UDP behind a protocol-248 header; its checksum knows nothing of that header. */
export function opp4(fields: Opp4Fields): Uint8Array {
  const header = concat(
    Uint8Array.of((fields.oppVersion ?? 1) << 4, fields.inner ?? UDP),
    u16(fields.oppLength ?? 4 + fields.option.length),
    fields.option,
  );
  return ipv4(fields, OPP, concat(header, datagram(fields)));
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
  const checksum = onesSum(header) ^ 0xffff;
  header.set(u16(fields.ipChecksum === 'bad' ? checksum ^ 0x0101 : checksum), 10);
  return concat(header, data);
}

/** The address option of dialects ipo and opp for an IPv4 client: 31, 8, cport, CIP. */
export function ipoOption(cip: string, cport: number): Uint8Array {
  return concat(Uint8Array.of(31, 8), u16(cport), ip4(cip));
}

/** A copy of `packet` with another IP identification and a header checksum that is right again. */
export function withId(packet: Uint8Array, id: number): Uint8Array {
  const copy = packet.slice();
  const headerLen = ((copy[0] ?? 0) & 15) * 4;
  copy.set(u16(id), 4);
  copy.set(u16(0), 10);
  copy.set(u16(onesSum(copy.subarray(0, headerLen)) ^ 0xffff), 10);
  return copy;
}

/** The sum that a UDP checksum starts with: addresses, protocol 17, UDP length; folded, not complemented. */
export function pseudoHeaderSum(src: string, dst: string, udpLength: number): number {
  return onesSum(concat(ip4(src), ip4(dst), u16(UDP), u16(udpLength)));
}

function datagram(fields: Udp4Fields): Uint8Array {
  const payload = fields.payload ?? new Uint8Array(0);
  const udpLength = fields.udpLength ?? 8 + payload.length;
  const bytes = concat(u16(fields.sport), u16(fields.dport), u16(udpLength), u16(0), payload);
  bytes.set(u16(udpChecksum(fields, udpLength, bytes)), 6);
  return concat(bytes, fields.surplus ?? new Uint8Array(0));
}

function udpChecksum(fields: Udp4Fields, udpLength: number, bytes: Uint8Array): number {
  const pseudo = pseudoHeaderSum(fields.src, fields.dst, udpLength);
  if (fields.checksum === 'zero') return 0;
  if (fields.checksum === 'partial') return pseudo;
  const whole = onesSum(concat(u16(pseudo), bytes.subarray(0, udpLength))) ^ 0xffff;
  const valid = whole === 0 ? 0xffff : whole;
  return fields.checksum === 'bad' ? valid ^ 0x0101 : valid;
}

function padded(options: Uint8Array): Uint8Array {
  return concat(options, new Uint8Array((4 - (options.length % 4)) % 4));
}
