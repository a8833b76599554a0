// The session table: slots of the shared records, one hash index for both directions of every session, and the order of
// use. Bounded by `max`. Sessions without an answer are bounded by themselves, and a new session takes the place of one of
// them: a flood that no real server answers ends no session that has seen both directions.
import { startHandshake } from '../uoa/handshake.ts';
import { type Family, isSameAddress } from '../wire/address.ts';
import type { Packet } from '../wire/packet.ts';
import type { Leg } from './leg.ts';
import { claimLport, type TakenLports } from './lport-pool.ts';
import { Recency } from './recency.ts';
import {
  CLIENT,
  CPORT_SERVICE,
  cportOf,
  FLAG_NORMAL,
  FLAG_USED,
  FLAGS,
  familyOfClient,
  HANDSHAKE,
  isNormal,
  isUsed,
  LAST_SEEN,
  LEG_MTU,
  LPORT_FLAGS,
  legOf,
  lportOf,
  NEXT,
  SESSION_WORDS,
  serviceOf,
  vipAt,
} from './session.ts';
import { hashTuple } from './tuple-hash.ts';

/** What the table must know of a service: its address and how long sessions last. */
export interface SessionService {
  /** The IPv4 VIP in words 0..3 and the IPv6 one in 4..7; zeros where there is none. */
  readonly vips: Int32Array;
  readonly vport: number;
  readonly onewayMs: number;
  readonly normalMs: number;
}

/** `removed`: its service or real server is none any more. `reset`: the caller ended it. */
export type SessionEnd = 'expired' | 'evicted' | 'removed' | 'reset';

/** A session becomes the most recently used at most this often (as a power of two of milliseconds). */
const TOUCH_SHIFT = 10;
/** What sessions without an answer can always have: one slot of so many (as a power of two), 3 %. */
const KEPT_SHIFT = 5;

const INBOUND = 0;
const OUTBOUND = 1;

export class SessionTable {
  readonly records: Int32Array;
  readonly max: number;
  #services: readonly (SessionService | undefined)[];
  #legs: readonly (Leg | undefined)[];
  readonly #onEnd: (base: number, end: SessionEnd) => void;
  readonly #heads: Int32Array;
  readonly #key0: number;
  readonly #key1: number;
  /** Sessions without an answer, and the others. */
  readonly #oneway: Recency;
  readonly #normal: Recency;
  #neverUsed = 0;
  #freeHead = -1;
  #sweepAt = 0;
  /** The tuple of an entry under way. */
  readonly #tuple = new Int32Array(8);

