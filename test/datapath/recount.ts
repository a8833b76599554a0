// What the gauges of a datapath's memory must say: the session records, counted one by one. And the sessions themselves,
// by name, so that what stays from plan to plan can be compared.
import assert from 'node:assert/strict';
import { COUNTER, counterRow } from '../../src/datapath/counters.ts';
import type { DatapathMemory } from '../../src/datapath/memory.ts';
import { type DatapathPlan, type LegPlan, legPlans, poolKey } from '../../src/datapath/plan.ts';
import { SERVER_COUNTER, serverRow } from '../../src/datapath/server-cells.ts';
import type { RealServerPlan, ServicePlan } from '../../src/service/plan.ts';
import {
  CLIENT,
  cportOf,
  isNormal,
  isUsed,
  legOf,
  lportOf,
  SESSION_WORDS,
  serviceOf,
} from '../../src/session/session.ts';
import { formatAddress } from '../../src/wire/address.ts';

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
  for (let base = 0; base < table[0]! * SESSION_WORDS; base += SESSION_WORDS) {
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

/** The gauges of all services, real servers and legs, also of numbers that nobody has now. */
export function checkGauges(memory: DatapathMemory, plan: DatapathPlan, where: string): void {
  const { counters, legsInUse, servers } = memory;
  const expected = {
    counters: new Map<number, number>(),
    servers: new Map<number, number>(),
    legsInUse: new Map<number, number>(),
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
  for (const index of legsInUse.keys()) check(`leg ${index}`, legsInUse, index, expected.legsInUse);
}
