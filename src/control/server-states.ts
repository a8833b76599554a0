// How each real server is: what the config gives it, what an operator changed at run time, and what its
// checks say. From these follows the weight that the datapaths read, in one cell of the shared memory,
// without a message to them.
import type { Logger } from 'pino';
import { OperationError, type ServerState } from '../admin/sources.ts';
import { Announcements } from '../datapath/announcements.ts';
import { CONTROL, type CommonMemory } from '../datapath/memory.ts';
import { WEIGHT_DOWN } from '../datapath/server-cells.ts';
import { type RealServerPlan, type ServicePlan, serverName } from '../service/plan.ts';
import type { SavedServer } from '../session/state-notes.ts';

interface Entry {
  service: string;
  rs: string;
  plan: RealServerPlan;
  /** By its checks; see isDown. */
  isFailing: boolean;
  /** Why, or the last check's words. */
  reason: string;
  isDrained: boolean;
  weightSetTo: number | undefined;
  since: Date;
}

/** No regular real server of a service takes new sessions. */
export interface Outage {
  service: string;
  text: string;
  /** By the fallback. */
  isServed: boolean;
}

export class ServerStates {
  readonly #common: CommonMemory;
  readonly #announcements: Announcements;
  readonly #log: Logger;
  #onSet: (set: readonly SavedServer[]) => void = () => {};
  /** What it was told last. */
  #told = '';
  #entries = new Map<number, Entry>();
  /** Those that `update` was given last. */
  #services: ReadonlySet<ServicePlan> = new Set();
  /** Outages as they were logged last, by service. */
  #said = new Map<string, string>();

  constructor(common: CommonMemory, log: Logger) {
    this.#common = common;
    this.#announcements = new Announcements(common.announcements);
    this.#log = log;
  }

