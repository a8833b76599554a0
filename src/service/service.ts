// A service at work: VIP:vport, its policy, its scheduler and its real servers with their legs.
import type { Leg } from '../session/leg.ts';
import type { SessionService } from '../session/table.ts';
import { UOA_DIALECTS, type UoaDialect } from '../uoa/dialect.ts';
import type { UoaPolicy } from '../uoa/handshake.ts';
import { parseIpv4 } from '../wire/address.ts';
import type { ServicePlan } from './plan.ts';
import { RealServer } from './real-server.ts';
import { SCHEDULERS, type Scheduler } from './scheduler/scheduler.ts';

export class Service implements SessionService, UoaPolicy {
  /** Index over all services of the datapath. */
  readonly index: number;
  readonly vip: number;
  readonly vport: number;
  readonly onewayMs: number;
  readonly normalMs: number;
  readonly dialect: UoaDialect;
  readonly maxTrials: number;
  readonly refreshMs: number;
  readonly idleRefreshMs: number;
  readonly realServers: readonly RealServer[];
  readonly #scheduler: Scheduler;

  /** `legs` are those of this service: for each real server one per LIP. */
  constructor(index: number, plan: ServicePlan, legs: readonly Leg[]) {
    this.index = index;
    this.vip = parseIpv4(plan.vip);
    this.vport = plan.vport;
    this.onewayMs = plan.onewayMs;
    this.normalMs = plan.normalMs;
    this.dialect = UOA_DIALECTS[plan.dialect];
    this.maxTrials = plan.maxTrials;
    this.refreshMs = plan.refreshMs;
    this.idleRefreshMs = plan.idleRefreshMs;
    const lips = plan.lips.length;
    this.realServers = plan.realServers.map((_, i) => new RealServer(legs.slice(i * lips, (i + 1) * lips)));
    this.#scheduler = SCHEDULERS[plan.scheduler](plan.realServers.map(({ weight }) => weight));
  }

  /** The real server for a new session; undefined when every weight is 0. */
  pick(): RealServer | undefined {
    const index = this.#scheduler.pick();
    return index < 0 ? undefined : this.realServers[index];
  }
}
