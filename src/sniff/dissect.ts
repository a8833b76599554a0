// Takes an IPv4 or IPv6 packet with a UDP datagram apart, with the UOA in every form, for `uoa-proxy sniff`,
// for the lab's receivers and for what the lab prints. By no code of the proxy's, so that a mistake there
// shows here. Any bytes will do: what is not there or makes no sense ends up as a fault in words, never as an
// exception.
import { addressText, toMapped } from './endpoint.ts';
import {
  findInDestinationOptions,
  findInIpOptions,
  type Reading,
  readOppHeader,
  readProxyHeader,
  type Uoa,
} from './uoa-option.ts';

/** A packet with a UOA, or with what was meant to be one. */
export interface Inspected {
  srcIp: string;
  dstIp: string;
  /** The UOA that a receiver would find; also beside a fault. */
  uoa: Uoa | undefined;
  /** Why it is malformed, or why one cannot tell. */
  fault: string | undefined;
  /** Undefined when there is no UDP header, or not all of it was captured. */
  ports: Ports | undefined;
  /** Not the whole datagram: its first fragment. */
  isFragment: boolean;
}

export interface Ports {
  sport: number;
  dport: number;
  /** As the UDP header says, without a header of PROXY protocol; below zero for a length that cannot be. */
  payloadLen: number;
}

export interface Dissected {
  srcIp: string;
  dstIp: string;
  sport: number;
  dport: number;
  /** Of a first fragment the part that it has; without a header of PROXY protocol. */
  payload: Uint8Array;
  uoa: Uoa | undefined;
  /** Not the whole datagram. */
  isFragment: boolean;
  /** The UDP checksum verifies, or there is none over IPv4; not to be looked at in fragments. */
  isSumRight: boolean;
}

export const PROTOCOL_OPP = 248;
export const PROTOCOL_UDP = 17;
const NEXT_HOP_BY_HOP = 0;
const NEXT_ROUTING = 43;
const NEXT_FRAGMENT = 44;
const NEXT_DESTINATION_OPTIONS = 60;
const IPV4_HEADER_LEN = 20;
const IPV6_HEADER_LEN = 40;
const EXTENSION_UNIT = 8;
const OPP_HEADER_LEN = 4;
const UDP_HEADER_LEN = 8;

/** A packet from its IP header on; undefined when it is no UDP datagram, or a fragment without its ports. */
export function dissect(bytes: Uint8Array): Dissected | undefined {
  const walk = walkPacket(bytes, bytes.length);
  if (walk === undefined || walk.udpOff === 0) return undefined;
  const { src, dst, uoa, isFragment } = walk;
  const { payloadLen: ownLen, ...ports } = walk.ports();
  const payloadLen = ownLen + walk.proxyLen;
  const udp = bytes.subarray(walk.udpOff, Math.min(walk.ipLen, walk.udpOff + UDP_HEADER_LEN + payloadLen));
  if (udp.length !== UDP_HEADER_LEN + payloadLen && !isFragment) return undefined;
  const payload = udp.slice(UDP_HEADER_LEN + walk.proxyLen);
  const isSumRight = hasSum(udp) ? udpChecksum(src, dst, udp) === 0 : src.length === 4;
  return { srcIp: addressText(src), dstIp: addressText(dst), ...ports, payload, uoa, isFragment, isSumRight };
}

/**
 * A packet from its IP header on, of whose `wireLen` bytes these were captured; undefined for what carries
 * nothing like a UOA, and for fragments but the first.
 */
export function inspect(bytes: Uint8Array, wireLen = bytes.length): Inspected | undefined {
  const walk = walkPacket(bytes, wireLen);
  if (walk === undefined || !walk.isCandidate) return undefined;
  const { src, dst, uoa, fault, udpOff, isFragment } = walk;
  const ports = udpOff === 0 ? undefined : walk.ports();
  return { srcIp: addressText(src), dstIp: addressText(dst), uoa, fault, ports, isFragment };
}

