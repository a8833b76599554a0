// How a service chooses the real server of a new session. A scheduler is asked once per session, holds only its own
// turn, and never chooses a real server of weight 0.
import { RoundRobin } from './rr.ts';
import { WeightedRoundRobin } from './wrr.ts';

export interface Scheduler {
  /** Index into the weights it was made with, or -1 when all are 0. */
  pick(): number;
}

export const SCHEDULERS = {
  rr: (weights: readonly number[]): Scheduler => new RoundRobin(weights),
  wrr: (weights: readonly number[]): Scheduler => new WeightedRoundRobin(weights),
} as const;
