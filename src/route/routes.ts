// Which route packets from a source to a destination take. The kernel is asked, and what it said is kept
// until it announces a change that may concern it: by source and class of destinations where its tables have
// few prefixes, else by source and destination. A class is all destinations with the same longest prefix, of
// those that the kernel's routes and rules name in any table. So rules, tables, several gateways and dead
// ones are its own affair.

import { SysError } from '../sys/libc.ts';
import { addressWords, familyOf } from '../wire/address.ts';
import { type Link, type Neighbor, type Neighbors, NO_LINK } from './neighbors.ts';
import { PAIR_WORDS, PairTable, TO } from './pair-table.ts';
import { PrefixSet } from './prefix-set.ts';
import { RouteQuery } from './route-query.ts';
import { MESSAGE, RouteMessage, readPrefix, readRoute, TYPE_LOCAL } from './rtnetlink.ts';
import { dump } from './rtnetlink-feed.ts';

/** What the kernel says of some packets. */
export interface Route {
  /** They go somewhere: to this host, or out of it. */
  readonly isRouted: boolean;
  readonly link: Link;
  /** What the route itself says, bytes; 0: nothing. */
  readonly mtu: number;
  /** They may leave at layer 2, to the gateway, or without one to the destination itself. */
  readonly isDirect: boolean;
  readonly gateway: Neighbor | undefined;
  /** Why not, for the operator; '' where there is nothing to tell. */
  readonly whyNot: string;
  /**
   * Of several gateways the kernel took this one; for a packet that goes through the IP layer it may take
   * another.
   */
  readonly isPicked: boolean;
  /** Of a class: the kernel must be asked about each of its destinations. Only `mtu` counts. */
  readonly isOpen: boolean;
}

const NOWHERE: Route = {
  isRouted: false,
  link: NO_LINK,
  mtu: 0,
  isDirect: false,
  gateway: undefined,
  whyNot: '',
  isPicked: false,
  isOpen: false,
};
const NONE = -1;
/** In #kept: there is no route. */
const NO_ROUTE = 0;
/** With more an interface that comes and goes is likely, and all are asked for anew. */
const MAX_KEPT = 1 << 14;
/** Room for 256 pairs at first, and for 4 million at most: a quarter of it is well used. */
const FIRST_BITS = 8;
const MAX_BITS = 22;

/**
 * What the kernel treats in its own way without a route for it: this network, groups, every host; links' own
 * addresses; and all the rest.
 */
const SPECIAL = (
  [
    ['0.0.0.0', 96 + 8],
    ['224.0.0.0', 96 + 4],
    ['255.255.255.255', 128],
    ['0.0.0.0', 96],
    ['::1', 127],
    ['fe80::', 10],
    ['ff00::', 8],
    ['::', 0],
  ] as const
).map(([text, prefixLen]) => ({ dst: addressWords(text), prefixLen, isV4: familyOf(text) === 4 }));
/** They are read in 30 ms, and take 1 MB. */
const MAX_PREFIXES = 1 << 14;
const READ_AGAIN_MS = 250;
/** Then their number may have become small: who waits for it has lost nothing but a little time. */
const TOO_MANY_MS = 600_000;
/** So much later room for pairs that nobody asks about any more is given back: 256 MB at most. */
const TRIM_MS = 600_000;
/** An epoch lasts so long at least. */
const EPOCH_MS = 200;
const MAX_CLASS = 0x3fff_ffff;
const LONGEST_MS = 100_000_000;

export class Routes {
  readonly #neighbors: Neighbors;
  readonly #maxPrefixes: number;
  readonly #query = new RouteQuery();
  /** Undefined: there are too many prefixes, or they could not be read. */
  #classes: PrefixSet | undefined;
  #lastClass = 0;
  readonly #classKey = new Int32Array(PAIR_WORDS);
  /** By source and class, or destination: an index of #kept, and in which epoch it was right. */
  readonly #known = new PairTable(FIRST_BITS, MAX_BITS);
  #kept: Route[] = [NOWHERE];
  #indexOf = new Map<string, number>();
  /** What was right before this epoch is no more: to prefixes, from prefixes, and of everything. */
  #changed = new PrefixSet(MAX_PREFIXES);
  #changedSources = new PrefixSet(MAX_PREFIXES);
  #allChanged = 0;
  /** Another one, when an answer of `find` may not be right any more. */
  epoch = 0;
  /** Epochs follow each other until this one. */
  #lastEpoch = 0;
  #epochBegan: number; // ms
  /** Undefined: there is nothing to do. */
  #readAt: number | undefined;
  #endsAt: number | undefined;
  #trimAt: number;
  #nowMs: number;
  readonly #message = new RouteMessage();
  #leastOfRoutes = Infinity;
  /** There may be rules or routes for some sources only. True where not all could be read. */
  isBySource = true;

