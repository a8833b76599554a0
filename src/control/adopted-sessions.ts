// Sessions that a predecessor left hot, however it ended: read from the rows of the fast path, and written
// into the memory of the datapaths before they start, where the kernel goes on with them meanwhile.

import { COUNTER, counterRow } from '../datapath/counters.ts';
import type { DatapathMemory } from '../datapath/memory.ts';
import { SERVER_COUNTER, serverRow } from '../datapath/server-cells.ts';
import { Activity } from '../fast/activity.ts';
import { type FoundSession, readFoundSessions } from '../fast/found-sessions.ts';
import { type Direction, HotRecords, INBOUND, OUTBOUND } from '../fast/hot-records.ts';
import { nowTick } from '../fast/layout.ts';
import type { FoundMaps } from '../fast/maps.ts';
import type { ServicePlan } from '../service/plan.ts';
import { oldestFirst } from '../session/oldest-first.ts';
import {
  type FreshTable,
  putRecord,
  type RestoredSession,
  type ToRestore,
  writeRecords,
} from '../session/restored-sessions.ts';
import { SESSION_WORDS } from '../session/session.ts';
import { dialectNumber } from '../uoa/dialect.ts';
import { addressWords } from '../wire/address.ts';
import { EndpointTable } from '../wire/endpoint-table.ts';

/** Words of a session that is kept. */
const KEPT = {
  client: 0,
  ports: 4,
  serviceLeg: 5,
  session: 6,
  progress: 7,
  uoaSentAt: 8,
  lastSeen: 9,
  lastInbound: 10,
} as const;
const KEPT_WORDS = 11;
/** Its real server is to be told anew. */
const UNTOLD = -1;
const FIRST_CAPACITY = 1024;

interface KnownLeg {
  readonly leg: number;
  readonly server: number;
  readonly dialectNumber: number;
  readonly lports: { readonly first: number; readonly last: number };
  readonly normalMs: number;
}

export class AdoptedSessions implements ToRestore {
  /**
   * Left out: service, real server, LIP or lport are not there any more; they ended by time; and how many
   * packets of these nobody counted.
   */
  readonly dropped = { gone: 0, expired: 0, uncounted: 0 };
  count = 0;
  readonly #sessions: number;
  readonly #records: HotRecords;
  readonly #activity: Activity;
  readonly #legs: PlannedLegs;
  readonly #serverOf: number[] = [];
  readonly #isAlive: boolean;
  #kept = new Int32Array(FIRST_CAPACITY * KEPT_WORDS);
  /** Numbers of leg and lport. */
  readonly #lports = new Set<number>();

