// Tells the operator once per real server that it cannot read its UOA. The datapath counts what such a server
// says by ICMP; this looks at the counts, because the datapath itself never logs.

import { SERVER_COUNTER, serverRow } from '../datapath/server-cells.ts';
import { type ServicePlan, serverName } from '../service/plan.ts';
import { whatToCheck } from '../uoa/dialect.ts';
import type { AdminSources } from './sources.ts';

type Log = (fields: Record<string, unknown>, message: string) => void;

/** A real server as the log names it. */
interface WatchedServer {
  readonly service: string;
  /** Its address and port. */
  readonly rs: string;
  readonly dialect: ServicePlan['realServers'][number]['dialect'];
  /** What it gets instead: `plain` or another dialect. */
  readonly instead: string;
}

const POLL_MS = 1000;

/**
 * Calls `log` once for each real server whose refusals go up: from 0 at first, and for what a reload adds or
 * gives another dialect from the count that it then has. Holds the process open for nothing. Returns what
 * ends it.
 */
export function watchRefusals(
  sources: Pick<AdminSources, 'services' | 'servers' | 'refresh'>,
  log: Log,
): () => void {
  let planned: readonly ServicePlan[] | undefined;
  let all: Counted[] = [];
  const timer = setInterval(() => {
    sources.refresh();
    const services = sources.services();
    if (services !== planned) {
      const before = new Map(all.map(({ key, known }) => [key, known]));
      const isFirst = planned === undefined;
      all = countedServers(services);
      for (const one of all) one.known = isFirst ? 0 : (before.get(one.key) ?? sources.servers[one.cell]);
      planned = services;
    }
    for (const one of all) {
      if (sources.servers[one.cell] <= one.known) continue;
      log({ ...one.server }, describe(one.server));
      one.known = Number.POSITIVE_INFINITY;
    }
  }, POLL_MS);
  timer.unref();
  return () => clearInterval(timer);
}

interface Counted {
  readonly server: WatchedServer;
  readonly key: string;
  /** Of AdminSources.servers. */
  readonly cell: number;
  /** Refusals that are known, or infinite: it was said. */
  known: number;
}

/** There may be thousands, so this is done for other services only. */
function countedServers(services: readonly ServicePlan[]): Counted[] {
  return services.flatMap(({ name, realServers, onUnsupported }) =>
    realServers.map((one) => {
      const server = { service: name, rs: serverName(one), dialect: one.dialect, instead: onUnsupported };
      const cell = serverRow(one.index) + SERVER_COUNTER.refusals;
      return { server, key: Object.values(server).join(' '), cell, known: 0 };
    }),
  );
}

function describe({ rs, dialect, instead }: WatchedServer): string {
  const now =
    instead === 'plain'
      ? 'plain datagrams without the client address'
      : `${instead}, and plain datagrams if it cannot read that either`;
  return `real server ${rs} says by ICMP that it cannot read ${dialect}: for a minute at a time it gets ${now}; check ${dialect === 'none' ? 'who says so' : whatToCheck(dialect)}`;
}
