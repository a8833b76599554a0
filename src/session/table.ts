// The session table: slots of the shared records, one hash index for both directions of every session, and
// the order of use. Bounded by `max`. Sessions without an answer are bounded by themselves, and a new session
// takes the place of one of them, in the table and, where no lport is free, at its leg: a flood that no real
// server answers ends no session that has seen both directions, and keeps nobody else out.
import { startHandshake } from '../uoa/handshake.ts';
import type { Packet } from '../wire/packet.ts';
import type { Restoring, SessionEvents } from './events.ts';
import type { Leg } from './leg.ts';
import { type LportPool, NO_SLOT } from './lport-pool.ts';
import { LportTransfer } from './lport-transfer.ts';
import { oldestFirst } from './oldest-first.ts';
import { Recency } from './recency.ts';
import {
  CLIENT,
  CPORT_SERVICE,
  FLAG_NORMAL,
  FLAG_USED,
  FLAGS,
  forgetOldMtu,
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
} from './session.ts';
import type { SessionService, TupleIndex } from './tuple-index.ts';
import { inboundEntry, lacksVipOf, outboundEntry } from './tuple-index.ts';
import { Unanswered } from './unanswered.ts';

/**
 * `evicted`: the table had no room. `displaced`: a new session got its lport. `removed`: its service or real
 * server is none any more. `reset`: the caller ended it.
 */
export type SessionEnd = 'expired' | 'evicted' | 'displaced' | 'removed' | 'reset';

/** A session becomes the most recently used at most this often (as a power of two of milliseconds), */
const TOUCH_SHIFT = 10;
/** and while more than a quarter of the room is left this often: with a million it takes 0.3 to 1 us. */
const ROOMY_SHIFT = 13;
/** So many of those least recently used are asked whether they are in use after all. */
const ASKED_MAX = 8;
/** What sessions without an answer can always have: one slot of so many (as a power of two), 3 %. */
const KEPT_SHIFT = 5;

export class SessionTable {
  readonly records: Int32Array;
  readonly index: TupleIndex;
  readonly max: number;
  /** Told of what happens in the datapath, too (datapath/handshake-events.ts). */
  readonly events: SessionEvents | undefined;
  readonly #onEnd: (base: number, end: SessionEnd) => void;
  /** Sessions without an answer, and the others. */
  readonly #oneway: Recency;
  readonly #normal: Recency;
  readonly #unanswered: Unanswered;
  #neverUsed = 0;
  #freeHead = -1;
  #sweepAt = 0;

