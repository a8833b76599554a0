// The rtnetlink messages that routing is made of (rtnetlink(7), linux/rtnetlink.h), as records that are
// filled again for each message. Addresses are in network order.
import { findAttribute, findWithin, lengthAt, textAt } from '../sys/netlink-messages.ts';
import { V4_MAPPED } from '../wire/address.ts';

export const MESSAGE = {
  newLink: 16,
  deleteLink: 17,
  getLink: 18,
  newAddress: 20,
  deleteAddress: 21,
  getAddress: 22,
  newRoute: 24,
  deleteRoute: 25,
  getRoute: 26,
  newNeighbor: 28,
  deleteNeighbor: 29,
  getNeighbor: 30,
  newRule: 32,
  deleteRule: 33,
  getRule: 34,
} as const;

/**
 * RTNLGRP_ numbers: link, neighbors, IPv4 addresses, routes and rules, IPv6 routes, MTUs and rules, nexthop
 * objects.
 */
export const GROUPS: readonly number[] = [1, 3, 5, 7, 8, 11, 12, 19, 32];
/** What tells of all that inspectHost looks at: the same without neighbors, and IPv6 addresses. */
export const HOST_GROUPS: readonly number[] = [1, 5, 7, 8, 9, 11, 12, 19, 32];

export const TYPE_UNICAST = 1;
export const TYPE_LOCAL = 2;

export const AF_INET = 2;
export const AF_INET6 = 10;
export const ROUTE_LEN = 12; // struct rtmsg
const NEIGHBOR_LEN = 12; // struct ndmsg
export const LINK_LEN = 16; // struct ifinfomsg
const ROUTE_IS_CLONED = 0x200; // RTM_F_CLONED
const NEIGHBOR_IS_PROXY = 8; // NTF_PROXY
export const V4_PREFIX = 96; // bits that the v4-mapped form puts before an IPv4 address
/** NUD_FAILED. */
const STATE_FAILED = 0x20;
const ARPHRD_ETHER = 1;
const IFF_UP = 1;
const IFF_LOOPBACK = 8;
const IFF_RUNNING = 0x40;
const IFF_NOARP = 0x80;

/** Of routes; a rule names its destination by the same number (FRA_DST). */
export const RTA = {
  dst: 1,
  src: 2,
  oif: 4,
  gateway: 5,
  metrics: 8,
  cacheInfo: 12,
  multipath: 9,
  via: 18,
  encapsulationType: 21,
  ipProtocol: 27,
} as const;
const RTAX_MTU = 2;
export const NDA = { dst: 1, linkAddress: 2 } as const;
export const IFA = { address: 1, local: 2, cacheInfo: 6, flags: 8 } as const;
export const IFLA = {
  address: 1,
  name: 3,
  mtu: 4,
  master: 10,
  protocolInfo: 12,
  operState: 16,
  linkInfo: 18,
  perFamily: 26,
  wanted: 29,
} as const;
const IFLA_INFO = { kind: 1, slaveKind: 4 } as const;
const IFLA_INET6_CONF = 2;
/** Where the MTU of IPv6 is among the values of IFLA_INET6_CONF (DEVCONF_MTU6), in bytes. */
const MTU6_OFF = 8;

export class RouteMessage {
  isV4 = false;
  type = 0;
  /** Of the four words: an IPv4 prefix has 96 bits more than its text says. */
  prefixLen = 0;
  readonly dst = new Int32Array(4);
  hasGateway = false;
  readonly gateway = new Int32Array(4);
  /** 0: the message names none, or several. */
  interfaceIndex = 0;
  /** All that it names. */
  readonly interfaces: number[] = [];
  isEncapsulated = false;
  /** It is for some sources only. */
  isBySource = false;
  /** Hundredths of a second from the message on; 0: it stays. Negative: it is not used any more. */
  expiresIn = 0;
  /** Largest packet that it takes, bytes; 0: its interface's. */
  mtu = 0;
}

/**
 * Whether the body at [off, end) is about what the kernel made of a route for one destination, not about the
 * route itself.
 */
