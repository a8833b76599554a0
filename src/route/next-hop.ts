// Where a packet goes at layer 2: a copy of the kernel's routes, rules, neighbors and interfaces, kept current by what
// rtnetlink announces. Whatever this copy cannot decide as the kernel would is answered with -1: the packet is to go
// through the IP layer, which decides itself, resolves the neighbor, and so makes it known here.

import { IoError } from '../sys/io-error.ts';
import { SysError } from '../sys/libc.ts';
import { HopCache } from './hop-cache.ts';
import { Neighbors } from './neighbors.ts';
import { RouteTable } from './route-table.ts';
import { type Exception, exceptionsOf } from './routing-rules.ts';
import {
  FLAG,
  isClonedRoute,
  LinkMessage,
  MESSAGE,
  NeighborMessage,
  RouteMessage,
  readLink,
  readNeighbor,
  readRoute,
} from './rtnetlink.ts';
import { KIND, type Listener, RtnetlinkFeed } from './rtnetlink-feed.ts';
import { type Rule, readRule } from './rule-message.ts';
import { WaitingRoom } from './waiting-room.ts';

export interface NextHopOptions {
  nowMs: number;
  /** How often a neighbor in use is left to the IP layer for one packet, so that the kernel confirms it. */
  confirmMs?: number;
  /** With more routes nothing is decided here. Each takes up to 130 bytes. */
  maxRoutes?: number;
}

const CONFIRM_MS = 5_000;
const MAX_ROUTES = 2 << 20;
/** With too many routes they are read again after this time. */
const TOO_MANY_MS = 600_000;
/** Readings that were disturbed by changes, before starting without them. */
const MAX_DISTURBED = 8;
const MAX_UPDATES_AT_START = 100_000;
/** A route that ends later is looked at again after so many hundredths of a second. */
const FARTHEST_END = 10_000_000;
const NONE = -1;

/**
 * One destination of 16 that are not in the cache is put there: the busy ones get in soon, and a million others, none of
 * which comes again in time, do not pay for it. Measured with them: 125 ns when each is put in, 45 ns so.
 */
const CACHED_OF_MISSES = 15;

/** Never for us, whatever a table says: this host, every host, groups, and addresses that need their link's name. */
const NOT_ROUTED: readonly (readonly [
  isV4: boolean,
  firstWord: number,
  lastWord: number,
  prefixLen: number,
])[] = [
  [true, 0, 0, 96 + 8], // 0.0.0.0/8
  [true, 0, 0x7f000000, 96 + 8], // 127.0.0.0/8
  [true, 0, 0xe0000000 | 0, 96 + 4], // 224.0.0.0/4
  [true, 0, -1, 128], // 255.255.255.255
  [false, 0, 0, 127], // :: and ::1
  [false, 0xfe800000 | 0, 0, 10], // fe80::/10
  [false, 0xff000000 | 0, 0, 8], // ff00::/8
];

export class NextHops {
  readonly #neighbors: Neighbors;
  readonly #routes: RouteTable;
  readonly #feed: RtnetlinkFeed;
  readonly #cache = new HopCache();
  readonly #waitingRoom: WaitingRoom;
  #misses = 0;
  readonly #maxRoutes: number;
  readonly #route = new RouteMessage();
  readonly #neighbor = new NeighborMessage();
  readonly #link = new LinkMessage();
  #rules: Rule[] = [];
  #exceptions: Exception[] = [];
  #hasRules = false;
  #hasRoutes = false;
  #hasTooManyRoutes = false;
  /** When routes are to be read again because one of them ends, or there were too many; undefined: never. */
  #readRoutesAt: number | undefined;
  #disturbed = 0;
  #nowMs: number;
  /** The least MTU that any route, of any table, had since all were read, and of those in the reading under way. */
  #leastOfRoutes = Infinity;
  #leastOfReading = Infinity;
  #isLeastStale = true;
  #knowsLeast = false;
  /** Packets of up to so many bytes go by any route and interface. */
  leastMtu = 0;
  /** Another number after every change of interfaces, rules or routes. */
  generation = 0;

