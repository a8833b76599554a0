// The machines on the links and their Ethernet addresses, as the kernel's neighbor tables have them (arp(7)); with those
// that a route names as its gateway, known or not. Each has a slot, whose number is what the rest of the program calls a
// hop. One slot is one cache line.
import type { LinkMessage, NeighborMessage } from './rtnetlink.ts';

// Words of a slot.
const ADDRESS = 0; // four
const INTERFACE = 4;
const CHAIN = 5; // next slot of the same bucket, or of the free list; NONE: the last
const REFERENCES = 6; // routes that have it as their gateway
const STATE = 7; // NUD_ bits; 0: the kernel has no entry
const READY = 8;
const CONFIRM_AT = 9; // ms
const MAC = 10; // two: first four bytes, last two
const HEADER = 12; // three: both Ethernet addresses as they stand in a frame
const MTU = 15;
const SLOT_BITS = 4;
const NONE = -1;

/** What a slot is good for. */
const READINESS = { no: 0, whileConfirmed: 1, always: 2 } as const;

const STATE_REACHABLE = 0x02;
/** REACHABLE, STALE, DELAY, PROBE, NOARP and PERMANENT: the kernel sends to the address that the entry has. */
const STATES_VALID = 0xde;
/** NOARP and PERMANENT: the kernel never asks whether the entry is right. */
const STATES_FIXED = 0xc0;

const FIRST_CAPACITY = 64;

interface Link {
  isUp: boolean;
  isUsable: boolean;
  asks: boolean;
  macHigh: number;
  macLow: number;
  mtu: number;
  /** Largest IPv6 packet. */
  mtu6: number;
  epoch: number;
}

export class Neighbors {
  readonly #confirmMs: number;
  readonly #onFreed: () => void;
  readonly #links = new Map<number, Link>();
  #slots = new Int32Array(FIRST_CAPACITY << SLOT_BITS);
  #epochs = new Int32Array(FIRST_CAPACITY);
  #buckets = new Int32Array(FIRST_CAPACITY).fill(NONE);
  #used = 0;
  #free = NONE;
  #epoch = 0;
  #linkEpoch = 0;

  /**
   * A packet at layer 2 neither uses nor confirms the kernel's entry, which would therefore grow stale and never be
   * probed: each `confirmMs` one packet must go through the IP layer, for each neighbor in use. `onFreed` is told that a
   * slot may become another neighbor's.
   */
  constructor(confirmMs: number, onFreed: () => void) {
    this.#confirmMs = confirmMs;
    this.#onFreed = onFreed;
  }

