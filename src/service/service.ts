// A service at work: VIP:vport, its policy, its scheduler and its real servers with their legs.
import type { Leg } from '../session/leg.ts';
import { vipAt } from '../session/session.ts';
import type { SessionService } from '../session/table.ts';
import type { UoaPolicy } from '../uoa/handshake.ts';
import { familyOf, parseAddressInto } from '../wire/address.ts';
import type { ServicePlan } from './plan.ts';
import { RealServer } from './real-server.ts';
import { SCHEDULERS, type Scheduler } from './scheduler/scheduler.ts';

export class Service implements SessionService, UoaPolicy {
  /** Index over all services of the datapath. */
  readonly index: number;
  readonly vips = new Int32Array(8);
  readonly vport: number;
  readonly onewayMs: number;
  readonly normalMs: number;
  readonly maxTrials: number;
  readonly refreshMs: number;
  readonly idleRefreshMs: number;
  readonly realServers: readonly RealServer[];
  readonly #scheduler: Scheduler;

  /** `legs` are those of each real server, one per LIP of its family. */
  constructor(index: number, plan: ServicePlan, legs: readonly (readonly Leg[])[]) {
    this.index = index;
    for (const vip of plan.vips) parseAddressInto(this.vips, vipAt(familyOf(vip)), vip);
    this.vport = plan.vport;
    this.onewayMs = plan.onewayMs;
    this.normalMs = plan.normalMs;
    this.maxTrials = plan.maxTrials;
    this.refreshMs = plan.refreshMs;
    this.idleRefreshMs = plan.idleRefreshMs;
    this.realServers = legs.map((own) => new RealServer(own));
    this.#scheduler = SCHEDULERS[plan.scheduler](plan.realServers.map(({ weight }) => weight));
  }

  /** The real server for a new session; undefined when every weight is 0. */
  pick(): RealServer | undefined {
    const index = this.#scheduler.pick();
    return index < 0 ? undefined : this.realServers[index];
  }
}
