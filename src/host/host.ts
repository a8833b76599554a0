// What the proxy needs to know of its host before it starts: on which interfaces clients and real servers
// are, how large packets to each real server may be, and which VIPs and LIPs nobody would answer ARP or
// neighbor solicitations for. Addresses of both families, in canonical text. It only looks.
import { existsSync, readFileSync } from 'node:fs';
import { setImmediate as turnOfOthers } from 'node:timers/promises';
import { type IoPort, SIDE } from '../io/packet-io.ts';
import { LEAST_MTU } from '../route/route-mtu.ts';
import { RouteQuery } from '../route/route-query.ts';
import { TYPE_LOCAL } from '../route/rtnetlink.ts';
import { IoError } from '../sys/io-error.ts';
import { addressWords, familyOf, formatIpv4, isLoopback, isV4, parseIpv4 } from '../wire/address.ts';
import { addAddressCommand } from './address-changes.ts';
import { duplicatesAmong, type MissingAddress, settledLinks, type Trouble } from './host-addresses.ts';
import { Interfaces, type Link, type LinkAddress, listLinks } from './interfaces.ts';
import { defaultRoutesAstray, findWan } from './wan.ts';

const IFF_UP = 1;
/** Some milliseconds' worth: there may be thousands of addresses, and others wait for this process. */
const QUESTIONS_AT_ONCE = 256;

export interface HostRequest {
  /** Interface towards the clients; found from the VIPs when not given. */
  wan?: string | undefined;
  /** Interface towards the real servers; found from the routes to them when not given. */
  lan?: string | undefined;
  vips: readonly string[];
  lips: readonly string[];
  rips: readonly string[];
  /**
   * Those of the proxy that is at work: other interfaces are not looked for, because rings and sockets are
   * bound to these.
   */
  ports?: readonly IoPort[] | undefined;
}

