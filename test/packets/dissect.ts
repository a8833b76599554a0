// Takes an IPv4 or IPv6 packet apart for readable assertions, in one shape for both. Independent of src/ and
// of the builders; throws on a malformed packet, so that a row that dissects what was sent also proves its
// lengths.
import { at16, concat, type Family, hex, ip6Text, onesSum, u16, u32 } from './bytes.ts';

export interface Dissected {
  family: Family;
  /** IPv6 in the canonical form of RFC 5952. */
  src: string;
  dst: string;
  /** IPv6: traffic class. */
  tos: number;
  /** IPv6: hop limit. */
  ttl: number;
  /** 0 in IPv4. */
  flowLabel: number;
  /** Identification; of an IPv6 packet that of its fragment header, or -1. */
  id: number;
  /** Always true in IPv6. */
  df: boolean;
  /** Only in a fragment that is not the whole packet; offset in bytes. */
  fragment?: { offset: number; more: boolean };
  /** True in IPv6, which has none. */
  ipChecksumOk: boolean;
  /** Everything behind the fixed IPv4 header, hex, padding included; '' in IPv6. */
  options: string;
  /** IPv6 extension headers in order, whole, hex. */
  extensions: { header: number; bytes: string }[];
  /** The options of all destination options headers, whole, hex, padding left out. */
  destOptions: string[];
  /** IPv6: the last next header. */
  proto: number;
  opp?: { version: number; inner: number; length: number; option: string };
  /** ICMP or ICMPv6. */
  icmp?: { type: number; code: number; rest: number; body: string; checksumOk: boolean };
  /** -1 in all five when there is no UDP header. */
  sport: number;
  dport: number;
  udpLength: number;
  udpChecksum: number;
  /** True for checksum 0 over IPv4: the sender computed none. Always false in a fragment. */
  udpChecksumOk: boolean;
  /** Of a first fragment: what it has of it. */
  payload: string;
  /** Bytes behind the UDP datagram but inside the packet. */
  surplus: string;
  /** What a later fragment carries, hex. */
  data: string;
}

/** `fragment` says whether `packet` may be a part of a packet: it throws on one unless told so. */
export function dissect(packet: Uint8Array, { fragment = false } = {}): Dissected {
  const version = (packet[0] ?? 0) >> 4;
  if (version !== 4 && version !== 6) throw new Error(`IP version ${version}`);
  const found: Dissected = {
    family: version,
    src: '',
    dst: '',
    tos: 0,
    ttl: 0,
    flowLabel: 0,
    id: -1,
    df: true,
    ipChecksumOk: true,
    options: '',
    extensions: [],
    destOptions: [],
    proto: -1,
    sport: -1,
    dport: -1,
    udpLength: -1,
    udpChecksum: -1,
    udpChecksumOk: false,
    payload: '',
    surplus: '',
    data: '',
  };
  const data = version === 4 ? header4(found, packet) : header6(found, packet);
  if (found.fragment && !fragment) throw new Error('a fragment');
  const addresses = version === 4 ? packet.subarray(12, 20) : packet.subarray(8, 40);
  if (found.fragment && found.fragment.offset > 0) found.data = hex(data);
  else if (found.proto === 17) datagram(found, addresses, data);
  else if (found.proto === 248) opp(found, addresses, data);
  else if (found.proto === (version === 4 ? 1 : 58)) icmp(found, addresses, data);
  return found;
}

/** Fills in the header's fields; returns what is behind it. */
function header4(found: Dissected, packet: Uint8Array): Uint8Array {
  if (packet.length < 20) throw new Error(`${packet.length} bytes are no IPv4 header`);
  const headerLen = ((packet[0] ?? 0) & 15) * 4;
  if (headerLen < 20 || headerLen > packet.length) throw new Error(`header length ${headerLen}`);
  if (at16(packet, 2) !== packet.length)
    throw new Error(`total length ${at16(packet, 2)} of ${packet.length} bytes`);
  found.src = packet.subarray(12, 16).join('.');
  found.dst = packet.subarray(16, 20).join('.');
  found.tos = packet[1] ?? 0;
  found.ttl = packet[8] ?? 0;
  found.id = at16(packet, 4);
  found.df = (at16(packet, 6) & 0x4000) !== 0;
  found.ipChecksumOk = onesSum(packet.subarray(0, headerLen)) === 0xffff;
  found.options = hex(packet.subarray(20, headerLen));
  found.proto = packet[9] ?? 0;
  options(packet.subarray(20, headerLen));
  place(found, (at16(packet, 6) & 0x1fff) * 8, (at16(packet, 6) & 0x2000) !== 0);
  return packet.subarray(headerLen);
}

