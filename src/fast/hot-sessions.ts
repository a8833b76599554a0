// Which sessions the kernel forwards by itself (src/bpf/fast-path.bpf.c), and what it did for them. A session
// becomes hot when it is busy and nothing about its packets is left to decide; each second its counters, its
// last packet and whether it is still so are looked at. All else, the first packet after a change too, is the
// datapath's. A kernel that refuses a change of its maps costs the fast path for a while, never the datapath.
import { COUNTER, COUNTER_COLUMNS, counterRow } from '../datapath/counters.ts';
import type { Sessions } from '../datapath/walk.ts';
import type { SessionEvents } from '../session/events.ts';
import { HOT_STATE } from '../session/hot-state.ts';
import { isUsed, LAST_SEEN, SESSION_WORDS, serviceOf } from '../session/session.ts';
import { BpfError } from '../sys/libbpf-library.ts';
import type { Activity } from './activity.ts';
import { BUSY_PACKETS, BusySessions } from './busy-sessions.ts';
import { EntryWords } from './entry-words.ts';
import { fitnessOf, idleMsOf } from './fitness.ts';
import { Forwarded } from './forwarded.ts';
import { type Heritage, leaveNote, readHeritage, removeOthers } from './heritage.ts';
import { Holds } from './holds.ts';
import type { HopLookUp } from './hops.ts';
import { type HotEntries, keptIdleMs } from './hot-entries.ts';
import { LateCounts } from './late-counts.ts';
import { nowTick } from './layout.ts';
import { PacketEnds } from './packet-ends.ts';

/** Without a packet for so long a session is hot no more. */
const COLD_MS = 10_000;
const PERIOD_MS = 1_000;
/**
 * What was not read yet when a session became hot still comes to the datapath: that is not held against it.
 */
const FIRST_LOOKS = 2;
/** Looks after which a session has shown that it gains by being hot. */
const STEADY_LOOKS = 60;
/** After the kernel refused something. */
const TRY_AGAIN_MS = 60_000;
const MOST_LEFT = 0xffff;

export class HotSessions implements SessionEvents {
  readonly #activity: Activity;
  readonly #entries: HotEntries;
  readonly #hops: HopLookUp;
  /** Of the maps' sessions the first of this worker. */
  readonly #firstSession: number;
  readonly #onFailure: (message: string) => void;
  readonly #forwarded: Forwarded;
  readonly #late: LateCounts;
  #sessions!: Sessions;
  /** Those that are not hot. */
  readonly #busy: BusySessions;
  /** Slots of hot sessions, and by slot the place there plus 1; 0: it is not hot. */
  readonly #hot: Int32Array;
  readonly #placeOf: Int32Array;
  /** By slot of a hot one: packets that came to the datapath all the same, since the last look; and looks. */
  readonly #left: Uint16Array;
  readonly #looks: Uint8Array;
  readonly #words: EntryWords;
  readonly #holds: Holds;
  /** See DatapathMemory.hotStates. */
  #states: Uint8Array;
  /** Slots of sessions for which there was no room. */
  readonly #refused: number[] = [];
  #count = 0;
  #lookAt = 0;
  /** Of the last tick. */
  #nowMs = 0;
  /** Goes up when hops or the plan may be others. */
  #version = 0;
  #hopsVersion = -1;
  #services: unknown;
  /** When the kernel refused something; undefined: all is well. */
  #failedAt: number | undefined;
  /** Of a session under way. */
  readonly #ends = new PacketEnds();
  #inboundHop = 0;
  #outboundHop = 0;

  /**
   * For `max` sessions, which are those from `firstSession` on of the maps. `onFailure` is told, once, when
   * the kernel refuses what is asked of it.
   */
  constructor(
    activity: Activity,
    entries: HotEntries,
    hops: HopLookUp,
    max: number,
    firstSession: number,
    onFailure: (message: string) => void = () => {},
  ) {
    this.#activity = activity;
    this.#entries = entries;
    this.#hops = hops;
    this.#firstSession = firstSession;
    this.#onFailure = onFailure;
    this.#busy = new BusySessions(max);
    this.#forwarded = new Forwarded(activity, firstSession);
    this.#late = new LateCounts(this.#forwarded);
    this.#hot = new Int32Array(max);
    this.#placeOf = new Int32Array(max);
    this.#left = new Uint16Array(max);
    this.#looks = new Uint8Array(max);
    this.#words = new EntryWords(hops, max);
    this.#holds = new Holds(max);
    this.#states = new Uint8Array(max);
  }