  /** Reads interfaces, rules, routes and neighbors. Throws an IoError. */
  constructor({ nowMs, confirmMs = CONFIRM_MS, maxRoutes = MAX_ROUTES }: NextHopOptions) {
    this.#nowMs = nowMs;
    this.#maxRoutes = maxRoutes;
    const forget = () => this.#cache.clear();
    this.#neighbors = new Neighbors(confirmMs, forget);
    this.#routes = new RouteTable(this.#neighbors, forget);
    this.#waitingRoom = new WaitingRoom(this.#neighbors, this.#routes);
    for (const [isV4, first, last, prefixLen] of NOT_ROUTED) {
      this.#routes.block(Int32Array.of(first, 0, isV4 ? 0xffff : 0, last), prefixLen, isV4);
    }
    try {
      this.#feed = new RtnetlinkFeed(this.#listener());
    } catch (error) {
      throw asIoError(error);
    }
    try {
      for (
        let left = MAX_UPDATES_AT_START;
        left > 0 && !this.#feed.isIdle && this.#disturbed < MAX_DISTURBED;
        left--
      ) {
        this.#feed.hurry();
        this.#feed.update(nowMs);
      }
    } catch (error) {
      this.#feed.close();
      throw asIoError(error);
    }
    this.#noteLeastMtu();
  }

  /** Readable while there is something for `update` to take in. */
  get fd(): number {
    return this.#feed.fd;
  }

