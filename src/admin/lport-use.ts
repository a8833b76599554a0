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
  legs.reduce((sum, index) => sum + legsInUse[index], 0);

const NAMED = 4;

/** Those of the pools that use at least this share, the fullest first; '' when there is none. */
export function fullPools(pools: readonly Pool[], legsInUse: Float64Array, share: number): string {
  return namesOf(
    pools.filter((pool) => usedOf(pool, legsInUse) >= pool.capacity * share),
    legsInUse,
  );
}

function namesOf(pools: readonly Pool[], legsInUse: Float64Array): string {
  const fullest = pools.toSorted((a, b) => usedOf(b, legsInUse) - usedOf(a, legsInUse));
  const named = fullest
    .slice(0, NAMED)
    .map((pool) => `${pool.name} uses ${usedOf(pool, legsInUse)} of ${pool.capacity}`);
  const more = fullest.length > NAMED ? [`${fullest.length - NAMED} more`] : [];
  return [...named, ...more].join(', ');
}

/** Of the lports that clients get who were not answered before. */
const LOW = 0.8;
const REPEAT_MS = 3_600_000;
/** Of the same service: what becomes low meanwhile is said together. */
const GATHER_MS = 60_000;

export interface LowLports {
  service: ServicePlan;
  count: number;
  names: string;
}

/** Finds pools of which few lports are left, each once in an hour. */
export class LowLportsWatch {
  #pools: LportPools | undefined;
  /** By key of a pool, and by name of a service. */
  readonly #poolsSaidAt = new Map<string, number>();
  readonly #servicesSaidAt = new Map<string, number>();

  look(pools: LportPools, legsInUse: Float64Array, reservePercent: number, nowMs: number): LowLports[] {
    if (pools !== this.#pools) this.#forgetOthers(pools);
    this.#pools = pools;
    const low = new Map<ServicePlan, Pool[]>();
    const share = (LOW * (100 - reservePercent)) / 100;
    for (const pool of pools.all) {
      if (usedOf(pool, legsInUse) < pool.capacity * share) continue;
      if (nowMs - (this.#poolsSaidAt.get(pool.key) ?? Number.NEGATIVE_INFINITY) < REPEAT_MS) continue;
      const others = low.get(pool.service);
      if (others === undefined) low.set(pool.service, [pool]);
      else others.push(pool);
    }
    const found: LowLports[] = [];
    for (const [service, ofService] of low) {
      const saidAt = this.#servicesSaidAt.get(service.name) ?? Number.NEGATIVE_INFINITY;
      if (nowMs - saidAt < GATHER_MS) continue;
      this.#servicesSaidAt.set(service.name, nowMs);
      for (const { key } of ofService) this.#poolsSaidAt.set(key, nowMs);
      found.push({ service, count: ofService.length, names: namesOf(ofService, legsInUse) });
    }
    return found;
  }

  #forgetOthers({ all, ofService }: LportPools): void {
    const keys = new Set(all.map(({ key }) => key));
    for (const key of this.#poolsSaidAt.keys()) if (!keys.has(key)) this.#poolsSaidAt.delete(key);
    const names = new Set([...ofService.keys()].map(({ name }) => name));
    for (const name of this.#servicesSaidAt.keys()) if (!names.has(name)) this.#servicesSaidAt.delete(name);
  }
}