  /**
   * To be called once, before packets. What a predecessor left hot goes on, and what it counted counts where
   * its session is there; the rest is taken out.
   */
  follow(sessions: Sessions, nowMs: number): void {
    this.#sessions = sessions;
    this.#nowMs = nowMs;
    const { counters, hotStates, records } = sessions.memory;
    this.#states = hotStates;
    for (let row = COUNTER.sessionsHot; row < counters.length; row += COUNTER_COLUMNS) counters[row] = 0;
    hotStates.fill(HOT_STATE.quiet);
    this.#guard(() => {
      const slots = this.#hot.length;
      const left = readHeritage(this.#entries, this.#activity, sessions, this.#firstSession, slots);
      for (const { slot, ends } of left.over) {
        if (!isUsed(records, slot * SESSION_WORDS)) this.#activity.end(this.#firstSession + slot);
        this.#entries.remove(ends);
      }
      this.#hops.update();
      const tick = nowTick();
      for (let slot = 0; slot < slots; slot++)
        if (left.directions[slot] !== 0) this.#inherit(slot * SESSION_WORDS, left, tick, nowMs);
      this.#flush();
    });
  }

  #inherit(base: number, { directions, hops, idleMs }: Heritage, tick: number, nowMs: number): void {
    const slot = base / SESSION_WORDS;
    this.#forwarded.fold(this.#sessions, base, tick, nowMs);
    const [inbound, outbound] = [hops[2 * slot]!, hops[2 * slot + 1]!];
    const ends = this.#ends;
    ends.read(this.#sessions, base);
    let state = fitnessOf(this.#sessions, base, nowMs);
    if (state === HOT_STATE.hot && directions[slot] !== 3) state = HOT_STATE.quiet;
    this.#enlist(base, state);
    // Other hops and idle times than these are put when it is looked at.
    const idle = idleMsOf(this.#sessions, base);
    const kept = keptIdleMs(idle) === idleMs[slot] ? idle : -1;
    this.#words.begin(slot, inbound, outbound, kept, this.#version - 1);
    // A row that is another neighbor's now stays what it is, for those whose entries have it.
    const isSameWay =
      this.#hops.takeOver(ends.toServer.addresses, inbound) &&
      this.#hops.takeOver(ends.toClient.addresses, outbound);
    if (state !== HOT_STATE.hot || !isSameWay) this.#takeOut(base, isSameWay ? state : HOT_STATE.no_hop);
  }

  /** How many sessions are hot. */
  get count(): number {
    return this.#count;
  }

  /** The datapath forwarded a packet of the session; see DatapathOptions.onForwarded. */
  note(base: number, isFromItsSide: boolean): void {
    const slot = base / SESSION_WORDS;
    if (!isFromItsSide) {
      this.#noteWrongSide(base);
    } else if (this.#placeOf[slot] !== 0) {
      if (this.#left[slot] < MOST_LEFT) this.#left[slot]++;
    } else this.#busy.note(slot);
  }

  /** The programs leave such packets to the datapath. */
  #noteWrongSide(base: number): void {
    const slot = base / SESSION_WORDS;
    this.#holds.renew(slot, this.#nowMs);
    if (this.#placeOf[slot] !== 0) this.#takeOut(base, HOT_STATE.wrong_side);
    else this.#states[slot] = HOT_STATE.wrong_side;
  }

  restored(): void {}
  answered(): void {}

  handshakeOver(base: number): void {
    const slot = base / SESSION_WORDS;
    if (this.#states[slot] === HOT_STATE.uoa) this.#states[slot] = HOT_STATE.quiet;
  }

  handshakeAgain(base: number): void {
    this.#takeOut(base, HOT_STATE.uoa);
  }

  moved(base: number): void {
    this.#takeOut(base, HOT_STATE.quiet);
  }

  narrowed(base: number): void {
    this.#takeOut(base, HOT_STATE.mtu);
  }

  wasUsed(base: number, nowMs: number): boolean {
    if (this.#placeOf[base / SESSION_WORDS] === 0) return false;
    return this.#forwarded.fold(this.#sessions, base, nowTick(), nowMs) > 0;
  }

  ended(base: number): void {
    const slot = base / SESSION_WORDS;
    this.#takeOut(base, HOT_STATE.quiet);
    this.#states[slot] = HOT_STATE.quiet;
    this.#busy.clear(slot);
    this.#holds.release(slot);
  }

  /** An entry for this row had no room in its map: its session is taken out when all are put. */
  refused(row: number): void {
    this.#refused.push((row >>> 1) - this.#firstSession);
  }

  /** To be called some times per second. */
  tick(nowMs: number): void {
    const elapsedMs = Math.min(PERIOD_MS, (nowMs - this.#nowMs) | 0);
    this.#nowMs = nowMs;
    if (elapsedMs < 0) return;
    this.#late.tick(this.#sessions.memory);
    this.#busy.forget(elapsedMs);
    const busy = this.#busy.take();
    if (!this.#works(nowMs)) return;
    this.#hops.update();
    const { services } = this.#sessions.directory;
    if (this.#hops.version !== this.#hopsVersion || services !== this.#services) this.#version++;
    this.#hopsVersion = this.#hops.version;
    this.#services = services;
    const tick = nowTick();
    for (let left = Math.ceil((this.#count * elapsedMs) / PERIOD_MS); left > 0 && this.#count > 0; left--) {
      if (this.#lookAt >= this.#count) this.#lookAt = 0;
      const slot = this.#hot[this.#lookAt];
      this.#look(slot, tick, nowMs);
      // Another one stands there where it was taken out.
      if (this.#hot[this.#lookAt] === slot) this.#lookAt++;
    }
    for (let i = 0; i < busy.length; i++) this.#promote(busy[i], tick, nowMs);
    this.#guard(() => this.#flush());
  }

  #flush(): void {
    this.#entries.flush();
    while (this.#refused.length > 0) {
      for (const slot of this.#refused.splice(0)) {
        this.#holds.hold(slot, this.#nowMs);
        this.#takeOut(slot * SESSION_WORDS, HOT_STATE.no_room);
      }
      this.#entries.flush();
    }
  }

  /** Whether entries can be changed: not for a while after the kernel refused to. */
  #works(nowMs: number): boolean {
    if (this.#failedAt === undefined) return true;
    if (((nowMs - this.#failedAt) | 0) < TRY_AGAIN_MS) return false;
    this.#failedAt = undefined;
    // Those that could not be taken out when their sessions were.
    const isOurs = (slot: number) => this.#placeOf[slot] !== 0;
    this.#guard(() => removeOthers(isOurs, this.#entries, this.#firstSession, this.#hot.length));
    return this.#failedAt === undefined;
  }

  /** Changes entries. Where the kernel refuses that nothing is hot any more: memory says so by itself. */
  #guard(change: () => void): void {
    if (this.#failedAt !== undefined) return;
    try {
      change();
    } catch (error) {
      if (!(error instanceof BpfError)) throw error;
      if (this.#failedAt !== undefined) return; // within a change that failed
      this.#failedAt = this.#nowMs;
      this.#refused.length = 0;
      this.#sessions.memory.counters[counterRow(-1) + COUNTER.fastPathFailures]++;
      while (this.#count > 0) this.#takeOut(this.#hot[this.#count - 1] * SESSION_WORDS, HOT_STATE.failed);
      this.#onFailure(
        `the fast path rests for ${TRY_AGAIN_MS / 1000} s, its sessions go by the datapath: ${error.message}`,
      );
    }
  }

  #promote(slot: number, tick: number, nowMs: number): void {
    const { memory } = this.#sessions;
    const base = slot * SESSION_WORDS;
    if (this.#placeOf[slot] !== 0 || !isUsed(memory.records, base)) return;
    if (this.#holds.isHeld(slot, nowMs)) return;
    let state = fitnessOf(this.#sessions, base, nowMs);
    if (state === HOT_STATE.hot) state = this.#findHops(base);
    this.#states[slot] = state;
    if (state !== HOT_STATE.hot) return;
    this.#late.settle(memory, slot);
    this.#enlist(base, state);
    this.#put(base, this.#activity.start(this.#firstSession + slot, tick));
  }

  #enlist(base: number, state: number): void {
    const slot = base / SESSION_WORDS;
    const { counters, records } = this.#sessions.memory;
    this.#states[slot] = state;
    this.#hot[this.#count++] = slot;
    this.#placeOf[slot] = this.#count;
    this.#looks[slot] = 0;
    this.#left[slot] = 0;
    counters[counterRow(serviceOf(records, base)) + COUNTER.sessionsHot]++;
  }

  /** The ends of the session, and its two hops: HOT_STATE.hot, or why one of them is none for it. */
  #findHops(base: number): number {
    const hops = this.#hops;
    const ends = this.#ends;
    ends.read(this.#sessions, base);
    this.#inboundHop = hops.rowOf(ends.toServer.addresses);
    this.#outboundHop = hops.rowOf(ends.toClient.addresses);
    if (this.#inboundHop < 0 || this.#outboundHop < 0) return HOT_STATE.no_hop;
    // The programs know the interfaces' MTU only.
    const { mtu } = this.#sessions.directory.legOf(base);
    const isWhole = mtu >= hops.mtuOf(this.#inboundHop) && hops.isWhole(ends.toClient.addresses);
    return isWhole ? HOT_STATE.hot : HOT_STATE.mtu;
  }

  /** Puts both entries, of #findHops, or others in their place, between two packets. */
  #put(base: number, generation: number): void {
    const slot = base / SESSION_WORDS;
    const row = 2 * (this.#firstSession + slot);
    const idleMs = idleMsOf(this.#sessions, base);
    const [inbound, outbound] = [this.#inboundHop, this.#outboundHop];
    this.#words.begin(slot, inbound, outbound, idleMs, this.#version);
    leaveNote(this.#activity, this.#firstSession + slot, this.#sessions, base);
    const { fromClient, toServer, fromServer, toClient } = this.#ends;
    this.#guard(() => {
      this.#entries.put(fromClient, toServer, { hop: inbound, row, generation, idleMs });
      this.#entries.put(fromServer, toClient, { hop: outbound, row: row + 1, generation, idleMs: 0 });
    });
  }

  /** Counts what a hot session had, and takes it out if it is to be hot no more. */
  #look(slot: number, tick: number, nowMs: number): void {
    const base = slot * SESSION_WORDS;
    const forwarded = this.#forwarded.fold(this.#sessions, base, tick, nowMs);
    const left = this.#left[slot];
    this.#left[slot] = 0;
    const looks = Math.min(STEADY_LOOKS + 1, this.#looks[slot] + 1);
    this.#looks[slot] = looks;
    const { directory, memory } = this.#sessions;
    const silenceMs = (nowMs - memory.records[base + LAST_SEEN]) | 0;
    const state = fitnessOf(this.#sessions, base, nowMs);
    if (state !== HOT_STATE.hot) this.#takeOut(base, state);
    else if (silenceMs >= Math.min(COLD_MS, directory.serviceOf(base).normalMs))
      this.#takeOut(base, HOT_STATE.quiet);
    else if (looks > FIRST_LOOKS && left >= BUSY_PACKETS && left > forwarded) {
      this.#holds.hold(slot, nowMs);
      this.#takeOut(base, HOT_STATE.left);
    } else {
      if (looks === STEADY_LOOKS) this.#holds.release(slot);
      leaveNote(this.#activity, this.#firstSession + slot, this.#sessions, base);
      if (this.#words.versionOf(slot) !== this.#version) this.#goOn(base);
    }
  }

  /** Hops or the plan may be others than when its entries were put. */
  #goOn(base: number): void {
    const slot = base / SESSION_WORDS;
    const state = this.#findHops(base);
    if (state !== HOT_STATE.hot) {
      this.#takeOut(base, state);
      return;
    }
    const words = this.#words;
    if (words.isSame(slot, this.#inboundHop, this.#outboundHop, idleMsOf(this.#sessions, base))) {
      words.affirm(slot, this.#version);
      return;
    }
    words.end(slot);
    this.#put(base, this.#activity.generationOf(this.#firstSession + slot));
  }

  /** Its packets are the datapath's from now on. Its record, service and leg are still whole. */
  #takeOut(base: number, state: number): void {
    const slot = base / SESSION_WORDS;
    const place = this.#placeOf[slot];
    if (place === 0) return;
    const { memory } = this.#sessions;
    this.#activity.end(this.#firstSession + slot);
    this.#forwarded.fold(this.#sessions, base, nowTick(), this.#nowMs);
    const service = serviceOf(memory.records, base);
    this.#late.note(slot, service, this.#sessions.table.legOf(base).realServerIndex);
    const last = this.#hot[--this.#count];
    this.#hot[place - 1] = last;
    this.#placeOf[last] = place;
    this.#placeOf[slot] = 0;
    this.#busy.clear(slot);
    this.#words.end(slot);
    this.#states[slot] = state;
    memory.counters[counterRow(service) + COUNTER.sessionsHot]--;
    this.#guard(() => {
      this.#ends.read(this.#sessions, base);
      this.#entries.remove(this.#ends.fromClient);
      this.#entries.remove(this.#ends.fromServer);
    });
  }
}
