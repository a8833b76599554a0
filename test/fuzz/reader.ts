// Reads what arrives as leniently as a receiver may: only what must be there for a datagram to be found. The
// dissector of test/packets is strict and reads what is sent. Imports nothing of src/.
import { withHeaderChecksum } from '../packets/builder.ts';
import { at16, concat, type Family, ip6Text, onesSum, u16, u32 } from '../packets/bytes.ts';

export interface Seen {
  family: Family;
  src: string;
  dst: string;
  ttl: number;
  tos: number;
  /** What stands behind the IP header. */
  proto: number;
  /** The IP packet without the link's padding. */
  packet: Uint8Array;
  fragment?: Fragment;
  udp?: Datagram;
  icmp?: { type: number; code: number; rest: number; body: Uint8Array };
}

export interface Fragment {
  id: number;
  offset: number;
  more: boolean;
  data: Uint8Array;
}

export interface Datagram {
  /** Where UDP stands in the packet. */
  off: number;
  sport: number;
  dport: number;
  payload: Uint8Array;
  surplus: Uint8Array;
  /** Its checksum; 'partial' is what offload leaves: the sum of the pseudo-header. */
  sum: 'right' | 'zero' | 'partial' | 'wrong';
  /** The protocol-248 header in front of it; empty without one. */
  opp: Uint8Array;
}

/** Undefined when the lengths of the IP header make no sense. */
export function read(bytes: Uint8Array): Seen | undefined {
  const version = (bytes[0] ?? 0) >> 4;
  return version === 4 ? read4(bytes) : version === 6 ? read6(bytes) : undefined;
}

function read4(bytes: Uint8Array): Seen | undefined {
  const headerLen = ((bytes[0] ?? 0) & 15) * 4;
  const totalLen = at16(bytes, 2);
  if (bytes.length < 20 || headerLen < 20 || totalLen < headerLen || totalLen > bytes.length)
    return undefined;
  const packet = bytes.subarray(0, totalLen);
  const seen: Seen = {
    family: 4,
    src: packet.subarray(12, 16).join('.'),
    dst: packet.subarray(16, 20).join('.'),
    ttl: packet[8],
    tos: packet[1],
    proto: packet[9],
    packet,
  };
  const field = at16(packet, 6);
  if ((field & 0x3fff) === 0) readUpper(seen, headerLen);
  else {
    const data = packet.subarray(headerLen);
    seen.fragment = { id: at16(packet, 4), offset: (field & 0x1fff) * 8, more: (field & 0x2000) !== 0, data };
  }
  return seen;
}

function read6(bytes: Uint8Array): Seen | undefined {
  const totalLen = 40 + at16(bytes, 4);
  if (bytes.length < totalLen) return undefined;
  const packet = bytes.subarray(0, totalLen);
  const seen: Seen = {
    family: 6,
    src: ip6Text(packet.subarray(8, 24)),
    dst: ip6Text(packet.subarray(24, 40)),
    ttl: packet[7],
    tos: (at16(packet, 0) >> 4) & 0xff,
    proto: packet[6],
    packet,
  };
  let off = 40;
  while ([0, 43, 44, 60].includes(seen.proto)) {
    if (off + 8 > totalLen) return undefined;
    const length = seen.proto === 44 ? 8 : (packet[off + 1] + 1) * 8;
    if (off + length > totalLen) return undefined;
    const place = at16(packet, off + 2);
    const isPiece = seen.proto === 44 && (place & 0xfff9) !== 0;
    seen.proto = packet[off]!;
    if (isPiece) {
      const id = at16(packet, off + 4) * 0x10000 + at16(packet, off + 6);
      const data = packet.subarray(off + 8);
      seen.fragment = { id, offset: place & 0xfff8, more: (place & 1) !== 0, data };
      return seen;
    }
    off += length;
  }
  readUpper(seen, off);
  return seen;
}

