// The capture filter of a port in libpcap's language (pcap-filter(7)): what is addressed to this host's Ethernet address
// and concerns a service. Pure. The kernel runs it, so what it keeps out costs this process nothing.
import { PROTOCOL_OPP } from '../wire/ipv4.ts';
import type { IoPort } from './packet-io.ts';
import { type AddressPorts, type LipPorts, mergePorts, type VipPort } from './port-ranges.ts';

/**
 * Takes in, of IPv4 only: UDP to VIP:vport and LIP:lports; protocol 248 to a VIP or LIP; and of UDP to a VIP or LIP the
 * fragments that have no ports, so that they are counted as dropped instead of vanishing; and ICMP errors to a VIP or LIP. The capture is promiscuous,
 * hence the test for the port's own Ethernet address. What this host sends is kept out by PACKET_IGNORE_OUTGOING and not
 * by `inbound`: libpcap runs the filter itself on the first packet, cannot tell the direction there, and loses it.
 * Services whose addresses have the same ports share a term.
 *
 * The kernel takes at most 4,096 instructions. measured (libpcap 1.10, tcpdump -d): about 390 VIPs with a vport each of its
 * own, or 1,140 VIPs with the same vport, or 2,151 vports of one VIP. Opening the capture fails with a clear error beyond.
 */
export function captureFilter(port: IoPort, vips: readonly VipPort[], lips: readonly LipPorts[]): string {
  const addresses = mergePorts(vips, lips);
  const terms: string[] = [];
  if (port.mac !== '') terms.push(`ether dst ${port.mac}`);
  const isFragment = 'ip[6:2] & 0x1fff != 0';
  // Unreachable, time exceeded, parameter problem.
  const isIcmpError = 'icmp and (icmp[0] = 3 or icmp[0] = 11 or icmp[0] = 12)';
  terms.push(
    'ip',
    `((udp and ${any(groupByPorts(addresses))})` +
      ` or ((ip proto ${PROTOCOL_OPP} or (udp and ${isFragment}) or (${isIcmpError})) and ${any(addresses.map(({ ip }) => `dst host ${ip}`))}))`,
  );
  return terms.join(' and ');
}

function groupByPorts(addresses: readonly AddressPorts[]): string[] {
  const groups = new Map<string, string[]>();
  for (const { ip, ranges } of addresses) {
    const ports = any(
      ranges.map(({ first, last }) =>
        first === last ? `udp dst port ${first}` : `udp dst portrange ${first}-${last}`,
      ),
    );
    const group = groups.get(ports);
    if (group === undefined) groups.set(ports, [`dst host ${ip}`]);
    else group.push(`dst host ${ip}`);
  }
  return [...groups].map(([ports, hosts]) => `(${any(hosts)} and ${ports})`);
}

function any(terms: readonly string[]): string {
  return terms.length === 1 ? terms[0]! : `(${terms.join(' or ')})`;
}
