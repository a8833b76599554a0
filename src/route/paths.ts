// Which of the ports packets to a destination leave by, and how large they may be.

import type { IoPort } from '../io/packet-io.ts';
import { interfaceIndex } from '../sys/packet-socket.ts';
import { ADDRESS_WORDS, type Family, isV4 } from '../wire/address.ts';
import type { NextHops } from './next-hop.ts';
import { PAIR_WORDS, TO } from './pair-table.ts';
import type { Route } from './routes.ts';

/** Longest packet that IPv4 can tell; the loopback interface's MTU is larger. */
export const LEN_MAX = 0xffff;

/** Every link carries so much (RFC 791, 3.2; RFC 8200, 5). */
export const LEAST_MTU: Readonly<Record<Family, number>> = { 4: 68, 6: 1280 };

export class Paths {
  readonly #hops: NextHops;
  /** Interface indices. */
  readonly #ports: readonly number[];
  readonly #pair = new Int32Array(PAIR_WORDS);

  /** `hops` are kept current, and closed, by whoever made them. Throws an IoError. */
  constructor(hops: NextHops, ports: readonly IoPort[]) {
    this.#hops = hops;
    this.#ports = ports.map(({ name }) => interfaceIndex(name));
  }

  /** IP packets of up to so many bytes go anywhere. */
  get leastMtu(): number {
    return this.#hops.leastMtu;
  }

  /** Largest IP packet that goes from from[fromAt..+3] to to[toAt..+3], bytes; 0: there is no route. */
  mtuTowards(to: Int32Array, toAt: number, from: Int32Array, fromAt: number): number {
    const { isRouted, link, mtu } = this.#routeTo(to, toAt, from, fromAt);
    if (!isRouted) return 0;
    const isIpv4 = isV4(to, toAt);
    const ofLink = isIpv4 ? link.mtu : link.mtu6;
    return Math.min(LEN_MAX, Math.max(Math.min(mtu || ofLink, ofLink), LEAST_MTU[isIpv4 ? 4 : 6]));
  }

  /** Index of the port that such packets leave by; -1: of none. */
  portTowards(to: Int32Array, toAt: number, from: Int32Array, fromAt: number): number {
    const { isRouted, link } = this.#routeTo(to, toAt, from, fromAt);
    return isRouted ? this.#portOf(link.index) : -1;
  }

  /**
   * A route leads over a bridge, and what it carries over a port of that: over which one cannot be told where
   * it has two of ours.
   */
  #portOf(interfaceIndex: number): number {
    const ports = this.#ports;
    const own = ports.indexOf(interfaceIndex);
    if (own >= 0) return own;
    let behind = -1;
    for (let i = 0; i < ports.length; i++) {
      if (this.#hops.linkOf(ports[i]).master !== interfaceIndex) continue;
      if (behind >= 0) return -1;
      behind = i;
    }
    return behind;
  }

  #routeTo(to: Int32Array, toAt: number, from: Int32Array, fromAt: number): Route {
    for (let i = 0; i < ADDRESS_WORDS; i++) {
      this.#pair[i] = from[fromAt + i];
      this.#pair[TO + i] = to[toAt + i];
    }
    return this.#hops.routeOf(this.#pair);
  }
}
