// Tells the operator when something is used up: the session table, lports, a limit of a service, the kernel's buffers. The
// datapath only counts; this looks at the counts once a second and says each thing at once, and then at most once a minute.
import { COUNTER, counterRow, dropColumn } from '../datapath/counters.ts';
import { DROP, type DropReason } from '../datapath/verdict.ts';
import { IO_COLUMN, IO_COUNTERS, rowOfRing } from '../io/packet-io.ts';
import type { AdminSources } from './sources.ts';

type Log = (fields: Record<string, unknown>, message: string) => void;

const POLL_MS = 1000;
const REPEAT_MS = 60_000;

/** What is said of a service when a reason's drops go up. */
const OF_DROPS: Partial<Record<DropReason, string>> = {
  lports_exhausted: 'no lport is free: give it more lips',
  lports_reserved: 'the last lports are kept for clients that were answered before: more lips, or a flood',
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
  count: number;
}

interface Said {
  /** What had been counted when it was said last, or at first. */
  count: number;
  atMs: number;
}

export type ExhaustionSources = Pick<AdminSources, 'services' | 'counters' | 'io' | 'ports' | 'refresh'>;

/** Holds the process open for nothing. Returns what ends it. `nowMs` is monotonic. */
export function watchExhaustion(
  sources: ExhaustionSources,
  log: Log,
  nowMs: () => number = () => performance.now(),
): () => void {
  const said = new Map<string, Said>();
  const look = () => {
    sources.refresh();
    for (const { key, fields, text, count } of watched(sources)) {
      const last = said.get(key);
      if (last === undefined || count < last.count) said.set(key, { count, atMs: Number.NEGATIVE_INFINITY });
      else if (count > last.count && nowMs() - last.atMs >= REPEAT_MS) {
        log({ ...fields, count: count - last.count }, text);
        said.set(key, { count, atMs: nowMs() });
      }
    }
  };
  look();
  const timer = setInterval(look, POLL_MS).unref();
  return () => clearInterval(timer);
}

function watched({ services, counters, io, ports }: ExhaustionSources): Watched[] {
  const list: Watched[] = [];
  const rows = [
    ...services().map(({ name, index }) => ({ name, row: counterRow(index) })),
    { name: '', row: 0 },
  ];
  for (const { name, row } of rows) {
    const add = (what: string, text: string, count: number) =>
      list.push({
        key: `${name} ${what}`,
        fields: name === '' ? { what } : { service: name, what },
        text: name === '' ? text : `service ${name}: ${text}`,
        count,
      });
    for (const [reason, text] of Object.entries(OF_DROPS) as [DropReason, string][])
      add(reason, text, counters[row + dropColumn(DROP[reason])]!);
    const evicted = counters[row + COUNTER.sessionsEvicted]!;
    add(
      'evicted',
      'the session table is full: sessions end early (sessions.max, sessions.onewayShare)',
      evicted,
    );
  }
  for (const ring of [...ports, ...ports].keys()) {
    const { name } = ports[ring % ports.length]!;
    const whose = ring < ports.length ? '' : ' of known sources';
    const row = rowOfRing(ring, ports.length) * IO_COUNTERS.length;
    list.push({
      key: `io ${name}${whose}`,
      fields: { interface: name, what: 'lost' },
      text: `interface ${name}: packets${whose} come faster than they are processed`,
      count: io[row + IO_COLUMN.lostKernel]! + io[row + IO_COLUMN.lostBacklog]!,
    });
  }
  return list;
}