export const isClonedRoute = (view: DataView, off: number, end: number): boolean =>
  off + ROUTE_LEN <= end && (view.getUint32(off + 8, true) & ROUTE_IS_CLONED) !== 0;

/**
 * Reads of the body at [off, end) of a message about a route or a rule which destinations it is for. False
 * when it is of another family, or not sound.
 */
export function readPrefix(view: DataView, off: number, end: number, route: RouteMessage): boolean {
  if (off + ROUTE_LEN > end) return false; // struct fib_rule_hdr is as long, and begins in the same way
  const family = view.getUint8(off);
  const length = view.getUint8(off + 1);
  if (family !== AF_INET && family !== AF_INET6) return false;
  const isV4 = family === AF_INET;
  if (length > (isV4 ? 32 : 128)) return false;
  route.isV4 = isV4;
  route.type = view.getUint8(off + 7);
  route.isBySource = view.getUint8(off + 2) > 0;
  route.prefixLen = isV4 ? length + V4_PREFIX : length;
  clear(route.dst, isV4);
  const dst = findAttribute(view, off + ROUTE_LEN, end, RTA.dst);
  return dst < 0 ? length === 0 : readAddress(view, dst, lengthAt(view, dst), route.dst);
}

/**
 * Reads the body at [off, end) of a message about a route. False when it is none that we look at, or not
 * sound.
 */
export function readRoute(view: DataView, off: number, end: number, route: RouteMessage): boolean {
  if (!readPrefix(view, off, end, route)) return false;
  const find = (type: number) => findAttribute(view, off + ROUTE_LEN, end, type);
  const oif = find(RTA.oif);
  route.interfaceIndex = oif < 0 ? 0 : view.getInt32(oif, true);
  route.interfaces.length = 0;
  if (oif >= 0) route.interfaces.push(route.interfaceIndex);
  // struct rtnexthop: length (2), flags (1), weight (1), interface (4); attributes follow.
  const legs = find(RTA.multipath);
  const legsEnd = legs < 0 ? 0 : legs + lengthAt(view, legs);
  for (let leg = legs; leg >= 0 && leg + 8 <= legsEnd; leg += Math.max(8, view.getUint16(leg, true) + 3) & -4)
    route.interfaces.push(view.getInt32(leg + 4, true));
  const gateway = find(RTA.gateway);
  const via = find(RTA.via); // struct rtvia: family (2), address
  route.hasGateway = gateway >= 0 || via >= 0;
  clear(route.gateway, route.isV4);
  if (gateway >= 0 && !readAddress(view, gateway, lengthAt(view, gateway), route.gateway)) return false;
  if (via >= 0 && !readAddress(view, via + 2, lengthAt(view, via) - 2, route.gateway)) return false;
  const metrics = find(RTA.metrics);
  const mtu = findWithin(view, metrics, RTAX_MTU);
  route.mtu = mtu < 0 ? 0 : view.getUint32(mtu, true);
  // struct rta_cacheinfo: references (4), last use (4), expires (4), ...
  const cacheInfo = find(RTA.cacheInfo);
  route.expiresIn = cacheInfo < 0 || lengthAt(view, cacheInfo) < 12 ? 0 : view.getInt32(cacheInfo + 8, true);
  route.isEncapsulated = findAttribute(view, off + ROUTE_LEN, end, RTA.encapsulationType, 2) >= 0;
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

  /** The kernel gave up asking for it. */
  get isFailed(): boolean {
    return (this.state & STATE_FAILED) !== 0;
  }
}

/** As readRoute, of a message about a neighbor. Bridge entries and proxies are none. */
export function readNeighbor(view: DataView, off: number, end: number, neighbor: NeighborMessage): boolean {
  if (off + NEIGHBOR_LEN > end) return false;
  const family = view.getUint8(off);
  if (family !== AF_INET && family !== AF_INET6) return false;
  if (view.getUint8(off + 10) & NEIGHBOR_IS_PROXY) return false;
  neighbor.interfaceIndex = view.getInt32(off + 4, true);
  neighbor.state = view.getUint16(off + 8, true);
  const mac = findAttribute(view, off + NEIGHBOR_LEN, end, NDA.linkAddress);
  neighbor.hasMac = mac >= 0 && lengthAt(view, mac) === 6;
  if (neighbor.hasMac) {
    neighbor.macHigh = view.getInt32(mac);
    neighbor.macLow = view.getUint16(mac + 4);
    neighbor.hasMac = neighbor.macHigh !== 0 || neighbor.macLow !== 0;
  }
  const dst = findAttribute(view, off + NEIGHBOR_LEN, end, NDA.dst);
  return dst >= 0 && readAddress(view, dst, lengthAt(view, dst), neighbor.address);
}

