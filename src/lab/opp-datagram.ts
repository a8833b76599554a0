// Takes a datagram out of dialect opp as a receiver module does, and builds the echo ACK in the same form. What comes
// out is what a program would get from its UDP socket, had the kernel a module.

import { formatIpv4 } from '../wire/address.ts';
import { Frame } from '../wire/frame.ts';
import { PROTOCOL_UDP } from '../wire/ipv4.ts';
import { OPP_HEADER_LEN, OPP_VERSION_4, writeHeader } from '../wire/opp.ts';
import { PARSE_OK, Packet, parse, sumPayload } from '../wire/packet.ts';
import * as udp from '../wire/udp.ts';
import { findUoa, type UoaOption } from './uoa-option.ts';

export interface OppDatagram {
  srcIp: string;
  srcPort: number;
  dport: number;
  payload: Uint8Array;
  uoa: UoaOption;
  /** Addresses as the packet has them, for the checksum of the answer. */
  src: number;
  dst: number;
}

const packet = new Packet();

/** Reads a protocol-248 packet from its IP header on; undefined when it is malformed or its checksum is wrong. */
export function decapsulate(bytes: Uint8Array): OppDatagram | undefined {
  const frame = new Frame(bytes);
  if (parse(packet, frame, 0, bytes.length) !== PARSE_OK || packet.oppLen === 0) return undefined;
  if (!sumPayload(packet, frame.view)) return undefined;
  const uoa = findUoa(bytes.subarray(packet.headerLen + OPP_HEADER_LEN, packet.headerLen + packet.oppLen));
  if (uoa === undefined) return undefined;
  const payloadOff = packet.udpOff + udp.UDP_HEADER_LEN;
  return {
    srcIp: formatIpv4(packet.src),
    srcPort: packet.sport,
    dport: packet.dport,
    payload: bytes.slice(payloadOff, payloadOff + packet.payloadLen),
    uoa,
    src: packet.src,
    dst: packet.dst,
  };
}

/** The echo ACK to a datagram, from the protocol-248 header on: an empty UDP datagram back, the option unchanged. */
export function encapsulateAck({ dst, src, dport, srcPort, uoa }: OppDatagram): Uint8Array {
  const oppLen = OPP_HEADER_LEN + uoa.bytes.length;
  const ack = new Uint8Array(oppLen + udp.UDP_HEADER_LEN);
  const view = new DataView(ack.buffer);
  writeHeader(view, 0, OPP_VERSION_4, PROTOCOL_UDP, oppLen);
  ack.set(uoa.bytes, OPP_HEADER_LEN);
  udp.writePorts(view, oppLen, dport, srcPort);
  udp.writeLength(view, oppLen, udp.UDP_HEADER_LEN);
  udp.writeChecksum(view, oppLen, udp.computeChecksum(view, oppLen, dst, src, 0));
  return ack;
}
