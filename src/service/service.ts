// A service at work: VIP:vport, its policy, its real servers with their legs, and the choice among them.
import { vipAt } from '../session/session.ts';
import type { SessionService } from '../session/tuple-index.ts';
import type { UoaPolicy } from '../uoa/handshake.ts';
import { familyOf, parseAddressInto } from '../wire/address.ts';
import type { Persistence } from './persistence.ts';
import { type ServicePlan, serverName } from './plan.ts';
import type { RealServer } from './real-server.ts';
import { type Load, Scheduling } from './scheduling.ts';

/** What all services of a datapath choose by, in memory that others write to. */
export interface SchedulingState extends Load {
  /** Cell 0 goes up after weights changed. */
  readonly weightsVersion: Int32Array;
  readonly persistence: Persistence;
}

const NONE = -1;

export class Service implements SessionService, UoaPolicy {
  /** Over all services of the datapath. */
  readonly index: number;
  readonly vips = new Int32Array(8);
  readonly vport: number;
  readonly onewayMs: number;
  readonly normalMs: number;
  readonly maxTrials: number;
  readonly refreshMs: number;
  readonly refreshesAcked: boolean;
  readonly idleRefreshMs: number;
  readonly onDown: ServicePlan['onDown'];
  readonly realServers: readonly RealServer[];
  readonly #schedulingState: SchedulingState;
  /** For the service that takes the place of this one. */
  readonly scheduling: Scheduling;
  readonly #fallback: RealServer | undefined;
  readonly #persistenceMs: number;
  #seenVersion: number;
  /** `pick` found none, but would have for another client. */
  isOnlyItself = false;

  /**
   * `realServers` are those of the plan, in its order. Takes the place of `before`, which is not to be used
   * after it: where both choose among the same real servers in the same way, the choice goes on where it was.
   */
  constructor(
    plan: ServicePlan,
    realServers: readonly RealServer[],
    schedulingState: SchedulingState,
    before?: Service,
  ) {
    this.index = plan.index;
    for (const vip of plan.vips) parseAddressInto(this.vips, vipAt(familyOf(vip)), vip);
    this.vport = plan.vport;
    this.onewayMs = plan.onewayMs;
    this.normalMs = plan.normalMs;
    this.maxTrials = plan.maxTrials;
    this.refreshMs = plan.refreshMs;
    this.refreshesAcked = plan.refreshesAcked;
    this.idleRefreshMs = plan.idleRefreshMs;
    this.onDown = plan.onDown;
    this.#persistenceMs = plan.persistenceMs;
    this.realServers = realServers;
    this.#schedulingState = schedulingState;
    const isScheduled = plan.realServers.map(({ isFallback, isLeaving }) => !isFallback && !isLeaving);
    const keys = plan.realServers.filter((_, i) => isScheduled[i]).map(serverName);
    const scheduled = realServers.filter((_, i) => isScheduled[i]);
    this.#fallback = realServers.find((_, i) => plan.realServers[i].isFallback);
    this.#seenVersion = Atomics.load(schedulingState.weightsVersion, 0);
    if (before?.scheduling.isFor(plan.scheduler, keys)) {
      this.scheduling = before.scheduling;
      this.scheduling.goOn(scheduled);
    } else {
      this.scheduling = new Scheduling(plan.scheduler, keys, scheduled, schedulingState, plan.index);
    }
  }

  /**
   * The real server for a new session of the client at words 0 to 3 and its port, never one that is itself
   * the client; undefined when none takes one, and then `isOnlyItself` says whether the client would.
   */
  pick(client: Int32Array, cport: number, nowMs: number): RealServer | undefined {
    const { weightsVersion } = this.#schedulingState;
    const { scheduling } = this;
    this.isOnlyItself = false;
    const version = Atomics.load(weightsVersion, 0);
    if (version !== this.#seenVersion) {
      this.#seenVersion = version;
      scheduling.update();
    }
    const last = this.#lastOf(client, cport, nowMs);
    if (last !== undefined) return this.#note(client, last, nowMs);
    let chosen = scheduling.pick(client, NONE);
    if (chosen < 0) return this.#fallbackFor(client, cport);
    if (scheduling.servers[chosen].isAt(client, cport)) {
      chosen = scheduling.pick(client, chosen);
      this.isOnlyItself = chosen < 0;
      if (this.isOnlyItself) return undefined;
    }
    // Another datapath may have chosen for another port of the client meanwhile.
    return this.#note(client, this.#lastOf(client, cport, nowMs) ?? scheduling.servers[chosen], nowMs);
  }

  #fallbackFor(client: Int32Array, cport: number): RealServer | undefined {
    const fallback = this.#fallback;
    if (fallback === undefined || this.#schedulingState.weights[fallback.index] <= 0) return undefined;
    this.isOnlyItself = fallback.isAt(client, cport);
    return this.isOnlyItself ? undefined : fallback;
  }

  /** Where the client's last session went, if that takes new ones and is not itself. */
  #lastOf(client: Int32Array, cport: number, nowMs: number): RealServer | undefined {
    if (this.#persistenceMs === 0) return undefined;
    const { persistence, weights } = this.#schedulingState;
    const last = persistence.find(client, 0, this.index, this.#persistenceMs, nowMs);
    if (last < 0 || weights[last] <= 0) return undefined;
    for (const server of this.scheduling.servers)
      if (server.index === last) return server.isAt(client, cport) ? undefined : server;
    return undefined;
  }

  /** The real server answered the client at client[at..at+3] for the first time in a session. */
  noteAnswered(client: Int32Array, at: number, realServerIndex: number, nowMs: number): void {
    if (this.#persistenceMs > 0 && realServerIndex !== this.#fallback?.index)
      this.#schedulingState.persistence.noteAnswered(client, at, this.index, realServerIndex, nowMs);
  }

  #note(client: Int32Array, realServer: RealServer, nowMs: number): RealServer {
    if (this.#persistenceMs > 0)
      this.#schedulingState.persistence.note(client, 0, this.index, realServer.index, nowMs);
    return realServer;
  }
}
