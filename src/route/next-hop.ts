// Where a packet goes at layer 2: by the kernel's routes (routes.ts), and a copy of its neighbors and
// interfaces. What cannot leave so has no hop: the packet is to go through the IP layer, which decides
// itself, resolves the neighbor, and so makes it known here.

import { explainNetlink } from '../sys/netlink.ts';
import { type Link, type Neighbor, Neighbors } from './neighbors.ts';
import { LOOPBACK, OwnHost } from './own-host.ts';
import { PairTable, TO } from './pair-table.ts';
import { type Route, Routes } from './routes.ts';
import {
  isClonedRoute,
  LinkMessage,
  MESSAGE,
  NeighborMessage,
  readLink,
  readMtu6,
  readNeighbor,
} from './rtnetlink.ts';
import { dump, RtnetlinkFeed } from './rtnetlink-feed.ts';
import { Unresolved } from './unresolved.ts';

export interface NextHopOptions {
  nowMs: number;
  /** With more prefixes in its tables the kernel is asked about each destination by itself. */
  maxPrefixes?: number;
  /** Is told for the operator, once of each kind, which routes lead through the IP layer. */
  onIpLayer?: ((message: string) => void) | undefined;
}

const READ_AGAIN_MS = 250;
/** Pairs whose hop is at hand, 2 to the power of this: 64 KiB, which a processor has near. */
const RECENT_BITS = 10;

/**
 * Of pairs that are not among the recent ones one of so many becomes one: who is asked for again and again
 * soon is, and where more are in use than there is room for, not all push each other out all the time.
 */
const KEEP_EACH = 8;

