// The counters of one datapath: one Float64Array (exact up to 2^53, one aligned add each, no allocation) that
// lives in memory shared with the control plane, which reads it at scrape time. Row 0 counts what belongs to
// no service; row 1 + serviceIndex counts a service. Gauges (marked) go up and down, all else only up.
import { DROP, DROP_BASE, DROP_REASONS, type Verdict } from './verdict.ts';

const NAMED = [
  'inboundPackets', // received from clients, whatever became of them; bytes are IP bytes
  'inboundBytes',
  'outboundPackets', // received from real servers
  'outboundBytes',
  'unassignedPackets', // received and of no service, fragments too
  'inboundForwarded', // sent, not just handed to the packet I/O
  'outboundForwarded',
  'consumed', // ended here on purpose
  'passed', // not ours: the host's own business
  'sessionsOneway', // gauge
  'sessionsNormal', // gauge
  'sessionsCreated',
  'sessionsExpired',
  'sessionsEvicted', // ended to make room, also at a leg
  'sessionsDisplaced', // those of them whose lport a new session got
  'sessionsMoved', // to another real server, because theirs was down
  'sessionsReset', // ended, because their real server was down
  'sessionsRemoved', // ended by a change of the config
  'uoaInserted', // trials sent inside a client's packet
  'uoaCarrier', // trials sent as a carrier
  'uoaHeader', // headers of PROXY protocol before the payload of a client's datagram
  'uoaRepeated', // datagrams that were sent without the UOA that brought no answer (attempts.ts)
  'uoaFailed', // a UOA was due and could not be sent
  'uoaAcked',
  'uoaAckRepeated', // echo ACK after the one that ended its round
  'uoaAckRejected', // UOA from a real server that is no echo ACK of its session
  'uoaExhausted', // rounds that used up maxTrials without an ACK
  'uoaForgedRemoved', // packets from clients that carried a UOA
  'uoaStripped', // packets with payload and a UOA from a real server
  'emptyRepliesSwallowed', // answers to carriers
  'icmpSent',
  'icmpSuppressed', // by the rate limit
  'icmpTranslated', // errors about a session's packets, passed on to the other side
  'uoaUnsupported', // errors of real servers that cannot read our UOA; not passed on
  'fragmentsReceived', // taken in, to be put together; they belong to no service yet
  'fragmentsJoined', // of these, those whose datagram became whole
  'datagramsReassembled', // from fragments
  'datagramsFragmented', // sent in fragments
  'fragmentsSent',
  'sessionsHot', // gauge: those of them that the fast path forwards
  'inboundFast', // of those forwarded, by the fast path
  'outboundFast',
  'handedOver', // passed on to the worker that they belong to
] as const;

export type CounterName = (typeof NAMED)[number];

/** Column of each named counter in a row. */
export const COUNTER = Object.fromEntries(NAMED.map((name, index) => [name, index])) as Record<
  CounterName,
  number
>;

/** Column of the first drop reason; the others follow in the order of DROP_REASONS. */
export const DROP_COLUMN = NAMED.length;
export const COUNTER_COLUMNS = NAMED.length + DROP_REASONS.length;

/** Number of Float64 cells for `services` services. */
export function counterCells(services: number): number {
  return (1 + services) * COUNTER_COLUMNS;
}

/** First cell of a service's row; `serviceIndex` -1 is the row of no service. */
export function counterRow(serviceIndex: number): number {
  return (1 + serviceIndex) * COUNTER_COLUMNS;
}

/** Adds one to a service's counter; serviceIndex -1 is no service. */
export function count(counters: Float64Array, serviceIndex: number, column: number): void {
  counters[counterRow(serviceIndex) + column]++;
}

/** Column that counts a drop verdict. */
export function dropColumn(verdict: Verdict): number {
  return DROP_COLUMN + verdict - DROP_BASE;
}

/**
 * What a predecessor had begun and of which it counted no end, held fragments too, ended with it. `begun`:
 * packets that it ever began.
 */
export function bookLost(counters: Float64Array, begun: number): void {
  const rows: number[] = [];
  for (let row = counterRow(-1); row < counters.length; row += COUNTER_COLUMNS) rows.push(row);
  const none = counterRow(-1);
  const received = rows.reduce((sum, row) => sum + receivedIn(counters, row), 0);
  const unknown = begun - received - counters[none + COUNTER.handedOver];
  if (unknown > 0) counters[none + COUNTER.unassignedPackets] += unknown;
  for (const row of rows) {
    const lost = receivedIn(counters, row) - endedIn(counters, row);
    if (lost > 0) counters[row + dropColumn(DROP.worker_ended)] += lost;
  }
}

const RECEIVED = ['inboundPackets', 'outboundPackets', 'unassignedPackets'] as const;
const ENDED = ['inboundForwarded', 'outboundForwarded', 'consumed', 'passed', 'fragmentsJoined'] as const;

const receivedIn = (counters: Float64Array, row: number): number =>
  RECEIVED.reduce((sum, name) => sum + counters[row + COUNTER[name]], 0);

function endedIn(counters: Float64Array, row: number): number {
  let sum = 0;
  for (const name of ENDED) sum += counters[row + COUNTER[name]];
  for (let column = DROP_COLUMN; column < COUNTER_COLUMNS; column++) sum += counters[row + column];
  return sum;
}
