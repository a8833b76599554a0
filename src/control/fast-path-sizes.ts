// How large the maps of the fast path are, and which part of them each worker has.
import type { FastPathSizes } from '../fast/layout.ts';
import type { IoPort } from '../io/packet-io.ts';
import type { ServicePlan } from '../service/plan.ts';
import type { FastPart } from '../worker-protocol.ts';

import { haveIpv6 } from './fast-path-places.ts';

/** Next hops of each worker, at most; of all together, because an entry has 16 bits for one. */
const HOPS = 4_096;
const ALL_HOPS = 1 << 16;
/** Interfaces that there is always room for. */
const PORTS = 64;

export interface FastPathRequest {
  ports: readonly IoPort[];
  workers: number;
  /** Of each worker. */
  sessions: number;
  /** By these a session may be of IPv6, or not: there is no memory for it then. */
  services: readonly Pick<ServicePlan, 'vips'>[];
  /** See proxyName. */
  name: string;
  /** Guards of this process, and of one that it takes over from. */
  guards: readonly string[];
}

export const sizesOf = ({ ports, services, workers, sessions }: FastPathRequest): FastPathSizes => ({
  sessions: workers * sessions,
  sessions6: haveIpv6(services) ? workers * sessions : 0,
  hops: workers * hopsOf(workers),
  ports: 2 ** Math.ceil(Math.log2(Math.max(PORTS, ports.length))),
  workers,
});

export function partOf(request: FastPathRequest, worker: number): FastPart {
  const { sessions, workers } = request;
  const hops = hopsOf(workers);
  return { sizes: sizesOf(request), firstSession: worker * sessions, firstHop: worker * hops, hops };
}

const hopsOf = (workers: number): number => Math.min(HOPS, Math.floor(ALL_HOPS / workers));
