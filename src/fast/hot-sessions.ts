// Which sessions the kernel forwards by itself (src/bpf/fast-path.bpf.c), and what it did for them. A session
// becomes hot when it is busy and nothing about its packets is left to decide; each second its counters, its
// last packet and whether it is still so are looked at. All else, the first packet after a change too, is the
// datapath's.
import { COUNTER, COUNTER_COLUMNS, counterRow } from '../datapath/counters.ts';
import type { Sessions } from '../datapath/walk.ts';
import type { SessionEvents } from '../session/events.ts';
import { HOT_STATE } from '../session/hot-state.ts';
import { isUsed, LAST_SEEN, SESSION_WORDS, serviceOf } from '../session/session.ts';
import { Activity } from './activity.ts';
import { BUSY_PACKETS, BusySessions } from './busy-sessions.ts';
import { clientSilenceMs, fitnessOf, idleMsOf, isClientSilent, isToRefresh } from './fitness.ts';
import { Forwarded } from './forwarded.ts';
import { isAsRecorded, leaveNote } from './heritage.ts';
import { Holds } from './holds.ts';
import type { HopLookUp } from './hops.ts';
import type { HotEntries } from './hot-entries.ts';
import { type HotRecords, INBOUND, OUTBOUND } from './hot-records.ts';
import { LateCounts } from './late-counts.ts';
import { nowTick } from './layout.ts';
import { PacketEnds } from './packet-ends.ts';

/** Without a packet for so long a session is hot no more. */
const COLD_MS = 10_000;
const PERIOD_MS = 1_000;
/** The period where a real server is to be told of its clients again. */
const SHORT_PERIOD_MS = 400;
/**
 * What was not read yet when a session became hot still comes to the datapath: that is not held against it.
 */
const FIRST_LOOKS = 2;
/** Looks after which a session has shown that it gains by being hot. */
const STEADY_LOOKS = 60;
const MOST_LEFT = 0xffff;
/**
 * So many leave for their refresh in a second at most: each has some ten packets that come to the datapath.
 * Where more are due, as all are a minute after they became hot at once, they leave later.
 */
const REFRESHES_PER_SECOND = 1_000;

export class HotSessions implements SessionEvents {
  readonly #records: HotRecords;
  readonly #activity: Activity;
  readonly #entries: HotEntries;
  readonly #hops: HopLookUp;
  /** Of the maps' sessions the first of this worker. */
  readonly #firstSession: number;
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
  /** By slot, of which version of hops and plan its row is. */
  readonly #versionOf: Uint16Array;
  readonly #holds: Holds;
  /** See DatapathMemory.hotStates. */
  #states: Uint8Array;
  #count = 0;
  #lookAt = 0;
  /** Looks are taken in periods: how many of one, how long it is, what is left of it. */
  #toLookAt = 0;
  #periodMs = PERIOD_MS;
  #periodLeftMs = 0;
  /** Of announcements, as it was seen last. */
  #announced = 0;
  /** How many may leave for their refresh now. */
  #refreshes = 0;
  /** Of the last tick. */
  #nowMs = 0;
  /** Another one, of 16 bits, when hops or the plan may be others. */
  #version = 0;
  #hopsVersion = -1;
  #services: unknown;
  #isHeld = false;
  /** Of a session under way. */
  readonly #ends = new PacketEnds();
  readonly #hopPair: [toServer: number, toClient: number] = [0, 0];

