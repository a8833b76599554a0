// How each real server is: what the config gives it, what an operator changed at run time, and what its checks say. From
// these follows the weight that the datapaths read, in one cell of the shared memory, without a message to them.
import type { Logger } from 'pino';
import type { ServerState } from '../admin/sources.ts';
import { CONTROL, type CommonMemory } from '../datapath/memory.ts';
import { WEIGHT_DOWN } from '../datapath/server-cells.ts';
import { type RealServerPlan, type ServicePlan, serverName } from '../service/plan.ts';

interface Entry {
  service: string;
  rs: string;
  plan: RealServerPlan;
  isDown: boolean;
  /** Why, or the last check's words. */
  reason: string;
  isDrained: boolean;
  weightSetTo: number | undefined;
  since: Date;
}

export class ServerBoard {
  readonly #common: CommonMemory;
  readonly #log: Logger;
  #entries = new Map<number, Entry>();

  constructor(common: CommonMemory, log: Logger) {
    this.#common = common;
    this.#log = log;
  }

  /** What was said of a real server that stays goes on, but for a weight where the config now has another. */
  update(services: readonly ServicePlan[]): void {
    const entries = new Map<number, Entry>();
    for (const { name, realServers } of services) {
      for (const plan of realServers) {
        const rs = serverName(plan);
        const known = this.#entries.get(plan.index);
        const isSame = known !== undefined && known.service === name && known.rs === rs;
        const entry = isSame ? known : newEntry(name, rs, plan);
        if (entry.plan.weight !== plan.weight) entry.weightSetTo = undefined;
        if (entry.plan.isLeaving !== plan.isLeaving) entry.since = new Date();
        entry.plan = plan;
        entries.set(plan.index, entry);
      }
    }
    this.#entries = entries;
    this.#write();
  }

  /** Gives those that are new their weight, before a datapath knows of them: 0 would turn the first clients away. */
  announce(services: readonly ServicePlan[]): void {
    for (const { name, realServers } of services) {
      for (const plan of realServers) {
        if (!this.#entries.has(plan.index))
          this.#entries.set(plan.index, newEntry(name, serverName(plan), plan));
      }
    }
    this.#write();
  }

  /** What a check says. Logged when it is news. */
  setHealth(index: number, state: 'up' | 'down', reason: string): void {
    const entry = this.#entries.get(index);
    if (entry === undefined) return;
    const isDown = state === 'down';
    entry.reason = reason;
    if (entry.isDown === isDown) return;
    entry.isDown = isDown;
    entry.since = new Date();
    const { service, rs } = entry;
    if (isDown) this.#log.warn({ service, rs, reason }, `real server ${rs} of ${service} is down: ${reason}`);
    else this.#log.info({ service, rs, reason }, `real server ${rs} of ${service} is up again`);
    this.#write();
    const own = [...this.#entries.values()].filter((one) => one.service === service && isRegular(one));
    if (isDown && isRegular(entry) && own.every((one) => one.isDown))
      this.#log.error({ service }, `service ${service}: no real server is up`);
  }

  drain(index: number): void {
    this.#change(index, (entry) => {
      entry.isDrained = true;
      return 'drained: it takes no new sessions';
    });
  }

  enable(index: number): void {
    this.#change(index, (entry) => {
      entry.isDrained = false;
      entry.weightSetTo = undefined;
      return 'enabled';
    });
  }

  setWeight(index: number, weight: number): void {
    this.#change(index, (entry) => {
      const before = entry.weightSetTo ?? entry.plan.weight;
      entry.weightSetTo = weight;
      return `weight ${before} -> ${weight}`;
    });
  }

  stateOf(index: number): ServerState {
    const entry = this.#entries.get(index);
    if (entry === undefined)
      return { state: 'removed', reason: 'not in the config', since: new Date(0), weightSetTo: undefined };
    const { isDown, isDrained, plan, reason, since, weightSetTo } = entry;
    if (isDown) return { state: 'down', reason, since, weightSetTo };
    if (plan.isLeaving) {
      return { state: 'removed', reason: 'the config names it no more', since, weightSetTo };
    }
    if (isDrained) return { state: 'drained', reason: 'drained by an operator', since, weightSetTo };
    return { state: 'up', reason, since, weightSetTo };
  }

  /** Services of which no real server takes new sessions because all are down. */
  servicesDown(): string[] {
    const byService = new Map<string, boolean>();
    for (const { service, isDown, plan } of this.#entries.values()) {
      if (plan.isLeaving) continue;
      byService.set(service, (byService.get(service) ?? true) && isDown);
    }
    return [...byService].filter(([, isDown]) => isDown).map(([service]) => service);
  }

  #change(index: number, change: (entry: Entry) => string): void {
    const entry = this.#entries.get(index);
    if (entry === undefined) return;
    const what = change(entry);
    entry.since = new Date();
    const { service, rs } = entry;
    this.#log.info({ service, rs }, `real server ${rs} of ${service} ${what}`);
    this.#write();
  }

  #write(): void {
    const { control, weights } = this.#common;
    for (const [index, entry] of this.#entries) weights[index] = effectiveWeight(entry);
    Atomics.add(control, CONTROL.weightsVersion, 1);
  }
}

function newEntry(service: string, rs: string, plan: RealServerPlan): Entry {
  return {
    service,
    rs,
    plan,
    isDown: false,
    reason: '',
    isDrained: false,
    weightSetTo: undefined,
    since: new Date(),
  };
}

/** Neither the fallback nor leaving: it should take new sessions. */
const isRegular = ({ plan }: Entry): boolean => !plan.isFallback && !plan.isLeaving;

function effectiveWeight({ isDown, isDrained, plan, weightSetTo }: Entry): number {
  if (isDown) return WEIGHT_DOWN;
  return isDrained || plan.isLeaving ? 0 : (weightSetTo ?? plan.weight);
}
