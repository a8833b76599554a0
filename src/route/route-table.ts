// A copy of the kernel's tables local and main: the route that it would take to a destination when no rule says
// otherwise, and what it would not find here. Where the kernel's choice is not certain, the answer is that we do not
// know. Invariant: a node's value is what `#evaluate` makes of its routes and blocks.
import { FINAL, NONE, PrefixTrie } from '../wire/prefix-trie.ts';
import type { Neighbors } from './neighbors.ts';
import { type RouteMessage, TABLE_LOCAL, TABLE_MAIN, TYPE_UNICAST } from './rtnetlink.ts';

/** Routes of these kinds are left to the kernel; the texts are for the operator. */
const UNFOLLOWED = [
  '', // followed
  '', // no unicast route: blackhole, unreachable, prohibit, throw
  'routes over several gateways',
  'routes with an encapsulation',
  'routes with a nexthop object that says no more than its number',
  'routes for some sources only',
  'routes for a type of service',
  'routes past their time',
  'destinations with several routes of the same metric',
] as const;
const FOLLOWED = 0;
const REFUSING = 1;
const MULTIPATH = 2;
const ENCAPSULATED = 3;
const NEXT_HOP_OBJECT = 4;
const BY_SOURCE = 5;
const BY_TOS = 6;
const EXPIRED = 7;
const AMBIGUOUS = 8;

/** A node's values when the kernel must decide, unless a longer prefix is known. */
const UNKNOWN = -3;
const SEVERAL = -4;

// Words of a route.
const CHAIN = 0; // next route of the same prefix, or of the free list; NONE: the last
const NODE = 1; // 0: the route is free
const METRIC = 2;
const KIND = 3; // index of UNFOLLOWED, LOCAL, BY_OBJECT, type of service
const INTERFACE = 4;
const GATEWAY = 5; // slot of Neighbors; NONE: the destination itself is the neighbor
const IDENTITY = 6;
const EPOCH = 7;
const ROUTE_BITS = 3;
const KIND_MASK = 0xff;
const LOCAL = 0x100;
const BY_OBJECT = 0x200; // over a nexthop object
const TOS_SHIFT = 16;
const TABLE_AND_TOS = LOCAL | (0xff << TOS_SHIFT);

const FIRST_CAPACITY = 64;
const MTU_MAX = 0xffff;
/** The interface of a route that names none, or several. */
const ANY = 0;

export class RouteTable {
  readonly #neighbors: Neighbors;
  readonly #onChange: () => void;
  readonly #trie = new PrefixTrie();
  readonly #unfollowed = UNFOLLOWED.map(() => 0);
  /** Per node: its first route, and how many reasons there are to leave everything in its prefix to the kernel. */
  #heads = new Int32Array(0);
  #blocks = new Int32Array(0);
  #routes = new Int32Array(FIRST_CAPACITY << ROUTE_BITS);
  /** Per route: its own MTU, 0: that of its interface. */
  #mtus = new Uint16Array(FIRST_CAPACITY);
  #used = 0;
  #free = NONE;
  #epoch = 0;
  #byObject = 0;
  readonly #perInterface = new Map<number, number>();
  /** Routes held. */
  size = 0;

  /** `onChange` is told that what `find` answers may be another now. */
  constructor(neighbors: Neighbors, onChange: () => void) {
    this.#neighbors = neighbors;
    this.#onChange = onChange;
  }

  /** The route to the address words[at..at+3], for the two functions below; negative: the kernel knows. */
  find(words: Int32Array, at: number): number {
    return this.#trie.find(words, at);
  }

  /** The neighbor that the route's packets go to; -1: each to its own destination. */
  gatewayOf(route: number): number {
    return this.#routes[(route << ROUTE_BITS) + GATEWAY]!;
  }

  interfaceIndexOf(route: number): number {
    return this.#routes[(route << ROUTE_BITS) + INTERFACE]!;
  }

  /** Largest packet that the route itself lets through, bytes, at most 65,535; 0: its interface says. */
  mtuOf(route: number): number {
    return this.#mtus[route]!;
  }

