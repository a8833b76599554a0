// Builds IPv6 packets for tests, right ones and deliberately wrong ones (RFC 8200, 768, 4443). Extension
// headers are pieces in a list; each is given its next-header byte when the packet is put together. Imports
// nothing of src/.
import { concat, ip6, onesSum, u16, u32 } from './bytes.ts';
import { datagram, pseudoHeaderSum, UDP, type UdpFields } from './udp.ts';

export const HOP_BY_HOP = 0;
export const ROUTING = 43;
export const FRAGMENT = 44;
export const ICMP6 = 58;
export const NO_NEXT_HEADER = 59;
export const DEST_OPTIONS = 60;

/** An extension header: its number, and its bytes, of which the first (next header) is filled in later. */
export interface Extension {
  readonly header: number;
  readonly bytes: Uint8Array;
}

/**
 * The fields of an IPv6 packet that a test may choose; lengths and next headers are right unless overridden.
 */
export interface Ipv6Fields {
  src: string;
  dst: string;
  /** Default 64. */
  hopLimit?: number;
  trafficClass?: number;
  flowLabel?: number;
  /** In the order of the packet; none by default. */
  extensions?: readonly Extension[];
  /** What the last header in front of the data says that follows. */
  nextHeader?: number;
  payloadLength?: number;
  version?: number;
}

export interface Udp6Fields extends Ipv6Fields, UdpFields {}

export interface Icmp6Fields extends Ipv6Fields {
  type: number;
  code: number;
  /** Bytes 4 to 8, e.g. the next-hop MTU or a pointer. */
  rest?: number;
  body?: Uint8Array;
  icmpChecksum?: 'valid' | 'bad';
}

export function udp6(fields: Udp6Fields): Uint8Array {
  return ipv6(fields, UDP, datagram(fields));
}

/** ICMPv6, whose checksum covers the pseudo-header too (RFC 4443 section 2.3). */
export function icmp6(fields: Icmp6Fields): Uint8Array {
  const body = fields.body ?? new Uint8Array(0);
  const message = concat(Uint8Array.of(fields.type, fields.code, 0, 0), u32(fields.rest ?? 0), body);
  const pseudo = pseudoHeaderSum(fields.src, fields.dst, message.length, ICMP6);
  const checksum = onesSum(concat(u16(pseudo), message)) ^ 0xffff;
  message.set(u16(fields.icmpChecksum === 'bad' ? checksum ^ 0x0101 : checksum), 2);
  return ipv6(fields, ICMP6, message);
}

/** Any protocol: `data` is what follows the extension headers. */
export function ipv6(fields: Ipv6Fields, protocol: number, data: Uint8Array): Uint8Array {
  const extensions = fields.extensions ?? [];
  const last = fields.nextHeader ?? protocol;
  const chain = extensions.map(({ bytes }, index) => {
    const copy = bytes.slice();
    copy[0] = extensions[index + 1]?.header ?? last;
    return copy;
  });
  const behind = concat(...chain, data);
  const word =
    (fields.version ?? 6) * 0x10000000 + (fields.trafficClass ?? 0) * 0x100000 + (fields.flowLabel ?? 0);
  return concat(
    u32(word),
    u16(fields.payloadLength ?? behind.length),
    Uint8Array.of(extensions[0]?.header ?? last, fields.hopLimit ?? 64),
    ip6(fields.src),
    ip6(fields.dst),
    behind,
  );
}

/** One option of a hop-by-hop or destination options header. */
export function option6(type: number, data: Uint8Array): Uint8Array {
  return concat(Uint8Array.of(type, data.length), data);
}

/** Pad1 or PadN of `length` bytes, zero-filled. */
export function padding6(length: number): Uint8Array {
  return length < 2 ? new Uint8Array(length) : option6(1, new Uint8Array(length - 2));
}

/**
 * A destination options header with these options, padded to a multiple of 8 bytes; `length` overrides its
 * length field (8-byte units behind the first).
 */
export function destOptions(options: Uint8Array, length?: number): Extension {
  return { header: DEST_OPTIONS, bytes: optionsHeader(options, length) };
}

export function hopByHop(options: Uint8Array, length?: number): Extension {
  return { header: HOP_BY_HOP, bytes: optionsHeader(options, length) };
}

/** A routing header; type 0 with one address by default. */
export function routing({
  type = 0,
  segmentsLeft = 0,
  via = '2001:db8::99',
}: {
  type?: number;
  segmentsLeft?: number;
  via?: string;
} = {}): Extension {
  const bytes = concat(Uint8Array.of(0, 2, type, segmentsLeft), u32(0), ip6(via));
  return { header: ROUTING, bytes };
}

/** A fragment header; `offset` in bytes, a multiple of 8. */
export function fragmentHeader({
  offset = 0,
  more = false,
  id = 0x12345678,
}: {
  offset?: number;
  more?: boolean;
  id?: number;
} = {}): Extension {
  return { header: FRAGMENT, bytes: concat(u16(0), u16(offset | (more ? 1 : 0)), u32(id)) };
}

function optionsHeader(options: Uint8Array, length?: number): Uint8Array {
  const used = 2 + options.length;
  const bytes = concat(new Uint8Array(2), options, padding6((8 - (used % 8)) % 8));
  bytes[1] = length ?? bytes.length / 8 - 1;
  return bytes;
}