  /**
   * `records` holds SESSION_WORDS words per slot, zeroed; `index` is over them, and empty. At most
   * `onewayMax` sessions (at least 1) are without an answer. `onEnd` is called with a session's base while
   * its record, service and leg are still whole.
   */
  constructor(
    records: Int32Array,
    index: TupleIndex,
    onewayMax: number,
    onEnd: (base: number, end: SessionEnd) => void,
    events?: SessionEvents,
  ) {
    this.records = records;
    this.max = records.length / SESSION_WORDS;
    this.index = index;
    this.#onEnd = onEnd;
    this.events = events;
    this.#oneway = new Recency(this.max, Math.max(1, Math.min(onewayMax, this.max)));
    const kept = Math.min(this.#oneway.max, Math.max(1, this.max >>> KEPT_SHIFT), this.max - 1);
    this.#normal = new Recency(this.max, this.max - kept);
    this.#unanswered = new Unanswered(this.max);
  }

  get count(): number {
    return this.#oneway.count + this.#normal.count;
  }

  /**
   * The entry of the packet's 4-tuple, or -1: baseOf(entry) is its session, isInbound(entry) its direction.
   */
  find(packet: Packet): number {
    return this.index.find(packet);
  }

  /**
   * Opens a session for the packet's client and returns its base. The caller has taken `lport` from the leg's
   * pool and has seen that `find` knows no such session. Evicts the oldest without an answer when there is no
   * room; in a table of a single slot the normal one. `isKnown`: the client was answered before, so its
   * session gives its lport away last.
   */
  open(
    packet: Packet,
    serviceIndex: number,
    leg: Leg,
    lport: number,
    nowMs: number,
    isKnown = false,
  ): number {
    if (this.#oneway.count === this.#oneway.max) this.#evict(this.#oneway, nowMs);
    else if (this.count === this.max)
      this.#evict(this.#oneway.count > 0 ? this.#oneway : this.#normal, nowMs);
    const slot = this.#takeSlot();
    const base = slot * SESSION_WORDS;
    const { records } = this;
    for (let i = 0; i < 4; i++) records[base + CLIENT + i] = packet.addresses[i];
    records[base + CPORT_SERVICE] = (packet.sport << 16) | serviceIndex;
    records[base + LEG_MTU] = leg.index;
    records[base + LAST_SEEN] = nowMs;
    startHandshake(records, base + HANDSHAKE, nowMs);
    records[base + LPORT_FLAGS] = (lport << 16) | FLAG_USED; // last: for `restore` it is whole from here on
    this.index.link(inboundEntry(base));
    this.index.link(outboundEntry(base));
    this.#oneway.add(slot);
    this.#unanswered.add(leg.pool, slot, isKnown);
    return base;
  }

  /**
   * Ends the session that is `oldest` of `pool`, which has one; its lport goes back to the pool. So the next
   * one that the pool hands out is the one that rested longest: where some are kept back, another one.
   */
  displaceOldest({ oldest }: LportPool): void {
    this.end(oldest * SESSION_WORDS, 'displaced');
  }

  /**
   * The session goes on with another leg, of whose pool the caller has taken `lport`: the old lport returns
   * to its pool, the real server is told the client again, and what ICMP taught of the old way is forgotten.
   * Client, state and place in the order of use stay. `isKnown` as for `open`.
   */
  move(base: number, leg: Leg, lport: number, nowMs: number, isKnown = false): void {
    const { records } = this;
    this.events?.moved(base);
    const before = this.#poolOf(base);
    before.give(lportOf(records, base));
    if (!isNormal(records, base)) this.#changePool(base / SESSION_WORDS, before, leg.pool, isKnown);
    this.index.unlink(outboundEntry(base));
    const flags = records[base + LPORT_FLAGS] & FLAGS;
    // For `restore` there is none, until it is whole: never the lport of another session.
    records[base + LPORT_FLAGS] = flags & ~FLAG_USED;
    records[base + LEG_MTU] = leg.index;
    startHandshake(records, base + HANDSHAKE, nowMs);
    records[base + LPORT_FLAGS] = (lport << 16) | flags;
    this.index.link(outboundEntry(base));
  }

  /**
   * Goes on with these services and legs, by their indexes. A service keeps its vport, and a leg that
   * `isSameLeg` its addresses and port; VIPs and pools may be others. A session ends when its service, VIP or
   * leg is gone, or when its lport is none of the leg's new pool. All slots are looked at, but only where
   * something is gone: 10 ms at 1,000,000, and 2 µs for each session that ends.
   */
  reconfigure(
    services: readonly (SessionService | undefined)[],
    all: readonly (Leg | undefined)[],
    isSameLeg: (index: number) => boolean = () => true,
  ): void {
    const index = this.index;
    const legs = all.map((leg, i) => (isSameLeg(i) ? leg : undefined));
    const isLess =
      index.services.some((one, i) => one !== undefined && lacksVipOf(services[i], one)) ||
      index.legs.some((one, i) => one !== undefined && legs[i]?.pool !== one.pool);
    if (isLess) {
      const { records } = this;
      const transfer = new LportTransfer();
      for (let base = 0; base < this.#neverUsed * SESSION_WORDS; base += SESSION_WORDS) {
        if (!isUsed(records, base)) continue;
        const service = services[serviceOf(records, base)];
        const pool = legs[legOf(records, base)]?.pool;
        const isStaying =
          service !== undefined &&
          index.isSameVip(base, service) &&
          pool !== undefined &&
          (pool === this.#poolOf(base) || transfer.claim(pool, lportOf(records, base)));
        if (!isStaying) this.end(base, 'removed');
      }
      this.#changePools(legs, transfer);
    }
    index.services = services;
    index.legs = all;
  }

  /**
   * Sessions, which are all of `legs`, and resting lports go from the pools of the legs to those of `legs`.
   */
  #changePools(legs: readonly (Leg | undefined)[], transfer: LportTransfer): void {
    const before = new Set<LportPool>();
    for (const [i, leg] of this.index.legs.entries()) {
      const pool = legs[i]?.pool;
      if (leg === undefined || pool === undefined || pool === leg.pool) continue;
      transfer.inherit(pool, leg.pool);
      before.add(leg.pool);
    }
    const { records } = this;
    for (const pool of before) {
      for (const { oldest } of [pool.unknown, pool.known]) {
        let next = NO_SLOT;
        for (let slot = oldest; slot !== NO_SLOT; slot = next) {
          next = this.#unanswered.after(slot);
          const after = legs[legOf(records, slot * SESSION_WORDS)]!.pool;
          if (after !== pool) this.#changePool(slot, pool, after, false);
        }
      }
    }
    transfer.takeOver();
  }

  /** Of a session without an answer; `isKnown`: its client is, also if it was not before. */
  #changePool(slot: number, before: LportPool, after: LportPool, isKnown: boolean): void {
    const wasKnown = this.#unanswered.isKnown(slot);
    this.#unanswered.delete(before, slot);
    this.#unanswered.add(after, slot, isKnown || wasKnown);
  }

  /**
   * Takes over the sessions in the first `slots` records, which another process left: index, order of use and
   * lports follow from them. A record that it did not finish is given up, and so is one for which there is no
   * room or that is not `isFit`. To be called once, before anything is opened.
   */
  restore(
    slots: number,
    { onRestored, onGivenUp = () => {}, isFit = () => true, isKnown = () => false }: Restoring,
  ): void {
    const { records } = this;
    const transfer = new LportTransfer();
    const restored = new Uint32Array(slots);
    const seen = new Int32Array(slots);
    let count = 0;
    let normal = 0;
    this.#neverUsed = slots;
    for (let slot = 0; slot < slots; slot++) {
      const base = slot * SESSION_WORDS;
      const hasRoom = isNormal(records, base) ? normal < this.#normal.max : count - normal < this.#oneway.max;
      if (!hasRoom || !isFit(base) || !this.#takeOver(base, transfer)) {
        if ((records[base + LPORT_FLAGS] & FLAGS) !== 0) onGivenUp(base);
        records.fill(0, base, base + SESSION_WORDS);
        records[base + NEXT] = this.#freeHead;
        this.#freeHead = slot;
        continue;
      }
      this.index.link(inboundEntry(base));
      this.index.link(outboundEntry(base));
      seen[count] = records[base + LAST_SEEN];
      restored[count++] = slot;
      if (isNormal(records, base)) normal++;
      this.events?.restored(base);
      if (isNormal(records, base)) this.events?.answered(base);
      onRestored(base);
    }
    for (const slot of oldestFirst(restored.subarray(0, count), seen)) {
      const base = slot * SESSION_WORDS;
      this.#partOf(base).add(slot);
      if (!isNormal(records, base)) this.#unanswered.add(this.#poolOf(base), slot, isKnown(base));
    }
    transfer.takeOver();
  }

  /** Whether the record is that of a session whose lport is nobody else's. */
  #takeOver(base: number, transfer: LportTransfer): boolean {
    const { records } = this;
    const { services, legs } = this.index;
    if (!isUsed(records, base) || services[serviceOf(records, base)] === undefined) return false;
    const pool = legs[legOf(records, base)]?.pool;
    if (pool === undefined || this.index.hasLportOf(base)) return false;
    return transfer.claim(pool, lportOf(records, base));
  }

