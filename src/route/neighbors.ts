// The machines on the links and their Ethernet addresses, as the kernel's neighbor tables have them (arp(7)),
// and the links themselves. Who packets are sent to, or only meant for, is what the rest of the program calls
// a hop.
import { ADDRESS_WORDS } from '../wire/address.ts';
import { EndpointTable } from '../wire/endpoint-table.ts';
import type { LinkMessage, NeighborMessage } from './rtnetlink.ts';

const STATE_REACHABLE = 0x02;
/**
 * REACHABLE, STALE, DELAY, PROBE, NOARP and PERMANENT: the kernel sends to the address that the entry has.
 */
const STATES_VALID = 0xde;
/** NOARP and PERMANENT: the kernel never asks whether the entry is right. */
const STATES_FIXED = 0xc0;

/**
 * A packet at layer 2 neither uses nor confirms the kernel's entry, which would therefore grow stale and
 * never be probed: so often one packet must go through the IP layer, for each neighbor in use.
 */
const CONFIRM_MS = 5_000;
const FIRST_CAPACITY = 1024;
const NONE = -1;

export class Link {
  isUp = false;
  /** It has a carrier, too. */
  isRunning = false;
  /** A route that is kept leads over it, or may. */
  isUsed = false;
  /** A route of the kernel leads over it, or may. */
  isNamed = false;
  isEthernet = false;
  isUsable = false;
  /** Packets wait until their neighbor has said its Ethernet address. */
  asks = false;
  macHigh = 0;
  macLow = 0;
  /** Largest packet that it carries, bytes; 0: it is not known. */
  mtu = 0;
  /** Of IPv6. */
  mtu6 = 0;
  /** Index of the bridge, bond or VRF that it is a port of; 0: of none. */
  master = 0;
  readonly index: number;

  constructor(index: number) {
    this.index = index;
  }
}

/** In the place of one that is not known. */
export const NO_LINK = new Link(0);

export class Neighbor {
  /** Of all; another one when Neighbors says so. */
  number: number;
  link: Link;
  readonly interfaceIndex: number;
  readonly address: Int32Array;
  /** NUD_ bits; 0: the kernel has no entry. */
  state = 0;
  macHigh = 0;
  macLow = 0;
  confirmAt = 0; // ms
  /** A route that is kept leads over it. */
  isGateway = false;

  constructor(number: number, link: Link, interfaceIndex: number, address: Int32Array) {
    this.number = number;
    this.link = link;
    this.interfaceIndex = interfaceIndex;
    this.address = address;
  }

  /** The kernel has an Ethernet address to send its packets to. */
  get isResolved(): boolean {
    return (this.state & STATES_VALID) !== 0;
  }

  get isReady(): boolean {
    return (this.state & STATES_VALID) !== 0 && this.link.isUsable;
  }

  /** Whether a packet may be sent to it at layer 2 now. False once each CONFIRM_MS. */
  use(nowMs: number): boolean {
    if (!this.isReady) return false;
    if ((this.state & STATES_FIXED) !== 0) return true;
    const left = (this.confirmAt - nowMs) | 0; // more than was set: the clock went round meanwhile
    if (left > 0 && left <= CONFIRM_MS) return true;
    this.confirmAt = (nowMs + CONFIRM_MS) | 0;
    return false;
  }

  /** Writes the Ethernet header of a frame to it to view[off - 14, off). */
  writeHeader(view: DataView, off: number, ethertype: number): void {
    const { macHigh, macLow, link } = this;
    view.setInt32(off - 14, macHigh);
    view.setInt32(off - 10, (macLow << 16) | (link.macHigh >>> 16));
    view.setInt32(off - 6, (link.macHigh << 16) | link.macLow);
    view.setUint16(off - 2, ethertype);
  }
}

export class Neighbors {
  readonly #onRenumbered: () => void;
  readonly #links = new Map<number, Link>();
  #all: Neighbor[] = [];
  /** Numbers by address and interface. */
  #numbers = new EndpointTable();
  #capacity = FIRST_CAPACITY;
  /** The least of all interfaces that are up. */
  leastMtu = Infinity;

  /** `onRenumbered` is told that neighbors have other numbers. */
  constructor(onRenumbered: () => void) {
    this.#onRenumbered = onRenumbered;
  }

  /** The neighbor of this number. */
  at(number: number): Neighbor {
    return this.#all[number];
  }

  find(interfaceIndex: number, words: Int32Array, at: number): Neighbor | undefined {
    const number = this.#numbers.get(words, at, interfaceIndex);
    return number === NONE ? undefined : this.#all[number];
  }

