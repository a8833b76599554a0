// Sessions that were read from a file, and how they become records of the tables that go on with them.
import { onEchoAck, onUoaSent, resumeProgress, startHandshake } from '../uoa/handshake.ts';
import { oldestFirst } from './oldest-first.ts';
import {
  CLIENT,
  CPORT_SERVICE,
  FLAG_NORMAL,
  FLAG_USED,
  HANDSHAKE,
  isNormal,
  isUsed,
  LAST_SEEN,
  LEG_MTU,
  LPORT_FLAGS,
  NEXT,
  SESSION_WORDS,
} from './session.ts';
import { SAVED, SAVED_ACKED, SAVED_NORMAL, SAVED_WORDS } from './state-format.ts';

/** A leg of the file, as it is called now. */
export interface SavedLeg {
  readonly service: number;
  readonly leg: number;
  /** What its real server was told does not count any more. */
  readonly isToldAnew: boolean;
}

/** One session, as long as it is visited: the next one overwrites it. */
export interface RestoredSession {
  /** Four words (wire/address.ts). */
  readonly client: Int32Array;
  cport: number;
  /** Indexes of now. */
  service: number;
  leg: number;
  lport: number;
  isNormal: boolean;
  /** Its real server knows the client. */
  isAcked: boolean;
  /** By the datapath's clock, int32 ms. */
  lastSeenMs: number;
  /** Where more than `isAcked` is known of what its real server was told (resumeProgress). */
  uoa?: { progress: number; sentAtMs: number; lastInboundMs: number } | undefined;
}

/** Sessions that are to become records. */
export type ToRestore = Pick<RestoredSessions, 'count' | 'forEach'>;

/** The least recently used first: where there is no room for all, it is they that are left out. */
export class RestoredSessions {
  readonly count: number;
  readonly #saved: Int32Array;
  readonly #order: Uint32Array;
  readonly #legs: readonly (SavedLeg | undefined)[];
  readonly #seenBaseMs: number;

  /** `chosen` are the places in `saved` of those that go on; each has a leg. */
  constructor(
    saved: Int32Array,
    chosen: Uint32Array,
    legs: readonly (SavedLeg | undefined)[],
    awayMs: number,
    nowMs: number,
  ) {
    this.count = chosen.length;
    this.#saved = saved;
    const times = new Int32Array(chosen.length);
    for (let i = 0; i < times.length; i++) times[i] = -saved[chosen[i] * SAVED_WORDS + SAVED.ageMs];
    this.#order = oldestFirst(chosen, times);
    this.#legs = legs;
    this.#seenBaseMs = nowMs - awayMs;
  }

