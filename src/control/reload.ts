// Puts another config in the place of the one at work. All of it is checked first: whatever is wrong, the old
// one stays and the problem is said. Then what is new is added to the host, the datapaths get the new plan,
// and what is old is taken away.

import type { ReloadOutcome } from '../admin/sources.ts';
import { describeChanges } from '../config/changes.ts';
import { configWarnings } from '../config/rules.ts';
import type { Config } from '../config/schema.ts';
import { type LegPlan, legPlans } from '../datapath/plan.ts';
import { SERVER_COUNTER, serverRow } from '../datapath/server-cells.ts';
import { type HostFacts, isTurnedOff } from '../host/host.ts';
import type { MissingAddress } from '../host/host-addresses.ts';
import { hostChanges } from '../host/host-changes.ts';
import { numberServices } from '../service/numbering.ts';
import type { RealServerPlan, ServiceDraft, ServicePlan } from '../service/plan.ts';
import type { WorkerReplan } from '../worker-protocol.ts';
import { endingSessions, lostServers } from './ending-sessions.ts';
import type { HealthWatch } from './health-watch.ts';
import type { HostSetupSpec } from './host-setup.ts';
import type { Followed } from './host-watch.ts';
import { LeavingServers } from './leaving-servers.ts';
import {
  addressesOf,
  captureOf,
  draftServices,
  drainTimeoutsIn,
  inspectHostFor,
  neededAddresses,
  needsTheSame,
  withLeaving,
  workerReplans,
} from './planning.ts';
import { problemsOf, sayLost, sayTrouble } from './reload-problems.ts';
import type { Runtime } from './runtime.ts';

interface Names {
  services: readonly ServicePlan[];
  legs: readonly LegPlan[];
}

/** What the start began with. */
interface AtWork {
  config: Config;
  host: HostFacts;
  services: readonly ServicePlan[];
  replans: readonly WorkerReplan[];
}