  /** What was said of a real server that stays goes on, but for a weight where the config now has another. */
  update(services: readonly ServicePlan[]): void {
    const entries = new Map<number, Entry>();
    for (const service of services) {
      const { name, realServers } = service;
      if (this.#services.has(service)) {
        for (const { index } of realServers) entries.set(index, this.#entries.get(index)!);
        continue;
      }
      for (const plan of realServers) {
        const rs = serverName(plan);
        const known = this.#entries.get(plan.index);
        const isSame = known !== undefined && known.service === name && known.rs === rs;
        const entry = isSame ? known : newEntry(name, rs, plan);
        const wasDown = isSame && isDown(entry);
        const wasUnreachable = isSame ? entry.plan.unreachable : '';
        if (entry.plan.weight !== plan.weight || plan.isFallback) entry.weightSetTo = undefined;
        changing(entry, () => {
          entry.plan = plan;
        });
        entries.set(plan.index, entry);
        if (plan.unreachable !== wasUnreachable || isDown(entry) !== wasDown) this.#noteHealth(entry);
      }
    }
    this.#entries = entries;
    this.#services = new Set(services);
    this.#write();
    this.#sayOutages();
    this.#tellSet();
  }

  /** Tells what an operator has set, now and when it is another, also by a change of the config. */
  tellSet(onSet: (set: readonly SavedServer[]) => void): void {
    this.#onSet = onSet;
    this.#told = '';
    this.#tellSet();
  }

  #tellSet(): void {
    const { set } = this;
    const text = JSON.stringify(set);
    if (text === this.#told) return;
    this.#told = text;
    this.#onSet(set);
  }

  /** What an operator set, and did not take back, of real servers that the config names. */
  get set(): SavedServer[] {
    return [...this.#entries.values()]
      .filter(
        ({ plan, isDrained, weightSetTo }) => !plan.isLeaving && (isDrained || weightSetTo !== undefined),
      )
      .map(({ service, rs, plan, isDrained, weightSetTo }) => {
        return { service, rs, isDrained, configured: plan.weight, weight: weightSetTo ?? null };
      });
  }

  /** Sets what was set in a process before this one; logs it, and what does not fit any more. */
  restore(saved: readonly SavedServer[]): void {
    const byName = new Map(
      [...this.#entries.values()].map((entry) => [`${entry.service} ${entry.rs}`, entry]),
    );
    for (const { service, rs, isDrained, configured, weight } of saved) {
      const entry = byName.get(`${service} ${rs}`);
      const what = [...(isDrained ? ['drained'] : []), ...(weight === null ? [] : [`weight ${weight}`])];
      const before = `real server ${rs} of ${service}, ${what.join(' and ')} by an operator before the restart`;
      if (entry === undefined) {
        this.#log.warn({ service, rs }, `${before}: is dropped, the config does not name it`);
        continue;
      }
      const hasOther = weight !== null && (entry.plan.weight !== configured || entry.plan.isFallback);
      if (hasOther)
        this.#log.warn(
          { service, rs },
          `${before}: weight ${weight} is dropped, the config has another one now (${entry.plan.weight})`,
        );
      changing(entry, () => {
        entry.isDrained = isDrained;
        entry.weightSetTo = hasOther ? undefined : (weight ?? undefined);
      });
      if (isDrained || !hasOther) this.#log.info({ service, rs }, `${before}: still so`);
    }
    this.#write();
    this.#sayOutages();
  }

  /**
   * Gives those that are new their weight, before a datapath knows of them: 0 would turn the first clients
   * away.
   */
  announce(services: readonly ServicePlan[]): void {
    let isAnyNew = false;
    for (const service of services) {
      if (this.#services.has(service)) continue;
      for (const plan of service.realServers) {
        if (this.#entries.has(plan.index)) continue;
        this.#entries.set(plan.index, newEntry(service.name, serverName(plan), plan));
        isAnyNew = true;
      }
    }
    if (isAnyNew) this.#write();
  }

  /** What a check says. Logged when it is news. */
  setHealth(index: number, state: 'up' | 'down', reason: string): void {
    const entry = this.#entries.get(index);
    if (entry === undefined) return;
    const isFailing = state === 'down';
    entry.reason = reason;
    if (entry.isFailing === isFailing) return;
    changing(entry, () => {
      entry.isFailing = isFailing;
    });
    // Of one that cannot be reached nothing changes by its checks.
    if (entry.plan.unreachable !== '') return;
    this.#noteHealth(entry);
    this.#write();
    this.#sayOutages();
  }

  /** It is down, or up again: then what it was told before may be forgotten. */
  #noteHealth(entry: Entry): void {
    const { service, rs } = entry;
    const reason = reasonOf(entry);
    if (isDown(entry)) {
      this.#log.warn({ service, rs, reason }, `real server ${rs} of ${service} is down: ${reason}`);
      return;
    }
    this.#announcements.announce(entry.plan.index);
    this.#log.info({ service, rs, reason }, `real server ${rs} of ${service} is up again`);
  }

  /** It is told of its sessions' clients again. */
  announceClients(index: number): void {
    const entry = this.#entries.get(index);
    if (entry === undefined) return;
    const { service, rs } = entry;
    this.#announcements.announce(index);
    this.#log.info({ service, rs }, `real server ${rs} of ${service} is told of its clients again`);
  }

  /** Throws an OperationError where it would be without effect, as the two below. */
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
      const { service, rs, plan } = entry;
      if (plan.isFallback)
        throw new OperationError(409, `${rs} is the fallback of ${service}: a fallback has no weight`);
      const before = entry.weightSetTo ?? plan.weight;
      entry.weightSetTo = weight;
      return `weight ${before} -> ${weight}`;
    });
  }

  /** Whether new sessions could go to another real server of its service, be it the fallback. */
  hasOther(index: number): boolean {
    const service = this.#entries.get(index)?.service;
    return [...this.#entries].some(
      ([other, entry]) => other !== index && entry.service === service && takesSessions(entry),
    );
  }

  stateOf(index: number): ServerState {
    const entry = this.#entries.get(index);
    if (entry === undefined) return UNKNOWN;
    const { isDrained, plan, since, weightSetTo } = entry;
    const state = stateIn(entry);
    const reason = state === 'removed' ? REMOVED : state === 'drained' ? DRAINED : reasonOf(entry);
    return { state, isDown: isDown(entry), isDrained, isRemoved: plan.isLeaving, reason, since, weightSetTo };
  }

