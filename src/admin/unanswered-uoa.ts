// Tells the operator once per real server that it seems not to get packets with a UOA inside: its sessions
// are answered only when a packet has none. The datapath counts first answers (datapath/attempts.ts); this
// looks at the counts.
import { SERVER_COUNTER, serverRow } from '../datapath/server-cells.ts';
import { type ServicePlan, serverName } from '../service/plan.ts';
import type { AdminSources } from './sources.ts';

type Log = (fields: Record<string, unknown>, message: string) => void;

const POLL_MS = 1000;
/** So many in a row are seldom an accident; several sessions of a program that starts slowly are. */
const SESSIONS = 3;

interface Watched {
  readonly service: string;
  readonly rs: string;
  readonly row: number;
  /** As both were when a packet with a UOA inside was answered last. */
  answered: number;
  unanswered: number;
  isSaid: boolean;
}

/** Calls `log` once for each; holds the process open for nothing. Returns what ends it. */
export function watchUnansweredUoa(
  sources: Pick<AdminSources, 'services' | 'servers' | 'refresh'>,
  log: Log,
): () => void {
  let planned: readonly ServicePlan[] | undefined;
  let all: Watched[] = [];
  const timer = setInterval(() => {
    sources.refresh();
    const { servers } = sources;
    const services = sources.services();
    // From 0 at first, and for what a reload adds from what its cells hold.
    if (services !== planned) all = watchedIn(services, planned === undefined ? undefined : servers, all);
    planned = services;
    for (const one of all) {
      const answered = servers[one.row + SERVER_COUNTER.uoaAnswered];
      const unanswered = servers[one.row + SERVER_COUNTER.uoaUnanswered];
      if (answered !== one.answered) {
        one.answered = answered;
        one.unanswered = unanswered;
      } else if (!one.isSaid && unanswered - one.unanswered >= SESSIONS) {
        one.isSaid = true;
        log({ service: one.service, rs: one.rs, what: 'uoa_unanswered' }, describe(one));
      }
    }
  }, POLL_MS);
  timer.unref();
  return () => clearInterval(timer);
}

function watchedIn(
  services: readonly ServicePlan[],
  servers: Float64Array | undefined,
  before: readonly Watched[],
): Watched[] {
  const known = new Map(before.map((one) => [`${one.service} ${one.rs} ${one.row}`, one]));
  return services.flatMap(({ name, realServers }) =>
    realServers.map((server): Watched => {
      const [rs, row] = [serverName(server), serverRow(server.index)];
      return (
        known.get(`${name} ${rs} ${row}`) ?? {
          service: name,
          rs,
          row,
          answered: servers?.[row + SERVER_COUNTER.uoaAnswered] ?? 0,
          unanswered: servers?.[row + SERVER_COUNTER.uoaUnanswered] ?? 0,
          isSaid: false,
        }
      );
    }),
  );
}

const describe = ({ service, rs }: Watched): string =>
  `real server ${rs} of ${service} answers only packets without UOA: a network or firewall on the way may drop those with it, so that it knows no client, or it was slow to start; uoa-proxy ctl probe ${service} ${rs} tells`;
