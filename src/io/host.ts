// What the proxy needs to know of its host before it starts: on which interfaces clients and real servers are, how
// large packets to each real server may be, and which VIPs and LIPs nobody would answer ARP for. It only looks, apart
// from assignAddresses and removeAddresses.
import { readFileSync } from 'node:fs';
import { parseIpv4 } from '../wire/address.ts';
import { IoError } from './io-error.ts';
import {
  addAddress,
  addAddressCommand,
  defaultDevice,
  type Link,
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
  /** All IPv4 addresses of this host but those of loopback interfaces. */
  own: string[];
  /** VIPs and LIPs that are not local to this host. */
  missing: MissingAddress[];
}

/** Looks at the host. Throws an IoError when an interface or a route is missing, unknown or down. */
export async function planHost(request: HostRequest): Promise<HostPlan> {
  const links = new Map((await listLinks()).map((link) => [link.name, link]));
  const vips = [...new Set(request.vips)];
  const lips = [...new Set(request.lips)];

  for (const name of [request.wan, request.lan]) if (name !== undefined) checkedLink(name, links);
  const wanOf = new Map<string, string>();
  for (const vip of vips) wanOf.set(vip, request.wan ?? (await findWan(vip, links)));
  const mtuTowards: Record<string, number> = {};
  const lans = new Set<string>();
  for (const rip of new Set(request.rips)) {
    const route = await routeTo(rip);
    if (route === undefined) {
      throw new IoError(`no route to the real server ${rip}`, `add one: ip route add ${rip}/32 via GATEWAY`);
    }
    const stuck = route.local ? undefined : lips.find((lip) => lip.startsWith('127.'));
    if (stuck !== undefined) {
      throw new IoError(
        `the LIP ${stuck} cannot reach the real server ${rip}: loopback addresses do not leave the host`,
        'use a LIP that the real server can answer to; 127.0.0.2 is for real servers on this host',
      );
    }
    lans.add(request.lan ?? route.device);
    mtuTowards[rip] = route.mtu || (links.get(route.device)?.mtu ?? 1500);
  }
  if (request.lan !== undefined) lans.add(request.lan);

  const sides = new Map<string, number>();
  for (const name of wanOf.values()) sides.set(name, SIDE.wan);
  for (const name of lans) sides.set(name, (sides.get(name) ?? 0) | SIDE.lan);
  const ports = [...sides].map(([name, side]) => toPort(checkedLink(name, links), side));

  const missing: MissingAddress[] = [];
  const addMissing = async (ip: string, device: string) => {
    if ((await routeTo(ip))?.local !== true && !missing.some((entry) => entry.ip === ip)) {
      missing.push({ ip, device, command: addAddressCommand(ip, device) });
    }
  };
  for (const [vip, device] of wanOf) await addMissing(vip, device);
  for (const lip of lips) await addMissing(lip, lanFor(lip, [...lans], links));
  const own = [...links.values()].filter(({ loopback }) => !loopback).flatMap(({ addresses }) => addresses);
  return { ports, mtuTowards, own: own.map(({ ip }) => ip), missing };
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

/** Adds the addresses (/32). When one cannot be added, all are removed again and the error is thrown. */
export async function assignAddresses(missing: readonly MissingAddress[]): Promise<void> {
  try {
    for (const { ip, device } of missing) await addAddress(ip, device);
  } catch (error) {
    await removeAddresses(missing);
    throw error;
  }
}

/** Removes what assignAddresses added; what is gone already is no error. Tries all, then throws the first failure. */
export async function removeAddresses(list: readonly MissingAddress[]): Promise<void> {
  const failures: unknown[] = [];
  for (const { ip, device } of list) await removeAddress(ip, device).catch((error) => failures.push(error));
  if (failures.length > 0) throw failures[0];
}

/**
 * The interface on which a VIP's clients arrive: the one that has the VIP; for a VIP on the loopback interface (anycast,
 * direct routing) or on none, the one whose subnet contains it; else that of the default route.
 */
async function findWan(vip: string, links: ReadonlyMap<string, Link>): Promise<string> {
  const all = [...links.values()];
  const owner = all.find((link) => !link.loopback && link.addresses.some(({ ip }) => ip === vip));
  if (owner !== undefined) return owner.name;
  const subnet = all.find((link) => hasInSubnet(link, vip));
  if (subnet !== undefined) return subnet.name;
  const device = await defaultDevice();
  if (device !== undefined) return device;
  throw new IoError(
    `cannot tell which interface receives packets to the VIP ${vip}: no interface has it or its subnet, and there is no default route`,
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

/** True when one of the link's subnets of more than one address contains `address`. */
function hasInSubnet(link: Link, address: string): boolean {
  return link.addresses.some(({ ip, prefixLen }) => {
    const shift = 32 - prefixLen;
    return shift > 0 && parseIpv4(ip) >>> shift === parseIpv4(address) >>> shift;
  });
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
