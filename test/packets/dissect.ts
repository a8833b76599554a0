// Takes an IPv4 packet apart for readable assertions. Independent of src/ and of the builder; throws on a malformed
// packet, so that a row that dissects what was sent also proves its lengths.
import { at16, concat, hex, onesSum, u16 } from './bytes.ts';

export interface Dissected {
  src: string;
  dst: string;
  tos: number;
  id: number;
  df: boolean;
  ttl: number;
  ipChecksumOk: boolean;
  /** Everything behind the fixed header, hex, padding included. */
  options: string;
  proto: number;
  opp?: { version: number; inner: number; length: number; option: string };
  icmp?: { type: number; code: number; rest: number; body: string; checksumOk: boolean };
  /** -1 in all five when there is no UDP datagram. */
  sport: number;
  dport: number;
  udpLength: number;
  udpChecksum: number;
  /** True also for checksum 0: the sender computed none. */
  udpChecksumOk: boolean;
  payload: string;
  /** Bytes behind the UDP datagram but inside the packet. */
  surplus: string;
}

export function dissect(packet: Uint8Array): Dissected {
  if (packet.length < 20) throw new Error(`${packet.length} bytes are no IPv4 header`);
  const headerLen = ((packet[0] ?? 0) & 15) * 4;
  if ((packet[0] ?? 0) >> 4 !== 4) throw new Error(`IP version ${(packet[0] ?? 0) >> 4}`);
  if (headerLen < 20 || headerLen > packet.length) throw new Error(`header length ${headerLen}`);
  if (at16(packet, 2) !== packet.length)
    throw new Error(`total length ${at16(packet, 2)} of ${packet.length} bytes`);
  if ((at16(packet, 6) & 0x3fff) !== 0) throw new Error('a fragment');
  const proto = packet[9] ?? 0;
  const found: Dissected = {
    src: packet.subarray(12, 16).join('.'),
    dst: packet.subarray(16, 20).join('.'),
    tos: packet[1] ?? 0,
    id: at16(packet, 4),
    df: (at16(packet, 6) & 0x4000) !== 0,
    ttl: packet[8] ?? 0,
    ipChecksumOk: onesSum(packet.subarray(0, headerLen)) === 0xffff,
    options: hex(packet.subarray(20, headerLen)),
    proto,
    sport: -1,
    dport: -1,
    udpLength: -1,
    udpChecksum: -1,
    udpChecksumOk: false,
    payload: '',
    surplus: '',
  };
  options(packet.subarray(20, headerLen));
  const data = packet.subarray(headerLen);
  if (proto === 17) datagram(found, packet, data);
  if (proto === 248) opp(found, packet, data);
  if (proto === 1) icmp(found, data);
  return found;
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

function opp(found: Dissected, packet: Uint8Array, data: Uint8Array): void {
  const length = at16(data, 2);
  if (data.length < 4 || length < 4 || length > data.length)
    throw new Error(`opp length ${length} of ${data.length}`);
  found.opp = {
    version: (data[0] ?? 0) >> 4,
    inner: data[1] ?? 0,
    length,
    option: hex(data.subarray(4, length)),
  };
  datagram(found, packet, data.subarray(length));
}

function datagram(found: Dissected, packet: Uint8Array, data: Uint8Array): void {
  const udpLength = at16(data, 4);
  if (data.length < 8 || udpLength < 8 || udpLength > data.length) {
    throw new Error(`UDP length ${udpLength} of ${data.length} bytes`);
  }
  found.sport = at16(data, 0);
  found.dport = at16(data, 2);
  found.udpLength = udpLength;
  found.udpChecksum = at16(data, 6);
  const summed = concat(packet.subarray(12, 20), u16(17), u16(udpLength), data.subarray(0, udpLength));
  found.udpChecksumOk = found.udpChecksum === 0 || onesSum(summed) === 0xffff;
  found.payload = hex(data.subarray(8, udpLength));
  found.surplus = hex(data.subarray(udpLength));
}

function icmp(found: Dissected, data: Uint8Array): void {
  if (data.length < 8) throw new Error(`${data.length} bytes are no ICMP message`);
  found.icmp = {
    type: data[0] ?? 0,
    code: data[1] ?? 0,
    rest: at16(data, 4) * 0x10000 + at16(data, 6),
    body: hex(data.subarray(8)),
    checksumOk: onesSum(data) === 0xffff,
  };
}