  /**
   * Takes in what the kernel announced since, some milliseconds' worth of it at most. To be called when `fd` is readable,
   * and a few times a second. Throws a SysError when netlink does not work any more.
   */
  update(nowMs: number): void {
    this.#nowMs = nowMs;
    if (this.#readRoutesAt !== undefined && ((nowMs - this.#readRoutesAt) | 0) >= 0) {
      this.#readRoutesAt = undefined;
      this.#feed.want(KIND.routes);
    }
    this.#feed.update(nowMs);
    if (this.#isLeastStale) this.#noteLeastMtu();
  }

  #noteLeastMtu(): void {
    this.#isLeastStale = false;
    const least = Math.min(this.#neighbors.leastMtu, this.#leastOfRoutes, this.#leastOfReading);
    this.leastMtu = this.#knowsLeast ? least : 0;
  }

  /**
   * The hop for a packet whose destination is words[at..at+3], for the functions below until the next update; -1: send it
   * through the IP layer. That is also the answer once every few seconds for each neighbor in use.
   *
   * measured (2 shared processors, user time): 15 to 20 ns for one destination; for a million behind one gateway 45 to 65
   * ns with a few routes, 100 to 350 ns with 100,000. 100,000 routes are read in 0.3 s and take 21 MB, a million in 1.8 s
   * and 164 MB.
   */
  find(words: Int32Array, at: number, nowMs: number): number {
    const hop = this.#hopOf(words, at);
    return hop !== NONE && this.#neighbors.use(hop, nowMs) ? hop : NONE;
  }

  /**
   * Whether a packet to words[at..at+3] may go through the IP layer now. Not where enough wait already for a neighbor that
   * has not said its Ethernet address. Throws a SysError when netlink does not work any more.
   */
  admits(words: Int32Array, at: number, nowMs: number): boolean {
    if (this.#mayWait(words, at, nowMs)) return true;
    this.#nowMs = nowMs;
    this.#feed.receiveChanges(nowMs); // it may have answered just now
    return this.#mayWait(words, at, nowMs) || !this.#feed.isIdle; // what is being read may say other than this copy
  }

  #mayWait(words: Int32Array, at: number, nowMs: number): boolean {
    const hop = this.#hopOf(words, at);
    if (hop !== NONE && this.#neighbors.isResolved(hop)) return true;
    return this.#waitingRoom.admits(this.routeTo(words, at), words, at, nowMs);
  }

  #hopOf(words: Int32Array, at: number): number {
    const place = this.#cache.placeOf(words, at);
    let hop = this.#cache.get(place, words, at);
    if (hop === NONE) {
      hop = this.#lookUp(words, at);
      if (hop === NONE) return NONE;
      this.#misses = (this.#misses + 1) & CACHED_OF_MISSES;
      if (this.#misses === 0) this.#cache.put(place, words, at, hop);
    }
    return hop;
  }

  /** The route that packets to words[at..at+3] take, whatever is known of the neighbor, for the two below; -1: ask the kernel. */
  routeTo(words: Int32Array, at: number): number {
    const route = this.#routes.find(words, at);
    return route < 0 || !this.#hasRoutes || !this.#hasRules ? NONE : route;
  }

  interfaceIndexOfRoute(route: number): number {
    return this.#routes.interfaceIndexOf(route);
  }

  /** What the route itself says, bytes; 0: nothing. */
  mtuOfRoute(route: number): number {
    return this.#routes.mtuOf(route);
  }

  /** Largest packet of the family that the interface carries, bytes; 0: it is not known. */
  mtuOfLink(interfaceIndex: number, isV4: boolean): number {
    return this.#neighbors.mtuOfLink(interfaceIndex, isV4);
  }

  #lookUp(words: Int32Array, at: number): number {
    const route = this.routeTo(words, at);
    if (route === NONE) return NONE;
    const gateway = this.#routes.gatewayOf(route);
    return gateway !== NONE ? gateway : this.#neighbors.find(this.#routes.interfaceIndexOf(route), words, at);
  }

  interfaceIndexOf(hop: number): number {
    return this.#neighbors.interfaceIndexOf(hop);
  }

  /** Of the interface; see mtuOfRoute for what a route says about it. */
  mtuOf(hop: number): number {
    return this.#neighbors.mtuOf(hop);
  }

  /** Writes the 14 bytes of the Ethernet header to view[off - 14, off). */
  writeHeader(hop: number, view: DataView, off: number, ethertype: number): void {
    this.#neighbors.writeHeader(hop, view, off, ethertype);
  }

  /** What of the routing leaves packets to the IP layer, for the operator; empty when all that can be is decided here. */
  reasons(): string[] {
    const reasons = this.#exceptions.map(({ reason }) => reason).filter((reason) => reason !== '');
    if (this.#hasTooManyRoutes) reasons.push(`more than ${this.#maxRoutes} routes`);
    else if (!this.#hasRoutes) reasons.push('the routes cannot be read');
    else reasons.push(...this.#routes.reasons());
    return reasons;
  }

  close(): void {
    this.#waitingRoom.close();
    this.#feed.close();
  }

  #listener(): Listener {
    return {
      onMessage: (type, flags, view, off, end, isChange) =>
        this.#onMessage(type, flags, view, off, end, isChange),
      onReadingBegins: (kind) => {
        if (kind === KIND.links) this.#neighbors.beginReadingLinks();
        if (kind === KIND.neighbors) this.#neighbors.beginReading();
        if (kind === KIND.rules) this.#rules = [];
        if (kind === KIND.routes) {
          this.#routes.beginReading();
          this.#leastOfReading = Infinity;
          this.#readRoutesAt = undefined;
          this.#hasTooManyRoutes = false;
        }
      },
      onReadingEnds: (kind, complete) => {
        this.#noteChange();
        if (!complete) this.#disturbed++;
        else if (kind === KIND.links) this.#neighbors.endReadingLinks();
        else if (kind === KIND.neighbors) this.#neighbors.endReading();
        else if (kind === KIND.rules) this.#applyRules();
        else {
          this.#leastOfRoutes = this.#leastOfReading;
          this.#knowsLeast = true;
          if (this.#hasTooManyRoutes) return;
          this.#routes.endReading();
          this.#hasRoutes = true;
        }
      },
    };
  }

  #onMessage(type: number, flags: number, view: DataView, off: number, end: number, isChange: boolean): void {
    if (isChange && type !== MESSAGE.newNeighbor && type !== MESSAGE.deleteNeighbor) this.#noteChange();
    switch (type) {
      case MESSAGE.newRoute:
        if (!isClonedRoute(view, off, end) && readRoute(view, off, end, this.#route))
          this.#addRoute(isChange && (flags & FLAG.replace) !== 0);
        break;
      case MESSAGE.deleteRoute:
        if (isClonedRoute(view, off, end) || !readRoute(view, off, end, this.#route)) break;
        if (!this.#routes.delete(this.#route)) this.#readRoutes();
        break;
      case MESSAGE.newNeighbor:
        if (!readNeighbor(view, off, end, this.#neighbor)) break;
        this.#neighbors.set(this.#neighbor, this.#nowMs);
        this.#waitingRoom.onNeighbor(this.#neighbor, isChange, this.#nowMs);
        break;
      case MESSAGE.deleteNeighbor:
        if (readNeighbor(view, off, end, this.#neighbor)) this.#neighbors.delete(this.#neighbor);
        break;
      case MESSAGE.newLink:
        if (readLink(view, off, end, this.#link) && this.#neighbors.setLink(this.#link))
          this.#onLinkChanged();
        break;
      case MESSAGE.deleteLink:
        if (!readLink(view, off, end, this.#link)) break;
        this.#neighbors.deleteLink(this.#link.index);
        this.#onLinkChanged();
        break;
      case MESSAGE.newRule:
      case MESSAGE.deleteRule: {
        if (isChange) {
          this.#feed.want(KIND.rules);
          break;
        }
        const rule = readRule(view, off, end);
        if (rule !== undefined) this.#rules.push(rule);
        break;
      }
      case MESSAGE.deleteAddress: // and with it, without a word, the IPv4 routes that prefer it as their source
        this.#readRoutes();
        break;
      case MESSAGE.deleteNextHop: // likewise
        if (this.#routes.usesObjects) this.#readRoutes();
        break;
    }
  }

  /**
   * Without a word the kernel removes IPv4 routes over an interface that went down, or away, and changes the MTU of IPv6
   * routes with that of their interface.
   */
  #onLinkChanged(): void {
    if (this.#routes.mayUse(this.#link.index)) this.#readRoutes();
  }

  #addRoute(replaces: boolean): void {
    const { mtu } = this.#route;
    if (mtu > 0) {
      this.#leastOfRoutes = Math.min(this.#leastOfRoutes, mtu);
      this.#leastOfReading = Math.min(this.#leastOfReading, mtu);
    }
    if (this.#hasTooManyRoutes) return;
    if (!this.#routes.add(this.#route, replaces)) this.#readRoutes();
    if (this.#route.expiresIn > 0) this.#readRoutesIn(Math.min(this.#route.expiresIn, FARTHEST_END) * 10);
    if (this.#routes.size > this.#maxRoutes) {
      this.#hasTooManyRoutes = true;
      this.#hasRoutes = false;
      this.#routes.clear();
      this.#readRoutesAt = undefined;
      this.#readRoutesIn(TOO_MANY_MS);
    }
  }

  #noteChange(): void {
    this.generation = (this.generation + 1) | 0;
    this.#isLeastStale = true;
  }

  #readRoutes(): void {
    if (!this.#hasTooManyRoutes) this.#feed.want(KIND.routes);
  }

  #readRoutesIn(ms: number): void {
    const at = (this.#nowMs + ms) | 0;
    if (this.#readRoutesAt === undefined || ((at - this.#readRoutesAt) | 0) < 0) this.#readRoutesAt = at;
  }

  #applyRules(): void {
    const old = this.#exceptions;
    this.#exceptions = exceptionsOf(this.#rules);
    for (const { words, prefixLen, isV4 } of this.#exceptions) this.#routes.block(words, prefixLen, isV4);
    for (const { words, prefixLen, isV4 } of old) this.#routes.unblock(words, prefixLen, isV4);
    this.#hasRules = true;
  }
}

function asIoError(error: unknown): unknown {
  if (!(error instanceof SysError)) return error;
  return new IoError(
    `the kernel's routes cannot be read: ${error.message}`,
    'the kernel must offer NETLINK_ROUTE sockets; a seccomp profile may forbid them',
    error,
  );
}