  /**
   * `records` holds SESSION_WORDS words per slot, zeroed. `services` and `legs` are by index and may have gaps. `seed` keys
   * the hash. At most `onewayMax` sessions (at least 1) are without an answer. `onEnd` is called with a session's base
   * while its record, service and leg are still whole.
   */
  constructor(
    records: Int32Array,
    services: readonly (SessionService | undefined)[],
    legs: readonly (Leg | undefined)[],
    seed: readonly [number, number],
    onewayMax: number,
    onEnd: (base: number, end: SessionEnd) => void,
  ) {
    this.records = records;
    this.max = records.length / SESSION_WORDS;
    this.#services = services;
    this.#legs = legs;
    this.#onEnd = onEnd;
    [this.#key0, this.#key1] = seed;
    this.#heads = new Int32Array(2 ** Math.ceil(Math.log2(2 * this.max)));
    this.#oneway = new Recency(this.max, Math.max(1, Math.min(onewayMax, this.max)));
    const kept = Math.min(this.#oneway.max, Math.max(1, this.max >>> KEPT_SHIFT), this.max - 1);
    this.#normal = new Recency(this.max, this.max - kept);
  }

  get count(): number {
    return this.#oneway.count + this.#normal.count;
  }

  /** The entry of the packet's 4-tuple, or -1: baseOf(entry) is its session, isInbound(entry) its direction. */
  find(packet: Packet): number {
    const { addresses, family } = packet;
    const ports = (packet.sport << 16) | packet.dport;
    let entry = this.#heads[this.#bucket(addresses, family, ports)] - 1;
    while (entry >= 0) {
      if (this.#isEntry(entry, addresses, family, ports)) return entry;
      entry = this.records[baseOf(entry) + NEXT + (entry & 1)] - 1;
    }
    return -1;
  }

  /**
   * Opens a session for the packet's client and returns its base. The caller has taken `lport` from the leg's pool and
   * has seen that `find` knows no such session. Evicts the oldest without an answer when there is no room; in a table of
   * a single slot the normal one.
   */
  open(packet: Packet, serviceIndex: number, leg: Leg, lport: number, nowMs: number): number {
    if (this.#oneway.count === this.#oneway.max) this.#evict(this.#oneway);
    else if (this.count === this.max) this.#evict(this.#oneway.count > 0 ? this.#oneway : this.#normal);
    const slot = this.#takeSlot();
    const base = slot * SESSION_WORDS;
    const { records } = this;
    for (let i = 0; i < 4; i++) records[base + CLIENT + i] = packet.addresses[i];
    records[base + CPORT_SERVICE] = (packet.sport << 16) | serviceIndex;
    records[base + LEG_MTU] = leg.index;
    records[base + LAST_SEEN] = nowMs;
    startHandshake(records, base + HANDSHAKE, nowMs);
    records[base + LPORT_FLAGS] = (lport << 16) | FLAG_USED; // last: for `restore` it is whole from here on
    this.#link(slot * 2 + INBOUND);
    this.#link(slot * 2 + OUTBOUND);
    this.#oneway.add(slot);
    return base;
  }

  /**
   * The session goes on with another leg, of whose pool the caller has taken `lport`: the old lport returns to its pool,
   * the real server is told the client again, and what ICMP taught of the old way is forgotten. Client, state and place in
   * the order of use stay.
   */
  move(base: number, leg: Leg, lport: number, nowMs: number): void {
    const { records } = this;
    const outbound = (base / SESSION_WORDS) * 2 + OUTBOUND;
    this.#legs[legOf(records, base)]!.pool.give(lportOf(records, base));
    this.#unlink(outbound);
    const flags = records[base + LPORT_FLAGS] & FLAGS;
    // For `restore` there is none, until it is whole: never the lport of another session.
    records[base + LPORT_FLAGS] = flags & ~FLAG_USED;
    records[base + LEG_MTU] = leg.index;
    startHandshake(records, base + HANDSHAKE, nowMs);
    records[base + LPORT_FLAGS] = (lport << 16) | flags;
    this.#link(outbound);
  }

  /**
   * From now on these are the services and legs; what has the same index as before has the same addresses and ports, but for
   * VIPs of services and pools of legs. Ends the sessions whose service, VIP or leg is gone, or whose lport is none of its
   * leg's new pool, for which it looks at every slot once: 10 ms at 1,000,000, and 2 µs for each that ends.
   */
  reconfigure(services: readonly (SessionService | undefined)[], legs: readonly (Leg | undefined)[]): void {
    const isLess =
      this.#services.some((one, index) => one !== undefined && lacksVipOf(services[index], one)) ||
      this.#legs.some((one, index) => one !== undefined && legs[index]?.pool !== one.pool);
    if (isLess) {
      const { records } = this;
      const taken: TakenLports = new Map();
      for (let base = 0; base < this.#neverUsed * SESSION_WORDS; base += SESSION_WORDS) {
        if (!isUsed(records, base)) continue;
        const service = services[serviceOf(records, base)];
        const isStaying = service !== undefined && this.#isSameVip(base, service);
        if (!isStaying || !this.#staysOn(base, legs[legOf(records, base)], taken)) this.end(base, 'removed');
      }
      for (const [pool, lports] of taken) pool.restore(lports);
    }
    this.#services = services;
    this.#legs = legs;
  }

  #isSameVip(base: number, { vips }: SessionService): boolean {
    const at = vipAt(familyOfClient(this.records, base));
    return isSameAddress(this.#services[serviceOf(this.records, base)]!.vips, at, vips, at);
  }

  /** Whether the session keeps its lport on `leg`, which takes the place of its leg. */
  #staysOn(base: number, leg: Leg | undefined, taken: TakenLports): boolean {
    if (leg === undefined) return false;
    const lport = lportOf(this.records, base);
    const { pool } = this.#legs[legOf(this.records, base)]!;
    if (leg.pool === pool) return true;
    if (!claimLport(taken, leg.pool, lport)) return false;
    pool.give(lport);
    return true;
  }

  /**
   * Takes over the sessions in the first `slots` records, which another process left: index, recency and lports follow
   * from them. A record that it did not finish is given up, and so is one for which there is no room or that is not `isFit`;
   * `onGivenUp` sees it before, when it has any of FLAGS. To be called once, before anything is opened.
   */
  restore(
    slots: number,
    onRestored: (base: number) => void,
    onGivenUp: (base: number) => void = () => {},
    isFit: (base: number) => boolean = () => true,
  ): void {
    const { records } = this;
    const taken: TakenLports = new Map();
    this.#neverUsed = slots;
    for (let slot = 0; slot < slots; slot++) {
      const base = slot * SESSION_WORDS;
      if (!isFit(base) || !this.#takeOver(base, taken)) {
        if ((records[base + LPORT_FLAGS] & FLAGS) !== 0) onGivenUp(base);
        records.fill(0, base, base + SESSION_WORDS);
        records[base + NEXT] = this.#freeHead;
        this.#freeHead = slot;
        continue;
      }
      this.#link(slot * 2 + INBOUND);
      this.#link(slot * 2 + OUTBOUND);
      this.#partOf(base).add(slot);
      onRestored(base);
    }
    for (const [pool, lports] of taken) pool.restore(lports);
  }

  /** Whether the record is that of a session whose lport is nobody else's. */
  #takeOver(base: number, taken: TakenLports): boolean {
    const { records } = this;
    if (!isUsed(records, base) || this.#services[serviceOf(records, base)] === undefined) return false;
    const part = this.#partOf(base);
    if (part.count === part.max) return false;
    const pool = this.#legs[legOf(records, base)]?.pool;
    return pool !== undefined && claimLport(taken, pool, lportOf(records, base));
  }

  /** Notes a forwarded packet of the session. */
  touch(base: number, nowMs: number): void {
    const { records } = this;
    if (records[base + LAST_SEEN] >> TOUCH_SHIFT !== nowMs >> TOUCH_SHIFT) {
      this.#partOf(base).touch(base / SESSION_WORDS);
    }
    records[base + LAST_SEEN] = nowMs;
  }

  /**
   * Notes that the session has its first answer. Where normal sessions have taken all but what is kept for those without
   * an answer, the one least recently used ends: only who was answered can push out who was answered.
   */
  markNormal(base: number): void {
    if (isNormal(this.records, base)) return;
    const slot = base / SESSION_WORDS;
    this.#oneway.delete(slot);
    if (this.#normal.count === this.#normal.max) this.#evict(this.#normal);
    this.records[base + LPORT_FLAGS] |= FLAG_NORMAL;
    this.#normal.add(slot);
  }

  isNormal(base: number): boolean {
    return isNormal(this.records, base);
  }

  isExpired(base: number, nowMs: number): boolean {
    const { records } = this;
    const service = this.#services[serviceOf(records, base)]!;
    const timeoutMs = isNormal(records, base) ? service.normalMs : service.onewayMs;
    return ((nowMs - records[base + LAST_SEEN]) | 0) >= timeoutMs;
  }

  /** Ends the session: its lport returns to the pool, its slot is free. */
  end(base: number, cause: SessionEnd): void {
    const slot = base / SESSION_WORDS;
    this.#partOf(base).delete(slot);
    this.#release(slot, cause);
  }

  /** Looks at the next `slots` slots in turn and ends the sessions among them that are expired. */
  sweep(slots: number, nowMs: number): void {
    const { records } = this;
    for (let n = Math.min(slots, this.#neverUsed); n > 0; n--) {
      if (this.#sweepAt >= this.#neverUsed) this.#sweepAt = 0;
      const base = this.#sweepAt++ * SESSION_WORDS;
      if (isUsed(records, base) && this.isExpired(base, nowMs)) this.end(base, 'expired');
    }
  }

  /** Slots that were ever used; the others hold nothing. */
  get usedSlots(): number {
    return this.#neverUsed;
  }

  #evict(part: Recency): void {
    this.#release(part.pop(), 'evicted');
  }

  #release(slot: number, cause: SessionEnd): void {
    const base = slot * SESSION_WORDS;
    const { records } = this;
    this.#onEnd(base, cause);
    this.#legs[legOf(records, base)]!.pool.give(lportOf(records, base));
    this.#unlink(slot * 2 + INBOUND);
    this.#unlink(slot * 2 + OUTBOUND);
    records[base + LPORT_FLAGS] = 0;
    records[base + NEXT] = this.#freeHead;
    this.#freeHead = slot;
  }

  #takeSlot(): number {
    const slot = this.#freeHead;
    if (slot < 0) return this.#neverUsed++;
    this.#freeHead = this.records[slot * SESSION_WORDS + NEXT];
    return slot;
  }

  #partOf(base: number): Recency {
    return isNormal(this.records, base) ? this.#normal : this.#oneway;
  }

  #bucket(addresses: Int32Array, family: Family, ports: number): number {
    return hashTuple(this.#key0, this.#key1, addresses, family, ports) & (this.#heads.length - 1);
  }

  #isEntry(entry: number, addresses: Int32Array, family: Family, ports: number): boolean {
    const { records } = this;
    const base = baseOf(entry);
    if ((entry & 1) === INBOUND) {
      if (cportOf(records, base) !== ports >>> 16) return false;
      if (!isSameAddress(records, base + CLIENT, addresses, 0)) return false;
      const { vips, vport } = this.#services[serviceOf(records, base)]!;
      return vport === (ports & 0xffff) && isSameAddress(vips, vipAt(family), addresses, 4);
    }
    if (lportOf(records, base) !== (ports & 0xffff)) return false;
    const { from, rport } = this.#legs[legOf(records, base)]!;
    return (
      rport === ports >>> 16 && isSameAddress(from, 0, addresses, 0) && isSameAddress(from, 4, addresses, 4)
    );
  }

  #bucketOf(entry: number): number {
    const { records } = this;
    const base = baseOf(entry);
    if ((entry & 1) === INBOUND) {
      const tuple = this.#tuple;
      const family = familyOfClient(records, base);
      const { vips, vport } = this.#services[serviceOf(records, base)]!;
      const at = vipAt(family);
      for (let i = 0; i < 4; i++) {
        tuple[i] = records[base + CLIENT + i];
        tuple[4 + i] = vips[at + i];
      }
      return this.#bucket(tuple, family, (cportOf(records, base) << 16) | vport);
    }
    const { from, family, rport } = this.#legs[legOf(records, base)]!;
    return this.#bucket(from, family, (rport << 16) | lportOf(records, base));
  }

  #link(entry: number): void {
    const bucket = this.#bucketOf(entry);
    this.records[baseOf(entry) + NEXT + (entry & 1)] = this.#heads[bucket];
    this.#heads[bucket] = entry + 1;
  }

  #unlink(entry: number): void {
    const { records } = this;
    const next = records[baseOf(entry) + NEXT + (entry & 1)];
    const bucket = this.#bucketOf(entry);
    let at = this.#heads[bucket] - 1;
    if (at === entry) {
      this.#heads[bucket] = next;
      return;
    }
    while (at >= 0) {
      const link = baseOf(at) + NEXT + (at & 1);
      at = records[link] - 1;
      if (at === entry) records[link] = next;
    }
  }
}

/** Whether sessions of `before` may have a VIP that `after` has not. */
function lacksVipOf(after: SessionService | undefined, before: SessionService): boolean {
  if (after === undefined) return true;
  const isOther = (at: number): boolean => !isSameAddress(before.vips, at, after.vips, at);
  return isOther(vipAt(4)) || isOther(vipAt(6));
}

export const baseOf = (entry: number): number => (entry >> 1) * SESSION_WORDS;
export const isInbound = (entry: number): boolean => (entry & 1) === INBOUND;
