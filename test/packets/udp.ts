// The UDP datagram (RFC 768) and the sums that start with a pseudo-header (RFC 768, RFC 8200 section 8.1),
// for the builders of both families: the addresses say which pseudo-header it is.
import { concat, familyOf, ip, onesSum, u16, u32 } from './bytes.ts';

export const UDP = 17;

export interface UdpFields {
  src: string;
  dst: string;
  sport: number;
  dport: number;
  payload?: Uint8Array;
  udpLength?: number;
  /** Bytes behind the UDP datagram but inside the IP packet (RFC 9868's surplus area). */
  surplus?: Uint8Array;
  /**
   * 'partial' is what a local or veth peer leaves with checksum offload: the folded pseudo-header sum, not
   * complemented. 'zero' means that the sender computed none, which only IPv4 allows.
   */
  checksum?: 'valid' | 'zero' | 'partial' | 'bad';
}

/** The datagram from its first port on, surplus included. */
export function datagram(fields: UdpFields): Uint8Array {
  const payload = fields.payload ?? new Uint8Array(0);
  const udpLength = fields.udpLength ?? 8 + payload.length;
  const bytes = concat(u16(fields.sport), u16(fields.dport), u16(udpLength), u16(0), payload);
  bytes.set(u16(udpChecksum(fields, udpLength, bytes)), 6);
  return concat(bytes, fields.surplus ?? new Uint8Array(0));
}

/** The sum that a checksum over the pseudo-header starts with; folded, not complemented. */
export function pseudoHeaderSum(src: string, dst: string, length: number, protocol = UDP): number {
  const rest = familyOf(src) === 6 ? concat(u32(length), u32(protocol)) : concat(u16(protocol), u16(length));
  return onesSum(concat(ip(src), ip(dst), rest));
}

function udpChecksum(fields: UdpFields, udpLength: number, bytes: Uint8Array): number {
  const pseudo = pseudoHeaderSum(fields.src, fields.dst, udpLength);
  if (fields.checksum === 'zero') return 0;
  if (fields.checksum === 'partial') return pseudo;
  const whole = onesSum(concat(u16(pseudo), bytes.subarray(0, udpLength))) ^ 0xffff;
  const valid = whole === 0 ? 0xffff : whole;
  return fields.checksum === 'bad' ? valid ^ 0x0101 : valid;
}