  /** The neighbor, whether the kernel knows it or not. */
  findOrMake(interfaceIndex: number, words: Int32Array): Neighbor {
    let neighbor = this.find(interfaceIndex, words, 0);
    const link = this.linkOf(interfaceIndex);
    if (neighbor === undefined) {
      if (this.#all.length === this.#capacity) this.#makeRoom();
      neighbor = new Neighbor(this.#all.length, link, interfaceIndex, words.slice(0, ADDRESS_WORDS));
      this.#add(neighbor);
    }
    neighbor.link = link;
    return neighbor;
  }

  /** Takes in what the kernel says that an entry is. */
  set(message: NeighborMessage, nowMs: number): void {
    const { interfaceIndex, address, hasMac, state } = message;
    // Who never answered is not worth remembering: there may be very many.
    if (!hasMac && this.find(interfaceIndex, address, 0) === undefined) return;
    const neighbor = this.findOrMake(interfaceIndex, address);
    const wasReady = neighbor.isReady;
    neighbor.state = hasMac ? state : 0;
    if (hasMac) {
      neighbor.macHigh = message.macHigh;
      neighbor.macLow = message.macLow;
    }
    if (state & STATE_REACHABLE) neighbor.confirmAt = (nowMs + CONFIRM_MS) | 0;
    else if (!wasReady) neighbor.confirmAt = nowMs;
  }

  delete({ interfaceIndex, address }: NeighborMessage): void {
    const neighbor = this.find(interfaceIndex, address, 0);
    if (neighbor !== undefined) neighbor.state = 0;
  }

  linkOf(index: number): Link {
    return this.#links.get(index) ?? NO_LINK;
  }

  /** Notes which interfaces a route of the kernel leads over. */
  name(interfaces: readonly number[]): void {
    for (const index of interfaces) this.linkOf(index).isNamed = true;
  }

  /** It is not known over which they lead. */
  nameAll(): void {
    for (const link of this.#links.values()) link.isNamed = true;
  }

  /** Notes that no route is kept any more. */
  release(): void {
    for (const link of this.#links.values()) link.isUsed = false;
    for (const neighbor of this.#all) neighbor.isGateway = false;
  }

  /**
   * Takes in what an interface is. True: routes may lead elsewhere now, because it is in use, or it comes
   * back and the kernel's routes over it with it.
   */
  setLink(message: LinkMessage): boolean {
    const link = this.#links.get(message.index) ?? new Link(message.index);
    this.#links.set(message.index, link);
    const comesBack = link.isNamed && message.isRunning && !link.isRunning;
    link.isRunning = message.isRunning;
    link.isUp = message.isUp;
    link.isEthernet = message.isEthernet;
    link.isUsable = message.isEthernet && message.isRunning;
    link.asks = message.asksNeighbors;
    link.master = message.master;
    if (message.hasMac) {
      link.macHigh = message.macHigh;
      link.macLow = message.macLow;
    }
    const mtu = message.mtu || link.mtu;
    // With the interface's MTU the kernel sets that of IPv6, after it told of the first.
    const isOld = link.mtu === 0 || link.mtu === mtu;
    link.mtu6 = Math.min(mtu, isOld ? message.mtu6 || link.mtu6 || mtu : mtu);
    link.mtu = mtu;
    this.#findLeastMtu();
    return link.isUsed || comesBack;
  }

  /** As setLink. */
  setMtu6({ index, mtu6 }: LinkMessage): boolean {
    const link = this.#links.get(index);
    if (link === undefined) return false;
    link.mtu6 = Math.min(link.mtu, mtu6);
    this.#findLeastMtu();
    return link.isUsed;
  }

  /** True: it was in use. */
  deleteLink(index: number): boolean {
    const link = this.linkOf(index);
    link.isUsable = false;
    this.#links.delete(index);
    this.#findLeastMtu();
    return link.isUsed;
  }

  #findLeastMtu(): void {
    this.leastMtu = Infinity;
    for (const { isUp, mtu6 } of this.#links.values())
      if (isUp) this.leastMtu = Math.min(this.leastMtu, mtu6);
  }

  /** Forgets all neighbors and links. */
  clear(): void {
    this.#links.clear();
    this.#all = [];
    this.#makeRoom();
  }

  /** Drops neighbors that nobody knows any more, and sees that there is room for as many as are left. */
  #makeRoom(): void {
    const left = this.#all.filter(({ state, isGateway }) => state !== 0 || isGateway);
    this.#capacity = Math.max(FIRST_CAPACITY, 2 * left.length);
    this.#all = [];
    this.#numbers = new EndpointTable();
    for (const neighbor of left) this.#add(neighbor);
    this.#onRenumbered();
  }

  #add(neighbor: Neighbor): void {
    neighbor.number = this.#all.push(neighbor) - 1;
    this.#numbers.set(neighbor.address, 0, neighbor.interfaceIndex, neighbor.number);
  }
}
