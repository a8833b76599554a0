// The interfaces of this network namespace with their addresses, as the kernel tells them (rtnetlink(7),
// RTM_GETLINK and RTM_GETADDR), and which of them an address belongs to.
import { existsSync } from 'node:fs';
import { AF_INET, AF_INET6, FLAG, MESSAGE, readAddress } from '../route/rtnetlink.ts';
import { ADDRESS_WORDS, addressWords, type Family, familyOf, formatAddress } from '../wire/address.ts';
import { attributesIn, message, Rtnetlink, textAt } from './rtnetlink-request.ts';

export interface Link {
  index: number;
  name: string;
  mtu: number;
  /** Of IPv6 packets: a router may have said less than the device can. 0: it has no IPv6. */
  mtu6: number;
  /** Ethernet address; '' for a device without one. */
  mac: string;
  up: boolean;
  loopback: boolean;
  /** Index of the bridge or bond that it is a port of; 0 for none. */
  masterIndex: number;
  /** It is a VRF, or a port of one. */
  isOfVrf: boolean;
  /** Of both families, but for IPv6 link-local ones. */
  addresses: LinkAddress[];
}

export interface LinkAddress {
  ip: string;
  prefixLen: number;
  /**
   * Whether IPv6 duplicate address detection is still going on, or has found another host with the address.
   */
  state: 'usable' | 'tentative' | 'duplicate';
}

const RTM_GETADDR = 22;
// struct ifinfomsg: family (1), padding (1), type (2), index (4), flags (4), change mask (4)
const LINK_LEN = 16;
const ADDRESS_LEN = 8; // struct ifaddrmsg: family (1), prefix length (1), flags (1), scope (1), index (4)
const IFLA = { address: 1, name: 3, mtu: 4, master: 10, linkInfo: 18, perFamily: 26, wanted: 29 } as const;
const IFLA_INFO = { kind: 1, slaveKind: 4 } as const;
const IFLA_INET6_CONF = 2;
const MTU6_OFF = 8; // DEVCONF_MTU6, in bytes
const SKIP_STATISTICS = 8; // RTEXT_FILTER_SKIP_STATS
const ARPHRD_ETHERNET = 1;
const ARPHRD_LOOPBACK = 772;
const IFF_UP = 1;
const IFF_LOOPBACK = 8;
const IFA = { address: 1, local: 2, flags: 8 } as const;
const IFA_F = { duplicate: 0x08, tentative: 0x40 } as const;
const SCOPE_LINK = 253;

export const hasIpv6 = (): boolean => existsSync('/proc/net/if_inet6');

/**
 * All interfaces of this network namespace with their addresses, in the kernel's order. Throws an IoError.
 */
export async function listLinks(): Promise<Link[]> {
  const kernel = new Rtnetlink();
  try {
    const wanted = Uint8Array.of(SKIP_STATISTICS, 0, 0, 0);
    const body = new Uint8Array(LINK_LEN);
    const attributes = [{ type: IFLA.wanted, value: wanted }];
    const links = await kernel.readAll(message(MESSAGE.getLink, FLAG.dump, body, attributes), readLink);
    const byIndex = new Map(links.map((link) => [link.index, link]));
    const request = message(RTM_GETADDR, FLAG.dump, new Uint8Array(ADDRESS_LEN));
    for (const { index, ...address } of await kernel.readAll(request, readLinkAddress))
      byIndex.get(index)?.addresses.push(address);
    return links;
  } finally {
    kernel.close();
  }
}

function readLink(view: DataView, off: number, end: number): Link | undefined {
  if (off + LINK_LEN > end) return undefined;
  const type = view.getUint16(off + 2, true);
  const flags = view.getUint32(off + 8, true);
  const link: Link = {
    index: view.getInt32(off + 4, true),
    name: '',
    mtu: 0,
    mtu6: 0,
    mac: '',
    up: (flags & IFF_UP) !== 0,
    loopback: (flags & IFF_LOOPBACK) !== 0,
    masterIndex: 0,
    isOfVrf: false,
    addresses: [],
  };
  for (const { type: attribute, at, length } of attributesIn(view, off + LINK_LEN, end)) {
    if (attribute === IFLA.name) link.name = textAt(view, at, length);
    else if (attribute === IFLA.mtu && length >= 4) link.mtu = view.getUint32(at, true);
    else if (attribute === IFLA.master && length >= 4) link.masterIndex = view.getInt32(at, true);
    else if (attribute === IFLA.linkInfo) link.isOfVrf = isOfVrf(view, at, at + length);
    else if (attribute === IFLA.perFamily) link.mtu6 = mtuOfIpv6(view, at, at + length);
    else if (attribute === IFLA.address && (type === ARPHRD_ETHERNET || type === ARPHRD_LOOPBACK))
      link.mac = Array.from({ length }, (_, i) =>
        view
          .getUint8(at + i)
          .toString(16)
          .padStart(2, '0'),
      ).join(':');
  }
  return link;
}

