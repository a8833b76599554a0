// How far the lports of each LIP towards each real server are used. Legs of several services may share them.
import { type ServicePlan, serverName } from '../service/plan.ts';

export interface LportPools {
  /** Each once. */
  readonly all: readonly Pool[];
  readonly ofService: ReadonlyMap<ServicePlan, readonly Pool[]>;
}

export interface Pool {
  readonly key: string;
  /** The one that names it first. */
  readonly service: ServicePlan;
  /** LIP and real server. */
  readonly name: string;
  readonly capacity: number;
  /** Cells of `legsInUse`. */
  readonly legs: number[];
}

export function lportPools(services: readonly ServicePlan[]): LportPools {
  const byKey = new Map<string, Pool>();
  const ofService = new Map<ServicePlan, readonly Pool[]>();
  for (const service of services) {
    const { first, last } = service.lports;
    const own: Pool[] = [];
    for (const server of service.realServers) {
      for (const { index, lip } of server.legs) {
        const name = `${lip} to ${serverName(server)}`;
        const key = `${name} ${first}-${last}`;
        const pool = byKey.get(key) ?? { key, service, name, capacity: last - first + 1, legs: [] };
        byKey.set(key, pool);
        pool.legs.push(index);
        own.push(pool);
      }
    }
    ofService.set(service, own);
  }
  return { all: [...byKey.values()], ofService };
}

export const usedOf = ({ legs }: Pool, legsInUse: Float64Array): number =>
  legs.reduce((sum, index) => sum + legsInUse[index]!, 0);

const SAID = 4;

/** Those of the pools that use at least this share, the fullest first; '' when there is none. */
export function fullPools(pools: readonly Pool[], legsInUse: Float64Array, share: number): string {
  const full = pools
    .map((pool) => ({ pool, used: usedOf(pool, legsInUse) }))
    .filter(({ pool, used }) => used >= pool.capacity * share)
    .sort((a, b) => b.used - a.used);
  const said = full.slice(0, SAID).map(({ pool, used }) => `${pool.name} uses ${used} of ${pool.capacity}`);
  const more = full.length > SAID ? [`${full.length - SAID} more`] : [];
  return [...said, ...more].join(', ');
}
