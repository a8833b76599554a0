// How many workers there will be.
import { availableParallelism } from 'node:os';
import type { Logger } from 'pino';
import { type Config, MAX_WORKERS } from '../config/schema.ts';
import { workersMax } from '../io/modes.ts';
import { cpuQuota } from '../sys/cpu-quota.ts';

/** Where packet I/O is of a mode that takes so many. */
export function wantedWorkers({ io, services }: Config, log: Logger): number {
  if (workersMax(io.mode) === 1) return 1;
  // Each needs an lport of every LIP, or some clients would find none.
  const most = Math.min(...services.map(({ lports }) => lports.last - lports.first + 1));
  const wanted = io.workers === 'auto' ? workersFor(availableParallelism(), cpuQuota(), log) : io.workers;
  const workers = Math.min(wanted, most);
  if (workers < wanted) log.warn(`${workers} of ${wanted} workers: a service has no more lports than that`);
  return workers;
}

/** `auto`: one less than the processors; where something allows only less, that is said. */
export function workersFor(processors: number, quota: number | undefined, log: Logger): number {
  const wanted = Math.max(1, processors - 1);
  const byQuota = Math.max(1, Math.floor(quota ?? wanted));
  const workers = Math.min(wanted, byQuota, MAX_WORKERS);
  if (workers < wanted) {
    const why =
      workers === byQuota
        ? `its cgroup lets it use ${Number(quota!.toFixed(2))} processors`
        : 'there are never more';
    log.info(`io.workers auto: ${workers} of ${wanted} for ${processors} processors, because ${why}`);
  }
  return workers;
}
