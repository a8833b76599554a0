// The only place that changes addresses and ports, and the header from one family to the other (RFC 7915, 4.1
// and 5.1). The UDP checksum is computed anew from the payload's sum, because what arrived may have been
// unfinished, or is adjusted where it was verified before; IPv4's checksum of zero ("not used") stays zero
// over IPv4 and is computed towards IPv6, which has none.
import type { Family } from '../wire/address.ts';
import { addressPairSum, fold, pseudoSum } from '../wire/checksum.ts';
import type { Frame } from '../wire/frame.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';
import type { Packet } from '../wire/packet.ts';
import * as udp from '../wire/udp.ts';

/** RFC 7915, 5.1: an IPv4 packet up to this length may be fragmented on its way. */
const MAY_FRAGMENT_LEN = ipv6.IPV6_MTU_MIN - 20;

/**
 * Makes of the parsed packet one of `family` from addresses[0..3] to addresses[4..7], with these ports, TTL
 * one less. IPv4 options stay within IPv4; IPv6 extension headers end here. `packet` then describes the new
 * packet, except for addresses and ports, which are still those it came with. `id` is the IPv4 identification
 * where none came. The IPv4 header's checksum is left to finish.
 */
export function rewrite(
  frame: Frame,
  packet: Packet,
  family: Family,
  addresses: Int32Array,
  sport: number,
  dport: number,
  id: number,
): void {
  const { view } = frame;
  const { udpOff } = packet;
  const mustHaveChecksum = family === 6;
  if (!packet.isSummed) {
    adjustChecksum(view, packet, addresses, sport, dport);
    rewriteHeader(view, packet, family, addresses, id, 1);
    udp.writePorts(view, udpOff, sport, dport);
    return;
  }
  rewriteHeader(view, packet, family, addresses, id, 1);
  udp.writePorts(view, udpOff, sport, dport);
  if (mustHaveChecksum || udp.checksum(view, udpOff) !== 0) {
    udp.writeChecksum(view, udpOff, udp.computeChecksum(view, udpOff, addresses, packet.payloadSum));
  }
}

/**
 * Rewrites a packet of the same family without IPv4 options or extension headers, whose UDP checksum is
 * unfinished and stays so: it becomes the sum of the new pseudo-header.
 */
export function rewriteUnfinished(
  view: DataView,
  packet: Packet,
  addresses: Int32Array,
  sport: number,
  dport: number,
): void {
  const { udpOff, family } = packet;
  rewriteHeader(view, packet, family, addresses, 0, 1);
  udp.writePorts(view, udpOff, sport, dport);
  udp.writeChecksum(view, udpOff, fold(pseudoSum(addresses, ipv4.PROTOCOL_UDP, udp.length(view, udpOff))));
  if (family === 4) ipv4.fillChecksum(view, packet.off);
}

/**
 * Rewrites the packet that an ICMP error embeds, of which the payload may be cut off: the UDP checksum is
 * adjusted by what changes, an IPv4 header's is filled in. TTL and all else stay as its receiver saw them.
 */
export function rewriteEmbedded(
  frame: Frame,
  packet: Packet,
  family: Family,
  addresses: Int32Array,
  sport: number,
  dport: number,
): void {
  const { view } = frame;
  const { udpOff } = packet;
  adjustChecksum(view, packet, addresses, sport, dport);
  rewriteHeader(view, packet, family, addresses, 0, 0);
  udp.writePorts(view, udpOff, sport, dport);
  if (family === 4) ipv4.fillChecksum(view, packet.off);
}

/** By what addresses and ports become. */
function adjustChecksum(
  view: DataView,
  { addresses: before, sport: oldSport, dport: oldDport, udpOff }: Packet,
  addresses: Int32Array,
  sport: number,
  dport: number,
): void {
  const oldSum = addressPairSum(before) + oldSport + oldDport;
  const newSum = addressPairSum(addresses) + sport + dport;
  udp.writeChecksum(view, udpOff, udp.adjustChecksum(udp.checksum(view, udpOff), oldSum, newSum));
}

function rewriteHeader(
  view: DataView,
  packet: Packet,
  family: Family,
  addresses: Int32Array,
  id: number,
  hops: number,
): void {
  const { off } = packet;
  if (family === 4 && packet.family === 4) {
    ipv4.setAddresses(view, off, addresses);
    ipv4.setTtl(view, off, ipv4.ttl(view, off) - hops);
    return;
  }
  const { datagramLen } = packet;
  const ttl = (packet.family === 4 ? ipv4.ttl(view, off) : ipv6.hopLimit(view, off)) - hops;
  const word = packet.family === 6 ? ipv6.firstWord(view, off) : ipv6.wordOfTrafficClass(ipv4.tos(view, off));
  packet.headerLen = family === 4 ? ipv4.IPV4_HEADER_LEN : ipv6.IPV6_HEADER_LEN;
  packet.totalLen = packet.headerLen + datagramLen;
  packet.off = packet.udpOff - packet.headerLen;
  packet.family = family;
  packet.protocol = ipv4.PROTOCOL_UDP;
  packet.oppLen = 0;
  if (family === 6) {
    ipv6.writeHeader(view, packet.off, word, datagramLen, ipv4.PROTOCOL_UDP, ttl, addresses);
    return;
  }
  const tos = (word >>> 20) & 0xff;
  const df = packet.totalLen > MAY_FRAGMENT_LEN && packet.largestFragment === 0;
  ipv4.writeHeader(view, packet.off, tos, packet.totalLen, id, df, ttl, ipv4.PROTOCOL_UDP, addresses);
}

/** Length of the packet once it is rewritten to `family`, without UOA. */
export function rewrittenLen(packet: Packet, family: Family): number {
  if (family === 6) return ipv6.IPV6_HEADER_LEN + packet.datagramLen;
  return (packet.family === 4 ? packet.headerLen : ipv4.IPV4_HEADER_LEN) + packet.datagramLen;
}
