// Tells the operator when something is used up: the session table, lports, a limit of a service, the kernel's
// buffers. The datapath only counts; this looks at the counts once a second and says each thing at once, and
// then at most once a minute. Of lports it says before that few are left.
import { formatDuration } from '../config/reader.ts';
import { COUNTER, counterRow, dropColumn } from '../datapath/counters.ts';
import { DROP, type DropReason } from '../datapath/verdict.ts';
import { IO_COLUMN, IO_COUNTERS, rowOfIntake } from '../io/packet-io.ts';
import type { ServicePlan } from '../service/plan.ts';
import { fullPools, LowLportsWatch, type LportPools, lportPools } from './lport-use.ts';
import type { AdminSources } from './sources.ts';

type Log = (fields: Record<string, unknown>, message: string) => void;

const POLL_MS = 1000;
const REPEAT_MS = 60_000;
/** Less than POLL_MS, because timers are late by turns: it is said at the next look. */
const GATHER_MS = 500;
/**
 * Of the lports of a LIP towards a real server: some are kept back (sessions.lportReserve), and others are
 * freed while this is read.
 */
const FULL = 0.9;
const MORE_ROOM = 'shorten timeouts, or give it more lips';

/** What is said of a service when a reason's drops go up. */
const OF_DROPS: Partial<Record<DropReason, string>> = {
  lports_exhausted: `no lport is free: ${MORE_ROOM}`,
  lports_reserved: `the last lports are kept for clients that were answered before: ${MORE_ROOM}`,
  session_limit: 'limits.sessions is reached',
  new_session_limit: 'limits.newSessions is reached',
  client_session_limit: 'clients reach limits.sessionsPerClient',
  client_new_session_limit: 'clients reach limits.newSessionsPerClient',
  no_real_server: 'no real server takes new sessions',
  handover_failed: 'a datapath process does not keep up with what others pass on to it',
};

interface Watched {
  key: string;
  fields: Record<string, unknown>;
  text: string;
  count: () => number;
  /** Of a service: what its lports say of it. */
  full?: () => string;
}

interface Said {
  /** What had been counted when it was said last, or at first. */
  count: number;
  atMs: number;
  /** When more was seen first. */
  beganMs: number | undefined;
}

export type ExhaustionSources = Pick<
  AdminSources,
  'config' | 'services' | 'counters' | 'legsInUse' | 'io' | 'ports' | 'refresh'
>;

/** Holds the process open for nothing. Returns what ends it. `nowMs` is monotonic. */
export function watchExhaustion(
  sources: ExhaustionSources,
  log: Log,
  nowMs: () => number = () => performance.now(),
): () => void {
  const said = new Map<string, Said>();
  let planned: readonly ServicePlan[] | undefined;
  let pools = lportPools([]);
  /** There may be ten thousand: they are made anew for other services only. */
  let all: readonly Watched[] = [];
  const lowLports = new LowLportsWatch();
  const look = () => {
    sources.refresh();
    const now = nowMs();
    const services = sources.services();
    if (services !== planned) {
      pools = lportPools(services);
      all = watched(sources, pools);
      const keys = new Set(all.map(({ key }) => key));
      for (const key of said.keys()) if (!keys.has(key)) said.delete(key);
    }
    planned = services;
    for (const { key, fields, text, count: countNow, full } of all) {
      const count = countNow();
      const last = said.get(key);
      if (last === undefined || count < last.count)
        said.set(key, { count, atMs: Number.NEGATIVE_INFINITY, beganMs: undefined });
      else if (count > last.count) {
        last.beganMs ??= now;
        if (now - last.beganMs < GATHER_MS || now - last.atMs < REPEAT_MS) continue;
        const names = full?.() ?? '';
        log({ ...fields, count: count - last.count }, names === '' ? text : `${text} (${names})`);
        said.set(key, { count, atMs: now, beganMs: undefined });
      }
    }
    lookAfterLports();
  };
  const lookAfterLports = () => {
    const { lportReserve } = sources.config().sessions;
    for (const { service, count, names } of lowLports.look(pools, sources.legsInUse, lportReserve, nowMs())) {
      const timeouts = `oneway ${formatDuration(service.onewayMs)}, normal ${formatDuration(service.normalMs)}`;
      log(
        { service: service.name, what: 'lports_low', count },
        `service ${service.name}: few lports are left for new clients (${names}): ` +
          `shorten timeouts (${timeouts}), or give it more lips`,
      );
    }
  };
  look();
  const timer = setInterval(look, POLL_MS).unref();
  return () => clearInterval(timer);
}

function watched(sources: ExhaustionSources, pools: LportPools): Watched[] {
  const { services, legsInUse, ports } = sources;
  const list: Watched[] = [];
  const rows = [
    ...services().map((service) => ({ name: service.name, row: counterRow(service.index), service })),
    { name: '', row: 0, service: undefined },
  ];
  for (const { name, row, service } of rows) {
    const full = () => fullPools(pools.ofService.get(service!) ?? [], legsInUse, FULL);
    const add = (what: string, text: string, count: () => number, isOfLports = false) =>
      list.push({
        key: `${name} ${what}`,
        fields: name === '' ? { what } : { service: name, what },
        text: name === '' ? text : `service ${name}: ${text}`,
        count,
        ...(service !== undefined && isOfLports ? { full } : {}),
      });
    for (const [reason, text] of Object.entries(OF_DROPS) as [DropReason, string][]) {
      const cell = row + dropColumn(DROP[reason]);
      add(reason, text, () => sources.counters[cell], reason.startsWith('lports'));
    }
    const displaced = () => sources.counters[row + COUNTER.sessionsDisplaced];
    const evicted = () => sources.counters[row + COUNTER.sessionsEvicted] - displaced();
    add(
      'displaced',
      `no lport is free: new sessions get those of sessions that wait for an answer. A flood, or ${MORE_ROOM}`,
      displaced,
      true,
    );
    add(
      'evicted',
      'the session table is full: sessions end early (sessions.max, sessions.onewayShare)',
      evicted,
    );
  }
  for (const intake of [...ports, ...ports].keys()) {
    const { name } = ports[intake % ports.length];
    const whose = intake < ports.length ? '' : ' of known sources';
    const row = rowOfIntake(intake, ports.length) * IO_COUNTERS.length;
    list.push({
      key: `io ${name}${whose}`,
      fields: { interface: name, what: 'lost' },
      text: `interface ${name}: packets${whose} come faster than they are processed`,
      count: () => sources.io[row + IO_COLUMN.lostKernel] + sources.io[row + IO_COLUMN.lostBacklog],
    });
  }
  return list;
}