export class Reloader {
  config: Config;
  host: HostFacts;
  services: readonly ServicePlan[];
  readonly #runtime: Runtime;
  readonly #health: HealthWatch;
  readonly #reread: () => Promise<Config>;
  /** What the datapaths go by. */
  replans: readonly WorkerReplan[];
  readonly #leaving = new LeavingServers(
    (index) => this.#sessionsOf(index),
    () => this.#takeOutThoseWhoLeft(),
  );
  /** Changes follow one another. */
  #turn: Promise<unknown> = Promise.resolve();
  /** So do looks at the file, which changes of the host do not wait for. */
  #reading: Promise<unknown> = Promise.resolve();
  #succeeded = 0;
  #failed = 0;
  #last: { ok: boolean; at: Date } | undefined;
  #lastChange: ReloadOutcome['lastChange'];
  #isStopped = false;
  #isHostAsFollowed = () => false;
  #names: { of: readonly ServicePlan[]; names: Names } | undefined;

  constructor(
    runtime: Runtime,
    health: HealthWatch,
    reread: () => Promise<Config>,
    { config, host, services, replans }: AtWork,
  ) {
    this.#runtime = runtime;
    this.#health = health;
    this.#reread = reread;
    this.config = config;
    this.host = host;
    this.services = services;
    this.replans = replans;
  }

  /**
   * When the proxy serves. `isHostAsFollowed` says whether nothing became different on the host since
   * `followHost` looked at it last, and nothing was wrong then.
   */
  start(isHostAsFollowed: () => boolean): void {
    this.#isHostAsFollowed = isHostAsFollowed;
    this.host = { ...this.host, missing: [] };
    this.#health.update(this.config, this.services);
    this.#leaving.start();
  }

  /** Nothing is changed any more until `resume`: what is under way is finished first. */
  async pause(): Promise<void> {
    this.#isStopped = true;
    await this.#turn;
  }

  resume(): void {
    this.#isStopped = false;
  }

  async stop(): Promise<void> {
    this.#leaving.stop();
    await this.pause();
  }

  history(): { succeeded: number; failed: number; last: { ok: boolean; at: Date } | undefined } {
    return { succeeded: this.#succeeded, failed: this.#failed, last: this.#last };
  }

  /** What session records call services and legs, by their numbers; the same object until a change. */
  names(): Names {
    if (this.#names?.of !== this.services) this.#names = { of: this.services, names: this.#numbered() };
    return this.#names.names;
  }

  #numbered(): Names {
    const services: ServicePlan[] = [];
    for (const service of this.services) services[service.index] = service;
    const legs: LegPlan[] = [];
    for (const leg of legPlans(this.services)) legs[leg.index] = leg;
    return { services, legs };
  }

  /** Never rejects. */
  reload(): Promise<ReloadOutcome> {
    const read = this.#reading.then(() => this.#reread());
    this.#reading = read.catch(() => {});
    return this.#reading.then(() => {
      const turn = this.#turn.then(() => this.#tryReload(read));
      this.#turn = turn;
      return turn;
    });
  }

  async #tryReload(read: Promise<Config>): Promise<ReloadOutcome> {
    const { log } = this.#runtime;
    const before = this.config;
    let outcome: ReloadOutcome;
    try {
      outcome = await this.#reload(await read);
    } catch (error) {
      outcome = { ok: false, lines: problemsOf(error) };
    }
    const { ok, lines } = outcome;
    const at = new Date();
    this.#last = { ok, at };
    if (ok) {
      if (lines.length === 0) outcome = { ...outcome, lastChange: this.#lastChange };
      else this.#lastChange = { at, lines };
      this.#succeeded++;
      log.info({ changes: lines }, lines.length === 0 ? 'reload: nothing changed' : 'reloaded');
    } else {
      this.#failed++;
      const what =
        this.config === before ? 'the config before stays' : 'the new config is at work, but not all of it';
      log.error({ problems: lines }, `reload failed: ${what}`);
    }
    return outcome;
  }

  async #reload(config: Config): Promise<ReloadOutcome> {
    if (this.#isStopped) return { ok: false, lines: ['the proxy is stopping'] };
    const { log } = this.#runtime;
    const { lines, needsRestart } = describeChanges(this.config, config);
    if (needsRestart.length > 0) return { ok: false, lines: needsRestart };
    for (const { path, message } of configWarnings(config)) log.warn({ path }, message);
    const found =
      this.#isHostAsFollowed() && needsTheSame(this.config, config)
        ? { ...this.host, troubles: [] }
        : await this.#lookAtHost(config);
    const host = this.#withoutOldTroubles(config, found);
    if (Array.isArray(host)) return { ok: false, lines: host };
    const narrow = config.services.find(
      ({ lports }) => lports.last - lports.first + 1 < this.#runtime.layout.workers,
    );
    if (narrow !== undefined) {
      const { workers } = this.#runtime.layout;
      return {
        ok: false,
        lines: [`service ${narrow.name}: fewer lports than the ${workers} workers: needs a restart`],
      };
    }
    const before = this.config;
    const canLack = (ips: ReadonlySet<string>) => {
      const { vips, lips } = neededAddresses(before);
      const old = new Set([...vips, ...lips]);
      return [...ips].every((ip) => old.has(ip));
    };
    const ending = await this.#apply(config, host, this.#drafts(config, host), canLack);
    log.level = config.log.level;
    return { ok: true, lines: [...lines, ...ending] };
  }

  /**
   * What is wrong with an address that the config at work has, too, is said and left to be as it is: it must
   * not keep other changes from taking effect. What is wrong with a new one refuses the config: the problems.
   */
  #withoutOldTroubles(config: Config, found: HostFacts): HostFacts | string[] {
    if (found.troubles.length === 0 && found.missing.length === 0) return found;
    const { log } = this.#runtime;
    const { vips, lips } = neededAddresses(this.config);
    const old = new Set([...vips, ...lips]);
    const isNew = ({ ip }: { ip: string }) => ip !== '' && !old.has(ip);
    const refused = found.troubles.filter(isNew);
    if (refused.length > 0) return refused.map(sayTrouble);
    for (const trouble of found.troubles) log.warn(sayTrouble(trouble));
    const isTaken = (one: MissingAddress) =>
      isNew(one) || (config.io.assignAddresses && !isTurnedOff(one.device));
    const missing = found.missing.filter(isTaken);
    const lost = found.missing.filter((one) => !isTaken(one));
    if (lost.length > 0) log.warn(sayLost(lost));
    return { ...found, missing };
  }

  /** What the config says, with the real servers that are leaving. */
  #drafts(config: Config, host: HostFacts): ServiceDraft[] {
    const drainTimeoutOf = drainTimeoutsIn(config);
    const isLeaving = (service: ServicePlan, index: number): boolean =>
      !this.#leaving.isOver(index, drainTimeoutOf(service));
    return withLeaving(draftServices(config, host), this.services, isLeaving);
  }

  /**
   * Goes on by the config at work, planned anew for the host as it is now. Rejects when that failed: the plan
   * before stays.
   */
  async followHost(): Promise<Followed> {
    const { config, host: before } = this;
    let found: HostFacts;
    try {
      found = await this.#lookAtHost(config);
    } catch (error) {
      return stays(problemsOf(error).join('; '));
    }
    // Only what it added comes back: others may have taken away theirs, to give it to another host.
    const { added } = this.#runtime.hostSetup;
    const returns = ({ ip, device }: MissingAddress) => added.has(ip) && !isTurnedOff(device);
    const host = { ...found, missing: found.missing.filter(returns) };
    const lost = found.missing.filter((one) => !returns(one));
    const troubles = [...found.troubles.map(sayTrouble), ...(lost.length === 0 ? [] : [sayLost(lost)])];
    const trouble = troubles.join('; ');
    const { vips, lips } = addressesOf(config);
    const served = new Set([...vips, ...lips].map(({ ip }) => ip));
    const changes = hostChanges(before, host, served);
    if (changes.length === 0) {
      await this.#turn; // a reload that is under way may have looked before
      return this.host === before ? { changes, trouble } : this.followHost();
    }
    const turn = this.#turn.then(async () => {
      if (this.#isStopped) return stays('the proxy is stopping');
      // A reload looked for itself, maybe before this change.
      if (this.host !== before) return undefined;
      const drafts = this.#drafts(config, host);
      const failed = await this.#apply(config, host, drafts).then(
        () => '',
        (error: unknown) => problemsOf(error).join('; '),
      );
      if (failed === '') return { changes, trouble };
      // An address that cannot come back must not keep the rest from taking effect.
      if (host.missing.length === 0) throw new Error(failed);
      const rest = { ...host, missing: [] };
      const others = hostChanges(before, rest, served);
      const both = [...troubles, failed].join('; ');
      if (others.length === 0) return { changes: others, trouble: both };
      await this.#apply(config, rest, drafts).catch((error: unknown) => {
        throw new Error(problemsOf(error).join('; '));
      });
      return { changes: others, trouble: both };
    });
    this.#turn = turn.catch(() => {});
    return (await turn) ?? this.followHost();
  }

  /** Addresses that will go with the change to this config are not this host's own any more. */
  async #lookAtHost(config: Config): Promise<HostFacts> {
    const going = new Set(this.#runtime.hostSetup.obsolete(addressesOf(config)).map(({ ip }) => ip));
    const host = await inspectHostFor(config, this.host.ports);
    return { ...host, own: host.own.filter((ip) => !going.has(ip)) };
  }

  /**
   * Whether it went well, which includes that there is nobody to take out any more; else the log says why.
   */
  #takeOutThoseWhoLeft(): Promise<boolean> {
    const turn = this.#turn.then(async () => {
      let isLess = false;
      const stays = ({ index, isLeaving }: RealServerPlan): boolean => {
        const isOver = isLeaving && this.#leaving.isOver(index);
        isLess ||= isOver;
        return !isOver;
      };
      const drafts = this.services.map((service) => {
        const realServers = service.realServers.filter(stays);
        return realServers.length === service.realServers.length ? service : { ...service, realServers };
      });
      if (this.#isStopped || !isLess) return true;
      return await this.#apply(this.config, this.host, drafts).then(
        () => true,
        (error: Error) => {
          this.#runtime.log.error(`a real server that left cannot be taken out: ${error.message}`);
          return false;
        },
      );
    });
    this.#turn = turn;
    return turn;
  }

  /** Resolves with what is to be said of the sessions that it ended. */
  async #apply(
    config: Config,
    host: HostFacts,
    drafts: readonly ServiceDraft[],
    canLack?: HostSetupSpec['canLack'],
  ): Promise<string[]> {
    const { serverStates, fast, fastSwitch, io, layout, log, memories, hostSetup, totals, workers } =
      this.#runtime;
    const services = numberServices(drafts, this.services, layout.capacity);
    const addresses = addressesOf(config);
    const { missing } = host;
    // An answer to a new LIP may come before all datapaths have the plan: what is old and what is new comes
    // in meanwhile.
    const change = io.prepare(captureOf(config, host.ports));
    const spec = { ...addresses, missing, assignAddresses: config.io.assignAddresses, canLack };
    const prepared = await hostSetup.prepare(spec).catch((error: unknown) => {
      change.undo();
      throw error;
    });
    serverStates.announce(services);
    fastSwitch.announce(services);
    totals.expect(services);
    const replans = workerReplans(config, host, services, this.#runtime, change);
    const losses = lostServers(this.services, services, (index) => this.#sessionsOf(index));
    const ending = endingSessions(memories, this.services, services);
    try {
      await workers.replan(replans);
      change.commit();
    } catch (error) {
      // Some may have it already.
      await workers.replan(this.replans).catch((left: Error) => log.error(left.message));
      serverStates.update(this.services);
      fastSwitch.update(this.services);
      change.undo();
      await prepared.rollBack();
      throw error;
    }
    this.replans = replans;
    this.config = config;
    this.host = { ...host, missing: [] };
    this.services = services;
    totals.follow(services);
    serverStates.update(services);
    fastSwitch.update(services);
    fast.note(services);
    for (const { service, rs, sessions } of losses)
      log.warn({ service, rs, sessions }, `real server ${rs} of ${service} is gone: sessions end with it`);
    this.#noteLeaving();
    this.#health.update(config, services);
    await prepared.commit();
    return ending;
  }

  #noteLeaving(): void {
    const timeouts = new Map<number, number>();
    const drainTimeoutOf = drainTimeoutsIn(this.config);
    for (const service of this.services)
      for (const { index, isLeaving } of service.realServers)
        if (isLeaving) timeouts.set(index, drainTimeoutOf(service));
    this.#leaving.note(timeouts);
  }

  #sessionsOf(realServerIndex: number): number {
    const row = serverRow(realServerIndex);
    return this.#runtime.memories.reduce(
      (sum, { servers }) =>
        sum + servers[row + SERVER_COUNTER.sessionsOneway] + servers[row + SERVER_COUNTER.sessionsNormal],
      0,
    );
  }
}

const stays = (reason: string): Followed => ({
  changes: [],
  trouble: `the host changed, and the plan before stays: ${reason}`,
});
