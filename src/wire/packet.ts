// One reusable parsed view of a UDP packet of either family: offsets and fields as numbers. Every length
// field is checked here against the bytes that are there; behind a successful parse all accesses are inside
// the packet.
import { type Family, isV4 } from './address.ts';
import { sumBytes } from './checksum.ts';
import type { Frame } from './frame.ts';
import { HeaderScan } from './header-scan.ts';
import * as ipv4 from './ipv4.ts';
import { scanOptions } from './ipv4-options.ts';
import * as ipv6 from './ipv6.ts';
import { ExtensionChain, isExtension, walkExtensions } from './ipv6-extensions.ts';
import * as opp from './opp.ts';
import * as udp from './udp.ts';

/** Why a packet cannot be parsed; the datapath uses the names as drop reasons. */
export const PARSE_FAULTS = [
  'not_ip', // neither version 4 nor 6
  'truncated', // fewer bytes were captured than the IP header says
  'bad_ip_length', // IHL or total length makes no sense
  'bad_ip_checksum',
  'bad_ip_options', // an option or extension header beyond its bounds, or one that must be first and is not
  'mapped_address', // an IPv6 packet with an IPv4-mapped address, which no network carries
  'bad_opp', // protocol 248 whose length or inner protocol makes no sense
  'bad_udp_length', // UDP length below 8 or beyond the datagram
] as const;
export type ParseFault = (typeof PARSE_FAULTS)[number];

export const PARSE_OK = -1;
/** Neither UDP nor protocol 248: not for us. Family, addresses, lengths, protocol and udpOff are valid. */
export const PARSE_OTHER_PROTOCOL = -2;
/** A piece of a datagram: valid are family, addresses, headerLen, totalLen, protocol and `fragment`. */
export const PARSE_FRAGMENT = -3;

const FAULT = Object.fromEntries(PARSE_FAULTS.map((name, index) => [name, index])) as Record<
  ParseFault,
  number
>;

/** Which piece of its datagram a packet is. */
export class Fragment {
  id = 0;
  /** Where its data stand in the packet (absolute) and how many bytes they are. */
  dataOff = 0;
  dataLen = 0;
  /** Where its data stand in the datagram; 0 for a whole packet. */
  offset = 0;
  more = false;
}

export class Packet {
  family: Family = 4;
  /** Whether `family` and `addresses` are those of the packet parsed last. */
  hasAddresses = false;
  /** First byte of the IP header. */
  off = 0;
  /** IP header with its options or extension headers, bytes. */
  headerLen = 0;
  totalLen = 0;
  /** What stands behind the IP header: UDP, opp, or for PARSE_OTHER_PROTOCOL anything. */
  protocol = 0;
  /** Length of a protocol-248 header between IP and UDP; 0 without one. */
  oppLen = 0;
  udpOff = 0;
  payloadLen = 0;
  sport = 0;
  dport = 0;
  /** Source address in words 0..3, destination in 4..7 (see address.ts). */
  readonly addresses = new Int32Array(8);
  readonly options = new HeaderScan();
  readonly fragment = new Fragment();
  /** The largest piece that the datagram came in, bytes of data; 0 when it came whole. */
  largestFragment = 0;
  /** Whether its payload is summed; else its checksum is finished and was verified. */
  isSummed = true;
  /** Sum of the payload bytes, valid after sumPayload. */
  payloadSum = 0;

  /** Whether it carries anything that some receiver takes for a UOA. */
  get hasUoa(): boolean {
    return this.oppLen !== 0 || this.options.uoaCount !== 0;
  }

  /** UDP header, payload and what follows it inside the packet, bytes. */
  get datagramLen(): number {
    return this.off + this.totalLen - this.udpOff;
  }
}

const chain = new ExtensionChain();

/**
 * Parses the IP packet at frame.bytes[off, end) into `packet`; bytes behind the IP total length (link
 * padding) are ignored. Returns PARSE_OK, PARSE_OTHER_PROTOCOL, PARSE_FRAGMENT, or an index into
 * PARSE_FAULTS.
 */
export function parse(packet: Packet, frame: Frame, off: number, end: number): number {
  const { view } = frame;
  packet.hasAddresses = false;
  packet.off = off;
  packet.oppLen = 0;
  packet.largestFragment = 0;
  packet.fragment.offset = 0;
  if (end - off < ipv4.IPV4_HEADER_LEN) return FAULT.truncated;
  const version = ipv4.version(view, off);
  if (version === 4) return parseIpv4(packet, view, off, end);
  return version === 6 ? parseIpv6(packet, view, off, end) : FAULT.not_ip;
}

/**
 * Sums the payload once, for the check on the way in and the checksum on the way out. False: the checksum is
 * wrong.
 */
export function sumPayload(packet: Packet, view: DataView): boolean {
  const { udpOff, addresses, family } = packet;
  packet.payloadSum = sumBytes(view, udpOff + udp.UDP_HEADER_LEN, packet.payloadLen);
  if (family === 6 && udp.checksum(view, udpOff) === 0) return false;
  return udp.checksumAcceptable(view, udpOff, addresses, packet.payloadSum);
}