function walkPacket(bytes: Uint8Array, wireLen: number): Walk | undefined {
  const version = (bytes[0] ?? 0) >>> 4;
  if (version === 4 && bytes.length >= IPV4_HEADER_LEN) return walkIpv4(bytes, wireLen);
  return version === 6 && bytes.length >= IPV6_HEADER_LEN ? walkIpv6(bytes, wireLen) : undefined;
}

function walkIpv4(bytes: Uint8Array, wireLen: number): Walk | undefined {
  const headerLen = (bytes[0] & 15) * 4;
  const fragment = word(bytes, 6) & 0x3fff;
  if ((fragment & 0x1fff) !== 0 || headerLen < IPV4_HEADER_LEN) return undefined;
  const ipLen = word(bytes, 2);
  const walk = new Walk(bytes, 12, 4, Math.max(ipLen, headerLen), wireLen);
  walk.isFragment = fragment !== 0;
  if (ipLen < headerLen) walk.notice(`IP length ${ipLen}, shorter than its header`);
  const isThere = walk.reaches(headerLen);
  walk.add(findInIpOptions(bytes.subarray(IPV4_HEADER_LEN, headerLen)), isThere);
  if (isThere) walkUpper(walk, bytes[9], headerLen);
  return walk;
}

function walkIpv6(bytes: Uint8Array, wireLen: number): Walk | undefined {
  const walk = new Walk(bytes, 8, 16, IPV6_HEADER_LEN + word(bytes, 4), wireLen);
  let next = bytes[6];
  let at = IPV6_HEADER_LEN;
  while (isExtension(next)) {
    if (!walk.reaches(at + EXTENSION_UNIT)) return walk;
    let len = EXTENSION_UNIT;
    if (next === NEXT_FRAGMENT) {
      if (word(bytes, at + 2) >>> 3 !== 0) return undefined;
      walk.isFragment ||= (word(bytes, at + 2) & 1) !== 0;
    } else {
      len += bytes[at + 1] * EXTENSION_UNIT;
      const isThere = walk.reaches(at + len);
      const header = bytes.subarray(at, Math.min(at + len, walk.ipLen));
      if (next === NEXT_DESTINATION_OPTIONS) walk.add(findInDestinationOptions(header), isThere);
      if (!isThere) return walk;
    }
    next = bytes[at];
    at += len;
  }
  walkUpper(walk, next, at);
  return walk;
}

/**
 * From behind the IP header on: an opp header, if `protocol` says so, UDP, and the header of PROXY protocol
 * that the payload may begin with.
 */
function walkUpper(walk: Walk, protocol: number, at: number): void {
  const { bytes, ipLen } = walk;
  let inner = protocol;
  let udpOff = at;
  if (protocol === PROTOCOL_OPP) {
    walk.isCandidate = true;
    if (!walk.reaches(at + OPP_HEADER_LEN)) return;
    const oppLen = word(bytes, at + 2);
    inner = bytes[at + 1];
    udpOff += oppLen;
    if (!walk.reaches(udpOff)) return;
    walk.add(readOppHeader(bytes.subarray(at, udpOff)), true);
    if (oppLen < OPP_HEADER_LEN) return;
  }
  if (inner !== PROTOCOL_UDP) walk.notice(`protocol ${inner} behind the UOA, not UDP`);
  if (inner !== PROTOCOL_UDP || !walk.reaches(udpOff + UDP_HEADER_LEN)) return;
  walk.udpOff = udpOff;
  const udpLen = word(bytes, udpOff + 4);
  const room = ipLen - udpOff;
  if (udpLen < UDP_HEADER_LEN || (udpLen > room && !walk.isFragment)) {
    walk.notice(`UDP length ${udpLen} where the IP packet has ${room} bytes for it`);
    return;
  }
  walk.lookIntoPayload(udpOff + UDP_HEADER_LEN, Math.min(ipLen, udpOff + udpLen));
}