  /** Throws an IoError. */
  constructor(neighbors: Neighbors, nowMs: number, maxPrefixes = MAX_PREFIXES) {
    this.#neighbors = neighbors;
    this.#nowMs = nowMs;
    this.#epochBegan = (nowMs - EPOCH_MS) | 0;
    this.#trimAt = (nowMs + TRIM_MS) | 0;
    this.#maxPrefixes = maxPrefixes;
  }

  /** Packets of up to so many bytes go by any route; 0: it is not known. */
  get leastMtu(): number {
    return this.#classes === undefined ? 0 : this.#leastOfRoutes;
  }

  /**
   * The route of packets between these addresses.
   *
   * measured (busy machine): 35 ns, and 6 to 9 us when the kernel is asked.
   */
  find(pair: Int32Array): Route {
    const classes = this.#classes;
    if (classes === undefined) return this.#findBy(pair, pair);
    const key = this.#classKey;
    for (let i = 0; i < TO; i++) key[i] = pair[i];
    key[TO + 2] = NONE; // no address is so
    key[TO + 3] = classes.find(pair, TO);
    const route = this.#findBy(key, pair);
    return route.isOpen ? this.#findBy(pair, pair, route) : route;
  }

  #findBy(key: Int32Array, pair: Int32Array, ofClass?: Route): Route {
    const known = this.#known;
    const entry = known.find(key);
    if (entry >= 0 && this.#isRight(known.stamp(entry), pair)) {
      known.setStamp(entry, this.epoch);
      return this.#kept[known.value(entry)];
    }
    const found = this.#ask(pair, key !== pair, ofClass);
    if (found === NONE) return NOWHERE;
    this.#known.set(key, found, this.epoch);
    return this.#kept[found];
  }

  /** Whether what was right in that epoch still is. */
  #isRight(epoch: number, pair: Int32Array): boolean {
    if (epoch === this.epoch) return true;
    const changed = Math.max(this.#changed.find(pair, TO), this.#changedSources.find(pair, 0));
    return epoch >= this.#allChanged && epoch >= changed;
  }

  /** An index of #kept; NONE: the kernel could not be asked, and the next packet asks again. */
  #ask(pair: Int32Array, isForClass: boolean, ofClass: Route | undefined): number {
    if (this.#kept.length === MAX_KEPT) this.forget();
    const query = this.#query;
    try {
      if (ofClass !== undefined)
        return query.ask(pair, TO, pair, 0) ? this.#keep(ofClass.mtu, true) : NO_ROUTE;
      // The table's route: what an ICMP error made the kernel believe of one destination is no part of it.
      if (!query.askTable(pair, TO, pair, 0)) return NO_ROUTE;
      const { mtu, expiresIn, interfaceIndex, interfaces } = query.route;
      for (const index of interfaces) {
        const link = this.#neighbors.linkOf(index);
        if (link === NO_LINK) return NONE; // the kernel's word of it is on its way
        link.isUsed = true;
      }
      if (expiresIn > 0)
        this.#endsAt = earlier(this.#endsAt, this.#nowMs + Math.min(10 * expiresIn, LONGEST_MS));
      // Which of several gateways, and by which interface to this host, only the other question tells.
      const isOpen = interfaceIndex === 0 || query.isLocal;
      if (isOpen && isForClass) return this.#indexFor({ ...NOWHERE, mtu, isOpen });
      return isOpen && !query.ask(pair, TO, pair, 0) ? NO_ROUTE : this.#keep(mtu, isOpen);
    } catch (error) {
      if (!(error instanceof SysError)) throw error;
      return NONE; // it is short of memory
    }
  }

  /** Keeps what the query found, as #ask. */
  #keep(mtu: number, isPicked: boolean): number {
    const { route, isLocal } = this.#query;
    const link = this.#neighbors.linkOf(route.interfaceIndex);
    // The kernel told that it goes, or will tell that it comes; nobody asks anew because of one not in use.
    if (!isLocal && !link.isUp) return NONE;
    link.isUsed = true;
    let whyNot = '';
    if (route.isEncapsulated) whyNot = 'have an encapsulation';
    else if (!isLocal && !link.isEthernet) whyNot = 'lead over an interface without Ethernet';
    const isDirect = !isLocal && whyNot === '';
    const gateway =
      isDirect && route.hasGateway
        ? this.#neighbors.findOrMake(route.interfaceIndex, route.gateway)
        : undefined;
    if (gateway !== undefined) gateway.isGateway = true;
    return this.#indexFor({ ...NOWHERE, isRouted: true, link, mtu, isDirect, gateway, whyNot, isPicked });
  }

  #indexFor(route: Route): number {
    const { link, mtu, isDirect, gateway, whyNot, isPicked, isOpen } = route;
    const key = [link.index, mtu, isDirect, gateway?.address, whyNot, isPicked, isOpen].join();
    let index = this.#indexOf.get(key);
    if (index === undefined) {
      index = this.#kept.push(route) - 1;
      this.#indexOf.set(key, index);
    }
    return index;
  }

  /** Does what its time has come for, after all changes until now were taken in. */
  update(nowMs: number): void {
    this.#nowMs = nowMs;
    if (isOver(this.#readAt, nowMs)) this.read();
    if (isOver(this.#trimAt, nowMs)) {
      this.#trimAt = (nowMs + TRIM_MS) | 0;
      this.#known.trim();
    }
    if (isOver(this.#endsAt, nowMs)) {
      this.#endsAt = undefined;
      this.onAnyChange();
    }
    if (this.epoch < this.#lastEpoch && (nowMs - this.#epochBegan) >>> 0 >= EPOCH_MS) this.#nextEpoch();
  }

  #nextEpoch(): void {
    this.epoch++;
    this.#epochBegan = this.#nowMs;
  }

  /** Reads which prefixes there are. */
  read(): void {
    const classes = new PrefixSet(this.#maxPrefixes + SPECIAL.length);
    for (const prefix of SPECIAL) classes.set(prefix, this.#newClass());
    let hasRoom = true;
    this.#leastOfRoutes = Infinity;
    this.isBySource = false;
    const take = (type: number, view: DataView, off: number, end: number) => {
      hasRoom = !this.#readMessage(type, view, off, end) || classes.set(this.#message, this.#newClass());
      return hasRoom;
    };
    const isSound = dump(MESSAGE.getRule, take) && hasRoom && dump(MESSAGE.getRoute, take) && hasRoom;
    this.#classes = isSound ? classes : undefined;
    if (!isSound) {
      this.isBySource = true;
      this.#neighbors.nameAll();
    }
    this.#readAt = isSound ? undefined : (this.#nowMs + (hasRoom ? READ_AGAIN_MS : TOO_MANY_MS)) | 0;
  }

  /** Also of a class that was read before: what was found for that has no meaning any more. */
  #newClass(): number {
    this.#lastClass = (this.#lastClass + 1) & MAX_CLASS;
    return this.#lastClass;
  }

  /** Takes in a message about a route or a rule that comes or goes. */
  onChange(type: number, view: DataView, off: number, end: number): void {
    const isSound = this.#readMessage(type, view, off, end);
    const isOfRoute = type === MESSAGE.newRoute || type === MESSAGE.deleteRoute;
    if (isSound && this.#classes?.set(this.#message, this.#newClass()) === false) {
      this.#classes = undefined;
      this.#readAt = (this.#nowMs + TOO_MANY_MS) | 0;
    }
    const mark = this.#markChange();
    // A rule may be for all that is not in its prefix. By a local route sources become this host's.
    const isWithin =
      isOfRoute &&
      isSound &&
      this.#changed.setWithin(this.#message, mark) &&
      (this.#message.type !== TYPE_LOCAL || this.#changedSources.setWithin(this.#message, mark));
    if (!isWithin) this.onAnyChange();
  }

  /** Something changed with which routes may go, or become others, without a word. */
  onAnyChange(): void {
    this.#allChanged = this.#markChange();
    this.#changed = new PrefixSet(MAX_PREFIXES);
    this.#changedSources = new PrefixSet(MAX_PREFIXES);
  }

  /**
   * The epoch from which on what is right stays so. The next one begins very soon. Because the kernel
   * announces some changes before it makes them, what it says in that is asked for once more in the one
   * after.
   */
  #markChange(): number {
    this.#lastEpoch = this.epoch + 2;
    return this.#lastEpoch;
  }

  /** Forgets what the kernel said: links are others. What #known has is of an epoch too early. */
  forget(): void {
    this.onAnyChange();
    this.#nextEpoch();
    this.#kept = [NOWHERE];
    this.#indexOf = new Map();
    this.#neighbors.release();
  }

  /** Has the kernel ask a neighbor for its Ethernet address, or whether it still has it. */
  resolve(interfaceIndex: number, address: Int32Array): void {
    try {
      this.#query.resolve(interfaceIndex, address);
    } catch (error) {
      // With a SysError it is short of memory, and is told again with the next packet.
      if (!(error instanceof SysError)) throw error;
    }
  }

  close(): void {
    this.#query.close();
  }

  /** Reads which prefix a message is about; false: none. */
  #readMessage(type: number, view: DataView, off: number, end: number): boolean {
    const message = this.#message;
    const read = type === MESSAGE.newRoute ? readRoute : readPrefix;
    if (!read(view, off, end, message)) return false;
    if (type === MESSAGE.newRoute && message.mtu > 0)
      this.#leastOfRoutes = Math.min(this.#leastOfRoutes, message.mtu);
    if (type === MESSAGE.newRoute && !isOfLink(message)) this.#neighbors.name(message.interfaces);
    if (message.isBySource) this.isBySource = true;
    return true;
  }
}

/** Within fe80::/10 or ff00::/8, which every interface has. */
const isOfLink = ({ dst }: RouteMessage): boolean => dst[0] >>> 25 === 0x7f;

const isOver = (at: number | undefined, nowMs: number): boolean =>
  at !== undefined && ((nowMs - at) | 0) >= 0;

const earlier = (a: number | undefined, b: number): number =>
  a !== undefined && ((a - b) | 0) < 0 ? a : b | 0;
