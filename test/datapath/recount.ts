// What the gauges of a datapath's memory must say: the session records, counted one by one. And the sessions
// themselves, by name, so that what stays from plan to plan can be compared.
import assert from 'node:assert/strict';
import { COUNTER, counterRow } from '../../src/datapath/counters.ts';
import type { DatapathMemory } from '../../src/datapath/memory.ts';
import { type DatapathPlan, type LegPlan, legPlans, poolKey } from '../../src/datapath/plan.ts';
import { SERVER_COUNTER, serverRow } from '../../src/datapath/server-cells.ts';
import type { RealServerPlan, ServicePlan } from '../../src/service/plan.ts';
import {
  CLIENT,
  cportOf,
  FLAG_COUNTED,
  isNormal,
  isUsed,
  LPORT_FLAGS,
  legOf,
  lportOf,
  SESSION_WORDS,
  serviceOf,
} from '../../src/session/session.ts';
import { formatAddress } from '../../src/wire/address.ts';

/**
 * Where the sets of the table of clients begin, the words of a set and of an entry, and its word of sessions.
 */
const CLIENTS = { header: 16, set: 65, entry: 8, sessions: 5 };

export interface Recorded {
  base: number;
  service: ServicePlan;
  server: RealServerPlan;
  leg: LegPlan & { index: number };
  client: string;
  cport: number;
  lport: number;
  isNormal: boolean;
}

/** Every session, with what the plan says of it; fails on one that the plan does not know. */
export function recordedSessions({ records, table }: DatapathMemory, plan: DatapathPlan): Recorded[] {
  const legs = new Map(legPlans(plan.services).map((leg) => [leg.index, leg]));
  const found: Recorded[] = [];
  for (let base = 0; base < table[0] * SESSION_WORDS; base += SESSION_WORDS) {
    if (!isUsed(records, base)) continue;
    const service = plan.services.find(({ index }) => index === serviceOf(records, base));
    const leg = legs.get(legOf(records, base));
    const server = service?.realServers.find((one) => one.legs.some(({ index }) => index === leg?.index));
    assert.ok(service && leg && server, `the session at ${base} belongs to a service, leg and real server`);
    found.push({
      base,
      service,
      server,
      leg,
      client: formatAddress(records, base + CLIENT),
      cport: cportOf(records, base),
      lport: lportOf(records, base),
      isNormal: isNormal(records, base),
    });
  }
  return found;
}

/** Sessions counted in the table of clients, whosever they are. */
export function clientSessions({ common: { clients } }: DatapathMemory): number {
  let sum = 0;
  for (let set = CLIENTS.header; set < clients.length; set += CLIENTS.set)
    for (let at = set + 1 + CLIENTS.sessions; at < set + CLIENTS.set; at += CLIENTS.entry) sum += clients[at];
  return sum;
}

/** Sessions that say that they are counted in the table of clients. */
export function countedSessions({ records }: DatapathMemory): number {
  let sum = 0;
  for (let base = 0; base < records.length; base += SESSION_WORDS)
    if ((records[base + LPORT_FLAGS] & FLAG_COUNTED) !== 0) sum++;
  return sum;
}

/**
 * The gauges of all services, real servers and legs, also of numbers that nobody has now, and the counts of
 * clients.
 */
export function checkGauges(memory: DatapathMemory, plan: DatapathPlan, where: string): void {
  const { counters, legsInUse, legsUnanswered, servers } = memory;
  const expected = {
    counters: new Map<number, number>(),
    servers: new Map<number, number>(),
    legsInUse: new Map<number, number>(),
    legsUnanswered: new Map<number, number>(),
  };
  const add = (cells: Map<number, number>, cell: number): void => {
    cells.set(cell, (cells.get(cell) ?? 0) + 1);
  };
  const taken = new Set<string>();
  for (const { service, server, leg, lport, isNormal } of recordedSessions(memory, plan)) {
    const name = isNormal ? 'sessionsNormal' : 'sessionsOneway';
    add(expected.counters, counterRow(service.index) + COUNTER[name]);
    add(expected.servers, serverRow(server.index) + SERVER_COUNTER[name]);
    add(expected.legsInUse, leg.index);
    if (!isNormal) add(expected.legsUnanswered, leg.index);
    const tuple = `${poolKey(leg)} ${lport}`;
    assert.ok(!taken.has(tuple), `${where}: ${tuple} belongs to one session`);
    taken.add(tuple);
    assert.ok(lport >= leg.lports.first && lport <= leg.lports.last, `${where}: ${tuple} is of its range`);
  }
  const check = (what: string, cells: Float64Array, cell: number, wanted: Map<number, number>): void => {
    assert.equal(cells[cell], wanted.get(cell) ?? 0, `${where}: ${what}`);
  };
  const services = counters.length / counterRow(0) - 1;
  for (const name of ['sessionsOneway', 'sessionsNormal'] as const) {
    for (let index = 0; index < services; index++)
      check(`${name} of service ${index}`, counters, counterRow(index) + COUNTER[name], expected.counters);
    for (let row = 0, index = 0; row < servers.length; row = serverRow(++index))
      check(`${name} of real server ${index}`, servers, row + SERVER_COUNTER[name], expected.servers);
  }
  for (const index of legsInUse.keys()) {
    check(`leg ${index}`, legsInUse, index, expected.legsInUse);
    check(`unanswered of leg ${index}`, legsUnanswered, index, expected.legsUnanswered);
  }
  assert.equal(clientSessions(memory), countedSessions(memory), `${where}: sessions of clients`);
}
