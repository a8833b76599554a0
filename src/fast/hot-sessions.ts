// Which sessions the kernel forwards by itself (src/bpf/fast-path.bpf.c), and what it did for them. A session
// becomes hot when it is busy and nothing about its packets is left to decide; each second its counters, its
// last packet and whether it is still so are looked at. All else, the first packet after a change too, is the
// datapath's.
import { COUNTER, COUNTER_COLUMNS, counterRow } from '../datapath/counters.ts';
import { SERVER_COUNTER, serverRow, WEIGHT_DOWN } from '../datapath/server-cells.ts';
import type { Sessions } from '../datapath/walk.ts';
import type { SessionEvents } from '../session/events.ts';
import {
  CLIENT,
  cportOf,
  familyOfClient,
  HANDSHAKE,
  isNormal,
  isUsed,
  LAST_SEEN,
  learnedMtuOf,
  lportOf,
  SESSION_WORDS,
  serviceOf,
  vipAt,
} from '../session/session.ts';
import { awaitsEmptyReply, isHandshakeOver, isRefreshDue, noteInbound } from '../uoa/handshake.ts';
import { type Activity, INBOUND, OUTBOUND } from './activity.ts';
import type { Ends, HotEntries } from './hot-entries.ts';
import { nowTick } from './layout.ts';

/** So many packets of both directions in about a second are a busy session: a DNS query never is one. */
const BUSY_PACKETS = 8;
/** Without a packet for so long a session is hot no more. */
const COLD_MS = 10_000;
const PERIOD_MS = 1_000;
/** Sessions that wait for the next tick. */
const QUEUE = 4_096;

/** Rows of the map `hops`. */
export interface HopRows {
  /** Another number when a pair's row, or whether it has one, may be another. */
  readonly version: number;
  /** The row by which packets between these addresses (eight words) leave at layer 2; -1: they do not. */
  rowOf(addresses: Int32Array): number;
  /** Largest IP packet that a row lets through. */
  mtuOf(row: number): number;
  /** Packets between these addresses may be as large as the interface lets through. */
  isWhole(addresses: Int32Array): boolean;
  /** To be called before the others each time: rows are as the neighbors are now. */
  update(): void;
}

interface MutableEnds extends Ends {
  sport: number;
  dport: number;
}

const ends = (): MutableEnds => ({ addresses: new Int32Array(8), sport: 0, dport: 0 });

export class HotSessions implements SessionEvents {
  readonly #activity: Activity;
  readonly #entries: HotEntries;
  readonly #hops: HopRows;
  /** Of the maps' sessions the first of this worker. */
  readonly #firstSession: number;
  #sessions!: Sessions;
  /** By slot: packets since the last look, roughly. */
  readonly #packets: Uint8Array;
  readonly #queue = new Int32Array(QUEUE);
  #queued = 0;
  /** Slots of hot sessions, and by slot the place there plus 1; 0: it is not hot. */
  readonly #hot: Int32Array;
  readonly #placeOf: Int32Array;
  /** By slot: the two hops' rows, and of which version they are. */
  readonly #hopOf: Uint16Array;
  readonly #versionOf: Int32Array;
  /** Slots of sessions for which there was no room. */
  readonly #refused: number[] = [];
  #count = 0;
  #lookAt = 0;
  #forgetAt = 0;
  #lastTickMs: number | undefined;
  #isOn = true;
  /** Of a session under way: as its client's packets come and go on, and as its real server's do. */
  readonly #fromClient = ends();
  readonly #toServer = ends();
  readonly #fromServer = ends();
  readonly #toClient = ends();

  /** For `max` sessions, which are those from `firstSession` on of the maps. */
  constructor(activity: Activity, entries: HotEntries, hops: HopRows, max: number, firstSession: number) {
    this.#activity = activity;
    this.#entries = entries;
    this.#hops = hops;
    this.#firstSession = firstSession;
    this.#packets = new Uint8Array(max);
    this.#hot = new Int32Array(max);
    this.#placeOf = new Int32Array(max);
    this.#hopOf = new Uint16Array(2 * max);
    this.#versionOf = new Int32Array(max);
  }