function parseIpv4(packet: Packet, view: DataView, off: number, end: number): number {
  setIpv4Addresses(packet, view, off);
  const headerLen = ipv4.headerLen(view, off);
  const totalLen = ipv4.totalLen(view, off);
  if (headerLen < ipv4.IPV4_HEADER_LEN || totalLen < headerLen) return FAULT.bad_ip_length;
  if (totalLen > end - off) return FAULT.truncated;
  const protocol = ipv4.protocol(view, off);
  packet.headerLen = headerLen;
  packet.totalLen = totalLen;
  packet.protocol = protocol;
  packet.udpOff = off + headerLen;
  if (protocol !== ipv4.PROTOCOL_UDP && protocol !== ipv4.PROTOCOL_OPP) return PARSE_OTHER_PROTOCOL;
  if (!ipv4.checksumOk(view, off, headerLen)) return FAULT.bad_ip_checksum;
  if (!scanOptions(packet.options, view, off, headerLen)) return FAULT.bad_ip_options;
  if (!ipv4.isFragment(view, off)) return parseUdp(packet, view);

  const { fragment } = packet;
  fragment.id = ipv4.id(view, off);
  fragment.dataOff = off + headerLen;
  fragment.dataLen = totalLen - headerLen;
  fragment.offset = ipv4.fragmentOffset(view, off);
  fragment.more = ipv4.hasMoreFragments(view, off);
  return PARSE_FRAGMENT;
}

function parseIpv6(packet: Packet, view: DataView, off: number, end: number): number {
  if (end - off < ipv6.IPV6_HEADER_LEN) return FAULT.truncated;
  const { addresses, fragment } = packet;
  setIpv6Addresses(packet, view, off);
  const totalLen = ipv6.IPV6_HEADER_LEN + ipv6.payloadLen(view, off);
  if (totalLen > end - off) return FAULT.truncated;
  if (isV4(addresses, 0) || isV4(addresses, 4)) return FAULT.mapped_address;
  const ipEnd = off + totalLen;
  if (!walkExtensions(chain, packet.options, view, off, ipEnd)) return FAULT.bad_ip_options;
  packet.headerLen = chain.endOff - off;
  packet.totalLen = totalLen;
  packet.protocol = chain.protocol;
  packet.udpOff = chain.endOff;
  if (chain.protocol === ipv4.PROTOCOL_UDP || chain.protocol === ipv4.PROTOCOL_OPP)
    return parseUdp(packet, view);
  if (chain.protocol !== ipv6.NEXT_FRAGMENT) return PARSE_OTHER_PROTOCOL;

  const inner = view.getUint8(chain.endOff);
  if (inner !== ipv4.PROTOCOL_UDP && inner !== ipv4.PROTOCOL_OPP && !isExtension(inner))
    return PARSE_OTHER_PROTOCOL; // with NEXT_FRAGMENT as its protocol: a piece of ICMPv6 is no ICMPv6 message
  packet.protocol = inner;
  packet.udpOff = chain.endOff + ipv6.FRAGMENT_HEADER_LEN;
  fragment.id = ipv6.fragmentId(view, chain.endOff);
  fragment.dataOff = packet.udpOff;
  fragment.dataLen = ipEnd - packet.udpOff;
  fragment.offset = ipv6.fragmentOffset(view, chain.endOff);
  fragment.more = ipv6.hasMoreFragments(view, chain.endOff);
  return PARSE_FRAGMENT;
}

/** What stands at packet.udpOff: UDP, or protocol 248 and then UDP. */
function parseUdp(packet: Packet, view: DataView): number {
  const ipEnd = packet.off + packet.totalLen;
  if (packet.protocol === ipv4.PROTOCOL_OPP) {
    const oppOff = packet.udpOff;
    if (ipEnd - oppOff < opp.OPP_HEADER_LEN) return FAULT.bad_opp;
    const oppLen = opp.length(view, oppOff);
    if (opp.innerProtocol(view, oppOff) !== ipv4.PROTOCOL_UDP) return FAULT.bad_opp;
    if (oppLen < opp.OPP_HEADER_LEN || oppLen > ipEnd - oppOff) return FAULT.bad_opp;
    packet.oppLen = oppLen;
    packet.udpOff += oppLen;
  }
  const { udpOff } = packet;
  if (ipEnd - udpOff < udp.UDP_HEADER_LEN) return FAULT.bad_udp_length;
  const udpLen = udp.length(view, udpOff);
  if (udpLen < udp.UDP_HEADER_LEN || udpLen > ipEnd - udpOff) return FAULT.bad_udp_length;
  packet.payloadLen = udpLen - udp.UDP_HEADER_LEN;
  packet.sport = udp.sport(view, udpOff);
  packet.dport = udp.dport(view, udpOff);
  return PARSE_OK;
}

export function setIpv4Addresses(packet: Packet, view: DataView, off: number): void {
  packet.family = 4;
  packet.hasAddresses = true;
  ipv4.readAddresses(packet.addresses, view, off);
}

export function setIpv6Addresses(packet: Packet, view: DataView, off: number): void {
  packet.family = 6;
  packet.hasAddresses = true;
  ipv6.readAddresses(packet.addresses, view, off);
}