function header6(found: Dissected, packet: Uint8Array): Uint8Array {
  if (packet.length < 40) throw new Error(`${packet.length} bytes are no IPv6 header`);
  if (at16(packet, 4) !== packet.length - 40)
    throw new Error(`payload length ${at16(packet, 4)} of ${packet.length - 40} bytes`);
  found.src = ip6Text(packet.subarray(8, 24));
  found.dst = ip6Text(packet.subarray(24, 40));
  found.tos = (at16(packet, 0) >> 4) & 0xff;
  found.ttl = packet[7] ?? 0;
  found.flowLabel = (at16(packet, 0) & 15) * 0x10000 + at16(packet, 2);
  let off = 40;
  let header = packet[6] ?? 0;
  while ([0, 43, 44, 60].includes(header)) {
    const length = header === 44 ? 8 : ((packet[off + 1] ?? 0) + 1) * 8;
    const bytes = packet.subarray(off, off + length);
    if (bytes.length < length) throw new Error(`extension header ${header} of ${length} bytes at ${off}`);
    found.extensions.push({ header, bytes: hex(bytes) });
    if (header === 0 || header === 60) {
      const seen = options6(bytes.subarray(2));
      if (header === 60) found.destOptions.push(...seen.map(hex));
    }
    if (header === 44) {
      found.id = at16(bytes, 4) * 0x10000 + at16(bytes, 6);
      place(found, at16(bytes, 2) & 0xfff8, (at16(bytes, 2) & 1) !== 0);
    }
    header = bytes[0] ?? 0;
    off += length;
    if (found.fragment && found.fragment.offset > 0) break;
  }
  found.proto = header;
  return packet.subarray(off);
}

function place(found: Dissected, offset: number, more: boolean): void {
  if (offset > 0 || more) found.fragment = { offset, more };
}

/** The IPv4 options in order, each whole; stops at End-of-Options. Throws when one does not fit. */
export function options(area: Uint8Array): Uint8Array[] {
  const found: Uint8Array[] = [];
  for (let off = 0; off < area.length && area[off] !== 0; ) {
    const length = area[off] === 1 ? 1 : (area[off + 1] ?? 0);
    if (length < (area[off] === 1 ? 1 : 2) || off + length > area.length) {
      throw new Error(`option ${area[off]} of ${length} bytes at ${off} of ${area.length}`);
    }
    found.push(area.subarray(off, off + length));
    off += length;
  }
  return found;
}

/**
 * The options of an IPv6 options header without padding. Throws when one does not fit or padding is not zero.
 */
export function options6(area: Uint8Array): Uint8Array[] {
  const found: Uint8Array[] = [];
  for (let off = 0; off < area.length; ) {
    const type = area[off] ?? 0;
    const length = type === 0 ? 1 : 2 + (area[off + 1] ?? 0);
    const option = area.subarray(off, off + length);
    if (option.length < length || (type !== 0 && off + 2 > area.length))
      throw new Error(`option ${type} of ${length} bytes at ${off} of ${area.length}`);
    if (type === 1 && option.subarray(2).some((byte) => byte !== 0))
      throw new Error(`padding ${hex(option)}`);
    if (type > 1) found.push(option);
    off += length;
  }
  return found;
}

function opp(found: Dissected, addresses: Uint8Array, data: Uint8Array): void {
  const length = at16(data, 2);
  if (data.length < 4 || length < 4 || length > data.length)
    throw new Error(`opp length ${length} of ${data.length}`);
  found.opp = {
    version: (data[0] ?? 0) >> 4,
    inner: data[1] ?? 0,
    length,
    option: hex(data.subarray(4, length)),
  };
  datagram(found, addresses, data.subarray(length));
}

function datagram(found: Dissected, addresses: Uint8Array, data: Uint8Array): void {
  const udpLength = at16(data, 4);
  if (data.length < 8 || udpLength < 8 || (udpLength > data.length && !found.fragment)) {
    throw new Error(`UDP length ${udpLength} of ${data.length} bytes`);
  }
  found.sport = at16(data, 0);
  found.dport = at16(data, 2);
  found.udpLength = udpLength;
  found.udpChecksum = at16(data, 6);
  const summed = concat(addresses, u16(17), u16(udpLength), data.subarray(0, udpLength));
  const absent = found.udpChecksum === 0;
  found.udpChecksumOk = !found.fragment && (absent ? found.family === 4 : onesSum(summed) === 0xffff);
  found.payload = hex(data.subarray(8, udpLength));
  found.surplus = hex(data.subarray(udpLength));
}

function icmp(found: Dissected, addresses: Uint8Array, data: Uint8Array): void {
  if (data.length < 8) throw new Error(`${data.length} bytes are no ICMP message`);
  const pseudo = found.family === 4 ? new Uint8Array(0) : concat(addresses, u32(data.length), u32(58));
  found.icmp = {
    type: data[0] ?? 0,
    code: data[1] ?? 0,
    rest: at16(data, 4) * 0x10000 + at16(data, 6),
    body: hex(data.subarray(8)),
    checksumOk: !found.fragment && onesSum(concat(pseudo, data)) === 0xffff,
  };
}
