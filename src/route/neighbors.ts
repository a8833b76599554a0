// The machines on the links and their Ethernet addresses, as the kernel's neighbor tables have them (arp(7)),
// and the links themselves. Each neighbor, also one that packets are only meant for, has a slot, whose number
// is what the rest of the program calls a hop. One slot is one cache line.
import { hashAddress } from '../wire/hash.ts';
import type { LinkMessage, NeighborMessage } from './rtnetlink.ts';

// Words of a slot.
const ADDRESS = 0; // four
const INTERFACE = 4;
const CHAIN = 5; // next slot of the same bucket; NONE: the last
const STATE = 6; // NUD_ bits; 0: the kernel has no entry
const READY = 7;
const CONFIRM_AT = 8; // ms
const MAC = 9; // two: first four bytes, last two
const HEADER = 11; // three: both Ethernet addresses as they stand in a frame
const MTU = 14;
const SLOT_BITS = 4;
const NONE = -1;

/** What a slot is good for. */
const READINESS = { no: 0, whileConfirmed: 1, always: 2 } as const;

const STATE_REACHABLE = 0x02;
/**
 * REACHABLE, STALE, DELAY, PROBE, NOARP and PERMANENT: the kernel sends to the address that the entry has.
 */
const STATES_VALID = 0xde;
/** NOARP and PERMANENT: the kernel never asks whether the entry is right. */
const STATES_FIXED = 0xc0;

const FIRST_CAPACITY = 1024;

interface Link {
  isUp: boolean;
  isEthernet: boolean;
  isUsable: boolean;
  asks: boolean;
  macHigh: number;
  macLow: number;
  mtu: number;
  /** Largest IPv6 packet. */
  mtu6: number;
  master: number;
}

export class Neighbors {
  readonly #confirmMs: number;
  readonly #onRenumbered: () => void;
  readonly #links = new Map<number, Link>();
  #slots = new Int32Array(FIRST_CAPACITY << SLOT_BITS);
  #buckets = new Int32Array(FIRST_CAPACITY).fill(NONE);
  #used = 0;

  /**
   * A packet at layer 2 neither uses nor confirms the kernel's entry, which would therefore grow stale and
   * never be probed: each `confirmMs` one packet must go through the IP layer, for each neighbor in use.
   * `onRenumbered` is told that slots have other numbers.
   */
  constructor(confirmMs: number, onRenumbered: () => void) {
    this.#confirmMs = confirmMs;
    this.#onRenumbered = onRenumbered;
  }

  /** The slot of a neighbor; -1: none. */
  find(interfaceIndex: number, words: Int32Array, at: number): number {
    const slots = this.#slots;
    let slot = this.#buckets[this.#bucketOf(interfaceIndex, words, at)];
    while (slot !== NONE) {
      const base = slot << SLOT_BITS;
      if (
        slots[base + 3] === words[at + 3] &&
        slots[base + 2] === words[at + 2] &&
        slots[base + 1] === words[at + 1] &&
        slots[base] === words[at] &&
        slots[base + INTERFACE] === interfaceIndex
      )
        return slot;
      slot = slots[base + CHAIN]!;
    }
    return NONE;
  }

