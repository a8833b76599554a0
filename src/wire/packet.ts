// One reusable parsed view of a UDP packet: offsets and fields as numbers. Every length field is checked here against
// the bytes that are there; behind a successful parse all accesses are inside the packet.
import { V4_MAPPED } from './address.ts';
import { sumBytes } from './checksum.ts';
import type { Frame } from './frame.ts';
import * as ipv4 from './ipv4.ts';
import { OptionScan, scanOptions } from './ipv4-options.ts';
import * as opp from './opp.ts';
import * as udp from './udp.ts';

/** Why a packet cannot be parsed; the datapath uses the names as drop reasons. */
export const PARSE_FAULTS = [
  'not_ip', // not version 4
  'truncated', // fewer bytes were captured than the IP header says
  'bad_ip_length', // IHL or total length makes no sense
  'bad_ip_checksum',
  'bad_ip_options', // an option with length < 2 or beyond the header
  'fragment', // not the whole datagram
  'bad_opp', // protocol 248 whose length or inner protocol makes no sense
  'bad_udp_length', // UDP length below 8 or beyond the datagram
] as const;
export type ParseFault = (typeof PARSE_FAULTS)[number];

export const PARSE_OK = -1;
/** Neither UDP nor protocol 248: not for us. */
export const PARSE_OTHER_PROTOCOL = -2;

const FAULT = Object.fromEntries(PARSE_FAULTS.map((name, index) => [name, index])) as Record<
  ParseFault,
  number
>;

export class Packet {
  /** First byte of the IP header. */
  off = 0;
  /** IP header with its options, bytes. */
  headerLen = 0;
  totalLen = 0;
  /** Length of a protocol-248 header between IP and UDP; 0 without one. */
  oppLen = 0;
  udpOff = 0;
  payloadLen = 0;
  sport = 0;
  dport = 0;
  /** Source address in words 0..3, destination in 4..7 (see address.ts). */
  readonly addresses = new Int32Array(8);
  readonly options = new OptionScan();
  /** Sum of the payload bytes, valid after sumPayload. */
  payloadSum = 0;

  constructor() {
    this.addresses[2] = V4_MAPPED;
    this.addresses[6] = V4_MAPPED;
  }

  get src(): number {
    return this.addresses[3];
  }

  get dst(): number {
    return this.addresses[7];
  }

  /** Whether it carries anything that some receiver takes for a UOA. */
  get hasUoa(): boolean {
    return this.oppLen !== 0 || this.options.uoaCount !== 0;
  }
}

/**
 * Parses the IP packet at frame.bytes[off, end) into `packet`; bytes behind the IP total length (link padding) are
 * ignored. Returns PARSE_OK, PARSE_OTHER_PROTOCOL, or an index into PARSE_FAULTS.
 */
export function parse(packet: Packet, frame: Frame, off: number, end: number): number {
  const { view } = frame;
  if (end - off < ipv4.IPV4_HEADER_LEN) return FAULT.truncated;
  if (ipv4.version(view, off) !== 4) return FAULT.not_ip;
  const headerLen = ipv4.headerLen(view, off);
  const totalLen = ipv4.totalLen(view, off);
  if (headerLen < ipv4.IPV4_HEADER_LEN || totalLen < headerLen) return FAULT.bad_ip_length;
  if (totalLen > end - off) return FAULT.truncated;
  const protocol = ipv4.protocol(view, off);
  if (protocol !== ipv4.PROTOCOL_UDP && protocol !== ipv4.PROTOCOL_OPP) return PARSE_OTHER_PROTOCOL;
  if (!ipv4.checksumOk(view, off, headerLen)) return FAULT.bad_ip_checksum;
  if (!scanOptions(packet.options, view, off, headerLen)) return FAULT.bad_ip_options;
  if (ipv4.isFragment(view, off)) return FAULT.fragment;

  const ipEnd = off + totalLen;
  let udpOff = off + headerLen;
  let oppLen = 0;
  if (protocol === ipv4.PROTOCOL_OPP) {
    if (ipEnd - udpOff < opp.OPP_HEADER_LEN) return FAULT.bad_opp;
    oppLen = opp.length(view, udpOff);
    if (opp.innerProtocol(view, udpOff) !== ipv4.PROTOCOL_UDP) return FAULT.bad_opp;
    if (oppLen < opp.OPP_HEADER_LEN || oppLen > ipEnd - udpOff) return FAULT.bad_opp;
    udpOff += oppLen;
  }
  if (ipEnd - udpOff < udp.UDP_HEADER_LEN) return FAULT.bad_udp_length;
  const udpLen = udp.length(view, udpOff);
  if (udpLen < udp.UDP_HEADER_LEN || udpLen > ipEnd - udpOff) return FAULT.bad_udp_length;

  packet.off = off;
  packet.headerLen = headerLen;
  packet.totalLen = totalLen;
  packet.oppLen = oppLen;
  packet.udpOff = udpOff;
  packet.payloadLen = udpLen - udp.UDP_HEADER_LEN;
  packet.sport = udp.sport(view, udpOff);
  packet.dport = udp.dport(view, udpOff);
  packet.addresses[3] = ipv4.src(view, off);
  packet.addresses[7] = ipv4.dst(view, off);
  return PARSE_OK;
}

/** Sums the payload once, for the check on the way in and the checksum on the way out. False: the checksum is wrong. */
export function sumPayload(packet: Packet, view: DataView): boolean {
  packet.payloadSum = sumBytes(view, packet.udpOff + udp.UDP_HEADER_LEN, packet.payloadLen);
  return udp.checksumAcceptable(view, packet.udpOff, packet.src, packet.dst, packet.payloadSum);
}
