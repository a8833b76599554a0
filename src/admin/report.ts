// What /services and /stats answer: plain data, made of the plans and the shared counters at the moment of
// the request.
import { COUNTER, type CounterName, counterRow, dropColumn } from '../datapath/counters.ts';
import { SERVER_COUNTER, type ServerCounterName, serverRow } from '../datapath/server-cells.ts';
import { DROP, DROP_REASONS, type DropReason } from '../datapath/verdict.ts';
import { IO_COLUMN, IO_COUNTERS, type IoCounterName } from '../io/packet-io.ts';
import type { Limits, RealServerPlan, ServicePlan } from '../service/plan.ts';
import type { AdminSources, FastPathState, ServerState } from './sources.ts';

const GAUGES = ['sessionsOneway', 'sessionsNormal', 'sessionsHot'] as const;
type Gauge = (typeof GAUGES)[number];
export type Counters = Record<Exclude<CounterName, Gauge>, number>;
export type Drops = Record<DropReason, number>;

export interface SessionCounts {
  oneway: number;
  normal: number;
}

/** What the fast path has of a service's sessions and packets, or of all. */
export interface FastShare {
  sessions: number;
  forwarded: { inbound: number; outbound: number };
}

export interface FastPathReport extends FastPathState, FastShare {
  /** Packets left to the datapath, by reason. */
  passed: Readonly<Record<string, number>>;
}

export interface ServerReport {
  ip: string;
  port: number;
  /** As in the config. */
  weight: number;
  /** For new sessions, right now. */
  effectiveWeight: number;
  isFallback: boolean;
  state: ServerState['state'];
  /** Also while `state` is down, here and below. */
  isDrained: boolean;
  isRemoved: boolean;
  reason: string;
  /** ISO 8601. */
  since: string;
  dialect: string;
  sessions: SessionCounts;
  counters: Record<Exclude<ServerCounterName, Gauge>, number>;
}

export interface ServiceReport {
  name: string;
  vips: readonly string[];
  vport: number;
  scheduler: string;
  persistenceMs: number;
  onDown: string;
  limits: Limits;
  uoa: { maxTrials: number; unifiedType: number; onUnsupported: string; proxyV2: string; carriage: string };
  realServers: ServerReport[];
  sessions: SessionCounts;
  /** `isOff`: an operator switched it off, for this service or for all. */
  fastPath: FastShare & { isOff: boolean };
  counters: Counters;
  drops: Drops;
}

export interface StatsReport {
  version: string;
  uptimeSeconds: number;
  ready: boolean;
  reason: string;
  draining: boolean;
  ioMode: string;
  fastPath: FastPathReport;
  services: number;
  workers: { pid: number | null; restarts: number }[];
  reloads: { succeeded: number; failed: number; last: { ok: boolean; at: string } | null };
  sessions: SessionCounts & { max: number };
  /** Summed over what lports there are towards each real server. */
  lports: { inUse: number; capacity: number };
  /** Over all services, those of the past and none too. */
  counters: Counters;
  drops: Drops;
  /** Over all interfaces. */
  io: Record<IoCounterName, number>;
}

export function reportService(sources: AdminSources, service: ServicePlan): ServiceReport {
  const { name, vips, vport, scheduler, persistenceMs, onDown, limits } = service;
  const { maxTrials, unifiedType, onUnsupported, proxyV2, carriage } = service;
  const row = counterRow(service.index);
  const read = (column: number) => sources.counters[row + column];
  return {
    name,
    vips,
    vport,
    scheduler,
    persistenceMs,
    onDown,
    limits,
    uoa: { maxTrials, unifiedType, onUnsupported, proxyV2, carriage },
    realServers: service.realServers.map((server) => reportServer(sources, service, server)),
    sessions: readSessions(COUNTER, read),
    fastPath: { ...fastShare(read), isOff: sources.isFastPathOff(name) },
    counters: readCounters(COUNTER, read),
    drops: readDrops(read),
  };
}

