// What the proxy needs to know of its host before it starts: on which interfaces clients and real servers are, how
// large packets to each real server may be, and which VIPs and LIPs nobody would answer ARP or neighbor solicitations for.
// Addresses of both families, in canonical text. It only looks, apart from assignAddresses and removeAddresses.
import { existsSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { ADDRESS_WORDS, familyOf, formatIpv4, parseAddressInto, parseIpv4 } from '../wire/address.ts';
import { IoError } from './io-error.ts';
import {
  addAddress,
  addAddressCommand,
  asHost,
  defaultDevice,
  type Link,
  type LinkAddress,
  listLinks,
  removeAddress,
  routeTo,
} from './iproute.ts';
import { type IoPort, SIDE } from './packet-io.ts';

export interface HostRequest {
  /** Interface towards the clients; found from the VIPs when not given. */
  wan?: string | undefined;
  /** Interface towards the real servers; found from the routes to them when not given. */
  lan?: string | undefined;
  vips: readonly string[];
  lips: readonly string[];
  rips: readonly string[];
}

export interface MissingAddress {
  ip: string;
  device: string;
  /** The command that adds it. */
  command: string;
}

export interface HostPlan {
  /** Each interface once; SIDE.both where clients and real servers are on the same. */
  ports: IoPort[];
  /** By real server address: the MTU of the route to it, else of its device. */
  mtuTowards: Record<string, number>;
  /** All addresses of this host but those of loopback interfaces and IPv6 link-local ones. */
  own: string[];
  /** The first and the last address of each IPv4 subnet of the same interfaces: they stand for all of its hosts, not for one. */
  broadcasts: string[];
  /** VIPs and LIPs that are not local to this host. */
  missing: MissingAddress[];
}

/** How long an address may be looked for on other hosts before it counts as usable (RFC 4862, 5.4: 1 to 2 s). */
const TENTATIVE_MS = 3_000;
const TENTATIVE_POLL_MS = 100;

/** Looks at the host. Throws an IoError when an interface or a route is missing, unknown or down. */
export async function planHost(request: HostRequest): Promise<HostPlan> {
  const vips = [...new Set(request.vips)];
  const lips = [...new Set(request.lips)];
  requireIpv6([...vips, ...lips, ...request.rips]);
  const links = new Map((await settledLinks([...vips, ...lips])).map((link) => [link.name, link]));

  for (const name of [request.wan, request.lan]) if (name !== undefined) checkedLink(name, links);
  const wanOf = new Map<string, string>();
  for (const vip of vips) wanOf.set(vip, request.wan ?? (await findWan(vip, links)));
  const mtuTowards: Record<string, number> = {};
  const lans = new Set<string>();
  for (const rip of new Set(request.rips)) {
    const route = await routeTo(rip);
    if (route === undefined) {
      throw new IoError(
        `no route to the real server ${rip}`,
        `add one: ip route add ${asHost(rip)} via GATEWAY`,
      );
    }
    const usable = lips.filter((lip) => familyOf(lip) === familyOf(rip));
    const stuck = route.local ? undefined : usable.find((lip) => lip === '::1' || lip.startsWith('127.'));
    if (stuck !== undefined) {
      throw new IoError(
        `the LIP ${stuck} cannot reach the real server ${rip}: loopback addresses do not leave the host`,
        'use a LIP that the real server can answer to; 127.0.0.2 and ::1 are for real servers on this host',
      );
    }
    lans.add(request.lan ?? route.device);
    mtuTowards[rip] = route.mtu || deviceMtu(links.get(route.device), rip);
  }
  if (request.lan !== undefined) lans.add(request.lan);

  const sides = new Map<string, number>();
  for (const name of wanOf.values()) sides.set(name, SIDE.wan);
  for (const name of lans) sides.set(name, (sides.get(name) ?? 0) | SIDE.lan);
  const ports = [...sides].map(([name, side]) => toPort(checkedLink(name, links), side));

  const missing: MissingAddress[] = [];
  const addMissing = async (ip: string, device: string) => {
    const isThere = (await routeTo(ip))?.local === true || hasAddress(links.values(), ip);
    if (!isThere && !missing.some((entry) => entry.ip === ip)) {
      missing.push({ ip, device, command: addAddressCommand(ip, device) });
    }
  };
  for (const [vip, device] of wanOf) await addMissing(vip, device);
  for (const lip of lips) await addMissing(lip, lanFor(lip, [...lans], links));
  const own = [...links.values()].filter(({ loopback }) => !loopback).flatMap(({ addresses }) => addresses);
  const broadcasts = [...new Set(own.flatMap(broadcastsOf))];
  return { ports, mtuTowards, own: own.map(({ ip }) => ip), broadcasts, missing };
}

/** Also the first one, which old hosts take for a broadcast (RFC 1122, 3.3.6). None in a /31 or /32 (RFC 3021). */
function broadcastsOf({ ip, prefixLen }: LinkAddress): string[] {
  if (familyOf(ip) !== 4 || prefixLen > 30) return [];
  const hosts = 2 ** (32 - prefixLen) - 1;
  const first = parseIpv4(ip) & ~hosts;
  return [formatIpv4(first), formatIpv4(first | hosts)];
}

/** Throws an IoError when there are IPv6 addresses and the kernel has no IPv6. */
function requireIpv6(addresses: readonly string[]): void {
  const ipv6 = addresses.find((ip) => familyOf(ip) === 6);
  if (ipv6 === undefined || existsSync('/proc/net/if_inet6')) return;
  throw new IoError(
    `the configuration names the IPv6 address ${ipv6}, but this kernel has no IPv6`,
    'boot it without ipv6.disable=1 (or load the module ipv6), or leave the IPv6 addresses out',
  );
}

/**
 * The interfaces, as soon as duplicate address detection has ended for these addresses: until then the kernel neither
 * answers for them nor routes to them. Without a link it does not end; then they are taken for what they will be.
 */
async function settledLinks(addresses: readonly string[]): Promise<Link[]> {
  const deadline = performance.now() + TENTATIVE_MS;
  for (;;) {
    const links = await listLinks();
    const own = links
      .flatMap((link) => link.addresses.map((address) => ({ ...address, device: link.name })))
      .filter(({ ip }) => addresses.includes(ip));
    const duplicate = own.find(({ state }) => state === 'duplicate');
    if (duplicate !== undefined) {
      const { ip, device } = duplicate;
      throw new IoError(
        `the address ${ip} of ${device} is in use by another host (duplicate address detection failed)`,
        `take it away there, then here: ip address delete ${ip} dev ${device}, and add it again`,
      );
    }
    if (own.every(({ state }) => state === 'usable') || performance.now() > deadline) return links;
    await sleep(TENTATIVE_POLL_MS);
  }
}

/** What the kernel sends at most on the device: for IPv6 a router may have said less than the device can. */
function deviceMtu(link: Link | undefined, address: string): number {
  const mtu = link?.mtu ?? 1500;
  if (link === undefined || familyOf(address) === 4) return mtu;
  try {
    return Math.min(mtu, Number(readFileSync(`/proc/sys/net/ipv6/conf/${link.name}/mtu`, 'utf8')));
  } catch {
    return mtu;
  }
}

/** Those of the interfaces that cannot carry packets at the moment, each with its state as the kernel names it. */
export function portsDown(ports: readonly IoPort[]): string[] {
  return ports.flatMap(({ name }) => {
    const state = operationalState(name);
    return state === 'up' || state === 'unknown' ? [] : [`${name} is ${state}`];
  });
}

/** RFC 2863 state from sysfs: loopback and tunnels are "unknown" and work. */
function operationalState(name: string): string {
  try {
    return readFileSync(`/sys/class/net/${name}/operstate`, 'utf8').trim();
  } catch {
    return 'gone';
  }
}

/** Adds the addresses, usable at once. When one cannot be added, those that were are removed again and the error is thrown. */
export async function assignAddresses(missing: readonly MissingAddress[]): Promise<void> {
  const added: MissingAddress[] = [];
  try {
    for (const one of missing) {
      await addAddress(one.ip, one.device);
      added.push(one);
    }
    await settledLinks(missing.map(({ ip }) => ip));
  } catch (error) {
    await removeAddresses(added).catch(() => {}); // what could not be added says more
    throw error;
  }
}

/** Removes what assignAddresses added; what is gone already is no error. Tries all, then throws the first failure. */
export async function removeAddresses(list: readonly MissingAddress[]): Promise<void> {
  const outcomes = await Promise.allSettled(list.map(({ ip, device }) => removeAddress(ip, device)));
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
}

/**
 * The interface on which a VIP's clients arrive: the one that has the VIP; for a VIP on the loopback interface (anycast,
 * direct routing) or on none, the one whose subnet contains it; else that of the default route.
 */
async function findWan(vip: string, links: ReadonlyMap<string, Link>): Promise<string> {
  const all = [...links.values()];
  const owner = all.find((link) => !link.loopback && hasAddress([link], vip));
  if (owner !== undefined) return owner.name;
  const subnet = all.find((link) => hasInSubnet(link, vip));
  if (subnet !== undefined) return subnet.name;
  const device = await defaultDevice(familyOf(vip));
  if (device !== undefined) return device;
  throw new IoError(
    `cannot tell which interface receives packets to the VIP ${vip}: no interface has it or its subnet, and there is no default route for IPv${familyOf(vip)}`,
    `name the interface in the configuration (io.wan); this host has: ${[...links.keys()].join(', ')}`,
  );
}

/** The interface that should own a LIP: a real server's subnet with it, else the first towards real servers. */
function lanFor(lip: string, lans: readonly string[], links: ReadonlyMap<string, Link>): string {
  const candidates = lans.map((name) => links.get(name)).filter((link) => link !== undefined);
  const best =
    candidates.find((link) => hasInSubnet(link, lip)) ??
    candidates.find((link) => !link.loopback) ??
    candidates[0];
  return best?.name ?? 'lo';
}

function hasAddress(links: Iterable<Link>, address: string): boolean {
  return [...links].some((link) => link.addresses.some(({ ip }) => ip === address));
}

/** True when one of the link's subnets of more than one address contains `address`. */
function hasInSubnet(link: Link, address: string): boolean {
  const family = familyOf(address);
  const bits = family === 6 ? 128 : 32;
  const words = wordsOf(address);
  return link.addresses.some(
    ({ ip, prefixLen }) =>
      familyOf(ip) === family &&
      prefixLen < bits &&
      hasSamePrefix(wordsOf(ip), words, 128 - bits + prefixLen),
  );
}

/** Whether the first `length` of 128 bits are the same. */
function hasSamePrefix(a: Int32Array, b: Int32Array, length: number): boolean {
  return a.every((word, index) => {
    const bits = length - 32 * index;
    const mask = bits >= 32 ? -1 : bits <= 0 ? 0 : -1 << (32 - bits);
    return ((word ^ b[index]!) & mask) === 0;
  });
}

function wordsOf(address: string): Int32Array {
  const words = new Int32Array(ADDRESS_WORDS);
  parseAddressInto(words, 0, address);
  return words;
}

function checkedLink(name: string, links: ReadonlyMap<string, Link>): Link {
  const link = links.get(name);
  if (link === undefined) {
    throw new IoError(`there is no interface ${name}`, `this host has: ${[...links.keys()].join(', ')}`);
  }
  if (!link.up) throw new IoError(`the interface ${name} is down`, `bring it up: ip link set ${name} up`);
  return link;
}

function toPort(link: Link, side: number): IoPort {
  return { name: link.name, side, mtu: link.mtu, mac: link.mac, loopback: link.loopback };
}