export class NextHops {
  readonly #neighbors = new Neighbors(() => {
    this.#recent = new PairTable(RECENT_BITS);
  });
  readonly #routes: Routes;
  /** By pair: the number of its hop, and in which epoch of the routes it was that. */
  #recent = new PairTable(RECENT_BITS);
  readonly #feed: RtnetlinkFeed;
  readonly #unresolved = new Unresolved();
  readonly #ownHost = new OwnHost();
  #readAt: number | undefined;
  #nowMs: number;
  readonly #neighbor = new NeighborMessage();
  readonly #link = new LinkMessage();
  readonly #onIpLayer: NextHopOptions['onIpLayer'];
  readonly #told = new Set<string>();
  #changes = 0;
  /** Pairs that were not among the recent ones, up to KEEP_EACH. */
  #missed = 0;

  /** Reads interfaces, neighbors and prefixes. Throws an IoError. */
  constructor({ nowMs, maxPrefixes, onIpLayer }: NextHopOptions) {
    this.#nowMs = nowMs;
    this.#onIpLayer = onIpLayer;
    this.#routes = new Routes(this.#neighbors, nowMs, maxPrefixes);
    try {
      this.#feed = new RtnetlinkFeed(
        (type, view, off, end) => this.#onChange(type, view, off, end),
        () => this.#readSoon(),
      );
    } catch (error) {
      this.#routes.close();
      throw explainNetlink("the kernel's routes cannot be followed", error);
    }
    this.#read();
  }

  /** Readable while there is something for `update` to take in. */
  get fd(): number {
    return this.#feed.fd;
  }

  /** Packets of up to so many bytes go by any route and interface; 0: it is not known. */
  get leastMtu(): number {
    return Math.min(this.#neighbors.leastMtu, this.#routes.leastMtu);
  }

  /**
   * Takes in what the kernel announced since, some milliseconds' worth of it at most. To be called when `fd`
   * is readable, and at least each 100 ms: a change counts at once, or where there are many within 0.3 s.
   * Throws a SysError when netlink does not work any more.
   */
  update(nowMs: number): void {
    this.#nowMs = nowMs;
    this.#feed.receive();
    this.#routes.update(nowMs);
    this.#ownHost.update(nowMs);
    if (this.#readAt !== undefined && ((nowMs - this.#readAt) | 0) >= 0) this.#read();
  }

  /**
   * The hop for a packet between these addresses, until the next call; undefined: send it through the IP
   * layer. That is also the answer once every few seconds for each neighbor in use.
   *
   * measured (busy machine): 14 to 25 ns, and 75 to 150 ns for a pair that is not one of the recent ones (130
   * to 270 where each such became one). With many destinations that the kernel must be asked about one by one
   * 0.6 us, when a million are in use.
   */
  find(pair: Int32Array, nowMs: number): Neighbor | undefined {
    const recent = this.#recent;
    const entry = recent.find(pair);
    if (entry < 0 || recent.stamp(entry) !== this.#routes.epoch) return this.#lookUp(pair, nowMs);
    const hop = this.#neighbors.at(recent.value(entry));
    return hop.use(nowMs) ? hop : undefined;
  }

  #lookUp(pair: Int32Array, nowMs: number): Neighbor | undefined {
    const route = this.#routes.find(pair);
    if (!route.isDirect) {
      if (route.whyNot !== '') this.#tell(route.whyNot);
      return undefined;
    }
    const hop = this.#hopBy(route, pair);
    // Asking may have begun an epoch.
    if (hop === undefined) return undefined;
    this.#missed = (this.#missed + 1) & (KEEP_EACH - 1);
    if (this.#missed === 0) this.#recent.set(pair, hop.number, this.#routes.epoch);
    return hop.use(nowMs) ? hop : undefined;
  }

  /**
   * Whether such a packet may go through the IP layer now. Not where enough wait already for a neighbor that
   * has not said its Ethernet address. Throws a SysError when netlink does not work any more.
   */
  admits(pair: Int32Array, nowMs: number): boolean {
    if (this.#mayWait(pair, nowMs)) return true;
    this.update(nowMs); // it may have answered just now
    return this.#mayWait(pair, nowMs);
  }

  #mayWait(pair: Int32Array, nowMs: number): boolean {
    const route = this.#routes.find(pair);
    const { isDirect, link, gateway, isPicked } = route;
    if (!isDirect || !link.asks) return true;
    // The packet may not go there, and so not make the kernel ask.
    if (isPicked && gateway !== undefined) this.#routes.resolve(link.index, gateway.address);
    if (this.#hopBy(route, pair)?.isResolved) return true;
    if (gateway === undefined) return this.#unresolved.admits(link.index, pair, TO, nowMs);
    return this.#unresolved.admits(link.index, gateway.address, 0, nowMs);
  }

  #tell(what: string): void {
    if (!this.#told.has(what)) this.#onIpLayer?.(ipLayerMessage(what));
    this.#told.add(what);
  }

  #hopBy({ link, gateway }: Route, pair: Int32Array): Neighbor | undefined {
    return gateway ?? this.#neighbors.find(link.index, pair, TO);
  }

  /**
   * The neighbor that packets between these addresses go to at layer 2, ready or not; undefined: to none. Of
   * packets for this host itself it is that, behind its loopback interface.
   */
  neighborOf(pair: Int32Array): Neighbor | undefined {
    const route = this.#routes.find(pair);
    if (route.isDirect) return this.#hopBy(route, pair);
    if (!route.isRouted || route.link.index !== LOOPBACK) return undefined;
    return this.#ownHost.neighborFor(pair, route.link.mtu, this.#nowMs);
  }

  /** The neighbor that has this address; undefined: the kernel never had it. */
  neighborAt(interfaceIndex: number, address: Int32Array): Neighbor | undefined {
    if (interfaceIndex === LOOPBACK) return this.#ownHost.neighbor;
    return this.#neighbors.find(interfaceIndex, address, 0);
  }

  /** Another number when neighborOf may say another one. */
  get epoch(): number {
    return this.#routes.epoch + this.#ownHost.changes;
  }

  /** Another number when a neighbor or an interface may be another. */
  get changes(): number {
    return this.#changes;
  }

  /** The route of packets between these addresses, whatever is known of the neighbor. */
  routeOf(pair: Int32Array): Route {
    return this.#routes.find(pair);
  }

  /** Rules or routes may mean some sources only. */
  get isBySource(): boolean {
    return this.#routes.isBySource;
  }

  /** What is known of an interface. */
  linkOf(index: number): Link {
    return this.#neighbors.linkOf(index);
  }

  close(): void {
    this.#feed.close();
    this.#routes.close();
  }

  /** Reads everything anew. */
  #read(): void {
    this.#changes++;
    this.#readAt = undefined;
    this.#neighbors.clear();
    this.#routes.forget();
    const take = (type: number, view: DataView, off: number, end: number) => this.#take(type, view, off, end);
    if (!dump(MESSAGE.getLink, take) || !dump(MESSAGE.getNeighbor, take)) this.#readSoon();
    this.#routes.read();
  }

  #readSoon(): void {
    this.#readAt ??= (this.#nowMs + READ_AGAIN_MS) | 0;
  }

  #onChange(type: number, view: DataView, off: number, end: number): boolean {
    this.#changes++;
    const neighbor = this.#neighbor;
    switch (type) {
      case MESSAGE.newRoute:
      case MESSAGE.deleteRoute:
        // What the kernel made of a route for one destination is no route of a table.
        if (!isClonedRoute(view, off, end)) this.#routes.onChange(type, view, off, end);
        return true;
      case MESSAGE.newRule:
      case MESSAGE.deleteRule:
        this.#routes.onChange(type, view, off, end);
        return true;
      case MESSAGE.newNeighbor:
        this.#take(type, view, off, end);
        if (readNeighbor(view, off, end, neighbor) && !neighbor.hasMac && neighbor.isFailed)
          this.#onFailed(neighbor);
        return true;
      case MESSAGE.deleteNeighbor:
      case MESSAGE.newLink:
      case MESSAGE.deleteLink:
        return this.#take(type, view, off, end);
      default: // addresses, nexthop objects
        this.#routes.onAnyChange();
        return true;
    }
  }

  #take(type: number, view: DataView, off: number, end: number): true {
    const neighbors = this.#neighbors;
    const neighbor = this.#neighbor;
    const link = this.#link;
    if (type === MESSAGE.newLink && readLink(view, off, end, link)) {
      if (neighbors.setLink(link)) this.#routes.onAnyChange();
    } else if (type === MESSAGE.newLink && readMtu6(view, off, end, link)) {
      if (neighbors.setMtu6(link)) this.#routes.onAnyChange();
    } else if (type === MESSAGE.deleteLink && readLink(view, off, end, link)) {
      if (neighbors.deleteLink(link.index)) this.#routes.forget();
    } else if (type === MESSAGE.deleteNeighbor && readNeighbor(view, off, end, neighbor))
      neighbors.delete(neighbor);
    else if (type === MESSAGE.newNeighbor && readNeighbor(view, off, end, neighbor)) {
      neighbors.set(neighbor, this.#nowMs);
      if (neighbor.hasMac) this.#unresolved.forget(neighbor.interfaceIndex, neighbor.address, this.#nowMs);
    }
    return true;
  }

  /** The kernel gave a neighbor up; of several gateways it may take another one now. */
  #onFailed({ interfaceIndex, address }: NeighborMessage): void {
    this.#unresolved.fail(interfaceIndex, address, this.#nowMs);
    if (this.#neighbors.find(interfaceIndex, address, 0)?.isGateway) this.#routes.onAnyChange();
  }
}

const ipLayerMessage = (what: string): string =>
  `packets by routes that ${what} go through the kernel's IP layer instead of out at layer 2, about half as many per second`;