  /** For `max` sessions, which are those from `firstSession` on of the maps. */
  constructor(records: HotRecords, entries: HotEntries, hops: HopLookUp, max: number, firstSession: number) {
    const activity = new Activity(records);
    this.#records = records;
    this.#activity = activity;
    this.#entries = entries;
    this.#hops = hops;
    this.#firstSession = firstSession;
    this.#busy = new BusySessions(max);
    this.#forwarded = new Forwarded(activity, firstSession);
    this.#late = new LateCounts(this.#forwarded);
    this.#hot = new Int32Array(max);
    this.#placeOf = new Int32Array(max);
    this.#left = new Uint16Array(max);
    this.#looks = new Uint8Array(max);
    this.#versionOf = new Uint16Array(max);
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
    const { counters, hotStates } = sessions.memory;
    this.#states = hotStates;
    for (let row = COUNTER.sessionsHot; row < counters.length; row += COUNTER_COLUMNS) counters[row] = 0;
    hotStates.fill(HOT_STATE.quiet);
    const slots = this.#hot.length;
    this.#entries.repair(this.#firstSession, slots);
    this.#hops.update();
    const tick = nowTick();
    const end = this.#firstSession + slots;
    for (let session = this.#firstSession; ; session++) {
      session = this.#records.nextHot(session, end);
      if (session < 0) break;
      const base = (session - this.#firstSession) * SESSION_WORDS;
      if (isAsRecorded(this.#records, session, sessions, base)) this.#inherit(base, tick, nowMs);
      else this.#entries.remove(session);
    }
  }

  #inherit(base: number, tick: number, nowMs: number): void {
    const session = this.#firstSession + base / SESSION_WORDS;
    this.#forwarded.fold(this.#sessions, base, tick, nowMs);
    const ends = this.#ends;
    ends.read(this.#sessions, base);
    const state = fitnessOf(this.#sessions, base, nowMs);
    // Other hops and idle times than these are put when it is looked at.
    this.#enlist(base, state, this.#version - 1);
    // A row that is another neighbor's now stays what it is, for those whose packets go by it.
    const isSameWay =
      this.#hops.takeOver(ends.toServer.addresses, this.#records.hopOf(session, INBOUND)) &&
      this.#hops.takeOver(ends.toClient.addresses, this.#records.hopOf(session, OUTBOUND));
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
    if (this.#states[slot] !== HOT_STATE.uoa) return;
    // It was busy, or hot.
    this.#states[slot] = HOT_STATE.quiet;
    this.#busy.add(slot);
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

  /** To be called some times per second. */
  tick(nowMs: number): void {
    const elapsedMs = Math.min(PERIOD_MS, (nowMs - this.#nowMs) | 0);
    this.#nowMs = nowMs;
    if (elapsedMs < 0) return;
    this.#late.tick(this.#sessions.memory);
    this.#busy.forget(elapsedMs);
    const busy = this.#busy.take();
    this.#hops.update();
    const { services } = this.#sessions.directory;
    if (this.#hops.version !== this.#hopsVersion || services !== this.#services)
      this.#version = (this.#version + 1) & 0xffff;
    this.#hopsVersion = this.#hops.version;
    this.#services = services;
    const more = (REFRESHES_PER_SECOND * elapsedMs) / 1_000;
    this.#refreshes = Math.min(REFRESHES_PER_SECOND, this.#refreshes + more);
    const tick = nowTick();
    for (let left = this.#looksDue(elapsedMs); left > 0 && this.#count > 0; left--) {
      if (this.#lookAt >= this.#count) this.#lookAt = 0;
      const slot = this.#hot[this.#lookAt];
      this.#look(slot, tick, nowMs);
      // Another one stands there where it was taken out.
      if (this.#hot[this.#lookAt] === slot) this.#lookAt++;
    }
    if (this.#isHeld) return;
    for (let i = 0; i < busy.length; i++) this.#promote(busy[i], tick, nowMs);
  }

  /** All within a period, also where many leave meanwhile. */
  #looksDue(elapsedMs: number): number {
    const { version } = this.#sessions.directory.announcements;
    const isNews = version !== this.#announced;
    this.#announced = version;
    if (isNews || this.#periodLeftMs <= 0) {
      this.#toLookAt = this.#count;
      this.#periodMs = isNews ? SHORT_PERIOD_MS : PERIOD_MS;
      this.#periodLeftMs = this.#periodMs;
    }
    this.#periodLeftMs -= elapsedMs;
    return Math.ceil((Math.max(this.#toLookAt, this.#count) * elapsedMs) / this.#periodMs);
  }

  /**
   * No session becomes hot meanwhile: at tc two steering programs look up one packet one after the other, and
   * what is hot for the second one only would go by the first one's slow path as well.
   */
  hold(isHeld: boolean): void {
    this.#isHeld = isHeld;
  }

  #promote(slot: number, tick: number, nowMs: number): void {
    const { memory } = this.#sessions;
    const base = slot * SESSION_WORDS;
    if (this.#placeOf[slot] !== 0 || !isUsed(memory.records, base)) return;
    if (this.#holds.isHeld(slot, nowMs)) return;
    let state = fitnessOf(this.#sessions, base, nowMs);
    // Else the next look would take it out.
    if (state === HOT_STATE.hot && this.#leavesForRefresh(base, nowMs)) state = HOT_STATE.uoa;
    if (state === HOT_STATE.hot) state = this.#findHops(base);
    if (state === HOT_STATE.hot && !this.#put(base, tick, nowMs)) {
      this.#holds.hold(slot, nowMs);
      state = HOT_STATE.no_room;
    }
    this.#states[slot] = state;
    if (state === HOT_STATE.hot) this.#enlist(base, state, this.#version);
  }

  /** False: there is no room for its entries. */
  #put(base: number, tick: number, nowMs: number): boolean {
    const session = this.#firstSession + base / SESSION_WORDS;
    const { fromClient, fromServer } = this.#ends;
    this.#late.settle(this.#sessions.memory, base / SESSION_WORDS);
    this.#activity.start(session, tick, clientSilenceMs(this.#sessions, base, nowMs));
    leaveNote(this.#activity, session, this.#sessions, base);
    // It is promoted only while its client is silent: see #awaitRefresh.
    const idleMs = isToRefresh(this.#sessions, base, nowMs) ? 1 : idleMsOf(this.#sessions, base);
    return this.#entries.put(session, fromClient, fromServer, this.#hopPair, idleMs);
  }

  /** Its row is there, and may be at work. */
  #enlist(base: number, state: number, version: number): void {
    const slot = base / SESSION_WORDS;
    const { counters, records } = this.#sessions.memory;
    this.#states[slot] = state;
    this.#hot[this.#count++] = slot;
    this.#placeOf[slot] = this.#count;
    this.#looks[slot] = 0;
    this.#left[slot] = 0;
    this.#versionOf[slot] = version;
    this.#useHops(slot, 1);
    counters[counterRow(serviceOf(records, base)) + COUNTER.sessionsHot]++;
  }

  /** The ends of the session, and its two hops: HOT_STATE.hot, or why one of them is none for it. */
  #findHops(base: number): number {
    const hops = this.#hops;
    const ends = this.#ends;
    ends.read(this.#sessions, base);
    const toServer = hops.rowOf(ends.toServer.addresses);
    const toClient = hops.rowOf(ends.toClient.addresses);
    if (toServer < 0 || toClient < 0) return HOT_STATE.no_hop;
    this.#hopPair[0] = toServer;
    this.#hopPair[1] = toClient;
    // The programs know the interfaces' MTU only.
    const { mtu } = this.#sessions.directory.legOf(base);
    const isWhole = mtu >= hops.mtuOf(toServer) && hops.isWhole(ends.toClient.addresses);
    return isWhole ? HOT_STATE.hot : HOT_STATE.mtu;
  }

  /** Of a hot session: so many more, or less, go by its hops. */
  #useHops(slot: number, more: number): void {
    const session = this.#firstSession + slot;
    this.#hops.use(this.#records.hopOf(session, INBOUND), more);
    this.#hops.use(this.#records.hopOf(session, OUTBOUND), more);
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
    } else if (this.#refreshes >= 1 && this.#leavesForRefresh(base, nowMs)) {
      this.#refreshes--;
      this.#takeOut(base, HOT_STATE.uoa);
    } else {
      if (looks === STEADY_LOOKS) this.#holds.release(slot);
      leaveNote(this.#activity, this.#firstSession + slot, this.#sessions, base);
      if (this.#versionOf[slot] !== this.#version) this.#goOn(base);
      if (this.#refreshes >= 1 && this.#placeOf[slot] !== 0) this.#awaitRefresh(base, nowMs);
    }
  }

  #leavesForRefresh(base: number, nowMs: number): boolean {
    return isToRefresh(this.#sessions, base, nowMs) && !isClientSilent(this.#sessions, base, nowMs);
  }

  /** Of a client that is silent the next packet comes to the datapath, with which its refresh begins. */
  #awaitRefresh(base: number, nowMs: number): void {
    if (!isToRefresh(this.#sessions, base, nowMs) || !isClientSilent(this.#sessions, base, nowMs)) return;
    if (this.#records.setIdle(this.#firstSession + base / SESSION_WORDS, 1)) this.#refreshes--;
  }

  /** Hops or the plan may be others than when its row was written. */
  #goOn(base: number): void {
    const slot = base / SESSION_WORDS;
    const state = this.#findHops(base);
    if (state !== HOT_STATE.hot) {
      this.#takeOut(base, state);
      return;
    }
    this.#versionOf[slot] = this.#version;
    const session = this.#firstSession + slot;
    const idleMs = idleMsOf(this.#sessions, base);
    if (this.#records.isAs(session, this.#hopPair, idleMs)) return;
    this.#useHops(slot, -1);
    this.#records.change(session, this.#hopPair, idleMs);
    this.#useHops(slot, 1);
  }

  /** Its packets are the datapath's from now on. Its record, service and leg are still whole. */
  #takeOut(base: number, state: number): void {
    const slot = base / SESSION_WORDS;
    const place = this.#placeOf[slot];
    if (place === 0) return;
    const { memory } = this.#sessions;
    this.#entries.remove(this.#firstSession + slot);
    this.#forwarded.fold(this.#sessions, base, nowTick(), this.#nowMs);
    const service = serviceOf(memory.records, base);
    this.#late.note(slot, service, this.#sessions.table.legOf(base).realServerIndex);
    const last = this.#hot[--this.#count];
    this.#hot[place - 1] = last;
    this.#placeOf[last] = place;
    this.#placeOf[slot] = 0;
    this.#useHops(slot, -1);
    this.#states[slot] = state;
    memory.counters[counterRow(service) + COUNTER.sessionsHot]--;
  }
}