  /** The slot of a neighbor, whether the kernel knows it or not. */
  findOrMake(interfaceIndex: number, words: Int32Array): number {
    const found = this.find(interfaceIndex, words, 0);
    if (found !== NONE) return found;
    if (this.#used << SLOT_BITS === this.#slots.length) this.#makeRoom();
    const slot = this.#used++;
    const base = slot << SLOT_BITS;
    this.#slots.fill(0, base, base + (1 << SLOT_BITS));
    for (let i = 0; i < 4; i++) this.#slots[base + ADDRESS + i] = words[i]!;
    this.#slots[base + INTERFACE] = interfaceIndex;
    this.#chain(slot);
    return slot;
  }

  /** Whether a packet may be sent to the neighbor now. False once each `confirmMs`. */
  use(slot: number, nowMs: number): boolean {
    const base = slot << SLOT_BITS;
    const ready = this.#slots[base + READY];
    if (ready === READINESS.always) return true;
    if (ready === READINESS.no) return false;
    // When more is left than was set, the clock went round meanwhile.
    const left = (this.#slots[base + CONFIRM_AT] - nowMs) | 0;
    if (left > 0 && left <= this.#confirmMs) return true;
    this.#slots[base + CONFIRM_AT] = (nowMs + this.#confirmMs) | 0;
    return false;
  }

  /** Whether the kernel has an Ethernet address to send its packets to. */
  isResolved(slot: number): boolean {
    return (this.#slots[(slot << SLOT_BITS) + STATE] & STATES_VALID) !== 0;
  }

  readAddress(words: Int32Array, slot: number): void {
    for (let i = 0; i < 4; i++) words[i] = this.#slots[(slot << SLOT_BITS) + ADDRESS + i]!;
  }

  /** Whether packets over the interface wait until their neighbor has said its Ethernet address. */
  asks(interfaceIndex: number): boolean {
    return this.#links.get(interfaceIndex)?.asks === true;
  }

  isEthernet(interfaceIndex: number): boolean {
    return this.#links.get(interfaceIndex)?.isEthernet === true;
  }

  interfaceIndexOf(slot: number): number {
    return this.#slots[(slot << SLOT_BITS) + INTERFACE];
  }

  mtuOf(slot: number): number {
    return this.#slots[(slot << SLOT_BITS) + MTU];
  }

  /** Writes the Ethernet header of a frame to the neighbor to view[off - 14, off). */
  writeHeader(slot: number, view: DataView, off: number, ethertype: number): void {
    const header = (slot << SLOT_BITS) + HEADER;
    view.setInt32(off - 14, this.#slots[header]);
    view.setInt32(off - 10, this.#slots[header + 1]);
    view.setInt32(off - 6, this.#slots[header + 2]);
    view.setUint16(off - 2, ethertype);
  }

  /** Takes in what the kernel says that an entry is. */
  set(message: NeighborMessage, nowMs: number): void {
    // Who never answered is not worth a slot: there may be very many.
    if (!message.hasMac && this.find(message.interfaceIndex, message.address, 0) === NONE) return;
    const slot = this.findOrMake(message.interfaceIndex, message.address);
    const base = slot << SLOT_BITS;
    const wasReady = this.#slots[base + READY] !== READINESS.no;
    this.#slots[base + STATE] = message.hasMac ? message.state : 0;
    if (message.hasMac) {
      this.#slots[base + MAC] = message.macHigh;
      this.#slots[base + MAC + 1] = message.macLow;
    }
    if (message.state & STATE_REACHABLE) this.#slots[base + CONFIRM_AT] = (nowMs + this.#confirmMs) | 0;
    else if (!wasReady) this.#slots[base + CONFIRM_AT] = nowMs;
    this.#prepare(slot);
  }

  delete(message: NeighborMessage): void {
    const slot = this.find(message.interfaceIndex, message.address, 0);
    if (slot === NONE) return;
    this.#slots[(slot << SLOT_BITS) + STATE] = 0;
    this.#prepare(slot);
  }

  mtuOfLink(index: number, isV4: boolean): number {
    const link = this.#links.get(index);
    return link === undefined ? 0 : isV4 ? link.mtu : link.mtu6;
  }

  /** Index of the bridge that an interface is a port of; 0: of none. */
  masterOfLink(index: number): number {
    return this.#links.get(index)?.master ?? 0;
  }

  /** The least of all interfaces that are up. */
  get leastMtu(): number {
    let least = Infinity;
    for (const { isUp, mtu6 } of this.#links.values()) if (isUp) least = Math.min(least, mtu6);
    return least;
  }

  /** Takes in what an interface is. */
  setLink(message: LinkMessage): void {
    const old = this.#links.get(message.index);
    const mtu = message.mtu > 0 ? message.mtu : (old?.mtu ?? 0);
    // With the interface's MTU the kernel sets that of IPv6, after it told of the first.
    const mtu6 = old === undefined || old.mtu === mtu ? message.mtu6 || old?.mtu6 || mtu : mtu;
    this.#links.set(message.index, {
      isUp: message.isUp,
      isEthernet: message.isEthernet,
      isUsable: message.isEthernet && message.isRunning,
      asks: message.asksNeighbors,
      macHigh: message.hasMac ? message.macHigh : (old?.macHigh ?? 0),
      macLow: message.hasMac ? message.macLow : (old?.macLow ?? 0),
      mtu,
      mtu6: Math.min(mtu, mtu6),
      master: message.master,
    });
    this.#prepareAllOf(message.index);
  }

  deleteLink(index: number): void {
    if (this.#links.delete(index)) this.#prepareAllOf(index);
  }

  #prepareAllOf(interfaceIndex: number): void {
    for (let slot = 0; slot < this.#used; slot++) {
      if (this.#slots[(slot << SLOT_BITS) + INTERFACE] === interfaceIndex) this.#prepare(slot);
    }
  }

  /** Works out what `use` and `writeHeader` need. */
  #prepare(slot: number): void {
    const slots = this.#slots;
    const base = slot << SLOT_BITS;
    const link = this.#links.get(slots[base + INTERFACE]);
    const state = slots[base + STATE];
    if (link === undefined || !link.isUsable || !(state & STATES_VALID)) {
      slots[base + READY] = READINESS.no;
      return;
    }
    slots[base + READY] = state & STATES_FIXED ? READINESS.always : READINESS.whileConfirmed;
    slots[base + HEADER] = slots[base + MAC]!;
    slots[base + HEADER + 1] = (slots[base + MAC + 1] << 16) | (link.macHigh >>> 16);
    slots[base + HEADER + 2] = (link.macHigh << 16) | link.macLow;
    slots[base + MTU] = link.mtu;
  }

  /** Forgets all neighbors and links. */
  clear(): void {
    this.#links.clear();
    this.#slots.fill(0);
    this.#makeRoom();
  }

  /** Drops neighbors that the kernel knows no more, and sees that half of the slots are free. */
  #makeRoom(): void {
    const old = this.#slots;
    const bases = [];
    for (let base = 0; base < old.length; base += 1 << SLOT_BITS)
      if (old[base + STATE] !== 0) bases.push(base);
    let capacity = FIRST_CAPACITY;
    while (capacity < 2 * bases.length) capacity *= 2;
    this.#slots = new Int32Array(capacity << SLOT_BITS);
    this.#buckets = new Int32Array(capacity).fill(NONE);
    this.#used = 0;
    for (const base of bases) {
      this.#slots.set(old.subarray(base, base + (1 << SLOT_BITS)), this.#used << SLOT_BITS);
      this.#chain(this.#used++);
    }
    this.#onRenumbered();
  }

  #chain(slot: number): void {
    const base = slot << SLOT_BITS;
    const bucket = this.#bucketOf(this.interfaceIndexOf(slot), this.#slots, base + ADDRESS);
    this.#slots[base + CHAIN] = this.#buckets[bucket]!;
    this.#buckets[bucket] = slot;
  }

  #bucketOf(interfaceIndex: number, words: Int32Array, at: number): number {
    return hashAddress(words, at, interfaceIndex) & (this.#buckets.length - 1);
  }
}