/** IF_OPER_ (RFC 2863), as sysfs words it. Loopback and tunnels are "unknown", and work. */
const OPER_STATES = ['unknown', 'notpresent', 'down', 'lowerlayerdown', 'testing', 'dormant', 'up'] as const;

export class LinkMessage {
  index = 0;
  name = '';
  isLoopback = false;
  isEthernet = false;
  /** IFF_UP: somebody turned it on. */
  isUp = false;
  /** IFF_RUNNING as well: it has a carrier. */
  isRunning = false;
  operState: (typeof OPER_STATES)[number] = 'unknown';
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
  /** Index of the bridge, bond or VRF that it is a port of; 0: of none. */
  master = 0;
  /** It is a VRF, or a port of one. */
  isOfVrf = false;
}

/** As readRoute, of a message about an interface. What a bridge says about its ports is none. */
export function readLink(view: DataView, off: number, end: number, link: LinkMessage): boolean {
  if (off + LINK_LEN > end || view.getUint8(off) !== 0) return false;
  link.isEthernet = view.getUint16(off + 2, true) === ARPHRD_ETHER;
  link.index = view.getInt32(off + 4, true);
  const flags = view.getUint32(off + 8, true);
  link.isUp = (flags & IFF_UP) !== 0;
  link.isLoopback = (flags & IFF_LOOPBACK) !== 0;
  link.isRunning = link.isUp && (flags & IFF_RUNNING) !== 0;
  link.asksNeighbors = link.isEthernet && (flags & IFF_NOARP) === 0;
  const find = (type: number, leastLen?: number) => findAttribute(view, off + LINK_LEN, end, type, leastLen);
  link.name = textAt(view, find(IFLA.name, 1));
  const operState = find(IFLA.operState, 1);
  link.operState = OPER_STATES[operState < 0 ? 0 : view.getUint8(operState)] ?? 'unknown';
  const info = find(IFLA.linkInfo);
  link.isOfVrf = [IFLA_INFO.kind, IFLA_INFO.slaveKind].some(
    (type) => textAt(view, findWithin(view, info, type)) === 'vrf',
  );
  const mac = find(IFLA.address);
  link.hasMac = mac >= 0 && lengthAt(view, mac) === 6;
  if (link.hasMac) {
    link.macHigh = view.getInt32(mac);
    link.macLow = view.getUint16(mac + 4);
  }
  const mtu = find(IFLA.mtu);
  link.mtu = mtu < 0 ? 0 : view.getInt32(mtu, true);
  const master = find(IFLA.master);
  link.master = master < 0 ? 0 : view.getInt32(master, true);
  link.mtu6 = mtu6In(view, findWithin(view, find(IFLA.perFamily), AF_INET6));
  return true;
}

/** As readLink, of a message about IPv6 on an interface: reads only `index` and `mtu6`. */
export function readMtu6(view: DataView, off: number, end: number, link: LinkMessage): boolean {
  if (off + LINK_LEN > end || view.getUint8(off) !== AF_INET6) return false;
  link.index = view.getInt32(off + 4, true);
  link.mtu6 = mtu6In(view, findAttribute(view, off + LINK_LEN, end, IFLA.protocolInfo));
  return link.mtu6 > 0;
}

function mtu6In(view: DataView, ofIpv6: number): number {
  const conf = findWithin(view, ofIpv6, IFLA_INET6_CONF);
  return conf < 0 || lengthAt(view, conf) < MTU6_OFF + 4 ? 0 : view.getInt32(conf + MTU6_OFF, true);
}

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