export function reportServer(
  sources: AdminSources,
  service: ServicePlan,
  server: RealServerPlan,
): ServerReport {
  const { ip, port, weight, dialect, isFallback, index } = server;
  const { state, isDrained, isRemoved, reason, since } = sources.serverState(index);
  const row = serverRow(index);
  const read = (column: number) => sources.servers[row + column];
  return {
    ip,
    port,
    weight,
    effectiveWeight: effectiveWeight(sources, service, server),
    isFallback,
    state,
    isDrained,
    isRemoved,
    reason,
    since: since.toISOString(),
    dialect,
    sessions: readSessions(SERVER_COUNTER, read),
    counters: readCounters(SERVER_COUNTER, read),
  };
}

/**
 * A real server's share of new sessions: 0 where it takes none, as a fallback while another one takes them.
 */
export function effectiveWeight(
  sources: AdminSources,
  { realServers }: ServicePlan,
  { index, weight, isFallback }: RealServerPlan,
): number {
  const { state, weightSetTo } = sources.serverState(index);
  if (state !== 'up') return 0;
  const others = isFallback ? realServers.filter((one) => !one.isFallback) : [];
  const isNeeded = others.every((one) => {
    const other = sources.serverState(one.index);
    return other.state !== 'up' || (other.weightSetTo ?? one.weight) === 0;
  });
  return isNeeded ? (weightSetTo ?? weight) : 0;
}

export function reportStats(sources: AdminSources): StatsReport {
  const { counterSums, io } = sources;
  const sum = (column: number) => counterSums[column];
  const { ready, reason } = sources.readiness();
  const { succeeded, failed, last } = sources.reloads();
  const legs = sources.legs();
  return {
    version: sources.version,
    uptimeSeconds: uptimeSeconds(sources),
    ready,
    reason,
    draining: sources.isDraining(),
    ioMode: sources.ioMode,
    fastPath: reportFastPath(sources),
    services: sources.services().length,
    workers: sources.workers().map(({ pid, restarts }) => ({ pid: pid ?? null, restarts })),
    reloads: { succeeded, failed, last: last ? { ok: last.ok, at: last.at.toISOString() } : null },
    sessions: { ...readSessions(COUNTER, sum), max: sources.config().sessions.max },
    lports: {
      inUse: legs.reduce((total, { index }) => total + sources.legsInUse[index], 0),
      capacity: legs.reduce((total, { capacity }) => total + capacity, 0),
    },
    counters: readCounters(COUNTER, sum),
    drops: readDrops(sum),
    io: record(IO_COUNTERS, (name) => sumColumn(io, IO_COLUMN[name], IO_COUNTERS.length)),
  };
}

export const reportFastPath = (sources: AdminSources): FastPathReport => ({
  ...sources.fastPath(),
  ...fastShare((column) => sources.counterSums[column]),
  passed: sources.fastPathPassed(),
});

const fastShare = (read: (column: number) => number): FastShare => ({
  sessions: read(COUNTER.sessionsHot),
  forwarded: { inbound: read(COUNTER.inboundFast), outbound: read(COUNTER.outboundFast) },
});

export const uptimeSeconds = ({ startedAt }: AdminSources): number =>
  Math.floor((Date.now() - startedAt.getTime()) / 1000);

const readSessions = (
  columns: Record<'sessionsOneway' | 'sessionsNormal', number>,
  read: (column: number) => number,
): SessionCounts => ({ oneway: read(columns.sessionsOneway), normal: read(columns.sessionsNormal) });

/** What only goes up. */
function readCounters<Name extends string>(
  columns: Record<Name, number>,
  read: (column: number) => number,
): Record<Exclude<Name, Gauge>, number> {
  const names = (Object.keys(columns) as Name[]).filter(
    (name): name is Exclude<Name, Gauge> => !(GAUGES as readonly string[]).includes(name),
  );
  return record(names, (name) => read(columns[name]));
}

const readDrops = (read: (column: number) => number): Drops =>
  record(DROP_REASONS, (reason) => read(dropColumn(DROP[reason])));

function sumColumn(cells: Float64Array, column: number, columns: number): number {
  let sum = 0;
  for (let cell = column; cell < cells.length; cell += columns) sum += cells[cell];
  return sum;
}

function record<Name extends string>(names: readonly Name[], value: (name: Name) => number) {
  return Object.fromEntries(names.map((name) => [name, value(name)])) as Record<Name, number>;
}
