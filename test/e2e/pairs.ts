// The family pairs that the scenarios run over, with what differs between them, and what outside witnesses
// look for.
import { type FamilyPair, fullPayloadLen, type LabDialect } from '../../src/lab/family.ts';

export interface Pair extends FamilyPair {
  name: string;
  /** One that a plain kernel without modules hands to the program on that real server. */
  dialect: LabDialect;
  /** Payload that fills an MTU of 1,500. */
  full: number;
  /** What a client gets to know of a LAN whose MTU is 1,400. */
  mtuOf1400: number;
}

function pair(name: string, client: 4 | 6, server: 4 | 6, dialect: LabDialect, mtuOf1400: number): Pair {
  return { name, client, server, dialect, mtuOf1400, full: fullPayloadLen({ client, server }, dialect) };
}

export const PAIRS = {
  4: pair('IPv4 to IPv4', 4, 4, 'ipo', 1400),
  6: pair('IPv6 to IPv6', 6, 6, 'elb', 1400),
  nat64: pair('IPv6 to IPv4', 6, 4, 'ipo', 1420),
  nat46: pair('IPv4 to IPv6', 4, 6, 'unified', 1380),
} as const;
export const ALL_PAIRS: readonly Pair[] = Object.values(PAIRS);

/** ICMP, of which neighbour discovery and its kin are no errors. */
const ICMP_ERROR = 'icmp or (icmp6 and ip6[40] < 128)';
/** For tcpdump: what has no place on either side while everything is well. */
export const ICMP_ERRORS = `(${ICMP_ERROR})`;
/** For tcpdump: what has no place on the clients' side. These clients send no options. */
export const STRANGE_TO_CLIENTS = `(${ICMP_ERROR} or (ip and (ip[0] & 0x0f > 5 or ip proto 248)) or (ip6 and (ip6[6] = 60 or ip6[6] = 248)))`;

/** For tshark: the ICMP errors of either family. */
export const icmp = {
  tooBig: (client: 4 | 6, mtu: number) =>
    client === 4
      ? `icmp.type == 3 and icmp.code == 4 and icmp.mtu == ${mtu} and icmp.checksum.status == 1`
      : `icmpv6.type == 2 and icmpv6.mtu == ${mtu} and icmpv6.checksum.status == 1`,
  portUnreachable: (client: 4 | 6) =>
    client === 4
      ? 'icmp.type == 3 and icmp.code == 3 and icmp.checksum.status == 1'
      : 'icmpv6.type == 1 and icmpv6.code == 4 and icmpv6.checksum.status == 1',
};