  /**
   * Takes in a route that exists. `replaces`: in the place of those with the same prefix, table and metric. False when
   * what the kernel has now cannot be told from that.
   */
  add(message: RouteMessage, replaces: boolean): boolean {
    if (!this.#isOurs(message)) return true;
    const node = this.#nodeFor(message.dst, message.prefixLen, message.isV4);
    const kind = kindOf(message);
    const identity = identityOf(message);
    let same = this.#routeLike(node, message, kind, identity);
    if (same !== NONE && this.#routes[(same << ROUTE_BITS) + KIND] !== kind) {
      this.#unlink(same);
      same = NONE;
    }
    const replaced = replaces ? this.#removeAlike(node, kind, message.metric, same) : 0;
    if (same === NONE) this.#link(node, message, kind, identity);
    else this.#routes[(same << ROUTE_BITS) + EPOCH] = this.#epoch;
    if (same === NONE || replaced > 0) this.#evaluate(node);
    return replaced <= 1;
  }

  /** Takes in that a route exists no more. False when it is not clear which. */
  delete(message: RouteMessage): boolean {
    if (!this.#isOurs(message)) return true;
    const node = this.#trie.nodeOf(message.dst, message.prefixLen, message.isV4);
    if (node === 0) return true;
    const route = this.#routeLike(node, message, kindOf(message), identityOf(message));
    if (route === NONE) return this.#heads[node] === NONE;
    const alike = this.#countAlike(node, kindOf(message), message.metric);
    this.#unlink(route);
    this.#evaluate(node);
    this.#trie.prune(node);
    // IPv6 speaks of the routes with one metric as one route over several gateways, and of each.
    return alike === 1;
  }

  /** Leaves everything in a prefix to the kernel, until as many `unblock`. */
  block(words: Int32Array, prefixLen: number, isV4: boolean): void {
    const node = this.#nodeFor(words, prefixLen, isV4);
    this.#blocks[node]!++;
    this.#evaluate(node);
  }

  unblock(words: Int32Array, prefixLen: number, isV4: boolean): void {
    const node = this.#nodeFor(words, prefixLen, isV4);
    this.#blocks[node]!--;
    this.#evaluate(node);
    this.#trie.prune(node);
  }

  /** From here on every route that exists is added once, until `endReading` removes the others. */
  beginReading(): void {
    this.#epoch++;
  }

  endReading(): void {
    for (let route = 0; route < this.#used; route++) {
      const base = route << ROUTE_BITS;
      if (this.#routes[base + NODE] !== 0 && this.#routes[base + EPOCH] !== this.#epoch)
        this.#removeRoute(route);
    }
  }

  /** Removes every route; blocks stay. */
  clear(): void {
    for (let route = 0; route < this.#used; route++) {
      if (this.#routes[(route << ROUTE_BITS) + NODE] !== 0) this.#removeRoute(route);
    }
  }

  /** Whether a route may be over this interface. */
  mayUse(interfaceIndex: number): boolean {
    return (this.#perInterface.get(interfaceIndex) ?? 0) > 0 || (this.#perInterface.get(ANY) ?? 0) > 0;
  }

  /** Whether a route is over a nexthop object. */
  get usesObjects(): boolean {
    return this.#byObject > 0;
  }

  /** What of the table is left to the kernel, for the operator. */
  reasons(): string[] {
    return UNFOLLOWED.filter((text, kind) => text !== '' && this.#unfollowed[kind]! > 0);
  }

  #isOurs(message: RouteMessage): boolean {
    if (message.table !== TABLE_MAIN && message.table !== TABLE_LOCAL) return false;
    // Destinations within fe80::/10 and ff00::/8 exist on each interface; they are blocked as a whole.
    const first = message.dst[0]! >>> 22;
    return message.isV4 || message.prefixLen < 8 || (first !== 0x3fa && first >>> 2 !== 0xff);
  }

  #nodeFor(words: Int32Array, prefixLen: number, isV4: boolean): number {
    const node = this.#trie.insert(words, prefixLen, isV4);
    if (this.#heads.length < this.#trie.capacity) {
      const heads = new Int32Array(this.#trie.capacity).fill(NONE);
      heads.set(this.#heads);
      this.#heads = heads;
      const blocks = new Int32Array(this.#trie.capacity);
      blocks.set(this.#blocks);
      this.#blocks = blocks;
    }
    return node;
  }

  #routeLike(node: number, message: RouteMessage, kind: number, identity: number): number {
    for (
      let route = this.#heads[node]!;
      route !== NONE;
      route = this.#routes[(route << ROUTE_BITS) + CHAIN]!
    ) {
      const isSame = this.#routes[(route << ROUTE_BITS) + IDENTITY] === identity;
      if (isSame && this.#isAlike(route, kind, message.metric)) return route;
    }
    return NONE;
  }

  /** Removes the routes that are alike, but for `kept`, and returns how many. */
  #removeAlike(node: number, kind: number, metric: number, kept: number): number {
    let removed = 0;
    for (let route = this.#heads[node]!; route !== NONE; ) {
      const next = this.#routes[(route << ROUTE_BITS) + CHAIN]!;
      if (route !== kept && this.#isAlike(route, kind, metric)) {
        this.#unlink(route);
        removed++;
      }
      route = next;
    }
    return removed;
  }

  #countAlike(node: number, kind: number, metric: number): number {
    let count = 0;
    for (
      let route = this.#heads[node]!;
      route !== NONE;
      route = this.#routes[(route << ROUTE_BITS) + CHAIN]!
    ) {
      if (this.#isAlike(route, kind, metric)) count++;
    }
    return count;
  }

  /** Whether the kernel would take the route to be of the same table, type of service and metric. */
  #isAlike(route: number, kind: number, metric: number): boolean {
    const base = route << ROUTE_BITS;
    return (
      this.#routes[base + METRIC] === metric && ((this.#routes[base + KIND]! ^ kind) & TABLE_AND_TOS) === 0
    );
  }

  #removeRoute(route: number): void {
    const node = this.#routes[(route << ROUTE_BITS) + NODE]!;
    this.#unlink(route);
    this.#evaluate(node);
    this.#trie.prune(node);
  }

  #link(node: number, message: RouteMessage, kind: number, identity: number): void {
    let route = this.#free;
    if (route !== NONE) {
      this.#free = this.#routes[(route << ROUTE_BITS) + CHAIN]!;
    } else {
      if (this.#used << ROUTE_BITS === this.#routes.length) {
        const routes = new Int32Array(this.#routes.length * 2);
        routes.set(this.#routes);
        this.#routes = routes;
        const mtus = new Uint16Array(this.#mtus.length * 2);
        mtus.set(this.#mtus);
        this.#mtus = mtus;
      }
      route = this.#used++;
    }
    const isVia = (kind & ~BY_OBJECT) === FOLLOWED && message.hasGateway;
    const base = route << ROUTE_BITS;
    this.#routes[base + CHAIN] = this.#heads[node]!;
    this.#routes[base + NODE] = node;
    this.#routes[base + METRIC] = message.metric;
    this.#routes[base + KIND] = kind;
    this.#routes[base + INTERFACE] = message.interfaceIndex;
    this.#routes[base + GATEWAY] = isVia
      ? this.#neighbors.acquire(message.interfaceIndex, message.gateway)
      : NONE;
    this.#routes[base + IDENTITY] = identity;
    this.#routes[base + EPOCH] = this.#epoch;
    this.#mtus[route] = Math.min(message.mtu, MTU_MAX);
    this.#heads[node] = route;
    this.#count(route, 1);
  }

  #unlink(route: number): void {
    const base = route << ROUTE_BITS;
    const node = this.#routes[base + NODE]!;
    const next = this.#routes[base + CHAIN]!;
    if (this.#heads[node] === route) {
      this.#heads[node] = next;
    } else {
      let before = this.#heads[node]!;
      while (this.#routes[(before << ROUTE_BITS) + CHAIN] !== route) {
        before = this.#routes[(before << ROUTE_BITS) + CHAIN]!;
      }
      this.#routes[(before << ROUTE_BITS) + CHAIN] = next;
    }
    const gateway = this.#routes[base + GATEWAY]!;
    if (gateway !== NONE) this.#neighbors.release(gateway);
    this.#count(route, -1);
    this.#routes[base + NODE] = 0;
    this.#routes[base + CHAIN] = this.#free;
    this.#free = route;
  }

  #count(route: number, by: number): void {
    const base = route << ROUTE_BITS;
    const kind = this.#routes[base + KIND]!;
    const index = this.#routes[base + INTERFACE]!;
    this.#unfollowed[kind & KIND_MASK]! += by;
    this.size += by;
    if (kind & BY_OBJECT) this.#byObject += by;
    const isRefusing = (kind & KIND_MASK) === REFUSING && index === ANY;
    if (!isRefusing) this.#perInterface.set(index, (this.#perInterface.get(index) ?? 0) + by);
  }

  /**
   * The table local is asked first, and whatever it finds, however short its prefix, is no destination beyond a link.
   * In the table main the longest prefix counts, in it the lowest metric.
   */
  #evaluate(node: number): void {
    let best = NONE;
    let value = NONE;
    let isLocal = this.#blocks[node]! > 0;
    let isConditional = false;
    for (
      let route = this.#heads[node]!;
      route !== NONE;
      route = this.#routes[(route << ROUTE_BITS) + CHAIN]!
    ) {
      const kind = this.#routes[(route << ROUTE_BITS) + KIND]!;
      const metric = this.#metric(route);
      if (kind & LOCAL) {
        isLocal = true;
      } else if (best === NONE || metric < this.#metric(best)) {
        best = route;
        value = (kind & KIND_MASK) === FOLLOWED ? route : UNKNOWN;
      } else if (metric === this.#metric(best)) {
        value = SEVERAL;
      }
      isConditional ||= (kind & KIND_MASK) === BY_SOURCE || (kind & KIND_MASK) === BY_TOS;
    }
    if (isConditional) value = UNKNOWN;
    if (isLocal) value = FINAL;
    const before = this.#trie.value(node);
    if (before === SEVERAL) this.#unfollowed[AMBIGUOUS]!--;
    if (value === SEVERAL) this.#unfollowed[AMBIGUOUS]!++;
    this.#trie.setValue(node, value);
    this.#onChange();
  }

  #metric(route: number): number {
    return this.#routes[(route << ROUTE_BITS) + METRIC]! >>> 0;
  }
}

function kindOf(message: RouteMessage): number {
  return causeOf(message) | (message.nextHopId === 0 ? 0 : BY_OBJECT);
}

function causeOf(message: RouteMessage): number {
  if (message.table === TABLE_LOCAL) return LOCAL | REFUSING;
  if (message.type !== TYPE_UNICAST) return REFUSING;
  if (message.sourceLen > 0) return BY_SOURCE;
  if (message.tos !== 0) return BY_TOS | (message.tos << TOS_SHIFT);
  if (message.isMultipath) return MULTIPATH;
  if (message.isEncapsulated) return ENCAPSULATED;
  if (message.interfaceIndex === ANY) return NEXT_HOP_OBJECT;
  return message.expiresIn < 0 ? EXPIRED : FOLLOWED;
}

/** Tells routes of one prefix, table and metric apart; one whose MTU changed is another one. */
function identityOf(message: RouteMessage): number {
  let mixed =
    (message.type << 16) ^ (message.tos << 8) ^ message.sourceLen ^ (message.isMultipath ? 1 << 30 : 0);
  mixed = Math.imul(mixed ^ message.interfaceIndex, 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 15) ^ message.nextHopId ^ (message.mtu << 8), 0xc2b2ae35);
  if (!message.hasGateway) return mixed;
  for (let i = 0; i < 4; i++) mixed = Math.imul(mixed ^ (mixed >>> 15) ^ message.gateway[i]!, 0x9e3779b1);
  return mixed ^ 1;
}
