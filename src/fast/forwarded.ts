// What the programs forwarded, in the counters of service and real server and in the session's record, as the
// datapath would have counted it.
import { COUNTER, counterRow } from '../datapath/counters.ts';
import { SERVER_COUNTER, serverRow } from '../datapath/server-cells.ts';
import type { Sessions } from '../datapath/walk.ts';
import { HANDSHAKE, LAST_SEEN, SESSION_WORDS, serviceOf } from '../session/session.ts';
import { noteInbound } from '../uoa/handshake.ts';
import { type Activity, INBOUND, OUTBOUND } from './activity.ts';

export class Forwarded {
  readonly #activity: Activity;
  readonly #firstSession: number;

  /** Of the worker whose sessions are those from `firstSession` on of the maps. */
  constructor(activity: Activity, firstSession: number) {
    this.#activity = activity;
    this.#firstSession = firstSession;
  }

  /** Of a session, at a time in ticks and in ms. Returns how many packets came since the last fold. */
  fold(sessions: Sessions, base: number, tick: number, nowMs: number): number {
    const session = this.#firstSession + base / SESSION_WORDS;
    const activity = this.#activity;
    let packets = 0;
    if (activity.fold(session, INBOUND)) {
      const seenMs = (nowMs - activity.silenceMs(session, INBOUND, tick)) | 0;
      this.#count(sessions, base, COUNTER.inboundPackets, SERVER_COUNTER.inboundPackets, seenMs);
      noteInbound(sessions.memory.records, base + HANDSHAKE, seenMs);
      packets += activity.packets;
    }
    if (activity.fold(session, OUTBOUND)) {
      const seenMs = (nowMs - activity.silenceMs(session, OUTBOUND, tick)) | 0;
      this.#count(sessions, base, COUNTER.outboundPackets, SERVER_COUNTER.outboundPackets, seenMs);
      packets += activity.packets;
    }
    return packets;
  }

  /** Of the direction whose columns these are; columns of bytes follow those of packets. */
  #count(
    { memory, table }: Sessions,
    base: number,
    column: number,
    serverColumn: number,
    seenMs: number,
  ): void {
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
}
