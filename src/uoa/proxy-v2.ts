// Dialect proxy-v2: a header of PROXY protocol version 2 (HAProxy's proxy-protocol.txt, section 2.2) between
// the UDP header and the payload, with client and VIP. Programs read it, not kernels: it is no form
// (form.ts), nothing acknowledges it, and without room for it there is no carrier: the datagram is longer by
// it.
import type { Family } from '../wire/address.ts';
import { sumBytes } from '../wire/checksum.ts';
import type { Frame } from '../wire/frame.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';
import type { Packet } from '../wire/packet.ts';
import * as udp from '../wire/udp.ts';
import { type Origin, writeAddress } from './origin.ts';

const SIGNATURE = [0x0d0a_0d0a, 0x000d_0a51, 0x5549_540a] as const;
const SIGNATURE_LEN = 12;
const VERSION_AND_COMMAND = 12;
const FAMILY_AND_TRANSPORT = 13;
const LENGTH = 14;
const FIXED_LEN = 16;
/** Version 2; the proxy speaks for a client (PROXY), or for itself (LOCAL). */
const COMMAND_PROXY = 0x21;
const COMMAND_LOCAL = 0x20;
/** AF_INET and AF_INET6 with DGRAM. */
const UDP_OVER = { 4: 0x12, 6: 0x22 } as const;

/** Bytes of the header for a client of this family: 28 or 52. */
export const proxyHeaderLen = (client: Family): number => FIXED_LEN + addressesLen(client);

/** Source and destination, then their ports. */
const addressesLen = (client: Family): number => (client === 4 ? 12 : 36);

/** The header of what the proxy sends for itself (health checks). */
export const LOCAL_HEADER: Uint8Array = localHeader();

function localHeader(): Uint8Array {
  const bytes = new Uint8Array(FIXED_LEN);
  const view = new DataView(bytes.buffer);
  writeSignature(view, 0);
  view.setUint8(VERSION_AND_COMMAND, COMMAND_LOCAL);
  return bytes;
}

/**
 * Inserts the header for `origin` into the UDP packet, growing it towards lower addresses. `packet` then
 * describes the new packet, lengths and UDP checksum are right ("not used" stays so), an IPv4 header's
 * checksum is left to finish.
 */
export function insertProxyHeader(frame: Frame, packet: Packet, origin: Origin): void {
  const { view } = frame;
  const size = proxyHeaderLen(origin.family);
  frame.bytes.copyWithin(packet.off - size, packet.off, packet.udpOff + udp.UDP_HEADER_LEN);
  const headerOff = packet.udpOff - size + udp.UDP_HEADER_LEN;
  writeHeader(view, headerOff, origin);
  packet.payloadLen += size;
  resize(view, packet, -size, size);
  // The length counts twice: in the UDP header and in the pseudo-header.
  const sum = sumBytes(view, headerOff, size) + 2 * size;
  const checksum = udp.adjustChecksum(udp.checksum(view, packet.udpOff), 0, sum);
  udp.writeChecksum(view, packet.udpOff, checksum);
}

const expected = new DataView(new ArrayBuffer(proxyHeaderLen(6)));

/**
 * Whether the datagram that `packet` begins, of which `len` bytes are there, has the header that is inserted
 * for `origin`, as far as one can see.
 */
export function hasProxyHeader({ view }: Frame, packet: Packet, len: number, origin: Origin): boolean {
  const { udpOff, datagramLen } = packet;
  const size = proxyHeaderLen(origin.family);
  if (Math.min(datagramLen, udp.length(view, udpOff)) < udp.UDP_HEADER_LEN + size) return false;
  writeHeader(expected, 0, origin);
  const headerOff = udpOff + udp.UDP_HEADER_LEN;
  const seen = Math.min(size, len - udp.UDP_HEADER_LEN);
  for (let i = 0; i < seen; i++) if (view.getUint8(headerOff + i) !== expected.getUint8(i)) return false;
  return true;
}

/**
 * Undoes insertProxyHeader in a packet that has the header, and of whose datagram `len` bytes are there.
 * Returns how many are there then.
 */
export function removeProxyHeader(frame: Frame, packet: Packet, len: number, origin: Origin): number {
  const { view } = frame;
  const size = proxyHeaderLen(origin.family);
  writeHeader(expected, 0, origin);
  const sum = sumBytes(expected, 0, size) + 2 * size;
  const checksum = udp.adjustChecksum(udp.checksum(view, packet.udpOff), sum, 0);
  udp.writeChecksum(view, packet.udpOff, checksum);
  const shift = Math.min(size, len - udp.UDP_HEADER_LEN);
  frame.bytes.copyWithin(packet.off + shift, packet.off, packet.udpOff + udp.UDP_HEADER_LEN);
  resize(view, packet, shift, -size);
  return len - shift;
}

/** Whether the payload begins as a header does: a program may take it for one. */
export const looksLikeProxyHeader = ({ view }: Frame, { udpOff, payloadLen }: Packet): boolean =>
  payloadLen >= SIGNATURE_LEN &&
  view.getUint32(udpOff + udp.UDP_HEADER_LEN) === SIGNATURE[0] &&
  view.getUint32(udpOff + udp.UDP_HEADER_LEN + 4) === SIGNATURE[1] &&
  view.getUint32(udpOff + udp.UDP_HEADER_LEN + 8) === SIGNATURE[2];

/** The packet's head stands `shift` bytes further on, and its datagram is `growth` bytes longer. */
function resize(view: DataView, packet: Packet, shift: number, growth: number): void {
  packet.off += shift;
  packet.udpOff += shift;
  packet.totalLen += growth;
  const { off, udpOff, family } = packet;
  udp.writeLength(view, udpOff, udp.length(view, udpOff) + growth);
  if (family === 4) ipv4.setTotalLen(view, off, ipv4.totalLen(view, off) + growth);
  else ipv6.setPayloadLen(view, off, ipv6.payloadLen(view, off) + growth);
}

function writeHeader(view: DataView, off: number, { family, addresses, cport, vport }: Origin): void {
  writeSignature(view, off);
  view.setUint8(off + VERSION_AND_COMMAND, COMMAND_PROXY);
  view.setUint8(off + FAMILY_AND_TRANSPORT, UDP_OVER[family]);
  view.setUint16(off + LENGTH, addressesLen(family));
  const vipOff = writeAddress(view, off + FIXED_LEN, family, addresses, 0);
  const portsOff = writeAddress(view, vipOff, family, addresses, 4);
  view.setUint16(portsOff, cport);
  view.setUint16(portsOff + 2, vport);
}

function writeSignature(view: DataView, off: number): void {
  for (let word = 0; word < SIGNATURE.length; word++) view.setUint32(off + 4 * word, SIGNATURE[word]);
}
