// The rtnetlink messages that routing is made of (rtnetlink(7), linux/rtnetlink.h), as records that are filled again for
// each message. Integers are in this machine's order, which is little-endian, addresses in network order.
import { V4_MAPPED } from '../wire/address.ts';

export const MESSAGE = {
  error: 2,
  done: 3,
  newLink: 16,
  deleteLink: 17,
  getLink: 18,
  newAddress: 20,
  deleteAddress: 21,
  newRoute: 24,
  deleteRoute: 25,
  getRoute: 26,
  newNeighbor: 28,
  deleteNeighbor: 29,
  getNeighbor: 30,
  newRule: 32,
  deleteRule: 33,
  getRule: 34,
  deleteNextHop: 105,
} as const;

/** RTNLGRP_ numbers: link, neighbors, IPv4 addresses, routes and rules, IPv6 routes and rules, nexthop objects. */
export const GROUPS: readonly number[] = [1, 3, 5, 7, 8, 11, 19, 32];
/** What tells of all that planHost looks at: the same without neighbors, and IPv6 addresses and MTUs. */
export const HOST_GROUPS: readonly number[] = [1, 5, 7, 8, 9, 11, 12, 19, 32];

/** struct nlmsghdr: length (4), type (2), flags (2), sequence (4), port (4). */
export const HEADER_LEN = 16;
export const FLAG = { request: 1, interrupted: 0x10, replace: 0x100, dump: 0x300 } as const;

export const TABLE_MAIN = 254;
export const TABLE_LOCAL = 255;
export const TYPE_UNICAST = 1;
export const TYPE_LOCAL = 2;
export const ETHERNET = 1; // ARPHRD_ETHER

export const AF_INET = 2;
export const AF_INET6 = 10;
export const ROUTE_LEN = 12; // struct rtmsg
const NEIGHBOR_LEN = 12; // struct ndmsg
const LINK_LEN = 16; // struct ifinfomsg
const ROUTE_IS_CLONED = 0x200; // RTM_F_CLONED
const NEIGHBOR_IS_PROXY = 8; // NTF_PROXY
export const V4_PREFIX = 96; // bits that the v4-mapped form puts before an IPv4 address
const IFF_UP = 1;
const IFF_RUNNING = 0x40;
const IFF_NOARP = 0x80;

export const ATTRIBUTE_LEN = 4; // struct rtattr: length (2), type (2)
export const TYPE_MASK = 0x3fff; // without NLA_F_NESTED and NLA_F_NET_BYTEORDER

export const RTA_DST = 1;
const RTA = {
  dst: RTA_DST,
  oif: 4,
  gateway: 5,
  priority: 6,
  metrics: 8,
  multipath: 9,
  cacheInfo: 12,
  table: 15,
  via: 18,
} as const;
const RTA_ENCAPSULATION_TYPE = 21;
const RTA_NEXT_HOP_ID = 30;
const RTAX_MTU = 2;
const NDA = { dst: 1, linkAddress: 2 } as const;
const IFLA = { address: 1, name: 3, mtu: 4, perFamily: 26 } as const;
const IFLA_INET6_CONF = 2;
/** Where the MTU of IPv6 is among the values of IFLA_INET6_CONF (DEVCONF_MTU6), in bytes. */
const MTU6_OFF = 8;

/** A request for everything of one kind, of all families. */
export function dumpRequest(type: number, sequence: number): Uint8Array {
  const bodyLen = type === MESSAGE.getLink ? LINK_LEN : ROUTE_LEN; // ndmsg and fib_rule_hdr are as long as rtmsg
  const request = Buffer.from(new ArrayBuffer(HEADER_LEN + bodyLen));
  request.writeUInt32LE(request.length, 0);
  request.writeUInt16LE(type, 4);
  request.writeUInt16LE(FLAG.request | FLAG.dump, 6);
  request.writeUInt32LE(sequence, 8);
  return request;
}

export class RouteMessage {
  isV4 = false;
  table = 0;
  type = 0;
  tos = 0;
  /** Of the four words: an IPv4 prefix has 96 bits more than its text says. */
  prefixLen = 0;
  sourceLen = 0;
  readonly dst = new Int32Array(4);
  hasGateway = false;
  readonly gateway = new Int32Array(4);
  /** 0: the message names none. */
  interfaceIndex = 0;
  /** An unsigned number in 32 bits. */
  metric = 0;
  isMultipath = false;
  isEncapsulated = false;
  nextHopId = 0;
  /** Hundredths of a second from the message on; 0: it stays. Negative: it is not used any more. */
  expiresIn = 0;
  /** Largest packet that it takes, bytes; 0: its interface's. */
  mtu = 0;
}