  forEach(visit: (session: RestoredSession) => void): void {
    const saved = this.#saved;
    const session: RestoredSession = {
      client: new Int32Array(4),
      cport: 0,
      service: 0,
      leg: 0,
      lport: 0,
      isNormal: false,
      isAcked: false,
      lastSeenMs: 0,
    };
    for (const place of this.#order) {
      const at = place * SAVED_WORDS;
      const flags = saved[at + SAVED.legFlags];
      const leg = this.#legs[flags >>> 16]!;
      for (let i = 0; i < 4; i++) session.client[i] = saved[at + SAVED.client + i];
      session.cport = saved[at + SAVED.ports] >>> 16;
      session.lport = saved[at + SAVED.ports] & 0xffff;
      session.service = leg.service;
      session.leg = leg.leg;
      session.isNormal = (flags & SAVED_NORMAL) !== 0;
      session.isAcked = (flags & SAVED_ACKED) !== 0 && !leg.isToldAnew;
      session.lastSeenMs = (this.#seenBaseMs - saved[at + SAVED.ageMs]) | 0;
      visit(session);
    }
  }
}

export interface WrittenSessions {
  written: number;
  /** Left out because their table is full, the least recently used; or because they are not `isReachable`. */
  withoutRoom: number;
}

export interface FreshTable {
  readonly records: Int32Array;
  readonly table: Float64Array;
  /** How many of its sessions may be without an answer, as SessionTable has it. */
  readonly onewayMax: number;
}

/**
 * Writes the sessions into the records of tables that no datapath has used, in the slots that are free there
 * from 0 on, and how many slots are used: then SessionTable.restore takes them over. `ownerOf` says the index
 * in `memories` of a session, `isReachable` whether its packets will find it there. Those that `isThere` are
 * left out.
 */
export function writeRecords(
  restored: ToRestore,
  memories: readonly FreshTable[],
  ownerOf: (session: RestoredSession) => number,
  isReachable: (session: RestoredSession, owner: number) => boolean = () => true,
  isThere: (session: RestoredSession) => boolean = () => false,
): WrittenSessions {
  const counts = memories.map(countUsed);
  const outcome = { written: 0, withoutRoom: 0 };
  restored.forEach((session) => {
    if (isThere(session)) return;
    const count = counts[ownerOf(session)];
    if (session.isNormal) count.normal++;
    else count.oneway++;
  });
  /**
   * How many of each table are still to be left out: of those without an answer, and of the others and those
   * that stay.
   */
  const excess = counts.map(({ oneway, normal }, i) => {
    const { records, onewayMax } = memories[i];
    const onewayExcess = Math.max(0, oneway - Math.max(1, onewayMax));
    const rest = normal + oneway - onewayExcess;
    return { oneway: onewayExcess, all: Math.max(0, rest - records.length / SESSION_WORDS) };
  });
  const slots = memories.map(() => 0);
  restored.forEach((session) => {
    if (isThere(session)) return;
    const owner = ownerOf(session);
    const left = excess[owner];
    if (!session.isNormal && left.oneway > 0) {
      left.oneway--;
      outcome.withoutRoom++;
      return;
    }
    if (left.all > 0) {
      left.all--;
      outcome.withoutRoom++;
      return;
    }
    if (!isReachable(session, owner)) {
      outcome.withoutRoom++;
      return;
    }
    const { records } = memories[owner];
    while (isUsed(records, slots[owner] * SESSION_WORDS)) slots[owner]++;
    putRecord(records, slots[owner]++ * SESSION_WORDS, session);
    outcome.written++;
  });
  for (const [i, { table }] of memories.entries()) table[0] = Math.max(table[0], slots[i]);
  return outcome;
}

function countUsed({ records, table }: FreshTable): { oneway: number; normal: number } {
  const count = { oneway: 0, normal: 0 };
  for (let base = 0; base < table[0] * SESSION_WORDS; base += SESSION_WORDS)
    if (isUsed(records, base)) count[isNormal(records, base) ? 'normal' : 'oneway']++;
  return count;
}

/** A handshake that is not done starts afresh. What ICMP taught of the path is forgotten. */
export function putRecord(records: Int32Array, base: number, session: RestoredSession): void {
  const { client, lastSeenMs } = session;
  for (let i = 0; i < 4; i++) records[base + CLIENT + i] = client[i];
  records[base + CPORT_SERVICE] = (session.cport << 16) | session.service;
  records[base + LEG_MTU] = session.leg;
  records[base + LAST_SEEN] = lastSeenMs;
  const { uoa } = session;
  startHandshake(records, base + HANDSHAKE, lastSeenMs);
  if (uoa !== undefined) {
    resumeProgress(records, base + HANDSHAKE, uoa.progress, uoa.sentAtMs, uoa.lastInboundMs);
  } else if (session.isAcked) {
    onUoaSent(records, base + HANDSHAKE, lastSeenMs);
    onEchoAck(records, base + HANDSHAKE);
  }
  records[base + NEXT] = 0;
  records[base + NEXT + 1] = 0;
  records[base + LPORT_FLAGS] = (session.lport << 16) | FLAG_USED | (session.isNormal ? FLAG_NORMAL : 0);
}
