// What the proxy needs to know of its host before it starts: on which interfaces clients and real servers
// are, how large packets to each real server may be, and which VIPs and LIPs nobody would answer ARP or
// neighbor solicitations for. Addresses of both families, in canonical text. It only looks.
import { setImmediate as turnOfOthers } from 'node:timers/promises';
import { type IoPort, SIDE } from '../io/packet-io.ts';
import { RouteQuery } from '../route/route-query.ts';
import { IoError } from '../sys/io-error.ts';
import { SysError } from '../sys/libc.ts';
import { addressWords, familyOf, formatIpv4, isLoopback, parseIpv4 } from '../wire/address.ts';
import { addAddressCommand } from './address-changes.ts';
import { duplicatesAmong, type MissingAddress, settledLinks, type Trouble } from './host-addresses.ts';
import { hasIpv6, Interfaces, type Link, type LinkAddress, linkNamed, listLinks } from './interfaces.ts';
import { isCaptured, QUESTIONS_AT_ONCE, type Reach, type ReachRequest, reachAll } from './reach.ts';
import { defaultRoutesAstray, findWan } from './wan.ts';

export interface HostRequest extends ReachRequest {
  /** Interface towards the clients; found from the VIPs when not given. */
  wan?: string | undefined;
}

/** What a plan needs to know of the host, as it was when it was looked at. */
export interface HostFacts {
  /** Each interface once; SIDE.both where clients and real servers are on the same. */
  ports: IoPort[];
  /** By service, in the order of the request, and real server. */
  reach: Record<string, Reach>[];
  /** All addresses of this host but 127/8, ::1 and IPv6 link-local ones. */
  own: string[];
  /**
   * The first and the last address of each IPv4 subnet of the same interfaces: they stand for all of its
   * hosts, not for one.
   */
  broadcasts: string[];
  /** VIPs and LIPs that are not local to this host. */
  missing: MissingAddress[];
  troubles: Trouble[];
  /** What the operator should know of, and nothing waits for; at the start only. */
  warnings: string[];
}

/**
 * Looks at the host. What is wrong with one real server, VIP or LIP is said of that one. What is wrong with
 * an interface is thrown as an IoError, or said where the proxy is at work and has to go on.
 */
export async function inspectHost(request: HostRequest): Promise<HostFacts> {
  const vips = [...new Set(request.services.flatMap((service) => service.vips))];
  const lips = [...new Set(request.services.flatMap((service) => service.lips))];
  const troubles: Trouble[] = [];
  const report = (trouble: Trouble) => {
    if (request.ports === undefined && trouble.ip === '') throw new IoError(trouble.text, trouble.hint);
    troubles.push(trouble);
  };
  for (const trouble of ipv6Troubles([...vips, ...lips])) report(trouble);
  // A proxy at work does not wait for one address while others change: the kernel announces how it ends.
  const isAtWork = request.ports !== undefined;
  const links = new Interfaces(await (isAtWork ? listLinks() : settledLinks([...vips, ...lips])));
  for (const duplicate of duplicatesAmong(links.all, [...vips, ...lips])) report(duplicate);
  for (const name of [request.wan, request.lan]) if (name !== undefined) checkLink(name, links, report);
  const query = new RouteQuery();
  try {
    const wanOf = new Map<string, string>();
    for (const [count, vip] of vips.entries()) {
      if (count % QUESTIONS_AT_ONCE === 0) await turnOfOthers();
      const name = request.wan ?? findWan(vip, links, query, report);
      if (isCaptured(name, SIDE.wan, request.ports)) wanOf.set(vip, name);
      else if (name !== '') report({ ip: vip, ...elsewhere(`the VIP ${vip} is reached by ${name}`) });
    }
    const { reach, devices } = await reachAll(request, links, query);
    const lans = request.lan === undefined ? lansOf(lips, devices, reach, wanOf, links) : [request.lan];
    const ports = request.ports?.map((port) => renewed(port, links)) ?? portsOf(wanOf.values(), lans, links);
    for (const { name } of ports) {
      if (name === request.wan || name === request.lan) continue;
      // It is there for some VIPs: the others do not wait for it.
      const needs = vips.filter((vip) => wanOf.get(vip) === name);
      checkLink(name, links, (trouble) => {
        if (needs.length === 0) report(trouble);
        for (const ip of needs) report({ ...trouble, ip });
      });
    }
    const isVip = new Set(vips);
    const lanNames = ports.filter(({ side }) => (side & SIDE.lan) !== 0).map(({ name }) => name);

    const missing: MissingAddress[] = [];
    for (const [count, ip] of [...new Set([...vips, ...lips])].entries()) {
      if (count % QUESTIONS_AT_ONCE === 0) await turnOfOthers();
      if (links.ownerOf(ip) !== undefined || query.leadsHere(addressWords(ip), 0)) continue;
      const device = isVip.has(ip) ? (wanOf.get(ip) ?? ports[0]?.name ?? 'lo') : lanFor(ip, lanNames, links);
      missing.push({ ip, device, command: addAddressCommand(ip, device) });
    }
    const outside = links.all.filter(({ isLoopback }) => !isLoopback).flatMap(({ addresses }) => addresses);
    const broadcasts = [...new Set(outside.flatMap(broadcastsOf))];
    // A router's id stands on the loopback interface, and is no loopback address.
    const own = links.all.flatMap((link) =>
      link.addresses.filter(({ ip }) => !link.isLoopback || !isLoopback(addressWords(ip), 0)),
    );
    return {
      ports,
      reach,
      own: own.map(({ ip }) => ip),
      broadcasts,
      missing,
      troubles,
      warnings: isAtWork ? [] : defaultRoutesAstray(vips, ports, links, query),
    };
  } finally {
    query.close();
  }
}