/** Whether the body at [off, end) is about what the kernel made of a route for one destination, not about the route itself. */
export const isClonedRoute = (view: DataView, off: number, end: number): boolean =>
  off + ROUTE_LEN <= end && (view.getUint32(off + 8, true) & ROUTE_IS_CLONED) !== 0;

/** Reads the body at [off, end) of a message about a route. False when it is none that we look at, or not sound. */
export function readRoute(view: DataView, off: number, end: number, route: RouteMessage): boolean {
  if (off + ROUTE_LEN > end) return false;
  const family = view.getUint8(off);
  const length = view.getUint8(off + 1);
  if (family !== AF_INET && family !== AF_INET6) return false;
  const isV4 = family === AF_INET;
  if (length > (isV4 ? 32 : 128)) return false;
  route.isV4 = isV4;
  route.prefixLen = isV4 ? length + V4_PREFIX : length;
  route.sourceLen = view.getUint8(off + 2);
  route.tos = view.getUint8(off + 3);
  route.table = view.getUint8(off + 4);
  route.type = view.getUint8(off + 7);
  clear(route.dst, isV4);
  clear(route.gateway, isV4);
  route.hasGateway = false;
  route.interfaceIndex = 0;
  route.metric = 0;
  route.isMultipath = false;
  route.isEncapsulated = false;
  route.nextHopId = 0;
  route.expiresIn = 0;
  route.mtu = 0;
  for (let at = off + ROUTE_LEN; at + ATTRIBUTE_LEN <= end; ) {
    const attributeLen = view.getUint16(at, true);
    if (attributeLen < ATTRIBUTE_LEN || at + attributeLen > end) return false;
    const value = at + ATTRIBUTE_LEN;
    const valueLen = attributeLen - ATTRIBUTE_LEN;
    switch (view.getUint16(at + 2, true) & TYPE_MASK) {
      case RTA.dst:
        if (!readAddress(view, value, valueLen, route.dst)) return false;
        break;
      case RTA.gateway:
        if (!readAddress(view, value, valueLen, route.gateway)) return false;
        route.hasGateway = true;
        break;
      case RTA.via: // struct rtvia: family (2), address
        if (!readAddress(view, value + 2, valueLen - 2, route.gateway)) return false;
        route.hasGateway = true;
        break;
      case RTA.oif:
        if (valueLen < 4) return false;
        route.interfaceIndex = view.getInt32(value, true);
        break;
      case RTA.priority:
        if (valueLen < 4) return false;
        route.metric = view.getInt32(value, true);
        break;
      case RTA.table:
        if (valueLen < 4) return false;
        route.table = view.getUint32(value, true);
        break;
      case RTA.cacheInfo: // struct rta_cacheinfo: references (4), last use (4), expires (4), ...
        if (valueLen < 12) return false;
        route.expiresIn = view.getInt32(value + 8, true);
        break;
      case RTA.metrics: {
        const mtu = findAttribute(view, value, value + valueLen, RTAX_MTU);
        if (mtu >= 0) route.mtu = view.getUint32(mtu, true);
        break;
      }
      case RTA.multipath:
        route.isMultipath = true;
        break;
      case RTA_ENCAPSULATION_TYPE:
        route.isEncapsulated = true;
        break;
      case RTA_NEXT_HOP_ID:
        if (valueLen < 4) return false;
        route.nextHopId = view.getInt32(value, true);
        break;
    }
    at += (attributeLen + 3) & ~3;
  }
  return true;
}

export class NeighborMessage {
  interfaceIndex = 0;
  /** NUD_ bits. */
  state = 0;
  readonly address = new Int32Array(4);
  hasMac = false;
  /** The first four bytes of the Ethernet address in network order, and the last two. */
  macHigh = 0;
  macLow = 0;
}

/** As readRoute, of a message about a neighbor. Bridge entries and proxies are none. */
export function readNeighbor(view: DataView, off: number, end: number, neighbor: NeighborMessage): boolean {
  if (off + NEIGHBOR_LEN > end) return false;
  const family = view.getUint8(off);
  if (family !== AF_INET && family !== AF_INET6) return false;
  if (view.getUint8(off + 10) & NEIGHBOR_IS_PROXY) return false;
  neighbor.interfaceIndex = view.getInt32(off + 4, true);
  neighbor.state = view.getUint16(off + 8, true);
  neighbor.hasMac = false;
  let hasAddress = false;
  for (let at = off + NEIGHBOR_LEN; at + ATTRIBUTE_LEN <= end; ) {
    const attributeLen = view.getUint16(at, true);
    if (attributeLen < ATTRIBUTE_LEN || at + attributeLen > end) return false;
    const value = at + ATTRIBUTE_LEN;
    const valueLen = attributeLen - ATTRIBUTE_LEN;
    const type = view.getUint16(at + 2, true) & TYPE_MASK;
    if (type === NDA.dst) {
      hasAddress = readAddress(view, value, valueLen, neighbor.address);
    } else if (type === NDA.linkAddress && valueLen === 6) {
      neighbor.macHigh = view.getInt32(value);
      neighbor.macLow = view.getUint16(value + 4);
      neighbor.hasMac = neighbor.macHigh !== 0 || neighbor.macLow !== 0;
    }
    at += (attributeLen + 3) & ~3;
  }
  return hasAddress;
}

