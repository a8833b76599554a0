// Which of the ports packets to a destination leave by, and how large they may be: by the copy of the kernel's routes,
// and where that cannot tell (several gateways, rules before the table main), by asking the kernel.

import type { IoPort } from '../io/packet-io.ts';
import { SysError } from '../sys/libc.ts';
import { interfaceIndex } from '../sys/packet-socket.ts';
import { isV4 } from '../wire/address.ts';
import { HopCache } from './hop-cache.ts';
import type { NextHops } from './next-hop.ts';
import { effectiveMtu } from './route-mtu.ts';
import { RouteQuery } from './route-query.ts';

export class Paths {
  readonly #hops: NextHops;
  readonly #portOf = new Map<number, number>();
  readonly #query: RouteQuery;
  /** What the kernel answered, as long as nothing changed: MTUs, and indices of ports + 1. */
  readonly #mtus = new HopCache();
  readonly #ports = new HopCache();
  #generation = 0;

  /** `hops` are kept current, and closed, by whoever made them. Throws an IoError. */
  constructor(hops: NextHops, ports: readonly IoPort[]) {
    this.#hops = hops;
    this.#query = new RouteQuery();
    for (const [index, { name }] of ports.entries()) this.#portOf.set(interfaceIndex(name), index);
  }

  /** IP packets of up to so many bytes go anywhere. */
  get leastMtu(): number {
    return this.#hops.leastMtu;
  }

  /** Largest IP packet that goes to words[at..at+3], bytes; 0: there is no route. */
  mtuTowards(words: Int32Array, at: number): number {
    const hops = this.#hops;
    const route = hops.routeTo(words, at);
    if (route < 0) return this.#ask(this.#mtus, words, at);
    return this.#mtuOf(hops.interfaceIndexOfRoute(route), hops.mtuOfRoute(route), words, at);
  }

  /** Index of the port that packets to words[at..at+3] leave by; -1: of none. */
  portTowards(words: Int32Array, at: number): number {
    const route = this.#hops.routeTo(words, at);
    if (route < 0) return this.#ask(this.#ports, words, at) - 1;
    return this.#portOf.get(this.#hops.interfaceIndexOfRoute(route)) ?? -1;
  }

  close(): void {
    this.#query.close();
  }

  #mtuOf(link: number, ofRoute: number, words: Int32Array, at: number): number {
    const isIpv4 = isV4(words, at);
    return effectiveMtu(ofRoute, this.#hops.mtuOfLink(link, isIpv4), isIpv4);
  }

  /** 0: there is no route. */
  #ask(answers: HopCache, words: Int32Array, at: number): number {
    const { generation } = this.#hops;
    if (this.#generation !== generation) {
      this.#generation = generation;
      this.#mtus.clear();
      this.#ports.clear();
    }
    const place = answers.placeOf(words, at);
    const known = answers.get(place, words, at);
    if (known >= 0) return known;
    const found = this.#askKernel(answers, words, at);
    // An error is no answer: the next packet asks again.
    if (found < 0) return 0;
    answers.put(place, words, at, found);
    return found;
  }

  /** As #ask; -1: it could not be asked. */
  #askKernel(answers: HopCache, words: Int32Array, at: number): number {
    const query = this.#query;
    try {
      if (!query.ask(words, at)) return 0;
      const link = query.interfaceIndex;
      if (answers === this.#ports) return (this.#portOf.get(link) ?? -1) + 1;
      return this.#mtuOf(link, query.mtuOfRoute(words, at), words, at);
    } catch (error) {
      if (!(error instanceof SysError)) throw error;
      return -1; // the kernel was short of memory: nobody knows
    }
  }
}
