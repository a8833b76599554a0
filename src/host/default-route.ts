// Where a family's default route leads, asked without reading the routing table, which may hold a million
// routes.
import type { RouteQuery } from '../route/route-query.ts';
import { TYPE_UNICAST, V4_PREFIX } from '../route/rtnetlink.ts';
import type { Family } from '../wire/address.ts';
import { wordsOf } from './interfaces.ts';

/**
 * Nobody has these, and so no route of its own: 240/4 and the three networks for documentation (RFC 5737),
 * `::`, two networks that are not given out, and the one for documentation (RFC 3849). One after the other,
 * because a host may refuse some.
 */
const NOBODYS: Record<Family, readonly Int32Array[]> = {
  4: ['240.0.0.1', '192.0.2.1', '198.51.100.1', '203.0.113.1'].map(wordsOf),
  6: ['::', '4000::1', '8000::1', '2001:db8::1'].map(wordsOf),
};

/**
 * The index of the interface that a family's default route leads to; undefined when there is none. Throws a
 * SysError.
 */
export function findDefaultInterface(family: Family, query: RouteQuery): number | undefined {
  const isByDefault = (words: Int32Array): boolean =>
    query.askTable(words, 0) &&
    query.route.type === TYPE_UNICAST &&
    query.route.prefixLen === (family === 4 ? V4_PREFIX : 0);
  const nobodys = NOBODYS[family].find(isByDefault);
  return nobodys !== undefined && query.ask(nobodys, 0) ? query.interfaceIndex : undefined;
}
