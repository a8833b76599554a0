// How many sessions a datapath has, by service, real server and leg: cells that siblings and the control
// plane read while they change. None reads too little, or limits and real servers seem free.
import type { SessionEnd } from '../session/table.ts';
import { COUNTER, COUNTER_COLUMNS, type CounterName, counterRow } from './counters.ts';
import type { DatapathMemory } from './memory.ts';
import { SERVER_COLUMNS, SERVER_COUNTER, serverRow } from './server-cells.ts';

export type GaugeCells = Pick<DatapathMemory, 'counters' | 'servers' | 'legsInUse' | 'legsUnanswered'>;

/** A session, which isNormal or not, is there from now on (`change` 1), or is there no more (-1). */
export function countSession(
  { counters, servers, legsInUse, legsUnanswered }: GaugeCells,
  serviceIndex: number,
  realServerIndex: number,
  leg: number,
  isNormal: boolean,
  change: 1 | -1,
): void {
  const service = counterRow(serviceIndex);
  const server = serverRow(realServerIndex);
  legsInUse[leg] += change;
  if (isNormal) {
    counters[service + COUNTER.sessionsNormal] += change;
    servers[server + SERVER_COUNTER.sessionsNormal] += change;
  } else {
    legsUnanswered[leg] += change;
    counters[service + COUNTER.sessionsOneway] += change;
    servers[server + SERVER_COUNTER.sessionsOneway] += change;
  }
}

const COUNTER_OF_END: Record<SessionEnd, CounterName> = {
  expired: 'sessionsExpired',
  evicted: 'sessionsEvicted',
  displaced: 'sessionsEvicted',
  removed: 'sessionsRemoved',
  reset: 'sessionsReset',
};

/** A session that was normal or not is there no more, and why. */
export function countEnd(
  cells: GaugeCells,
  serviceIndex: number,
  realServerIndex: number,
  leg: number,
  wasNormal: boolean,
  end: SessionEnd,
): void {
  const row = counterRow(serviceIndex);
  cells.counters[row + COUNTER[COUNTER_OF_END[end]]]++;
  if (end === 'displaced') cells.counters[row + COUNTER.sessionsDisplaced]++;
  countSession(cells, serviceIndex, realServerIndex, leg, wasNormal, -1);
  // One that was evicted perhaps had no time to be answered: it says something of a flood, not of the real
  // server.
  if (!wasNormal && end === 'expired')
    cells.servers[serverRow(realServerIndex) + SERVER_COUNTER.onewayEnded]++;
}

/** Cells of the same sizes, to count in. */
export const gaugesLike = ({ counters, servers, legsInUse, legsUnanswered }: GaugeCells): GaugeCells => ({
  counters: new Float64Array(counters.length),
  servers: new Float64Array(servers.length),
  legsInUse: new Float64Array(legsInUse.length),
  legsUnanswered: new Float64Array(legsUnanswered.length),
});

/** The gauges say at once what was counted in `counted`; counters stay. */
export function setGauges(cells: GaugeCells, counted: GaugeCells): void {
  cells.legsInUse.set(counted.legsInUse);
  cells.legsUnanswered.set(counted.legsUnanswered);
  for (const name of ['sessionsOneway', 'sessionsNormal'] as const) {
    setColumn(cells.counters, counted.counters, COUNTER[name], COUNTER_COLUMNS);
    setColumn(cells.servers, counted.servers, SERVER_COUNTER[name], SERVER_COLUMNS);
  }
}

function setColumn(cells: Float64Array, from: Float64Array, column: number, columns: number): void {
  for (let cell = column; cell < cells.length; cell += columns) cells[cell] = from[cell];
}