  /**
   * Reads them by a plan, at a time of the datapath. Those that are left out are over; where the predecessor
   * lives only for the datapaths that go on, since it may yet go on itself: then `ready` are its rows. Throws
   * a SysError.
   */
  constructor(found: FoundMaps, services: readonly ServicePlan[], nowMs: number, ready?: HotRecords) {
    this.#isAlive = ready !== undefined;
    this.#sessions = found.sessions;
    this.#legs = new PlannedLegs(services);
    this.#records = ready ?? new HotRecords(found.fds, found);
    this.#activity = new Activity(this.#records);
    const over: number[] = [];
    readFoundSessions(this.#records, this.#activity, nowTick(), (session) => {
      const leg = this.#legs.find(session);
      if (leg !== undefined && session.silenceMs < leg.normalMs) {
        this.#keep(session, leg, nowMs);
        return;
      }
      this.dropped[leg === undefined ? 'gone' : 'expired']++;
      over.push(session.session);
    });
    for (const session of over) this.#end(session);
  }

  /** It goes on nowhere, and what it counted is nobody's. */
  #end(session: number): void {
    if (this.#isAlive) return;
    this.#records.end(session);
    for (const direction of [INBOUND, OUTBOUND] as const)
      if (this.#activity.fold(session, direction)) this.dropped.uncounted += this.#activity.packets;
  }

  #keep(found: FoundSession, { service, leg, server, dialectNumber }: PlannedLeg, nowMs: number): void {
    const at = this.count++ * KEPT_WORDS;
    if (at === this.#kept.length) {
      const larger = new Int32Array(2 * at);
      larger.set(this.#kept);
      this.#kept = larger;
    }
    const kept = this.#kept;
    const { fromClient, toServer } = found;
    for (let i = 0; i < 4; i++) kept[at + KEPT.client + i] = fromClient.addresses[i];
    kept[at + KEPT.ports] = (fromClient.sport << 16) | toServer.sport;
    kept[at + KEPT.serviceLeg] = (service << 16) | leg;
    kept[at + KEPT.session] = found.session;
    kept[at + KEPT.progress] = found.dialectNumber === dialectNumber ? found.progress : UNTOLD;
    kept[at + KEPT.uoaSentAt] = found.uoaSentAtMs;
    kept[at + KEPT.lastSeen] = (nowMs - found.silenceMs) | 0;
    kept[at + KEPT.lastInbound] = (nowMs - found.clientSilenceMs) | 0;
    this.#serverOf[leg] = server;
    this.#lports.add(leg * 0x10000 + toServer.sport);
  }

  /** Whether the session's LIP:lport towards its real server is one of these. */
  has = ({ leg, lport }: { leg: number; lport: number }): boolean => this.#lports.has(leg * 0x10000 + lport);

  /**
   * Into memory that no datapath has used yet. Where the kernel `isAtWork` with them, as it was shared out,
   * they get the places that its rows have; else see writeRecords, also for `ownerOf` and `isReachable`.
   */
  write(
    memories: readonly FreshTable[],
    isAtWork: boolean,
    ownerOf: (session: RestoredSession) => number,
    isReachable: (session: RestoredSession, owner: number) => boolean,
  ): Record<string, number> {
    const { dropped } = this;
    if (!isAtWork) return { ...writeRecords(this, memories, ownerOf, isReachable), ...dropped };
    const sessionsEach = this.#sessions / memories.length;
    const outcome = { written: 0, withoutRoom: 0 };
    this.#visit((session, place) => {
      const owner = Math.floor(place / sessionsEach);
      if (!isReachable(session, owner)) {
        this.#end(place);
        outcome.withoutRoom++;
        return;
      }
      const { records, table } = memories[owner]!;
      const slot = place % sessionsEach;
      putRecord(records, slot * SESSION_WORDS, session);
      table[0] = Math.max(table[0], slot + 1);
      outcome.written++;
    });
    return { ...outcome, ...dropped };
  }

  forEach(visit: (session: RestoredSession) => void): void {
    this.#visit(visit);
  }

  /** The least recently used first. */
  #visit(visit: (session: RestoredSession, place: number) => void): void {
    const kept = this.#kept;
    const times = new Int32Array(this.count);
    const places = Uint32Array.from({ length: this.count }, (_, n) => n);
    for (let n = 0; n < this.count; n++) times[n] = kept[n * KEPT_WORDS + KEPT.lastSeen];
    const uoa = { progress: 0, sentAtMs: 0, lastInboundMs: 0 };
    const session: RestoredSession = {
      client: new Int32Array(4),
      cport: 0,
      service: 0,
      leg: 0,
      lport: 0,
      isNormal: true,
      isAcked: false,
      lastSeenMs: 0,
      uoa,
    };
    for (const n of this.count === 0 ? [] : oldestFirst(places, times)) {
      const at = n * KEPT_WORDS;
      for (let i = 0; i < 4; i++) session.client[i] = kept[at + KEPT.client + i];
      session.cport = kept[at + KEPT.ports] >>> 16;
      session.lport = kept[at + KEPT.ports] & 0xffff;
      session.service = kept[at + KEPT.serviceLeg] >>> 16;
      session.leg = kept[at + KEPT.serviceLeg] & 0xffff;
      session.lastSeenMs = kept[at + KEPT.lastSeen];
      uoa.progress = kept[at + KEPT.progress];
      uoa.sentAtMs = kept[at + KEPT.uoaSentAt];
      uoa.lastInboundMs = kept[at + KEPT.lastInbound];
      session.uoa = uoa.progress === UNTOLD ? undefined : uoa;
      visit(session, kept[at + KEPT.session]);
    }
  }

  /**
   * Counts what the predecessor's maps counted since it ended. To be called when nothing counts there any
   * more, and before the datapaths start, where these do not go on with the maps, and count it.
   */
  countRest({ counters, servers, begun }: DatapathMemory): void {
    const directions = [
      [
        INBOUND,
        COUNTER.inboundPackets,
        COUNTER.inboundForwarded,
        COUNTER.inboundFast,
        SERVER_COUNTER.inboundPackets,
      ],
      [
        OUTBOUND,
        COUNTER.outboundPackets,
        COUNTER.outboundForwarded,
        COUNTER.outboundFast,
        SERVER_COUNTER.outboundPackets,
      ],
    ] as const satisfies readonly (readonly [Direction, number, number, number, number])[];
    const activity = this.#activity;
    this.#visit(({ service, leg }, place) => {
      for (const [direction, column, forwarded, fast, serverColumn] of directions) {
        if (!activity.fold(place, direction)) continue;
        const { packets, bytes } = activity;
        const row = counterRow(service);
        const server = serverRow(this.#serverOf[leg]);
        counters[row + column] += packets;
        counters[row + column + 1] += bytes;
        counters[row + forwarded] += packets;
        counters[row + fast] += packets;
        begun[0] += packets;
        servers[server + serverColumn] += packets;
        servers[server + serverColumn + 1] += bytes;
      }
    });
  }
}

