// The capture filter of a port in libpcap's language (pcap-filter(7)): what is addressed to this host's Ethernet address
// and concerns a service. Pure. The kernel runs it, so what it keeps out costs this process nothing.
import { PROTOCOL_OPP } from '../wire/ipv4.ts';
import type { IoPort } from './packet-io.ts';
import { type AddressPorts, type LipPorts, mergePorts, ofFamily, type VipPort } from './port-ranges.ts';

type Range = AddressPorts['ranges'][number];

/**
 * Takes in, of each family that has an address here: UDP to VIP:vport and LIP:lports; and, to any VIP or LIP, whatever
 * has no ports where a filter finds them, so that the datapath looks closer: protocol 248, ICMP errors, IPv4 fragments
 * of UDP (the first one too: datagrams are put together), and IPv6 packets that begin with a fragment header or another
 * extension header. The capture is promiscuous, hence the test for the port's own Ethernet address. What this host sends
 * is kept out by PACKET_IGNORE_OUTGOING and not by `inbound`: libpcap runs the filter itself on the first packet, cannot
 * tell the direction there, and loses it. Services whose addresses have the same ports share a term.
 *
 * The kernel takes at most 4,096 instructions. measured (libpcap 1.10, tcpdump -d), IPv4: 399 VIPs with a vport each of its
 * own, or 1,142 VIPs with the same vport, or 2,152 vports of one VIP. IPv6: 615, 1,139, 2,146. Pairs of both: 241, 598.
 * Opening the capture fails with a clear error beyond.
 */
export function captureFilter(port: IoPort, vips: readonly VipPort[], lips: readonly LipPorts[]): string {
  const addresses = mergePorts(vips, lips);
  const families: string[] = [];
  const ipv4 = ofFamily(addresses, 4);
  const ipv6 = ofFamily(addresses, 6);
  if (ipv4.length > 0) families.push(ipv4Filter(ipv4));
  if (ipv6.length > 0) families.push(ipv6Filter(ipv6));
  return (port.mac === '' ? '' : `ether dst ${port.mac} and `) + any(families);
}

function ipv4Filter(addresses: readonly AddressPorts[]): string {
  const isUdpFragment = 'udp and ip[6:2] & 0x3fff != 0';
  // Unreachable, time exceeded, parameter problem.
  const isIcmpError = 'icmp and (icmp[0] = 3 or icmp[0] = 11 or icmp[0] = 12)';
  const ports = groupByPorts(addresses, ({ first, last }) =>
    first === last ? `udp dst port ${first}` : `udp dst portrange ${first}-${last}`,
  );
  return (
    `(ip and ((udp and ${any(ports)})` +
    ` or ((ip proto ${PROTOCOL_OPP} or (${isUdpFragment}) or (${isIcmpError})) and ${hosts(addresses)})))`
  );
}

/** Bytes are named by their place (RFC 8200, 3): with `udp dst port` the own ports of a VIP take half as much again. */
function ipv6Filter(addresses: readonly AddressPorts[]): string {
  // Hop-by-hop options, routing, fragment, destination options: whatever lies behind them.
  const looksCloser = [PROTOCOL_OPP, 0, 43, 44, 60].map((protocol) => `ip6[6] = ${protocol}`);
  // ICMPv6 messages below 128 are errors, of which 1 to 4 are in use (RFC 4443, 2.1).
  const isIcmpError = '(ip6[6] = 58 and ip6[40] < 5)';
  const ports = groupByPorts(addresses, ({ first, last }) =>
    first === last ? `ip6[42:2] = ${first}` : `(ip6[42:2] >= ${first} and ip6[42:2] <= ${last})`,
  );
  return (
    `(ip6 and ((ip6[6] = 17 and ${any(ports)})` +
    ` or (${any([...looksCloser, isIcmpError])} and ${hosts(addresses)})))`
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
  return terms.length === 1 ? terms[0]! : `(${terms.join(' or ')})`;
}