function isOfVrf(view: DataView, off: number, end: number): boolean {
  for (const { type, at, length } of attributesIn(view, off, end)) {
    const isKind = type === IFLA_INFO.kind || type === IFLA_INFO.slaveKind;
    if (isKind && textAt(view, at, length) === 'vrf') return true;
  }
  return false;
}

/** Of what the families say of the interface. */
function mtuOfIpv6(view: DataView, off: number, end: number): number {
  for (const family of attributesIn(view, off, end)) {
    if (family.type !== AF_INET6) continue;
    for (const { type, at, length } of attributesIn(view, family.at, family.at + family.length))
      if (type === IFLA_INET6_CONF && length >= MTU6_OFF + 4) return view.getInt32(at + MTU6_OFF, true);
  }
  return 0;
}

/** Undefined for one that is no address of ours: an IPv6 link-local one, or another family's. */
function readLinkAddress(
  view: DataView,
  off: number,
  end: number,
): (LinkAddress & { index: number }) | undefined {
  if (off + ADDRESS_LEN > end) return undefined;
  const family = view.getUint8(off);
  if (family !== AF_INET && (family !== AF_INET6 || view.getUint8(off + 3) === SCOPE_LINK)) return undefined;
  let flags = view.getUint8(off + 2);
  const words = new Int32Array(ADDRESS_WORDS);
  let isKnown = false;
  let isLocal = false;
  for (const { type, at, length } of attributesIn(view, off + ADDRESS_LEN, end)) {
    if (type === IFA.flags && length >= 4) flags = view.getUint32(at, true);
    // Of a tunnel `address` is the other end's.
    if (type === IFA.local || (type === IFA.address && !isLocal)) {
      isKnown = readAddress(view, at, length, words);
      isLocal = type === IFA.local;
    }
  }
  if (!isKnown) return undefined;
  const state = flags & IFA_F.duplicate ? 'duplicate' : flags & IFA_F.tentative ? 'tentative' : 'usable';
  return {
    index: view.getInt32(off + 4, true),
    ip: formatAddress(words, 0),
    prefixLen: view.getUint8(off + 1),
    state,
  };
}

interface Subnet {
  family: Family;
  words: Int32Array;
  /** Of the four words. */
  prefixLen: number;
}

/** Look-ups among the interfaces. */
export class Interfaces {
  readonly all: readonly Link[];
  readonly #byName: ReadonlyMap<string, Link>;
  readonly #byIndex: ReadonlyMap<number, Link>;
  /** By address; one that several have belongs to the first that is no loopback interface. */
  readonly #owners = new Map<string, Link>();
  /** Of more than one address. */
  readonly #subnets: ReadonlyMap<Link, Subnet[]>;

  constructor(all: readonly Link[]) {
    this.all = all;
    this.#byName = new Map(all.map((link) => [link.name, link]));
    this.#byIndex = new Map(all.map((link) => [link.index, link]));
    for (const link of all)
      for (const { ip } of link.addresses)
        if (this.#owners.get(ip)?.loopback ?? true) this.#owners.set(ip, link);
    this.#subnets = new Map(all.map((link) => [link, link.addresses.flatMap(subnetOf)]));
  }

  get names(): string[] {
    return [...this.#byName.keys()];
  }

  named(name: string): Link | undefined {
    return this.#byName.get(name);
  }

  numbered(index: number): Link | undefined {
    return this.#byIndex.get(index);
  }

  /** Of the bridge or bond that an interface is a port of. */
  masterOf(name: string): string | undefined {
    const link = this.named(name);
    return link && this.numbered(link.masterIndex)?.name;
  }

  /** Whether it is a VRF, or belongs to one, by way of a bridge or bond, too. */
  isOfVrf(link: Link): boolean {
    const master = this.numbered(link.masterIndex);
    return link.isOfVrf || (master !== undefined && this.isOfVrf(master));
  }

  /** The one that has the address, rather than a loopback interface that has it, too. */
  ownerOf(address: string): Link | undefined {
    return this.#owners.get(address);
  }

  /** True when one of the link's subnets of more than one address contains `address`. */
  hasInSubnet(link: Link, address: string): boolean {
    const family = familyOf(address);
    const words = addressWords(address);
    return (this.#subnets.get(link) ?? []).some(
      (subnet) => subnet.family === family && hasSamePrefix(subnet.words, words, subnet.prefixLen),
    );
  }
}

function subnetOf({ ip, prefixLen }: LinkAddress): Subnet[] {
  const family = familyOf(ip);
  const bits = family === 6 ? 128 : 32;
  return prefixLen < bits ? [{ family, words: addressWords(ip), prefixLen: 128 - bits + prefixLen }] : [];
}

/** Whether the first `length` of 128 bits are the same. */
function hasSamePrefix(a: Int32Array, b: Int32Array, length: number): boolean {
  return a.every((word, index) => {
    const bits = length - 32 * index;
    const mask = bits >= 32 ? -1 : bits <= 0 ? 0 : -1 << (32 - bits);
    return ((word ^ b[index]) & mask) === 0;
  });
}