  /** Notes a forwarded packet of the session. */
  touch(base: number, nowMs: number): void {
    const { records } = this;
    const last = records[base + LAST_SEEN];
    if (last >> TOUCH_SHIFT !== nowMs >> TOUCH_SHIFT) {
      const slot = base / SESSION_WORDS;
      const part = this.#partOf(base);
      const isScarce = part.isScarce || this.count >= this.max - (this.max >>> 2);
      if (isScarce || last >> ROOMY_SHIFT !== nowMs >> ROOMY_SHIFT) part.touch(slot);
      if (!isNormal(records, base)) this.#unanswered.touch(this.#poolOf(base), slot);
      forgetOldMtu(records, base, nowMs);
    }
    records[base + LAST_SEEN] = nowMs;
  }

  /**
   * Notes that the session has its first answer. Where normal sessions have taken all but what is kept for
   * those without an answer, the one least recently used ends: only who was answered can push out who was
   * answered.
   */
  markNormal(base: number): void {
    if (isNormal(this.records, base)) return;
    const slot = base / SESSION_WORDS;
    this.#oneway.delete(slot);
    this.#unanswered.delete(this.#poolOf(base), slot);
    if (this.#normal.count === this.#normal.max) this.#evict(this.#normal, this.records[base + LAST_SEEN]);
    this.records[base + LPORT_FLAGS] |= FLAG_NORMAL;
    this.#normal.add(slot);
    this.events?.answered(base);
  }

  isNormal(base: number): boolean {
    return isNormal(this.records, base);
  }

  /** The service of a session: of one that ends by another plan, still that of the plan before. */
  serviceOf(base: number): SessionService {
    return this.index.services[serviceOf(this.records, base)]!;
  }

  /** As serviceOf. */
  legOf(base: number): Leg {
    return this.index.legs[legOf(this.records, base)]!;
  }

  isExpired(base: number, nowMs: number): boolean {
    if (!this.#isSilent(base, nowMs)) return false;
    return this.events?.wasUsed(base, nowMs) !== true || this.#isSilent(base, nowMs);
  }

  #isSilent(base: number, nowMs: number): boolean {
    const { normalMs, onewayMs } = this.serviceOf(base);
    const silenceMs = (nowMs - this.records[base + LAST_SEEN]) | 0;
    return silenceMs >= (isNormal(this.records, base) ? normalMs : onewayMs);
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

  #evict(part: Recency, nowMs: number): void {
    let slot = part.pop();
    for (let n = 0; n < ASKED_MAX && this.events?.wasUsed(slot * SESSION_WORDS, nowMs) === true; n++) {
      part.add(slot);
      slot = part.pop();
    }
    this.#release(slot, 'evicted');
  }

  #release(slot: number, cause: SessionEnd): void {
    const base = slot * SESSION_WORDS;
    const { records } = this;
    this.events?.ended(base);
    this.#onEnd(base, cause);
    const pool = this.#poolOf(base);
    pool.give(lportOf(records, base));
    if (!isNormal(records, base)) this.#unanswered.delete(pool, slot);
    this.index.unlink(inboundEntry(base));
    this.index.unlink(outboundEntry(base));
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

  #poolOf(base: number): LportPool {
    return this.legOf(base).pool;
  }
}
