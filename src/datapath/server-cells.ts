// What the shared memory holds of each real server: its counters, one row per worker, which the datapath
// writes, and its weight, one cell for all workers, which the control plane writes while they work.

const NAMED = [
  'sessionsOneway', // gauge
  'sessionsNormal', // gauge
  'sessionsCreated', // chosen for a new session, or for one that moved to it
  'inboundPackets', // sent to it; bytes are IP bytes as they came from the client
  'inboundBytes',
  'outboundPackets', // of it that were sent on to clients
  'outboundBytes',
  'unreachable', // its ICMP unreachable errors about our packets
  'refusals', // how often it said that it cannot read the UOA
  'onewayEnded', // sessions that expired and never got an answer
  'sessionsAnswered', // sessions that got their first answer, so became normal
  'uoaAnswered', // those of them whose packets until then had the UOA inside
  'uoaUnanswered', // and those that were answered only when a packet had none
] as const;

export type ServerCounterName = (typeof NAMED)[number];

/** Column of each counter in a row. */
export const SERVER_COUNTER = Object.fromEntries(NAMED.map((name, index) => [name, index])) as Record<
  ServerCounterName,
  number
>;
export const SERVER_COUNTERS: readonly ServerCounterName[] = NAMED;
export const SERVER_COLUMNS = NAMED.length;

/** First cell of a real server's row. */
export const serverRow = (realServerIndex: number): number => realServerIndex * SERVER_COLUMNS;

/**
 * In place of a weight: the real server does not work, and its service's onDown says what becomes of its
 * sessions.
 */
export const WEIGHT_DOWN = -1;
