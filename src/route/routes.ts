// Which route packets from a source to a destination take. The kernel is asked, and what it said is kept
// until it announces a change that may concern it: by source and class of destinations where its tables have
// few prefixes, else by source and destination. So rules, tables, several gateways and dead ones are its own
// affair.

import { SysError } from '../sys/libc.ts';
import { PrefixTrie } from '../wire/prefix-trie.ts';
import { HopCache, TO } from './hop-cache.ts';
import type { Neighbors } from './neighbors.ts';
import { PrefixClasses } from './prefix-classes.ts';
import { RouteQuery } from './route-query.ts';
import { MESSAGE, RouteMessage, readPrefix, readRoute } from './rtnetlink.ts';
import { dump } from './rtnetlink-feed.ts';

/** What the kernel says of some packets. */
export interface Route {
  /** They go somewhere: to this host, or out of it. */
  readonly isRouted: boolean;
  readonly interfaceIndex: number;
  /** What the route itself says, bytes; 0: nothing. */
  readonly mtu: number;
  /** They may leave at layer 2, to the gateway (a hop), or with -1 to the destination itself. */
  readonly isDirect: boolean;
  /** Why not, for the operator; '' where there is nothing to tell. */
  readonly whyNot: string;
  readonly gateway: number;
  /**
   * Of several gateways the kernel took this one; for a packet that goes through the IP layer it may take
   * another.
   */
  readonly isPicked: boolean;
}

const NONE = -1;
const NOWHERE: Route = {
  isRouted: false,
  interfaceIndex: 0,
  mtu: 0,
  isDirect: false,
  whyNot: '',
  gateway: NONE,
  isPicked: false,
};
/** In #kept: there is no route; the kernel is to be asked about each destination of the class. */
const NO_ROUTE = 0;
const EACH = 1;

/** They are read in 30 ms, and take 1 MB. */
const MAX_PREFIXES = 1 << 14;
const READ_AGAIN_MS = 250;
const TOO_MANY_MS = 60_000;
/**
 * There is no more than one flush in this time. After it the kernel has made each change that it announced
 * before making it.
 */
const FLUSH_EVERY_MS = 200;
/** With more changes at once everything is asked anew. */
const MAX_CHANGED = 1_000;
const LONGEST_MS = 100_000_000;

export class Routes {
  readonly #neighbors: Neighbors;
  readonly #maxPrefixes: number;
  readonly #query = new RouteQuery();
  /** Undefined: there are too many prefixes, or they could not be read. */
  #classes: PrefixClasses | undefined;
  /** Indices of #kept: up to 16 MiB each, as they are used. */
  readonly #byClass = new HopCache();
  readonly #byDestination = new HopCache();
  readonly #classKey = new Int32Array(8);
  #kept: Route[] = [NOWHERE, NOWHERE];
  #indexOf = new Map<string, number>();
  /** Prefixes whose routes changed since the last flush; undefined: all may have. */
  #changed: PrefixTrie | undefined = new PrefixTrie();
  #changedBefore: PrefixTrie | undefined = new PrefixTrie();
  #changes = 0;
  /** A flush follows at `#flushAt`; the one after the last change is the second for it. */
  #isDirty = false;
  #isSettled = true;
  #flushAt: number | undefined;
  /** Undefined: there is nothing to do. */
  #readAt: number | undefined;
  #endsAt: number | undefined;
  #nowMs: number;
  readonly #message = new RouteMessage();
  #leastOfRoutes = Infinity;
  /** There may be rules or routes for some sources only. */
  isBySource = false;
  /** Another one, when an answer of `find` may not be right any more. */
  version = 0;

  /** Throws an IoError. */
  constructor(neighbors: Neighbors, nowMs: number, maxPrefixes = MAX_PREFIXES) {
    this.#neighbors = neighbors;
    this.#nowMs = nowMs;
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
    if (classes !== undefined) {
      const key = this.#classKey;
      for (let i = 0; i < TO; i++) key[i] = pair[i]!;
      key[TO + 3] = classes.find(pair, TO);
      const route = this.#findIn(this.#byClass, key, pair);
      if (route !== EACH) return this.#kept[route];
    }
    return this.#kept[this.#findIn(this.#byDestination, pair, pair)];
  }

