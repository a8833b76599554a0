// Whether and how packets get from the LIPs of each service to its real servers, as the kernel routes them.
import { setImmediate as turnOfOthers } from 'node:timers/promises';
import { type IoPort, SIDE } from '../io/packet-io.ts';
import { LEAST_MTU } from '../route/paths.ts';
import type { RouteQuery } from '../route/route-query.ts';
import { AF_INET, AF_INET6, MESSAGE, RouteMessage, readPrefix, TYPE_LOCAL } from '../route/rtnetlink.ts';
import { dump } from '../route/rtnetlink-feed.ts';
import { addressWords, type Family, familyOf, isLoopback } from '../wire/address.ts';
import { hasIpv6, type Interfaces, type Link } from './interfaces.ts';

export interface ReachRequest {
  /** Interface towards the real servers; found from the routes to them when not given. */
  lan?: string | undefined;
  /** Addresses of each service. */
  services: readonly { vips: readonly string[]; lips: readonly string[]; rips: readonly string[] }[];
  /**
   * Those of the proxy that is at work: other interfaces are not looked for, because packet I/O is bound
   * to these.
   */
  ports?: readonly IoPort[] | undefined;
}

/** Of a real server, from all LIPs of its service that it is sent to from. */
export interface Reach {
  /** The least MTU of the routes to it, else of their devices; 0 where it cannot be reached. */
  mtu: number;
  /** Why it cannot be reached; '': it can. */
  unreachable: string;
  /** It is an address of this host. */
  isOnHost: boolean;
}

/** Some milliseconds' worth: there may be thousands of addresses, and others wait for this process. */
export const QUESTIONS_AT_ONCE = 256;
/** Where there are more, one of them may be by source. Some milliseconds' worth. */
const ROUTES_READ_MAX = 4096;

/**
 * By service and real server. Each real server is asked about once, but where packets may be routed by their
 * source once for each LIP that a service sends to it from: a config has at most 65,535 such pairs. `devices`
 * are the interfaces that lead to real servers.
 */
export async function reachAll(
  { services, lan, ports }: ReachRequest,
  links: Interfaces,
  query: RouteQuery,
): Promise<{ reach: Record<string, Reach>[]; devices: Set<string> }> {
  const devices = new Set<string>();
  const masters = new Set(ports?.map(({ name }) => links.masterOf(name)));
  const withIpv6 = hasIpv6();
  const bySource = { 4: isBySource(4), 6: withIpv6 && isBySource(6) };

  const ask = (rip: string, lip: string | undefined): Reach => {
    const failed = (unreachable: string): Reach => ({ mtu: 0, unreachable, isOnHost: false });
    const family = familyOf(rip);
    if (family === 6 && !withIpv6) return failed('this kernel has no IPv6');
    const { link, mtu, isOnHost } = wayTo(rip, lip, links, query);
    if (link === undefined) return failed('no route to it');
    if (mtu !== 0 && mtu < LEAST_MTU[family])
      return failed(
        `the MTU of the route to it is ${mtu}, less than the ${LEAST_MTU[family]} that IPv${family} needs`,
      );
    const { name } = link;
    // What is sent over a bridge comes by its ports.
    if (lan !== undefined && name !== lan && name !== links.masterOf(lan))
      return failed(`the route to it leads over ${name}, not over ${lan} (io.lan)`);
    if (!isCaptured(name, SIDE.lan, ports) && !masters.has(name))
      return failed(`the route to it leads over ${name}, where nothing is captured until a restart`);
    devices.add(name);
    const ofLink = deviceMtu(link, family);
    return { mtu: mtu === 0 ? ofLink : Math.min(mtu, ofLink), unreachable: '', isOnHost };
  };

  let asked = 0;
  const known = new Map<string, Reach>();
  const reach: Record<string, Reach>[] = [];
  for (const { lips, rips } of services) {
    const sources = lips.filter((lip) => !isLoopback(addressWords(lip), 0));
    const ofService: Record<string, Reach> = {};
    for (const rip of rips) {
      const family = familyOf(rip);
      const own = sources.filter((lip) => familyOf(lip) === family);
      const from = own.length === 0 ? [undefined] : own.slice(0, bySource[family] ? own.length : 1);
      for (const lip of from) {
        const key = bySource[family] ? `${rip} ${lip}` : rip;
        let one = known.get(key);
        if (one === undefined) {
          if (asked++ % QUESTIONS_AT_ONCE === 0) await turnOfOthers();
          one = ask(rip, lip);
          known.set(key, one);
        }
        const worst = ofService[rip];
        if (worst !== undefined && worst.mtu <= one.mtu) continue;
        const isOfOneLip = one.unreachable !== '' && from.length > 1;
        ofService[rip] = isOfOneLip
          ? { ...one, unreachable: `from the LIP ${lip}: ${one.unreachable}` }
          : one;
      }
    }
    reach.push(ofService);
  }
  return { reach, devices };
}

export const isCaptured = (name: string, side: number, ports: readonly IoPort[] | undefined): boolean =>
  name !== '' &&
  (ports === undefined || ports.some((port) => port.name === name && (port.side & side) !== 0));

/**
 * Whether packets of a family may be routed by their source: by a rule, or over IPv6 by a route. True where
 * that cannot be told.
 */
function isBySource(family: Family): boolean {
  const message = new RouteMessage();
  let isFound = false;
  let left = ROUTES_READ_MAX;
  const take = (_type: number, view: DataView, off: number, end: number): boolean => {
    isFound = (readPrefix(view, off, end, message) && message.isBySource) || --left === 0;
    return !isFound;
  };
  const ofFamily = family === 4 ? AF_INET : AF_INET6;
  const kinds = family === 4 ? [MESSAGE.getRule] : [MESSAGE.getRule, MESSAGE.getRoute];
  return kinds.some((kind) => !dump(kind, take, ofFamily) || isFound);
}

/**
 * `link` is what packets leave by, undefined where there is no route; `mtu` is the route's own, 0 where it
 * has none.
 */
function wayTo(
  address: string,
  source: string | undefined,
  links: Interfaces,
  query: RouteQuery,
): { link: Link | undefined; mtu: number; isOnHost: boolean } {
  const to = addressWords(address);
  const from = source === undefined ? undefined : addressWords(source);
  if (!query.askTable(to, 0, from)) return { link: undefined, mtu: 0, isOnHost: false };
  const { mtu, type, interfaceIndex } = query.route;
  const isOnHost = type === TYPE_LOCAL;
  // Only the other question says which of several gateways is taken, and that what is for this host takes the
  // loopback interface.
  const isKnown = (!isOnHost && interfaceIndex !== 0) || query.ask(to, 0, from);
  return { link: isKnown ? links.numbered(query.interfaceIndex) : undefined, mtu, isOnHost };
}

/** What the kernel sends at most on the device: for IPv6 a router may have said less than the device can. */
const deviceMtu = ({ mtu, mtu6 }: Link, family: Family): number =>
  family === 4 || mtu6 === 0 ? mtu : Math.min(mtu, mtu6);
