// On which interface a VIP's clients arrive, and whether answers leave by one. The default route is asked for
// as packets from the VIP take it, so rules count, and without reading the routing table, which may hold a
// million routes.
import { type IoPort, SIDE } from '../io/packet-io.ts';
import type { RouteQuery } from '../route/route-query.ts';
import { TYPE_UNICAST, V4_PREFIX } from '../route/rtnetlink.ts';
import { addressWords, type Family, familyOf } from '../wire/address.ts';
import type { Trouble } from './host-addresses.ts';
import type { Interfaces, Link } from './interfaces.ts';

/**
 * Nobody has these, and so no route of its own: 240/4 and the three networks for documentation (RFC 5737),
 * `::`, two networks that are not given out, and the one for documentation (RFC 3849). One after the other,
 * because a host may refuse some.
 */
const NOBODYS: Record<Family, readonly Int32Array[]> = {
  4: ['240.0.0.1', '192.0.2.1', '198.51.100.1', '203.0.113.1'].map(addressWords),
  6: ['::', '4000::1', '8000::1', '2001:db8::1'].map(addressWords),
};

/** The interface that the default route of packets from an address leads to. Throws a SysError. */
function defaultLink(from: string, links: Interfaces, query: RouteQuery): Link | undefined {
  const family = familyOf(from);
  const source = addressWords(from);
  const isByDefault = (words: Int32Array): boolean =>
    query.askTable(words, 0, source) &&
    query.route.type === TYPE_UNICAST &&
    query.route.prefixLen === (family === 4 ? V4_PREFIX : 0);
  const nobodys = NOBODYS[family].find(isByDefault);
  const isFound = nobodys !== undefined && query.ask(nobodys, 0, source);
  return isFound ? links.numbered(query.interfaceIndex) : undefined;
}

/**
 * The interface on which a VIP's clients arrive: the one that has the VIP; for a VIP on the loopback
 * interface (anycast, direct routing) or on none, the one whose subnet contains it; else that of the VIP's
 * default route. '' when there is none.
 */
export function findWan(
  vip: string,
  links: Interfaces,
  query: RouteQuery,
  report: (trouble: Trouble) => void,
): string {
  const owner = links.ownerOf(vip);
  if (owner !== undefined && !owner.isLoopback) return owner.name;
  const device = links.all.find((link) => links.hasInSubnet(link, vip)) ?? defaultLink(vip, links, query);
  if (device !== undefined) return device.name;
  report({
    ip: vip,
    text: `cannot tell which interface receives packets to the VIP ${vip}: no interface has it or its subnet, and there is no default route for IPv${familyOf(vip)}`,
    hint: `name the interface in the configuration (io.wan); this host has: ${links.names.join(', ')}`,
  });
  return '';
}

/**
 * Says which VIPs' default routes lead out of a port that only real servers are behind: clients there are
 * none.
 */
export function defaultRoutesAstray(
  vips: readonly string[],
  ports: readonly IoPort[],
  links: Interfaces,
  query: RouteQuery,
): string[] {
  const astray = new Map<string, string[]>(ports.map(({ name }) => [name, []]));
  for (const vip of vips) {
    const device = defaultLink(vip, links, query)?.name;
    const through = ports.filter(({ name }) => name === device || links.masterOf(name) === device);
    if (device !== undefined && through.every(({ side }) => side === SIDE.lan))
      for (const { name } of through) astray.get(name)?.push(vip);
  }
  return [...astray].flatMap(([name, [vip, ...more]]) => {
    if (vip === undefined) return [];
    const whose = more.length === 0 ? vip : `${vip} and ${more.length} more`;
    return `the default route from the VIP ${whose} leads out of ${name}, which only real servers are behind: clients that it leads to are not served (bad_source)`;
  });
}
