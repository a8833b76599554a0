// ICMP errors from one family to the other: types, codes, next-hop MTU and pointers as RFC 7915 says (4.2
// from IPv4 to IPv6, 5.2 back).
import type { Family } from './address.ts';
import { ICMP, ICMP_UNREACHABLE, ICMPV6, ICMPV6_PARAMETER } from './icmp-writer.ts';
import { IPV6_MTU_MIN } from './ipv6.ts';

/** Bytes by which the fixed headers differ. */
const HEADER_DIFFERENCE = 20;

/** An ICMP error without its packet. */
export interface IcmpMessage {
  type: number;
  code: number;
  /** Second word: next-hop MTU, pointer, or 0. */
  rest: number;
}

const UNREACHABLE_TO_6: Record<number, number> = {
  0: 0,
  1: 0,
  3: 4,
  5: 0,
  6: 0,
  7: 0,
  8: 0,
  9: 1,
  10: 1,
  11: 0,
  12: 0,
  13: 1,
  15: 1,
};
const UNREACHABLE_TO_4: Record<number, number> = { 0: 1, 1: 10, 2: 1, 3: 1, 4: 3 };

/** The header field that an IPv4 pointer means, as an IPv6 pointer; and back. */
const POINTER_TO_6: Record<number, number> = {
  0: 0,
  1: 1,
  2: 4,
  3: 4,
  8: 7,
  9: 6,
  12: 8,
  13: 8,
  14: 8,
  15: 8,
  16: 24,
  17: 24,
  18: 24,
  19: 24,
};
const NEXT_HEADER_POINTER = 6;

/**
 * Turns an error about a packet of family `from` into one of the other family, in place. False: it has no
 * equivalent.
 */
export function translateIcmp(message: IcmpMessage, from: Family): boolean {
  return from === 4 ? toIpv6(message) : toIpv4(message);
}

function toIpv6(message: IcmpMessage): boolean {
  const { type, code, rest } = message;
  if (type === ICMP.timeExceeded) return become(message, ICMPV6.timeExceeded, code, 0);
  if (type === ICMP.parameterProblem) {
    const pointer = POINTER_TO_6[rest >>> 24];
    if ((code !== 0 && code !== 2) || pointer === undefined) return false;
    return become(message, ICMPV6.parameterProblem, 0, pointer);
  }
  if (code === ICMP_UNREACHABLE.protocol) {
    const unknown = ICMPV6_PARAMETER.unknownNextHeader;
    return become(message, ICMPV6.parameterProblem, unknown, NEXT_HEADER_POINTER);
  }
  if (code === ICMP_UNREACHABLE.fragmentationNeeded) {
    const mtu = Math.max(IPV6_MTU_MIN, (rest & 0xffff) + HEADER_DIFFERENCE);
    return become(message, ICMPV6.packetTooBig, 0, mtu);
  }
  const translated = UNREACHABLE_TO_6[code];
  return translated !== undefined && become(message, ICMPV6.unreachable, translated, 0);
}

function toIpv4(message: IcmpMessage): boolean {
  const { type, code, rest } = message;
  if (type === ICMPV6.timeExceeded) return become(message, ICMP.timeExceeded, code, 0);
  if (type === ICMPV6.packetTooBig) {
    const mtu = Math.min(Math.max(rest, IPV6_MTU_MIN), 0xffff) - HEADER_DIFFERENCE;
    return become(message, ICMP.unreachable, ICMP_UNREACHABLE.fragmentationNeeded, mtu);
  }
  if (type === ICMPV6.parameterProblem) {
    if (code === ICMPV6_PARAMETER.unknownNextHeader)
      return become(message, ICMP.unreachable, ICMP_UNREACHABLE.protocol, 0);
    const pointer = pointerToIpv4(rest);
    if (code !== 0 || pointer < 0) return false;
    return become(message, ICMP.parameterProblem, 0, pointer << 24);
  }
  const translated = UNREACHABLE_TO_4[code];
  return translated !== undefined && become(message, ICMP.unreachable, translated, 0);
}

function pointerToIpv4(pointer: number): number {
  if (pointer <= 1) return pointer;
  if (pointer === 4 || pointer === 5) return 2;
  if (pointer === 6) return 9;
  if (pointer === 7) return 8;
  if (pointer >= 8 && pointer < 24) return 12;
  return pointer >= 24 && pointer < 40 ? 16 : -1;
}

function become(message: IcmpMessage, type: number, code: number, rest: number): boolean {
  message.type = type;
  message.code = code;
  message.rest = rest;
  return true;
}
