// A leg: one LIP towards one real server, with the lports that sessions take on it. Several services may name the same
// LIP and real server; their legs then share the pool, so that LIP:lport stays unique per real server.
import type { LportPool } from './lport-pool.ts';

export interface Leg {
  /** Index over all legs of the datapath. */
  readonly index: number;
  /** IPv4 as int32. */
  readonly lip: number;
  readonly rip: number;
  readonly rport: number;
  readonly mtu: number;
  readonly pool: LportPool;
}