  /** The slot of a neighbor, which exists while the kernel has an entry or a route refers to it; -1: none. */
  find(interfaceIndex: number, words: Int32Array, at: number): number {
    const slots = this.#slots;
    let slot = this.#buckets[this.#bucketOf(interfaceIndex, words, at)]!;
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

  /** Whether a packet may be sent to the neighbor now. False once each `confirmMs`. */
  use(slot: number, nowMs: number): boolean {
    const base = slot << SLOT_BITS;
    const ready = this.#slots[base + READY]!;
    if (ready === READINESS.always) return true;
    if (ready === READINESS.no) return false;
    const left = (this.#slots[base + CONFIRM_AT]! - nowMs) | 0; // more than was set: the clock went round meanwhile
    if (left > 0 && left <= this.#confirmMs) return true;
    this.#slots[base + CONFIRM_AT] = (nowMs + this.#confirmMs) | 0;
    return false;
  }

  /** Whether the kernel has an Ethernet address to send its packets to. */
  isResolved(slot: number): boolean {
    return (this.#slots[(slot << SLOT_BITS) + STATE]! & STATES_VALID) !== 0;
  }

  readAddress(words: Int32Array, slot: number): void {
    for (let i = 0; i < 4; i++) words[i] = this.#slots[(slot << SLOT_BITS) + ADDRESS + i]!;
  }

  /** Whether packets over the interface wait until their neighbor has said its Ethernet address. */
  asks(interfaceIndex: number): boolean {
    return this.#links.get(interfaceIndex)?.asks === true;
  }

  interfaceIndexOf(slot: number): number {
    return this.#slots[(slot << SLOT_BITS) + INTERFACE]!;
  }

  mtuOf(slot: number): number {
    return this.#slots[(slot << SLOT_BITS) + MTU]!;
  }

  /** Writes the Ethernet header of a frame to the neighbor to view[off - 14, off). */
  writeHeader(slot: number, view: DataView, off: number, ethertype: number): void {
    const header = (slot << SLOT_BITS) + HEADER;
    view.setInt32(off - 14, this.#slots[header]!);
    view.setInt32(off - 10, this.#slots[header + 1]!);
    view.setInt32(off - 6, this.#slots[header + 2]!);
    view.setUint16(off - 2, ethertype);
  }

  /** The slot of a gateway for a route, which must be given back with `release`. */
  acquire(interfaceIndex: number, words: Int32Array): number {
    const slot = this.#findOrMake(interfaceIndex, words);
    this.#slots[(slot << SLOT_BITS) + REFERENCES]!++;
    return slot;
  }

  release(slot: number): void {
    this.#slots[(slot << SLOT_BITS) + REFERENCES]!--;
    this.#freeUnlessNeeded(slot);
  }

  /** Takes in what the kernel says that an entry is. */
  set(message: NeighborMessage, nowMs: number): void {
    const slot = this.#findOrMake(message.interfaceIndex, message.address);
    const base = slot << SLOT_BITS;
    const wasReady = this.#slots[base + READY]! !== READINESS.no;
    this.#epochs[slot] = this.#epoch;
    this.#slots[base + STATE] = message.hasMac ? message.state : 0;
    if (message.hasMac) {
      this.#slots[base + MAC] = message.macHigh;
      this.#slots[base + MAC + 1] = message.macLow;
    }
    if (message.state & STATE_REACHABLE) this.#slots[base + CONFIRM_AT] = (nowMs + this.#confirmMs) | 0;
    else if (!wasReady) this.#slots[base + CONFIRM_AT] = nowMs;
    this.#prepare(slot);
    this.#freeUnlessNeeded(slot);
  }

  delete(message: NeighborMessage): void {
    const slot = this.find(message.interfaceIndex, message.address, 0);
    if (slot !== NONE) this.#forget(slot);
  }

  /** From here on every entry that exists is `set` once, until `endReading` forgets the others. */
  beginReading(): void {
    this.#epoch++;
  }

  endReading(): void {
    for (let slot = 0; slot < this.#used; slot++) {
      const isKnown = this.#slots[(slot << SLOT_BITS) + STATE] !== 0;
      if (isKnown && this.#epochs[slot] !== this.#epoch) this.#forget(slot);
    }
  }

  mtuOfLink(index: number, isV4: boolean): number {
    const link = this.#links.get(index);
    return link === undefined ? 0 : isV4 ? link.mtu : link.mtu6;
  }

  /** The least of all interfaces that are up. */
  get leastMtu(): number {
    let least = Infinity;
    for (const { isUp, mtu6 } of this.#links.values()) if (isUp) least = Math.min(least, mtu6);
    return least;
  }

  /** Takes in what an interface is. True when routes over it may be gone, or have another MTU. */
  setLink(message: LinkMessage): boolean {
    const old = this.#links.get(message.index);
    const mtu = message.mtu > 0 ? message.mtu : (old?.mtu ?? 0);
    // With the interface's MTU the kernel sets that of IPv6, after it told of the first.
    const mtu6 = old === undefined || old.mtu === mtu ? message.mtu6 || old?.mtu6 || mtu : mtu;
    const link: Link = {
      isUp: message.isUp,
      isUsable: message.isEthernet && message.isRunning,
      asks: message.asksNeighbors,
      macHigh: message.hasMac ? message.macHigh : (old?.macHigh ?? 0),
      macLow: message.hasMac ? message.macLow : (old?.macLow ?? 0),
      mtu,
      mtu6: Math.min(mtu, mtu6),
      epoch: this.#linkEpoch,
    };
    this.#links.set(message.index, link);
    const isSame =
      old !== undefined &&
      old.isUsable === link.isUsable &&
      old.macHigh === link.macHigh &&
      old.macLow === link.macLow &&
      old.mtu === link.mtu;
    if (!isSame) this.#prepareAllOf(message.index);
    return old !== undefined && ((old.isUp && !link.isUp) || old.mtu !== mtu || old.mtu6 !== link.mtu6);
  }

  deleteLink(index: number): void {
    if (this.#links.delete(index)) this.#prepareAllOf(index);
  }

  beginReadingLinks(): void {
    this.#linkEpoch++;
  }

  endReadingLinks(): void {
    for (const [index, { epoch }] of this.#links) if (epoch !== this.#linkEpoch) this.deleteLink(index);
  }

  #forget(slot: number): void {
    this.#slots[(slot << SLOT_BITS) + STATE] = 0;
    this.#prepare(slot);
    this.#freeUnlessNeeded(slot);
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
    const link = this.#links.get(slots[base + INTERFACE]!);
    const state = slots[base + STATE]!;
    if (link === undefined || !link.isUsable || !(state & STATES_VALID)) {
      slots[base + READY] = READINESS.no;
      return;
    }
    slots[base + READY] = state & STATES_FIXED ? READINESS.always : READINESS.whileConfirmed;
    slots[base + HEADER] = slots[base + MAC]!;
    slots[base + HEADER + 1] = (slots[base + MAC + 1]! << 16) | (link.macHigh >>> 16);
    slots[base + HEADER + 2] = (link.macHigh << 16) | link.macLow;
    slots[base + MTU] = link.mtu;
  }

  #findOrMake(interfaceIndex: number, words: Int32Array): number {
    const found = this.find(interfaceIndex, words, 0);
    if (found !== NONE) return found;
    let slot = this.#free;
    if (slot !== NONE) {
      this.#free = this.#slots[(slot << SLOT_BITS) + CHAIN]!;
    } else {
      if (this.#used === this.#epochs.length) this.#grow();
      slot = this.#used++;
    }
    const base = slot << SLOT_BITS;
    this.#slots.fill(0, base, base + (1 << SLOT_BITS));
    for (let i = 0; i < 4; i++) this.#slots[base + ADDRESS + i] = words[i]!;
    this.#slots[base + INTERFACE] = interfaceIndex;
    this.#chain(slot);
    return slot;
  }

  #freeUnlessNeeded(slot: number): void {
    const base = slot << SLOT_BITS;
    if (this.#slots[base + STATE] !== 0 || this.#slots[base + REFERENCES] !== 0) return;
    const bucket = this.#bucketOf(this.interfaceIndexOf(slot), this.#slots, base + ADDRESS);
    const next = this.#slots[base + CHAIN]!;
    if (this.#buckets[bucket] === slot) {
      this.#buckets[bucket] = next;
    } else {
      let before = this.#buckets[bucket]!;
      while (this.#slots[(before << SLOT_BITS) + CHAIN] !== slot) {
        before = this.#slots[(before << SLOT_BITS) + CHAIN]!;
      }
      this.#slots[(before << SLOT_BITS) + CHAIN] = next;
    }
    this.#slots[base + INTERFACE] = 0; // of no interface, so that nothing is done to it while it is free
    this.#slots[base + READY] = READINESS.no;
    this.#slots[base + CHAIN] = this.#free;
    this.#free = slot;
    this.#onFreed();
  }

  #chain(slot: number): void {
    const base = slot << SLOT_BITS;
    const bucket = this.#bucketOf(this.interfaceIndexOf(slot), this.#slots, base + ADDRESS);
    this.#slots[base + CHAIN] = this.#buckets[bucket]!;
    this.#buckets[bucket] = slot;
  }

  /** Doubles the slots, none of which is free, and the buckets. */
  #grow(): void {
    const slots = new Int32Array(this.#slots.length * 2);
    slots.set(this.#slots);
    this.#slots = slots;
    const epochs = new Int32Array(this.#epochs.length * 2);
    epochs.set(this.#epochs);
    this.#epochs = epochs;
    this.#buckets = new Int32Array(this.#buckets.length * 2).fill(NONE);
    for (let slot = 0; slot < this.#used; slot++) this.#chain(slot);
  }

  #bucketOf(interfaceIndex: number, words: Int32Array, at: number): number {
    let mixed = Math.imul(words[at]! ^ Math.imul(words[at + 1]!, 0x85ebca6b), 0xc2b2ae35);
    mixed = Math.imul(mixed ^ words[at + 2]!, 0x27d4eb2f) ^ words[at + 3]! ^ (interfaceIndex << 24);
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x9e3779b1);
    return (mixed ^ (mixed >>> 16)) & (this.#buckets.length - 1);
  }
}