  /** Does what its time has come for, after all changes until now were taken in. */
  update(nowMs: number): void {
    this.#nowMs = nowMs;
    if (isOver(this.#readAt, nowMs)) this.read();
    if (isOver(this.#endsAt, nowMs)) this.onAnyChange();
    const isResting = this.#flushAt !== undefined && !isOver(this.#flushAt, nowMs);
    if ((this.#isDirty || !this.#isSettled) && !isResting) this.#flush();
  }

  /** Reads which prefixes there are. */
  read(): void {
    const classes = new PrefixClasses(this.#maxPrefixes);
    let hasRoom = true;
    this.#leastOfRoutes = Infinity;
    this.isBySource = false;
    const take = (type: number, view: DataView, off: number, end: number) => {
      hasRoom = this.#takePrefix(classes, type, view, off, end);
      return hasRoom;
    };
    const isSound = dump(MESSAGE.getRule, take) && hasRoom && dump(MESSAGE.getRoute, take) && hasRoom;
    this.#classes = isSound ? classes : undefined;
    this.#readAt = isSound ? undefined : (this.#nowMs + (hasRoom ? READ_AGAIN_MS : TOO_MANY_MS)) | 0;
    this.clear();
  }

  /** Forgets what the kernel said. */
  clear(): void {
    this.version = (this.version + 1) | 0;
    this.#kept = [NOWHERE, NOWHERE];
    this.#indexOf = new Map();
    this.#endsAt = undefined;
    this.#byClass.clear();
    this.#byDestination.clear();
  }

  isGateway(hop: number): boolean {
    return this.#kept.some(({ gateway }) => gateway === hop);
  }

  /** Takes in a message about a route or a rule that comes or goes. */
  onChange(type: number, view: DataView, off: number, end: number): void {
    const hadRoom = this.#classes !== undefined;
    if (!this.#takePrefix(this.#classes, type, view, off, end) && hadRoom) {
      this.#classes = undefined;
      this.#readAt = (this.#nowMs + TOO_MANY_MS) | 0;
      this.onAnyChange();
    }
    const message = this.#message;
    if (this.#changes++ === MAX_CHANGED || !readPrefix(view, off, end, message)) this.#changed = undefined;
    const changed = this.#changed;
    changed?.setValue(changed.insert(message.dst, message.prefixLen, message.isV4), 0);
    this.#isDirty = true;
  }

  /** Something changed with which routes may go, or become others, without a word. */
  onAnyChange(): void {
    this.#changed = undefined;
    this.#isDirty = true;
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

  #findIn(cache: HopCache, key: Int32Array, pair: Int32Array): number {
    const known = cache.get(key);
    if (known !== NONE) return known;
    const found = this.#ask(pair, key !== pair);
    if (found === NONE) return NO_ROUTE;
    cache.put(key, found);
    return found;
  }

  /** NONE: the kernel could not be asked, and the next packet asks again. */
  #ask(pair: Int32Array, isForClass: boolean): number {
    const query = this.#query;
    try {
      // The table's route: what an ICMP error made the kernel believe of one destination is no part of it.
      if (!query.askTable(pair, TO, pair, 0)) return NO_ROUTE;
      const { mtu, expiresIn, interfaceIndex } = query.route;
      if (expiresIn > 0)
        this.#endsAt = earlier(this.#endsAt, this.#nowMs + Math.min(10 * expiresIn, LONGEST_MS));
      // Which of several gateways, and by which interface to this host, only the other question tells.
      const isOpen = interfaceIndex === 0 || query.isLocal;
      if (isOpen && isForClass) return EACH;
      if (isOpen && !query.ask(pair, TO, pair, 0)) return NO_ROUTE;
      return this.#keep(mtu, isOpen);
    } catch (error) {
      if (!(error instanceof SysError)) throw error;
      return NONE; // it is short of memory
    }
  }

  #keep(mtu: number, isPicked: boolean): number {
    const { route, isLocal } = this.#query;
    const { interfaceIndex, isEncapsulated, hasGateway, gateway } = route;
    const isEthernet = this.#neighbors.isEthernet(interfaceIndex);
    let whyNot = '';
    if (isEncapsulated) whyNot = 'have an encapsulation';
    else if (!isLocal && !isEthernet) whyNot = 'lead over an interface without Ethernet';
    const isDirect = !isLocal && whyNot === '';
    // A new neighbor may give all of them other numbers, and so clear #kept.
    const hop = isDirect && hasGateway ? this.#neighbors.findOrMake(interfaceIndex, gateway) : NONE;
    const key = `${interfaceIndex} ${mtu} ${whyNot} ${isDirect} ${hop} ${isPicked}`;
    let index = this.#indexOf.get(key);
    if (index === undefined) {
      index =
        this.#kept.push({ isRouted: true, interfaceIndex, mtu, isDirect, whyNot, gateway: hop, isPicked }) -
        1;
      this.#indexOf.set(key, index);
    }
    return index;
  }

  /** Each change is flushed for twice: the kernel announces some before it makes them. */
  #flush(): void {
    const [before, changed] = [this.#changedBefore, this.#changed];
    this.#changedBefore = changed;
    this.#changed = new PrefixTrie();
    this.#changes = 0;
    this.#isSettled = !this.#isDirty;
    this.#isDirty = false;
    this.#flushAt = this.#isSettled ? undefined : (this.#nowMs + FLUSH_EVERY_MS) | 0;
    if (before === undefined || changed === undefined || this.#classes !== undefined) {
      this.clear();
      return;
    }
    const isChanged = (words: Int32Array, at: number) =>
      before.find(words, at) !== NONE || changed.find(words, at) !== NONE;
    this.version = (this.version + 1) | 0;
    this.#byDestination.forget(isChanged);
  }

  /** False: there are too many prefixes. */
  #takePrefix(
    classes: PrefixClasses | undefined,
    type: number,
    view: DataView,
    off: number,
    end: number,
  ): boolean {
    const message = this.#message;
    if (type === MESSAGE.newRoute) {
      if (!readRoute(view, off, end, message)) return true;
      if (message.mtu > 0) this.#leastOfRoutes = Math.min(this.#leastOfRoutes, message.mtu);
    } else if (!readPrefix(view, off, end, message)) {
      return true;
    }
    if (message.isBySource) this.isBySource = true;
    return classes?.add(message.dst, message.prefixLen, message.isV4) ?? false;
  }
}

const isOver = (at: number | undefined, nowMs: number): boolean =>
  at !== undefined && ((nowMs - at) | 0) >= 0;

const earlier = (a: number | undefined, b: number): number =>
  a !== undefined && ((a - b) | 0) < 0 ? a : b | 0;
