// Sessions over a restart: read before anything is opened, written into the memory of the datapaths before they start, and
// saved when they have stopped.
import type { Logger } from 'pino';
import type { Config } from '../config/schema.ts';
import type { DatapathMemory } from '../datapath/memory.ts';
import type { SteeringPlan } from '../io/steering.ts';
import type { ServicePlan } from '../service/plan.ts';

export interface SavedSessions {
  /** The one that the sessions were shared out by; undefined: it does not matter. */
  readonly steeringKey: readonly number[] | undefined;
  write(memories: readonly DatapathMemory[], steering: SteeringPlan | undefined): void;
}

export function restoreSessions(
  _config: Config,
  _services: readonly ServicePlan[],
  _workers: number,
  _log: Logger,
): SavedSessions | undefined {
  return undefined;
}

export function saveState(
  _config: Config,
  _services: readonly ServicePlan[],
  _memories: readonly DatapathMemory[],
  _steeringKey: readonly number[],
  _log: Logger,
): void {}
