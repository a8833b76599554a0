// The interfaces of this network namespace with their addresses, as the kernel tells them (rtnetlink(7),
// RTM_GETLINK and RTM_GETADDR), and which of them an address belongs to.
import { existsSync } from 'node:fs';
import { setImmediate as turnOfOthers } from 'node:timers/promises';
import {
  AF_INET,
  AF_INET6,
  IFA,
  IFLA,
  LINK_LEN,
  LinkMessage,
  MESSAGE,
  readAddress,
  readLink,
} from '../route/rtnetlink.ts';
import { SysError } from '../sys/libc.ts';
import { explainNetlink } from '../sys/netlink.ts';
import { answers, answersAtOnce, FLAG, findAttribute, lengthAt, message } from '../sys/netlink-messages.ts';
import { ADDRESS_WORDS, addressWords, type Family, familyOf, formatAddress } from '../wire/address.ts';
import { startHint } from './child-failure.ts';

export class Link extends LinkMessage {
  /** Of both families, but for IPv6 link-local ones. */
  readonly addresses: LinkAddress[] = [];

  /** Ethernet address as text; '' for a device without one. */
  get mac(): string {
    if (!this.hasMac || !(this.isEthernet || this.isLoopback)) return '';
    const digits = (number: number, bytes: number) => (number >>> 0).toString(16).padStart(2 * bytes, '0');
    return `${digits(this.macHigh, 4)}${digits(this.macLow, 2)}`.replace(/..(?=.)/g, '$&:');
  }
}

export interface LinkAddress {
  ip: string;
  prefixLen: number;
  /**
   * Whether IPv6 duplicate address detection is still going on, or has found another host with the address.
   */
  state: 'usable' | 'tentative' | 'duplicate';
}

const ADDRESS_LEN = 8; // struct ifaddrmsg: family (1), prefix length (1), flags (1), scope (1), index (4)
const SKIP_STATISTICS = { type: IFLA.wanted, value: Uint8Array.of(8, 0, 0, 0) }; // RTEXT_FILTER_SKIP_STATS
const IFA_F = { duplicate: 0x08, tentative: 0x40 } as const;
const SCOPE_LINK = 253;
/** Of 32 KiB; some milliseconds' worth. */
const DATAGRAMS_AT_ONCE = 8;
/**
 * Something changed while everything was read, again and again: then the last reading must do; the change has
 * a notice.
 */
const READINGS_MAX = 10;

export const hasIpv6 = (): boolean => existsSync('/proc/net/if_inet6');

/**
 * All interfaces of this network namespace with their addresses, in the kernel's order. Throws an IoError.
 */
export async function listLinks(): Promise<Link[]> {
  const askLinks = message(MESSAGE.getLink, FLAG.dump, new Uint8Array(LINK_LEN), [SKIP_STATISTICS]);
  const askAddresses = message(MESSAGE.getAddress, FLAG.dump, new Uint8Array(ADDRESS_LEN));
  try {
    const links = await readAll(askLinks, linkOf);
    const byIndex = new Map(links.map((link) => [link.index, link]));
    for (const { index, ...address } of await readAll(askAddresses, addressOf))
      byIndex.get(index)?.addresses.push(address);
    return links;
  } catch (error) {
    const hint = error instanceof SysError ? startHint(error.code) : undefined;
    throw explainNetlink('the kernel cannot be asked for interfaces and addresses', error, hint);
  }
}

/** The interface of a name as it is now, without addresses; undefined: there is none. Throws a SysError. */
export function linkNamed(name: string): Link | undefined {
  const link = new Link();
  const attributes = [SKIP_STATISTICS, { type: IFLA.name, value: Buffer.from(`${name}\0`) }];
  const request = message(MESSAGE.getLink, FLAG.acknowledge, new Uint8Array(LINK_LEN), attributes);
  try {
    answersAtOnce(request, (_, view, off, end) => readLink(view, off, end, link));
  } catch (error) {
    if (error instanceof SysError && error.code === 'ENODEV') return undefined;
    throw error;
  }
  return link;
}

/** What `read` makes of the body at [off, end) of each message that answers a dump. Throws a SysError. */
async function readAll<T>(
  request: Uint8Array,
  read: (view: DataView, off: number, end: number) => T | undefined,
): Promise<T[]> {
  for (let readings = 1; ; readings++) {
    const found: T[] = [];
    const steps = answers(request, (_, view, off, end) => {
      const one = read(view, off, end);
      if (one !== undefined) found.push(one);
      return true;
    });
    let step = steps.next();
    for (let datagrams = 1; !step.done; datagrams++) {
      if (datagrams % DATAGRAMS_AT_ONCE === 0) await turnOfOthers();
      step = steps.next();
    }
    if (step.value || readings === READINGS_MAX) return found;
  }
}

function linkOf(view: DataView, off: number, end: number): Link | undefined {
  const link = new Link();
  return readLink(view, off, end, link) ? link : undefined;
}

/** Undefined for one that is no address of ours: an IPv6 link-local one, or another family's. */
function addressOf(view: DataView, off: number, end: number): (LinkAddress & { index: number }) | undefined {
  if (off + ADDRESS_LEN > end) return undefined;
  const family = view.getUint8(off);
  if (family !== AF_INET && (family !== AF_INET6 || view.getUint8(off + 3) === SCOPE_LINK)) return undefined;
  const find = (type: number) => findAttribute(view, off + ADDRESS_LEN, end, type);
  // Of a tunnel `address` is the other end's.
  const local = find(IFA.local);
  const at = local < 0 ? find(IFA.address) : local;
  const words = new Int32Array(ADDRESS_WORDS);
  if (at < 0 || !readAddress(view, at, lengthAt(view, at), words)) return undefined;
  const more = find(IFA.flags);
  const flags = more < 0 ? view.getUint8(off + 2) : view.getUint32(more, true);
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
        if (this.#owners.get(ip)?.isLoopback ?? true) this.#owners.set(ip, link);
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
    return link && this.numbered(link.master)?.name;
  }

  /** Whether it is a VRF, or belongs to one, by way of a bridge or bond, too. */
  isOfVrf(link: Link): boolean {
    const master = this.numbered(link.master);
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
