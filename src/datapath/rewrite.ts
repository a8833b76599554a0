// The only place that changes addresses and ports. The UDP checksum is computed anew from the payload's sum, because
// what arrived may have been unfinished; a checksum of zero ("not used") stays zero.
import { pairSum } from '../wire/checksum.ts';
import type { Frame } from '../wire/frame.ts';
import * as ipv4 from '../wire/ipv4.ts';
import type { Packet } from '../wire/packet.ts';
import * as udp from '../wire/udp.ts';

/** Rewrites the packet's addresses, ports, TTL and UDP checksum; the IP header's checksum is left to finish. */
export function rewrite(
  frame: Frame,
  packet: Packet,
  src: number,
  dst: number,
  sport: number,
  dport: number,
): void {
  const { view } = frame;
  const { off, udpOff } = packet;
  ipv4.setAddresses(view, off, src, dst);
  ipv4.setTtl(view, off, ipv4.ttl(view, off) - 1);
  udp.writePorts(view, udpOff, sport, dport);
  if (udp.checksum(view, udpOff) !== 0) {
    udp.writeChecksum(view, udpOff, udp.computeChecksum(view, udpOff, src, dst, packet.payloadSum));
  }
}

/**
 * Rewrites the packet that an ICMP error embeds, of which the payload may be cut off: the UDP checksum is adjusted by what
 * changes, the IP header's is filled in. TTL and all else stay as its receiver saw them.
 */
export function rewriteEmbedded(
  frame: Frame,
  packet: Packet,
  src: number,
  dst: number,
  sport: number,
  dport: number,
): void {
  const { view } = frame;
  const { off, udpOff } = packet;
  const oldSum = pairSum(packet.src, packet.dst) + packet.sport + packet.dport;
  const newSum = pairSum(src, dst) + sport + dport;
  ipv4.setAddresses(view, off, src, dst);
  udp.writePorts(view, udpOff, sport, dport);
  udp.writeChecksum(view, udpOff, udp.adjustChecksum(udp.checksum(view, udpOff), oldSum, newSum));
  ipv4.fillChecksum(view, off);
}
