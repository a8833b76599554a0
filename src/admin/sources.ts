// What the admin HTTP server reads. All of it answers at once from memory of this process or memory shared with the
// datapath: a scrape never waits for the datapath.
import type { Config } from '../config/schema.ts';
import type { SessionFilter } from '../session/snapshot.ts';

export interface AdminService {
  name: string;
  /** One, or one of each family. */
  vips: readonly string[];
  vport: number;
  scheduler: string;
  maxTrials: number;
  unifiedType: number;
  /** What a real server gets that cannot read its dialect. */
  onUnsupported: string;
  realServers: readonly { ip: string; port: number; weight: number; dialect: string }[];
}

/** One LIP towards one real server. */
export interface AdminLeg {
  lip: string;
  /** Number of lports; 0 where they are counted with another leg that shares them. */
  capacity: number;
}

export interface AdminSources {
  version: string;
  startedAt: Date;
  config: Config;
  /** In the order of the counter rows: service i is row 1 + i. */
  services: readonly AdminService[];
  legs: readonly AdminLeg[];
  /** lports in use, one cell per leg. */
  legsInUse: Float64Array;
  /** Rows as in datapath/counters.ts. */
  counters: Float64Array;
  /** How often a real server said that it cannot read its UOA: one cell per real server, of all services in order. */
  refusals: Float64Array;
  ports: readonly { name: string }[];
  /** One row of IO_COUNTERS per port, and a last one for what has no port. */
  io: Float64Array;
  /** Brings the four arrays above up to date; called before they are read. */
  refresh(): void;
  /** ring or pcap. */
  ioMode: string;
  /** `reason` says in words why it is not ready, or what it serves. */
  readiness(): { ready: boolean; reason: string };
  /** Of each datapath process; undefined while it does not run. */
  datapathPids(): readonly (number | undefined)[];
  sessions: {
    /** `total` counts all that match; `sessions` holds those in [offset, offset + limit). */
    list(query: SessionFilter): { total: number; sessions: object[] };
  };
}

/** The cell of a service's first real server in `refusals`. */
export function firstServerOf(services: readonly AdminService[], index: number): number {
  return services.slice(0, index).reduce((sum, { realServers }) => sum + realServers.length, 0);
}
