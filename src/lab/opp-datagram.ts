// Takes a datagram out of dialect opp as a receiver module does, and builds the echo ACK in the same form.
// What comes out is what a program would get from its UDP socket, had the kernel a module.
import { type Dissected, dissect, udpChecksum } from '../sniff/dissect.ts';
import type { Uoa } from '../sniff/uoa-option.ts';
import { addressBytes } from '../wire/address.ts';

const UDP_HEADER_LEN = 8;

export interface OppDatagram extends Dissected {
  uoa: Uoa;
}

/**
 * Reads a protocol-248 packet from its IP header on; undefined when it is malformed or its checksum is wrong.
 */
export function decapsulate(bytes: Uint8Array): OppDatagram | undefined {
  const datagram = dissect(bytes);
  if (datagram?.uoa === undefined || !datagram.isSumRight) return undefined;
  return { ...datagram, uoa: datagram.uoa };
}

/**
 * The echo ACK to a datagram, from the protocol-248 header on: an empty UDP datagram back, the option
 * unchanged.
 */
export function encapsulateAck({ dstIp, srcIp, dport, sport, uoa }: OppDatagram): Uint8Array {
  const oppLen = uoa.bytes.length;
  const ack = new Uint8Array(oppLen + UDP_HEADER_LEN);
  ack.set(uoa.bytes);
  const view = new DataView(ack.buffer, oppLen);
  view.setUint16(0, dport);
  view.setUint16(2, sport);
  view.setUint16(4, UDP_HEADER_LEN);
  const sum = udpChecksum(addressBytes(dstIp), addressBytes(srcIp), ack.subarray(oppLen));
  view.setUint16(6, sum || 0xffff);
  return ack;
}
