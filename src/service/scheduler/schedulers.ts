// The schedulers by the names that the config has for them.
import { LeastConnection } from './lc.ts';
import { Maglev } from './mh.ts';
import { RandomChoice } from './random.ts';
import { RoundRobin } from './rr.ts';
import type { Scheduler, ServerSet } from './scheduler.ts';
import { SourceHash } from './sh.ts';
import { WeightedLeastConnection } from './wlc.ts';
import { WeightedRoundRobin } from './wrr.ts';

export const SCHEDULERS = {
  rr: (servers: ServerSet): Scheduler => new RoundRobin(servers),
  wrr: (servers: ServerSet): Scheduler => new WeightedRoundRobin(servers),
  lc: (servers: ServerSet): Scheduler => new LeastConnection(servers),
  wlc: (servers: ServerSet): Scheduler => new WeightedLeastConnection(servers),
  sh: (servers: ServerSet): Scheduler => new SourceHash(servers),
  mh: (servers: ServerSet): Scheduler => new Maglev(servers),
  random: (servers: ServerSet): Scheduler => new RandomChoice(servers),
} as const;