/** What the walk over one packet found so far. */
class Walk {
  readonly bytes: Uint8Array;
  readonly src: Uint8Array;
  readonly dst: Uint8Array;
  /** The packet's length as its IP header says. */
  readonly ipLen: number;
  /** Where the whole UDP header is; 0 without one. */
  udpOff = 0;
  isFragment = false;
  /** Bytes of the header of PROXY protocol that the payload begins with. */
  proxyLen = 0;
  /** It has a UOA, or was meant to have one. */
  isCandidate = false;
  uoa: Uoa | undefined = undefined;
  #fault: string | undefined = undefined;
  /** What is a fault if there is a UOA. */
  #notice: string | undefined = undefined;

  constructor(bytes: Uint8Array, srcOff: number, addressLen: number, ipLen: number, wireLen: number) {
    this.bytes = bytes;
    this.src = bytes.subarray(srcOff, srcOff + addressLen);
    this.dst = bytes.subarray(srcOff + addressLen, srcOff + 2 * addressLen);
    this.ipLen = ipLen;
    if (ipLen > wireLen) this.notice(`IP length ${ipLen} where ${wireLen} bytes came`);
  }

  get fault(): string | undefined {
    return this.#fault ?? this.#notice;
  }

  /** Of a walk with udpOff. */
  ports(): Ports {
    const { bytes, udpOff } = this;
    return {
      sport: word(bytes, udpOff),
      dport: word(bytes, udpOff + 2),
      payloadLen: word(bytes, udpOff + 4) - UDP_HEADER_LEN - this.proxyLen,
    };
  }

  /** Whether the packet and what was captured of it go on to `end`; if not, that is noticed. */
  reaches(end: number): boolean {
    if (end > this.ipLen) this.notice(`a header up to byte ${end} of a packet of ${this.ipLen} bytes`);
    else if (end > this.bytes.length) this.notice(`only its first ${this.bytes.length} bytes were captured`);
    else return true;
    return false;
  }

  /** `isWhole`: what was read is all there; if not, that is what is wrong with it. */
  add({ uoa, fault }: Reading, isWhole: boolean): void {
    this.isCandidate ||= uoa !== undefined || fault !== undefined;
    if (isWhole) this.#fault ??= fault;
    if (uoa !== undefined && this.uoa !== undefined) this.#fault ??= 'more than one UOA';
    this.uoa ??= uoa;
  }

  /** The payload's part of the packet is [from, end). */
  lookIntoPayload(from: number, end: number): void {
    const read = readProxyHeader(this.bytes.subarray(from, end));
    if (read === undefined) return;
    this.add(read, read.fault === undefined || this.reaches(end));
    this.proxyLen = read.uoa?.bytes.length ?? 0;
  }

  notice(text: string): void {
    this.#notice ??= text;
  }
}

const isExtension = (next: number): boolean =>
  next === NEXT_FRAGMENT ||
  next === NEXT_DESTINATION_OPTIONS ||
  next === NEXT_HOP_BY_HOP ||
  next === NEXT_ROUTING;

/** What belongs into the checksum field when that is zero; 0 over a datagram whose checksum is right. */
export function udpChecksum(src: Uint8Array, dst: Uint8Array, udp: Uint8Array): number {
  // The 0xffff of the IPv4-mapped form adds nothing in one's complement: one pseudo-header serves both
  // families.
  let sum = sumWords(toMapped(src)) + sumWords(toMapped(dst)) + PROTOCOL_UDP + udp.length + sumWords(udp);
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000);
  return ~sum & 0xffff;
}

function sumWords(bytes: Uint8Array): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += (bytes[at] << 8) | (bytes[at + 1] ?? 0);
  return sum;
}

const hasSum = (udp: Uint8Array): boolean => word(udp, 6) !== 0;

/** Two bytes that are there, big endian. */
const word = (bytes: Uint8Array, at: number): number => (bytes[at] << 8) | bytes[at + 1];
