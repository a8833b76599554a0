// What stays from the start of the proxy to its end, whatever the config becomes.
import type { Logger } from 'pino';
import type { DatapathMemory } from '../datapath/memory.ts';
import type { Totals } from '../datapath/totals.ts';
import type { IoHost } from '../io/io-mode.ts';
import type { Workers } from '../workers.ts';
import type { FastPath } from './fast-path.ts';
import type { FastPathStatus } from './fast-path-status.ts';
import type { FastPathSwitch } from './fast-path-switch.ts';
import type { HostSetup } from './host-setup.ts';
import type { MemoryLayout } from './planning.ts';
import type { ServerStates } from './server-states.ts';

export interface Runtime {
  readonly log: Logger;
  readonly io: IoHost;
  readonly fast: FastPath;
  readonly fastStatus: FastPathStatus;
  readonly fastSwitch: FastPathSwitch;
  readonly layout: MemoryLayout;
  readonly steeringKey: readonly number[];
  /** One per worker. */
  readonly memories: readonly DatapathMemory[];
  readonly totals: Totals;
  readonly hostSetup: HostSetup;
  readonly serverStates: ServerStates;
  readonly workers: Workers;
}