function readUpper(seen: Seen, off: number): void {
  const { packet, family, proto } = seen;
  const data = packet.subarray(off);
  if (proto === 17) readUdp(seen, off, data.subarray(0, 0));
  if (proto === 248 && data.length >= 4 && data[1] === 17) {
    const length = at16(data, 2);
    if (length >= 4 && length <= data.length) readUdp(seen, off + length, data.subarray(0, length));
  }
  if (proto === (family === 4 ? 1 : 58) && data.length >= 8) {
    const rest = at16(data, 4) * 0x10000 + at16(data, 6);
    seen.icmp = { type: data[0], code: data[1], rest, body: data.subarray(8) };
  }
}

function readUdp(seen: Seen, off: number, opp: Uint8Array): void {
  const data = seen.packet.subarray(off);
  const length = at16(data, 4);
  if (data.length < 8 || length < 8 || length > data.length) return;
  seen.udp = {
    off,
    sport: at16(data, 0),
    dport: at16(data, 2),
    payload: data.subarray(8, length),
    surplus: data.subarray(length),
    sum: sumOf(seen, data.subarray(0, length)),
    opp,
  };
}

function sumOf({ packet, family }: Seen, datagram: Uint8Array): Datagram['sum'] {
  const field = at16(datagram, 6);
  if (field === 0) return 'zero';
  const pseudo = pseudoSum(packet, family, datagram.length);
  if (onesSum(concat(u16(pseudo), datagram)) === 0xffff) return 'right';
  return field === pseudo ? 'partial' : 'wrong';
}

function pseudoSum(packet: Uint8Array, family: Family, length: number): number {
  const addresses = family === 4 ? packet.subarray(12, 20) : packet.subarray(8, 40);
  return onesSum(concat(addresses, u32(length), u32(17)));
}

/** `packet` with the checksums of IPv4 and UDP made right where it has them; a UDP checksum of zero stays. */
export function repaired(packet: Uint8Array): Uint8Array {
  const copy = packet.slice();
  const headerLen = ((copy[0] ?? 0) & 15) * 4;
  if ((copy[0] ?? 0) >> 4 === 4 && headerLen >= 20 && copy.length >= headerLen) {
    withHeaderChecksum(copy, headerLen);
  }
  const seen = read(copy);
  if (seen?.udp && seen.udp.sum !== 'zero') {
    const { off, payload } = seen.udp;
    const length = 8 + payload.length;
    copy.set(u16(0), off + 6);
    const sum = onesSum(concat(u16(pseudoSum(copy, seen.family, length)), copy.subarray(off, off + length)));
    copy.set(u16(sum ^ 0xffff || 0xffff), off + 6);
  }
  return copy;
}

/**
 * The whole packet that fragments make, headers of the first; undefined when they leave a hole or overlap.
 */
export function join(fragments: readonly Seen[]): Uint8Array | undefined {
  const pieces = [...fragments].sort((one, other) => one.fragment!.offset - other.fragment!.offset);
  let length = 0;
  for (const [index, { fragment }] of pieces.entries()) {
    if (fragment!.offset !== length || fragment!.more !== index < pieces.length - 1) return undefined;
    length += fragment!.data.length;
  }
  const first = pieces[0];
  if (!first) return undefined;
  const isCongested = pieces.some(({ tos }) => (tos & 3) === 3);
  const headerLen = first.family === 4 ? (first.packet[0] & 15) * 4 : 40;
  const whole = concat(first.packet.slice(0, headerLen), ...pieces.map(({ fragment }) => fragment!.data));
  if (first.family === 4) {
    whole[1] |= isCongested ? 3 : 0;
    whole.set(u16(whole.length), 2);
    whole.set(u16(0), 6);
    return withHeaderChecksum(whole, headerLen);
  }
  whole[1] |= isCongested ? 0x30 : 0;
  whole.set(u16(length), 4);
  whole[6] = first.proto;
  return whole;
}