  /** Services whose regular real servers take no new sessions. */
  outages(): Outage[] {
    const byService = new Map<string, Entry[]>();
    for (const entry of this.#entries.values()) {
      if (entry.plan.isLeaving) continue;
      const own = byService.get(entry.service);
      if (own === undefined) byService.set(entry.service, [entry]);
      else own.push(entry);
    }
    return [...byService].flatMap(([service, entries]) => outageOf(service, entries) ?? []);
  }

  /** Logs what outages began, changed or ended. */
  #sayOutages(): void {
    const now = new Map(this.outages().map((outage) => [outage.service, outage]));
    for (const [service, { text, isServed }] of now) {
      if (this.#said.get(service) === text) continue;
      this.#log[isServed ? 'warn' : 'error']({ service }, `service ${service}: ${text}`);
    }
    const services = new Set([...this.#entries.values()].map((entry) => entry.service));
    for (const service of this.#said.keys()) {
      if (services.has(service) && !now.has(service))
        this.#log.info({ service }, `service ${service}: a real server takes new sessions again`);
    }
    this.#said = new Map([...now].map(([service, { text }]) => [service, text]));
  }

  #change(index: number, change: (entry: Entry) => string): void {
    const entry = this.#entries.get(index);
    if (entry === undefined) return;
    const { service, rs } = entry;
    if (entry.plan.isLeaving)
      throw new OperationError(409, `${rs} was removed from ${service}: only the config can bring it back`);
    const what = changing(entry, () => change(entry));
    const but = isDown(entry) ? ', but it is down' : '';
    this.#log.info({ service, rs }, `real server ${rs} of ${service} ${what}${but}`);
    this.#write();
    this.#sayOutages();
    this.#tellSet();
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
    isFailing: false,
    reason: '',
    isDrained: false,
    weightSetTo: undefined,
    since: new Date(),
  };
}

const REMOVED = 'the config names it no more';
const DRAINED = 'drained by an operator';

const UNKNOWN: ServerState = {
  state: 'removed',
  isDown: false,
  isDrained: false,
  isRemoved: true,
  reason: 'not in the config',
  since: new Date(0),
  weightSetTo: undefined,
};

const isDown = ({ isFailing, plan }: Entry): boolean => isFailing || plan.unreachable !== '';

const reasonOf = ({ plan, reason }: Entry): string => plan.unreachable || reason;

/** What matters most of what holds. */
function stateIn(entry: Entry): ServerState['state'] {
  if (isDown(entry)) return 'down';
  if (entry.plan.isLeaving) return 'removed';
  return entry.isDrained ? 'drained' : 'up';
}

/** Notes the time where the state is another one afterwards. */
function changing<T>(entry: Entry, change: () => T): T {
  const before = stateIn(entry);
  const result = change();
  if (stateIn(entry) !== before) entry.since = new Date();
  return result;
}

/** `entries` are those of the service that do not leave. */
function outageOf(service: string, entries: readonly Entry[]): Outage | undefined {
  const regular = entries.filter(({ plan }) => !plan.isFallback);
  if (regular.some(takesSessions)) return undefined;
  if (entries.some(takesSessions)) return { service, text: 'only the fallback', isServed: true };
  const text = entries.every(isDown) ? 'no real server is up' : 'no real server takes new sessions';
  const stranded = entries.find(({ plan }) => plan.unreachable !== '');
  const why = stranded === undefined ? '' : ` (${stranded.rs}: ${stranded.plan.unreachable})`;
  return { service, text: text + why, isServed: false };
}

const takesSessions = (entry: Entry): boolean => effectiveWeight(entry) > 0;

function effectiveWeight(entry: Entry): number {
  if (isDown(entry)) return WEIGHT_DOWN;
  const { isDrained, plan, weightSetTo } = entry;
  return isDrained || plan.isLeaving ? 0 : (weightSetTo ?? plan.weight);
}
