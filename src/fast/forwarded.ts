// What the programs forwarded, in the counters of service and real server and in the session's record, as the
// datapath would have counted it.
import { COUNTER, counterRow } from '../datapath/counters.ts';
import type { DatapathMemory } from '../datapath/memory.ts';
import { SERVER_COUNTER, serverRow } from '../datapath/server-cells.ts';
import type { Sessions } from '../datapath/walk.ts';
import { HANDSHAKE, LAST_SEEN, SESSION_WORDS, serviceOf } from '../session/session.ts';
import { noteInbound } from '../uoa/handshake.ts';
import type { Activity } from './activity.ts';
import { type Direction, INBOUND, OUTBOUND } from './hot-records.ts';

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
    const { memory, table } = sessions;
    const { records } = memory;
    const slot = base / SESSION_WORDS;
    const service = serviceOf(records, base);
    const server = table.legOf(base).realServerIndex;
    const inbound = this.#take(memory, slot, INBOUND, service, server);
    if (inbound > 0) {
      const seenMs = this.#touch(sessions, base, INBOUND, tick, nowMs);
      noteInbound(records, base + HANDSHAKE, seenMs);
    }
    const outbound = this.#take(memory, slot, OUTBOUND, service, server);
    if (outbound > 0) this.#touch(sessions, base, OUTBOUND, tick, nowMs);
    return inbound + outbound;
  }

  /** Of a slot whose session was this service's and real server's, and is hot no more. */
  foldLate(memory: DatapathMemory, slot: number, service: number, server: number): void {
    for (const direction of [INBOUND, OUTBOUND] as const)
      this.#take(memory, slot, direction, service, server);
  }

  /** Counts what is in a row. Returns how many packets. */
  #take(
    { begun, counters, servers }: DatapathMemory,
    slot: number,
    direction: Direction,
    service: number,
    server: number,
  ): number {
    const activity = this.#activity;
    if (!activity.fold(this.#firstSession + slot, direction)) return 0;
    const { packets, bytes } = activity;
    const isInbound = direction === INBOUND;
    const row = counterRow(service);
    const column = row + (isInbound ? COUNTER.inboundPackets : COUNTER.outboundPackets);
    const serverColumn = isInbound ? SERVER_COUNTER.inboundPackets : SERVER_COUNTER.outboundPackets;
    const serverCell = serverRow(server) + serverColumn;
    counters[column] += packets;
    counters[column + 1] += bytes; // columns of bytes follow those of packets
    counters[row + (isInbound ? COUNTER.inboundForwarded : COUNTER.outboundForwarded)] += packets;
    counters[row + (isInbound ? COUNTER.inboundFast : COUNTER.outboundFast)] += packets;
    begun[0] += packets;
    servers[serverCell] += packets;
    servers[serverCell + 1] += bytes;
    return packets;
  }

  /** Tells the table of a row's last packet. Returns when that was. */
  #touch(
    { memory, table }: Sessions,
    base: number,
    direction: Direction,
    tick: number,
    nowMs: number,
  ): number {
    const session = this.#firstSession + base / SESSION_WORDS;
    const seenMs = (nowMs - this.#activity.silenceMs(session, direction, tick)) | 0;
    if (((seenMs - memory.records[base + LAST_SEEN]) | 0) > 0) table.touch(base, seenMs);
    return seenMs;
  }
}
