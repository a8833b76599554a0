// How large a packet may be that takes a route.
import type { Family } from '../wire/address.ts';

/** Longest packet that IPv4 can tell; the loopback interface's MTU is larger. */
export const LEN_MAX = 0xffff;

/** Every link carries so much (RFC 791, 3.2; RFC 8200, 5). */
export const LEAST_MTU: Readonly<Record<Family, number>> = { 4: 68, 6: 1280 };

/**
 * Largest packet that goes by a route over an interface, bytes, at most 65,535. `ofRoute` is 0 where the
 * route says nothing.
 */
export function effectiveMtu(ofRoute: number, ofLink: number, isIpv4: boolean): number {
  const mtu = ofRoute === 0 ? ofLink : Math.min(ofRoute, ofLink);
  return Math.min(LEN_MAX, Math.max(mtu, LEAST_MTU[isIpv4 ? 4 : 6]));
}