interface PlannedLeg extends KnownLeg {
  readonly service: number;
}

/** The legs of a plan by the addresses and ports that packets have. */
class PlannedLegs {
  readonly #services = new EndpointTable();
  readonly #lips = new EndpointTable();
  readonly #servers = new EndpointTable();
  readonly #legs = new Map<number, PlannedLeg>();

  constructor(services: readonly ServicePlan[]) {
    for (const service of services) {
      for (const vip of service.vips) this.#services.set(addressWords(vip), 0, service.vport, service.index);
      for (const { ip, port, dialect, index: server, legs } of service.realServers) {
        const rip = numberIn(this.#servers, addressWords(ip), port);
        for (const { index: leg, lip } of legs) {
          const { index, lports, normalMs } = service;
          const key = keyOf(index, numberIn(this.#lips, addressWords(lip), 0), rip);
          this.#legs.set(key, {
            service: index,
            leg,
            server,
            dialectNumber: dialectNumber(dialect),
            lports,
            normalMs,
          });
        }
      }
    }
  }

  /** Undefined: there is none with its VIP, real server and LIP, or the lport is none of it. */
  find({ fromClient, toServer }: FoundSession): PlannedLeg | undefined {
    const service = this.#services.get(fromClient.addresses, 4, fromClient.dport);
    const lip = this.#lips.get(toServer.addresses, 0, 0);
    const rip = this.#servers.get(toServer.addresses, 4, toServer.dport);
    if (service < 0 || lip < 0 || rip < 0) return undefined;
    const leg = this.#legs.get(keyOf(service, lip, rip));
    const { sport } = toServer;
    return leg !== undefined && sport >= leg.lports.first && sport <= leg.lports.last ? leg : undefined;
  }
}

/** Of what is known by its place in the table. */
function numberIn(table: EndpointTable, words: Int32Array, port: number): number {
  const known = table.get(words, 0, port);
  if (known >= 0) return known;
  const number = table.count;
  table.set(words, 0, port, number);
  return number;
}

const keyOf = (service: number, lip: number, rip: number): number =>
  (service * 0x10000 + lip) * 0x10000 + rip;