/** What is bound once is not bound to another interface. */
const elsewhere = (what: string): { text: string; hint: string } => ({
  text: `${what}, where nothing is captured`,
  hint: 'the proxy goes by other interfaces after a restart only',
});

/**
 * The interfaces towards the real servers: those of the routes, and for real servers without one those that
 * the LIPs belong to, so that they are heard once they have one; where nothing tells, those of the clients.
 */
function lansOf(
  lips: readonly string[],
  devices: ReadonlySet<string>,
  reach: readonly Record<string, Reach>[],
  wanOf: ReadonlyMap<string, string>,
  links: Interfaces,
): string[] {
  const lans = new Set(devices);
  const servers = reach.flatMap((ofService) => Object.entries(ofService));
  const families = new Set(servers.flatMap(([rip, { mtu }]) => (mtu === 0 ? [familyOf(rip)] : [])));
  for (const lip of lips.filter((one) => families.has(familyOf(one)))) {
    const owner = links.ownerOf(lip);
    const link =
      owner?.isUp && !owner.isLoopback
        ? owner
        : links.all.find((one) => one.isUp && links.hasInSubnet(one, lip));
    if (link !== undefined) lans.add(link.name);
  }
  return lans.size > 0 || families.size === 0 ? [...lans] : [...new Set(wanOf.values())];
}

function portsOf(wans: Iterable<string>, lans: readonly string[], links: Interfaces): IoPort[] {
  const sides = new Map<string, number>();
  for (const name of wans) sides.set(name, SIDE.wan);
  for (const name of lans) sides.set(name, (sides.get(name) ?? 0) | SIDE.lan);
  return [...sides].map(([name, side]) => toPort(links.named(name)!, side));
}

/** One that is gone stays as it was: the datapath says so, and ends. */
function renewed(port: IoPort, links: Interfaces): IoPort {
  const link = links.named(port.name);
  return link === undefined ? port : toPort(link, port.side);
}

/**
 * Also the first one, which old hosts take for a broadcast (RFC 1122, 3.3.6). None in a /31 or /32 (RFC
 * 3021).
 */
function broadcastsOf({ ip, prefixLen }: LinkAddress): string[] {
  if (familyOf(ip) !== 4 || prefixLen > 30) return [];
  const hosts = 2 ** (32 - prefixLen) - 1;
  const first = parseIpv4(ip) & ~hosts;
  return [formatIpv4(first), formatIpv4(first | hosts)];
}

/** Of IPv6 addresses on a kernel without IPv6. */
function ipv6Troubles(addresses: readonly string[]): Trouble[] {
  const ipv6 = addresses.filter((ip) => familyOf(ip) === 6);
  if (ipv6.length === 0 || hasIpv6()) return [];
  const hint = 'boot it without ipv6.disable=1 (or load the module ipv6), or leave the IPv6 addresses out';
  return ipv6.map((ip) => ({
    ip,
    text: `the configuration names the IPv6 address ${ip}, but this kernel has no IPv6`,
    hint,
  }));
}

/**
 * Those of the interfaces that cannot carry packets at the moment, each with its state as the kernel names
 * it.
 */
export function portsDown(ports: readonly IoPort[]): string[] {
  return ports.flatMap(({ name }) => {
    try {
      const state = linkNamed(name)?.operState ?? 'gone';
      return state === 'up' || state === 'unknown' ? [] : [`${name} is ${state}`];
    } catch (error) {
      if (!(error instanceof SysError)) throw error;
      return [`${name} is in an unknown state: ${error.message}`]; // no descriptor is to be had, or no memory
    }
  });
}

/**
 * Whether somebody turned the interface off, or it is gone: nothing can be added to it. Throws a SysError.
 */
export const isTurnedOff = (name: string): boolean => !linkNamed(name)?.isUp;

/**
 * The interface that should own a LIP: a real server's subnet with it, else the first towards real servers.
 */
function lanFor(lip: string, lans: readonly string[], links: Interfaces): string {
  const candidates = lans.map((name) => links.named(name)).filter((link) => link !== undefined);
  const best =
    candidates.find((link) => links.hasInSubnet(link, lip)) ??
    candidates.find((link) => !link.isLoopback) ??
    candidates[0];
  return best?.name ?? 'lo';
}

function checkLink(name: string, links: Interfaces, report: (trouble: Trouble) => void): void {
  const link = links.named(name);
  if (link === undefined) {
    const hint = `this host has: ${links.names.join(', ')}`;
    report({ ip: '', text: `there is no interface ${name}`, hint });
  } else if (links.isOfVrf(link)) {
    // Its routes are in the table of the VRF, and the proxy's sockets belong to none.
    const hint = `the proxy works outside of VRFs: ip link set ${name} nomaster, or use another interface`;
    report({ ip: '', text: `the interface ${name} is of a VRF`, hint });
  } else if (!link.isUp) {
    report({ ip: '', text: `the interface ${name} is down`, hint: `bring it up: ip link set ${name} up` });
  }
}

function toPort(link: Link, side: number): IoPort {
  return { name: link.name, side, mtu: link.mtu, mac: link.mac, loopback: link.isLoopback };
}