  /**
   * To be called once, before packets. What a predecessor left hot is taken out, and counts where its session
   * was restored.
   */
  follow(sessions: Sessions, nowMs: number): void {
    this.#sessions = sessions;
    const { counters, records } = sessions.memory;
    for (let row = COUNTER.sessionsHot; row < counters.length; row += COUNTER_COLUMNS) counters[row] = 0;
    const left: Ends[] = [];
    this.#entries.read(({ addresses, sport, dport }, _to, { row }) => {
      const slot = (row >>> 1) - this.#firstSession;
      if (slot < 0 || slot >= this.#packets.length) return;
      left.push({ addresses: addresses.slice(), sport, dport });
      this.#activity.end(this.#firstSession + slot);
      const base = slot * SESSION_WORDS;
      if (isUsed(records, base)) this.#fold(base, nowTick(), nowMs);
    });
    for (const ends of left) this.#entries.remove(ends);
    this.#entries.flush();
  }

  /** How many sessions are hot. */
  get count(): number {
    return this.#count;
  }

  /** The datapath forwarded a packet of the session. */
  note(base: number): void {
    const slot = base / SESSION_WORDS;
    if (++this.#packets[slot] !== BUSY_PACKETS) return;
    // A hot session that the datapath sees so often is left to it, until it is put anew.
    if (this.#placeOf[slot] !== 0) {
      this.#takeOut(base);
      return;
    }
    if (this.#queued < QUEUE) this.#queue[this.#queued++] = slot;
    else this.#packets[slot]--;
  }

  restored(): void {}
  answered(): void {}
  handshakeOver(): void {}

  handshakeAgain(base: number): void {
    this.#takeOut(base);
  }

  moved(base: number): void {
    this.#takeOut(base);
  }

  ended(base: number): void {
    this.#takeOut(base);
  }

  /** An entry for this row had no room in its map: its session is taken out when all are put. */
  refused(row: number): void {
    this.#refused.push((row >>> 1) - this.#firstSession);
  }

  #flush(): void {
    this.#entries.flush();
    while (this.#refused.length > 0) {
      for (const slot of this.#refused.splice(0)) this.#takeOut(slot * SESSION_WORDS);
      this.#entries.flush();
    }
  }

  /** Off: nothing is hot, and nothing becomes so. */
  switch(isOn: boolean): void {
    this.#isOn = isOn;
    if (isOn) return;
    while (this.#count > 0) this.#takeOut(this.#hot[this.#count - 1] * SESSION_WORDS);
    this.#flush();
  }

  /** To be called some times per second. Throws a BpfError. */
  tick(nowMs: number): void {
    const elapsedMs = Math.min(PERIOD_MS, (nowMs - (this.#lastTickMs ?? nowMs)) | 0);
    this.#lastTickMs = nowMs;
    if (elapsedMs < 0) return;
    this.#forget(elapsedMs);
    this.#hops.update();
    const tick = nowTick();
    for (let left = Math.ceil((this.#count * elapsedMs) / PERIOD_MS); left > 0 && this.#count > 0; left--) {
      if (this.#lookAt >= this.#count) this.#lookAt = 0;
      this.#look(this.#hot[this.#lookAt++], tick, nowMs);
    }
    if (this.#isOn) for (let i = 0; i < this.#queued; i++) this.#promote(this.#queue[i], tick, nowMs);
    this.#queued = 0;
    this.#flush();
  }

  /** What sessions had of packets counts for a second. */
  #forget(elapsedMs: number): void {
    const packets = this.#packets;
    const end = this.#forgetAt + Math.ceil((packets.length * elapsedMs) / PERIOD_MS);
    packets.fill(0, this.#forgetAt, end);
    this.#forgetAt = end >= packets.length ? 0 : end;
  }

  #promote(slot: number, tick: number, nowMs: number): void {
    const { memory } = this.#sessions;
    const base = slot * SESSION_WORDS;
    if (this.#placeOf[slot] !== 0 || !isUsed(memory.records, base) || !this.#isFit(base, nowMs)) return;
    this.#readEnds(base);
    if (!this.#put(base, tick)) return;
    this.#hot[this.#count++] = slot;
    this.#placeOf[slot] = this.#count;
    memory.counters[counterRow(serviceOf(memory.records, base)) + COUNTER.sessionsHot]++;
  }

  /** Puts both entries, of #readEnds; false: there is a hop that is none of layer 2. */
  #put(base: number, tick: number): boolean {
    const { directory } = this.#sessions;
    const slot = base / SESSION_WORDS;
    const inbound = this.#hops.rowOf(this.#toServer.addresses);
    const outbound = this.#hops.rowOf(this.#toClient.addresses);
    if (inbound < 0 || outbound < 0) return false;
    // The programs know the interfaces' MTU only.
    const { mtu } = directory.legOf(base);
    if (mtu < this.#hops.mtuOf(inbound) || !this.#hops.isWhole(this.#toClient.addresses)) return false;
    const session = this.#firstSession + slot;
    const generation = this.#activity.start(session, tick);
    const { idleRefreshMs, maxTrials } = directory.serviceOf(base);
    const idleMs = maxTrials > 0 && directory.legOf(base).receiver.isTold ? idleRefreshMs : 0;
    const row = 2 * session;
    this.#hopOf[2 * slot] = inbound;
    this.#hopOf[2 * slot + 1] = outbound;
    this.#versionOf[slot] = this.#hops.version;
    this.#entries.put(this.#fromClient, this.#toServer, { hop: inbound, row, generation, idleMs });
    this.#entries.put(this.#fromServer, this.#toClient, {
      hop: outbound,
      row: row + 1,
      generation,
      idleMs: 0,
    });
    return true;
  }

  /** Counts what a hot session had, and takes it out if it is to be hot no more. */
  #look(slot: number, tick: number, nowMs: number): void {
    const base = slot * SESSION_WORDS;
    this.#fold(base, tick, nowMs);
    const { records } = this.#sessions.memory;
    const silenceMs = (nowMs - records[base + LAST_SEEN]) | 0;
    if (silenceMs >= COLD_MS || !this.#isFit(base, nowMs)) {
      this.#takeOut(base);
      return;
    }
    if (this.#versionOf[slot] === this.#hops.version) return;
    this.#readEnds(base);
    const isSame =
      this.#hops.rowOf(this.#toServer.addresses) === this.#hopOf[2 * slot] &&
      this.#hops.rowOf(this.#toClient.addresses) === this.#hopOf[2 * slot + 1];
    if (isSame) this.#versionOf[slot] = this.#hops.version;
    else if (!this.#put(base, tick)) this.#takeOut(base);
  }

  #fold(base: number, tick: number, nowMs: number): void {
    const session = this.#firstSession + base / SESSION_WORDS;
    const activity = this.#activity;
    if (activity.fold(session, INBOUND)) {
      const seenMs = (nowMs - activity.silenceMs(session, INBOUND, tick)) | 0;
      this.#countForwarded(base, COUNTER.inboundPackets, SERVER_COUNTER.inboundPackets, seenMs);
      noteInbound(this.#sessions.memory.records, base + HANDSHAKE, seenMs);
    }
    if (activity.fold(session, OUTBOUND)) {
      const seenMs = (nowMs - activity.silenceMs(session, OUTBOUND, tick)) | 0;
      this.#countForwarded(base, COUNTER.outboundPackets, SERVER_COUNTER.outboundPackets, seenMs);
    }
  }

  /** Of the direction whose columns these are; columns of bytes follow those of packets. */
  #countForwarded(base: number, column: number, serverColumn: number, seenMs: number): void {
    const { memory, table } = this.#sessions;
    const { counters, records, servers } = memory;
    const { packets, bytes } = this.#activity;
    const isInbound = column === COUNTER.inboundPackets;
    const row = counterRow(serviceOf(records, base));
    const server = serverRow(table.legOf(base).realServerIndex);
    counters[row + column] += packets;
    counters[row + column + 1] += bytes;
    counters[row + (isInbound ? COUNTER.inboundForwarded : COUNTER.outboundForwarded)] += packets;
    counters[row + (isInbound ? COUNTER.inboundFast : COUNTER.outboundFast)] += packets;
    memory.begun[0] += packets;
    servers[server + serverColumn] += packets;
    servers[server + serverColumn + 1] += bytes;
    if (((seenMs - records[base + LAST_SEEN]) | 0) > 0) table.touch(base, seenMs);
  }

  /** Its packets are the datapath's from now on. Its record, service and leg are still whole. */
  #takeOut(base: number): void {
    const slot = base / SESSION_WORDS;
    const place = this.#placeOf[slot];
    if (place === 0) return;
    const { memory } = this.#sessions;
    this.#activity.end(this.#firstSession + slot);
    this.#fold(base, nowTick(), this.#lastTickMs ?? memory.records[base + LAST_SEEN]);
    this.#readEnds(base);
    this.#entries.remove(this.#fromClient);
    this.#entries.remove(this.#fromServer);
    memory.counters[counterRow(serviceOf(memory.records, base)) + COUNTER.sessionsHot]--;
    const last = this.#hot[--this.#count];
    this.#hot[place - 1] = last;
    this.#placeOf[last] = place;
    this.#placeOf[slot] = 0;
    this.#packets[slot] = 0;
  }

  /** Nothing about the session's packets is to be decided, nor will be soon. */
  #isFit(base: number, nowMs: number): boolean {
    const { directory, memory } = this.#sessions;
    const { records } = memory;
    if (!isNormal(records, base) || learnedMtuOf(records, base, nowMs) !== 0) return false;
    const service = directory.serviceOf(base);
    const leg = directory.legOf(base);
    if (leg.family !== familyOfClient(records, base)) return false;
    // Of the proxy's own and of real servers each datagram is judged by where it came from.
    if (directory.addresses.isAnybodys(records, base + CLIENT)) return false;
    if (directory.weightOf(leg) === WEIGHT_DOWN && service.onDown !== 'keep') return false;
    if (awaitsEmptyReply(records, base + HANDSHAKE, nowMs)) return false;
    if (!leg.receiver.isTold) return true;
    return (
      isHandshakeOver(records, base + HANDSHAKE, service) &&
      !(service.maxTrials > 0 && isRefreshDue(records, base + HANDSHAKE, service, nowMs))
    );
  }

  #readEnds(base: number): void {
    const { memory, table } = this.#sessions;
    const { records } = memory;
    const [service, leg] = [table.serviceOf(base), table.legOf(base)];
    const vip = vipAt(familyOfClient(records, base));
    const [fromClient, toServer, fromServer, toClient] = [
      this.#fromClient,
      this.#toServer,
      this.#fromServer,
      this.#toClient,
    ];
    for (let i = 0; i < 4; i++) {
      fromClient.addresses[i] = toClient.addresses[4 + i] = records[base + CLIENT + i];
      fromClient.addresses[4 + i] = toClient.addresses[i] = service.vips[vip + i];
    }
    toServer.addresses.set(leg.towards);
    fromServer.addresses.set(leg.from);
    fromClient.sport = toClient.dport = cportOf(records, base);
    fromClient.dport = toClient.sport = service.vport;
    toServer.sport = fromServer.dport = lportOf(records, base);
    toServer.dport = fromServer.sport = leg.rport;
  }
}