/** What a plan needs to know of the host, as it was when it was looked at. */
export interface HostFacts {
  /** Each interface once; SIDE.both where clients and real servers are on the same. */
  ports: IoPort[];
  /**
   * By real server address: the MTU of the route to it, else of its device; for those that can be reached.
   */
  mtuTowards: Record<string, number>;
  /** By real server address: why it cannot be reached. */
  unreachable: Record<string, string>;
  /** Real servers that are addresses of this host. */
  onHost: string[];
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
  const vips = [...new Set(request.vips)];
  const lips = [...new Set(request.lips)];
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
    const reach = await reachAll(request, links, query);
    const lans = !isAtWork ? lansOf(request, reach, wanOf.values(), links) : [];
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
    const outside = links.all.filter(({ loopback }) => !loopback).flatMap(({ addresses }) => addresses);
    // A router's id stands on the loopback interface, and is no loopback address.
    const ids = links.all
      .filter(({ loopback }) => loopback)
      .flatMap(({ addresses }) => addresses.filter(({ ip }) => !isLoopback(addressWords(ip), 0)));
    const own = [...outside, ...ids];
    const broadcasts = [...new Set(outside.flatMap(broadcastsOf))];
    const { mtuTowards, unreachable, onHost } = reach;
    return {
      ports,
      mtuTowards,
      unreachable,
      onHost,
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

const isCaptured = (name: string, side: number, ports: readonly IoPort[] | undefined): boolean =>
  name !== '' &&
  (ports === undefined || ports.some((port) => port.name === name && (port.side & side) !== 0));

interface Reach extends Pick<HostFacts, 'mtuTowards' | 'unreachable' | 'onHost'> {
  /** Interfaces that lead to real servers. */
  devices: Set<string>;
}

/** Which of the real servers can be reached, and how. */
async function reachAll(
  { rips, lips, lan, ports }: HostRequest,
  links: Interfaces,
  query: RouteQuery,
): Promise<Reach> {
  const reach: Reach = { mtuTowards: {}, unreachable: {}, onHost: [], devices: new Set() };
  const sources = lips.map(addressWords).filter((words) => !isLoopback(words, 0));
  const masters = new Set(ports?.map(({ name }) => links.masterOf(name)));
  const withIpv6 = hasIpv6();
  for (const [count, rip] of [...new Set(rips)].entries()) {
    if (count % QUESTIONS_AT_ONCE === 0) await turnOfOthers();
    const fail = (reason: string) => {
      reach.unreachable[rip] = reason;
    };
    const family = familyOf(rip);
    if (family === 6 && !withIpv6) {
      fail('this kernel has no IPv6');
      continue;
    }
    const from = sources.find((words) => isV4(words, 0) === (family === 4));
    const { link, mtu, isLocal } = wayTo(rip, from, links, query);
    if (link === undefined) {
      fail('no route to it');
      continue;
    }
    if (mtu !== 0 && mtu < LEAST_MTU[family]) {
      fail(
        `the MTU of the route to it is ${mtu}, less than the ${LEAST_MTU[family]} that IPv${family} needs`,
      );
      continue;
    }
    const { name } = link;
    // What is sent over a bridge comes by its ports.
    if (lan !== undefined && name !== lan && name !== links.masterOf(lan)) {
      fail(`the route to it leads over ${name}, not over ${lan} (io.lan)`);
      continue;
    }
    if (!isCaptured(name, SIDE.lan, ports) && !masters.has(name)) {
      fail(`the route to it leads over ${name}, where nothing is captured until a restart`);
      continue;
    }
    reach.devices.add(name);
    const ofLink = deviceMtu(link, rip);
    reach.mtuTowards[rip] = mtu === 0 ? ofLink : Math.min(mtu, ofLink);
    if (isLocal) reach.onHost.push(rip);
  }
  return reach;
}

/**
 * The interface that packets leave by, from `from` if that is said, none where there is no route; the route's
 * own MTU, 0 where it has none.
 */
function wayTo(
  address: string,
  from: Int32Array | undefined,
  links: Interfaces,
  query: RouteQuery,
): { link: Link | undefined; mtu: number; isLocal: boolean } {
  const words = addressWords(address);
  if (!query.askTable(words, 0, from)) return { link: undefined, mtu: 0, isLocal: false };
  const { mtu, type, interfaceIndex } = query.route;
  const isLocal = type === TYPE_LOCAL;
  // Only the other question says which of several gateways is taken, and that what is for this host takes the
  // loopback interface.
  if (!isLocal && interfaceIndex !== 0) return { link: links.numbered(interfaceIndex), mtu, isLocal };
  const link = query.ask(words, 0, from) ? links.numbered(query.interfaceIndex) : undefined;
  return { link, mtu, isLocal };
}

/**
 * The interfaces towards the real servers: those of the routes, and for real servers without one those that
 * the LIPs belong to, so that they are heard once they have one; where nothing tells, those of the clients.
 */
function lansOf(
  { lan, lips }: HostRequest,
  { devices, unreachable }: Reach,
  wans: Iterable<string>,
  links: Interfaces,
): string[] {
  if (lan !== undefined) return [lan];
  const lans = new Set(devices);
  const families = new Set(Object.keys(unreachable).map(familyOf));
  for (const lip of lips.filter((one) => families.has(familyOf(one)))) {
    const owner = links.ownerOf(lip);
    const link =
      owner?.up && !owner.loopback ? owner : links.all.find((one) => one.up && links.hasInSubnet(one, lip));
    if (link !== undefined) lans.add(link.name);
  }
  return lans.size > 0 || families.size === 0 ? [...lans] : [...new Set(wans)];
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

const hasIpv6 = (): boolean => existsSync('/proc/net/if_inet6');

/** What the kernel sends at most on the device: for IPv6 a router may have said less than the device can. */
function deviceMtu({ mtu, mtu6 }: Link, address: string): number {
  return familyOf(address) === 4 || mtu6 === 0 ? mtu : Math.min(mtu, mtu6);
}

/**
 * Those of the interfaces that cannot carry packets at the moment, each with its state as the kernel names
 * it.
 */
export function portsDown(ports: readonly IoPort[]): string[] {
  return ports.flatMap(({ name }) => {
    const state = operationalState(name);
    return state === 'up' || state === 'unknown' ? [] : [`${name} is ${state}`];
  });
}

/** Whether somebody turned the interface off, or it is gone: nothing can be added to it. */
export function isTurnedOff(name: string): boolean {
  try {
    return (Number(readFileSync(`/sys/class/net/${name}/flags`, 'utf8')) & IFF_UP) === 0;
  } catch {
    return true;
  }
}

/** RFC 2863 state from sysfs: loopback and tunnels are "unknown" and work. */
function operationalState(name: string): string {
  try {
    return readFileSync(`/sys/class/net/${name}/operstate`, 'utf8').trim();
  } catch {
    return 'gone';
  }
}

/**
 * The interface that should own a LIP: a real server's subnet with it, else the first towards real servers.
 */
function lanFor(lip: string, lans: readonly string[], links: Interfaces): string {
  const candidates = lans.map((name) => links.named(name)).filter((link) => link !== undefined);
  const best =
    candidates.find((link) => links.hasInSubnet(link, lip)) ??
    candidates.find((link) => !link.loopback) ??
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
  } else if (!link.up) {
    report({ ip: '', text: `the interface ${name} is down`, hint: `bring it up: ip link set ${name} up` });
  }
}

function toPort(link: Link, side: number): IoPort {
  return { name: link.name, side, mtu: link.mtu, mac: link.mac, loopback: link.loopback };
}