export class LinkMessage {
  index = 0;
  isEthernet = false;
  /** IFF_UP: somebody turned it on. */
  isUp = false;
  /** IFF_RUNNING as well: it has a carrier. */
  isRunning = false;
  /** Neighbors there are asked for their Ethernet addresses, in either family. */
  asksNeighbors = false;
  /** What follows is there only when the message says it: some announce a change of something else. */
  hasMac = false;
  macHigh = 0;
  macLow = 0;
  /** 0: not said. */
  mtu = 0;
  /** Of IPv6, which a router may have made smaller. 0: not said. */
  mtu6 = 0;
}

/** As readRoute, of a message about an interface. What a bridge says about its ports is none. */
export function readLink(view: DataView, off: number, end: number, link: LinkMessage): boolean {
  if (off + LINK_LEN > end || view.getUint8(off) !== 0) return false;
  link.isEthernet = view.getUint16(off + 2, true) === ETHERNET;
  link.index = view.getInt32(off + 4, true);
  const flags = view.getUint32(off + 8, true);
  link.isUp = (flags & IFF_UP) !== 0;
  link.isRunning = link.isUp && (flags & IFF_RUNNING) !== 0;
  link.asksNeighbors = link.isEthernet && (flags & IFF_NOARP) === 0;
  link.hasMac = false;
  link.mtu = 0;
  link.mtu6 = 0;
  for (let at = off + LINK_LEN; at + ATTRIBUTE_LEN <= end; ) {
    const attributeLen = view.getUint16(at, true);
    if (attributeLen < ATTRIBUTE_LEN || at + attributeLen > end) return false;
    const value = at + ATTRIBUTE_LEN;
    const valueLen = attributeLen - ATTRIBUTE_LEN;
    const type = view.getUint16(at + 2, true) & TYPE_MASK;
    if (type === IFLA.address && valueLen === 6) {
      link.hasMac = true;
      link.macHigh = view.getInt32(value);
      link.macLow = view.getUint16(value + 4);
    } else if (type === IFLA.mtu && valueLen >= 4) {
      link.mtu = view.getInt32(value, true);
    } else if (type === IFLA.perFamily) {
      const ipv6 = findAttribute(view, value, value + valueLen, AF_INET6);
      const conf = ipv6 < 0 ? -1 : findAttribute(view, ipv6, ipv6 + lengthAt(view, ipv6), IFLA_INET6_CONF);
      if (conf >= 0 && lengthAt(view, conf) >= MTU6_OFF + 4) link.mtu6 = view.getInt32(conf + MTU6_OFF, true);
    }
    at += (attributeLen + 3) & ~3;
  }
  return true;
}

/** Where the value of the first attribute of a type begins among those at [off, end); -1: there is none of 4 bytes or more. */
function findAttribute(view: DataView, off: number, end: number, type: number): number {
  for (let at = off; at + ATTRIBUTE_LEN <= end; ) {
    const attributeLen = view.getUint16(at, true);
    if (attributeLen < ATTRIBUTE_LEN || at + attributeLen > end) return -1;
    const isIt = (view.getUint16(at + 2, true) & TYPE_MASK) === type;
    if (isIt && attributeLen >= ATTRIBUTE_LEN + 4) return at + ATTRIBUTE_LEN;
    at += (attributeLen + 3) & ~3;
  }
  return -1;
}

/** Of the value that findAttribute found, bytes. */
const lengthAt = (view: DataView, value: number): number =>
  view.getUint16(value - ATTRIBUTE_LEN, true) - ATTRIBUTE_LEN;

export function clear(words: Int32Array, isV4: boolean): void {
  words[0] = 0;
  words[1] = 0;
  words[2] = isV4 ? V4_MAPPED : 0;
  words[3] = 0;
}

/** An address of 4 or 16 bytes into words; false when it has another length. */
export function readAddress(view: DataView, off: number, length: number, words: Int32Array): boolean {
  if (length === 4) {
    clear(words, true);
    words[3] = view.getInt32(off);
    return true;
  }
  if (length !== 16) return false;
  for (let i = 0; i < 4; i++) words[i] = view.getInt32(off + 4 * i);
  return true;
}
