// The capture filter in libpcap's language (pcap-filter(7)): what concerns a service. Pure. The kernel runs
// it, so what it keeps out costs this process nothing.

import { type AddressPorts, type LipPorts, mergePorts, ofFamily, type VipPort } from '../host/port-ranges.ts';
import { PROTOCOL_OPP } from '../wire/ipv4.ts';

type Range = AddressPorts['ranges'][number];

/**
 * Takes in, of each family that has an address here: UDP to VIP:vport and LIP:lports; and, to any VIP or LIP,
 * whatever has no ports where a filter finds them, so that the datapath looks closer: protocol 248, ICMP
 * errors, IPv4 fragments of UDP (the first one too: datagrams are put together), and IPv6 packets that begin
 * with a fragment header or another extension header. What this host sends is kept out by
 * PACKET_IGNORE_OUTGOING and not by `inbound`: libpcap runs a filter itself on the first packet, cannot tell
 * the direction there, and loses it. Services whose addresses have the same ports share a term.
 *
 * The kernel takes at most 4,096 instructions. measured (libpcap 1.10, tcpdump -d), IPv4: 399 VIPs with a
 * vport each of its own, or 1,142 VIPs with the same vport, or 2,152 vports of one VIP. IPv6: 615, 1,139,
 * 2,146. Pairs of both: 241, 598.
 */
export function captureFilter(vips: readonly VipPort[], lips: readonly LipPorts[]): string {
  const addresses = mergePorts(vips, lips);
  const filters = { 4: ipv4Filter, 6: ipv6Filter };
  return any(
    ([4, 6] as const).flatMap((family) => {
      const own = ofFamily(addresses, family);
      return own.length === 0 ? [] : [filters[family](own)];
    }),
  );
}

/** Unreachable, time exceeded, parameter problem. */
const ICMP_ERROR = 'icmp and (icmp[0] = 3 or icmp[0] = 11 or icmp[0] = 12)';
/** ICMPv6 messages below 128 are errors, of which 1 to 4 are in use (RFC 4443, 2.1). */
const ICMPV6_ERROR = '(ip6[6] = 58 and ip6[40] < 5)';
/** Hop-by-hop options, routing, fragment, destination options: whatever lies behind them. */
const IPV6_LOOKS_CLOSER = [PROTOCOL_OPP, 0, 43, 44, 60].map((protocol) => `ip6[6] = ${protocol}`);

function ipv4Filter(addresses: readonly AddressPorts[]): string {
  const isUdpFragment = 'udp and ip[6:2] & 0x3fff != 0';
  const ports = groupByPorts(addresses, ({ first, last }) =>
    first === last ? `udp dst port ${first}` : `udp dst portrange ${first}-${last}`,
  );
  return (
    `(ip and ((udp and ${any(ports)})` +
    ` or ((ip proto ${PROTOCOL_OPP} or (${isUdpFragment}) or (${ICMP_ERROR})) and ${hosts(addresses)})))`
  );
}

/**
 * Bytes are named by their place (RFC 8200, 3): with `udp dst port` the own ports of a VIP take half as much
 * again.
 */
function ipv6Filter(addresses: readonly AddressPorts[]): string {
  const ports = groupByPorts(addresses, ({ first, last }) =>
    first === last ? `ip6[42:2] = ${first}` : `(ip6[42:2] >= ${first} and ip6[42:2] <= ${last})`,
  );
  return (
    `(ip6 and ((ip6[6] = 17 and ${any(ports)})` +
    ` or (${any([...IPV6_LOOKS_CLOSER, ICMPV6_ERROR])} and ${hosts(addresses)})))`
  );
}

function groupByPorts(addresses: readonly AddressPorts[], test: (range: Range) => string): string[] {
  const groups = new Map<string, AddressPorts[]>();
  for (const entry of addresses) {
    const ports = any(entry.ranges.map(test));
    const group = groups.get(ports);
    if (group === undefined) groups.set(ports, [entry]);
    else group.push(entry);
  }
  return [...groups].map(([ports, group]) => `(${hosts(group)} and ${ports})`);
}

function hosts(addresses: readonly AddressPorts[]): string {
  return `dst host ${any(addresses.map(({ ip }) => ip))}`;
}

function any(terms: readonly string[]): string {
  return terms.length === 1 ? terms[0] : `(${terms.join(' or ')})`;
}
