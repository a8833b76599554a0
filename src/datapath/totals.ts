// What several datapaths count, added up for the control plane, by the names of services and real servers:
// the rows of the shared memory only go up and are used anew for others, so what a row had counted before is
// taken off, and what a name had counted under another number, or before it was gone for a while, is added.
// So no counter of a name goes back.
import { isNumberedAs, type ServicePlan, serverName } from '../service/plan.ts';
import { COUNTER, COUNTER_COLUMNS, counterRow } from './counters.ts';
import type { DatapathMemory } from './memory.ts';
import { SERVER_COLUMNS, SERVER_COUNTER, serverRow } from './server-cells.ts';

/**
 * Names that are gone and still remembered, of services and of real servers; the longest gone are forgotten.
 */
const GONE_MAX = 4096;

export class Totals {
  /** Rows as in counters.ts. */
  readonly counters: Float64Array;
  /** Rows as in server-cells.ts. */
  readonly servers: Float64Array;
  readonly legsInUse: Float64Array;
  readonly io: Float64Array;
  /** Sums of each column of the datapaths' counters, over all that rows ever stood for. */
  readonly columns = new Float64Array(COUNTER_COLUMNS);
  readonly #memories: readonly DatapathMemory[];
  readonly #services: NamedRows;
  readonly #servers: NamedRows;
  /** What the rows stand for. */
  #named: readonly ServicePlan[] = [];

  /** All of the same plan, which names `services`. */
  constructor(memories: readonly DatapathMemory[], services: readonly ServicePlan[]) {
    this.#memories = memories;
    const [first] = memories;
    this.counters = new Float64Array(first.counters.length);
    this.servers = new Float64Array(first.servers.length);
    this.legsInUse = new Float64Array(first.legsInUse.length);
    this.io = new Float64Array(first.io.length);
    const { sessionsOneway, sessionsNormal, sessionsHot } = COUNTER;
    const columns = [sessionsOneway, sessionsNormal, sessionsHot];
    this.#services = new NamedRows(this.counters, COUNTER_COLUMNS, columns);
    const gauges = [SERVER_COUNTER.sessionsOneway, SERVER_COUNTER.sessionsNormal];
    this.#servers = new NamedRows(this.servers, SERVER_COLUMNS, gauges);
    this.expect(services);
    this.follow(services);
  }

  /** Adds up anew; to be called before the arrays are read. */
  refresh(): void {
    for (const key of ['counters', 'servers', 'legsInUse', 'io'] as const) {
      const total = this[key];
      const [first, ...others] = this.#memories;
      total.set(first[key]);
      for (const memory of others) {
        const cells = memory[key];
        for (let i = 0; i < total.length; i++) total[i] += cells[i];
      }
    }
    const { columns, counters } = this;
    columns.fill(0);
    for (let row = 0; row < counters.length; row += COUNTER_COLUMNS)
      for (let column = 0; column < COUNTER_COLUMNS; column++) columns[column] += counters[row + column];
    this.#services.add();
    this.#servers.add();
  }

  /** To be called before the datapaths get a plan with these: what is new in it begins at 0. */
  expect(services: readonly ServicePlan[]): void {
    if (isNamedTheSame(this.#named, services)) return;
    this.refresh();
    this.#services.expect(rowsOfServices(services));
    this.#servers.expect(rowsOfServers(services));
  }

  /** To be called when all datapaths have that plan. */
  follow(services: readonly ServicePlan[]): void {
    const isNamed = isNamedTheSame(this.#named, services);
    this.#named = services;
    if (isNamed) return;
    this.refresh();
    this.#services.follow(rowsOfServices(services));
    this.#servers.follow(rowsOfServers(services));
    this.refresh();
  }
}

/** Rows of a table, by the names that they stand for. */
class NamedRows {
  readonly #table: Float64Array;
  readonly #width: number;
  readonly #gauges: readonly number[];
  /** What is added to the sums. */
  readonly #offsets: Float64Array;
  #hasOffsets = false;
  #rows: ReadonlyMap<string, number> = new Map();
  /** What names that are gone had counted, the longest gone first. */
  readonly #gone = new Map<string, Float64Array>();

  constructor(table: Float64Array, width: number, gauges: readonly number[]) {
    this.#table = table;
    this.#width = width;
    this.#gauges = gauges;
    this.#offsets = new Float64Array(table.length);
  }

  add(): void {
    if (!this.#hasOffsets) return;
    const table = this.#table;
    const offsets = this.#offsets;
    for (let cell = 0; cell < table.length; cell++) table[cell] += offsets[cell];
  }

  expect(rows: ReadonlyMap<string, number>): void {
    for (const [name, row] of rows) {
      if (this.#rows.get(name) === row) continue;
      for (const cell of this.#countersOf(row)) this.#offset(cell, -this.#table[cell]);
    }
  }

  follow(rows: ReadonlyMap<string, number>): void {
    const before = this.#rows;
    this.#rows = rows;
    for (const [name, row] of before) {
      if (rows.get(name) === row) continue;
      this.#gone.delete(name);
      this.#gone.set(name, this.#table.slice(row, row + this.#width));
    }
    for (const [name, row] of rows) {
      const counted = this.#gone.get(name);
      if (counted === undefined || before.get(name) === row) continue;
      for (const cell of this.#countersOf(row)) this.#offset(cell, counted[cell - row]);
      this.#gone.delete(name);
    }
    for (const name of this.#gone.keys()) {
      if (this.#gone.size <= GONE_MAX) break;
      this.#gone.delete(name);
    }
  }

  #offset(cell: number, count: number): void {
    if (count === 0) return;
    this.#offsets[cell] += count;
    this.#hasOffsets = true;
  }

  *#countersOf(row: number): Iterable<number> {
    for (let column = 0; column < this.#width; column++)
      if (!this.#gauges.includes(column)) yield row + column;
  }
}

/** Whether all rows stand for what they stood for. */
const isNamedTheSame = (before: readonly ServicePlan[], after: readonly ServicePlan[]): boolean =>
  before.length === after.length && after.every((service, at) => isNumberedAs(before[at], service));

const rowsOfServices = (services: readonly ServicePlan[]): Map<string, number> =>
  new Map(services.map(({ name, index }) => [name, counterRow(index)]));

const rowsOfServers = (services: readonly ServicePlan[]): Map<string, number> =>
  new Map(
    services.flatMap(({ name, realServers }) =>
      realServers.map((server): [string, number] => [
        `${name} ${serverName(server)}`,
        serverRow(server.index),
      ]),
    ),
  );
