// A leg: one LIP towards one real server, with the lports that sessions take on it. Several services may name
// the same LIP and real server; their legs then share the pool, so that LIP:lport stays unique per real
// server.
import type { ProxyV2Mode } from '../uoa/dialect.ts';
import type { UoaReceiver } from '../uoa/receiver.ts';
import type { Family } from '../wire/address.ts';
import type { LportPool } from './lport-pool.ts';

export interface Leg {
  /** Index over all legs of the datapath. */
  readonly index: number;
  readonly family: Family;
  /**
   * LIP and RIP: source and destination of what is sent to the real server, eight words (wire/address.ts).
   */
  readonly towards: Int32Array;
  /** RIP and LIP: source and destination of what the real server sends. */
  readonly from: Int32Array;
  readonly rport: number;
  readonly mtu: number;
  readonly pool: LportPool;
  /** The real server's, shared by its legs. */
  readonly receiver: UoaReceiver;
  /** Which datagrams to its real server bring a header of PROXY protocol; undefined: none. */
  readonly proxyV2: ProxyV2Mode | undefined;
  /** What its real server is told in, as uoa/dialect.ts numbers it; 0: nothing. */
  readonly dialectNumber: number;
  /** Index of the real server over all services. */
  readonly realServerIndex: number;
}
