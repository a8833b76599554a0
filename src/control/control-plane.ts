// The control plane at work: what the datapaths go by, how it changes by a reload, by checks and by an
// operator, and what the admin server sees of it.
import type { Duplex } from 'node:stream';
import type { Logger } from 'pino';
import {
  type AdminSources,
  type FastPathState,
  OperationError,
  type ReloadOutcome,
} from '../admin/sources.ts';
import type { ConfigFile } from '../config/file.ts';
import type { Config } from '../config/schema.ts';
import { ClientTable } from '../datapath/client-table.ts';
import { COUNTER, counterRow } from '../datapath/counters.ts';
import { legPlans, poolKey } from '../datapath/plan.ts';
import { Totals } from '../datapath/totals.ts';
import { proxyName } from '../fast/pins.ts';
import { portsDown } from '../host/host.ts';
import { openIoHost } from '../io/modes.ts';
import { SIDE } from '../io/packet-io.ts';
import { numberServices } from '../service/numbering.ts';
import { type ServicePlan, serverName } from '../service/plan.ts';
import { listSessions } from '../session/snapshot.ts';
import { randomSteeringKey } from '../steer/steering.ts';
import { nowMs } from '../worker-protocol.ts';
import { Workers } from '../workers.ts';
import { AdoptedSessions } from './adopted-sessions.ts';
import { Drain } from './drain.ts';
import { FastPath } from './fast-path.ts';
import { FastPathStatus } from './fast-path-status.ts';
import { FastPathSwitch } from './fast-path-switch.ts';
import { HealthWatch } from './health-watch.ts';
import { HostSetup } from './host-setup.ts';
import { HostWatch } from './host-watch.ts';
import {
  addressesOf,
  captureOf,
  draftServices,
  inspectHostFor,
  isAnyWholeWithout,
  randomSeed,
  spaciousCapacity,
  withoutServicesThatAreOut,
  workerReplans,
} from './planning.ts';
import type { Predecessor } from './predecessor.ts';
import { watchPulse } from './pulse.ts';
import { Reloader } from './reload.ts';
import type { Runtime } from './runtime.ts';
import { holdStateFile, rememberServers, SavedSessions, saveState, writeAdopted } from './saved-sessions.ts';
import { ServerStates } from './server-states.ts';
import { inSlices } from './slices.ts';
import { SteppingAside } from './stepping-aside.ts';
import { takeOver } from './take-over.ts';
import { wantedWorkers } from './worker-count.ts';
import { makeWorkerSpecs } from './worker-specs.ts';

/** How a drain ends, so that a service manager does not start again what was to end. */
const EXIT_DRAINED = 10;

export interface End {
  exitCode: number;
  /** An operator asked for it. */
  isWanted: boolean;
}

export type Undo = (() => Promise<void>)[];

export class ControlPlane {
  readonly ended: Promise<End>;
  readonly #runtime: Runtime;
  readonly #reloader: Reloader;
  #readiness = { ready: false, reason: 'starting' };
  readonly #drain: Drain;
  readonly #hostWatch: HostWatch;
  readonly #health: HealthWatch;
  readonly #before: Predecessor | undefined;
  readonly #stepping: SteppingAside;
  #adminAddress = { host: '', port: 0 };
  #end: (end: End) => void = () => {};
  /** What is to be done when the guard is in force. */
  readonly #letIn: () => void;

  private constructor(
    runtime: Runtime,
    reloader: Reloader,
    health: HealthWatch,
    version: string,
    before: Predecessor | undefined,
    letIn: () => void,
  ) {
    this.#letIn = letIn;
    this.#health = health;
    this.#before = before;
    this.#runtime = runtime;
    this.#reloader = reloader;
    this.#hostWatch = new HostWatch(() => reloader.followHost(), runtime.log);
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
    const { control } = runtime.memories[0].common;
    const end = () => this.#end({ exitCode: EXIT_DRAINED, isWanted: true });
    this.#drain = new Drain(control, () => this.#sessionCount(), end, runtime.log);
    this.#stepping = new SteppingAside({
      runtime,
      reloader,
      health,
      version,
      admin: () => this.#adminAddress,
      isDraining: () => this.#drain.isOn,
      end: () => this.#end({ exitCode: 0, isWanted: true }),
    });
    void runtime.workers.ended.then((exitCode) => {
      this.#readiness = { ready: false, reason: 'the datapath process ended' };
      this.#end({ exitCode, isWanted: false });
    });
  }

  /**
   * Looks at the host and prepares everything; nothing is served or changed on the host yet. `before` is a
   * proxy at work that it is to take over from.
   */
  static async plan(
    config: Config,
    log: Logger,
    file: Pick<ConfigFile, 'path' | 'reload'>,
    undo: Undo,
    version: string,
    before?: Predecessor,
  ): Promise<ControlPlane> {
    const host = withoutServicesThatAreOut(config, await inspectHostFor(config), log);
    for (const line of host.warnings) log.warn(line);
    const drafts = draftServices(config, host);
    const capacity = spaciousCapacity(drafts);
    const services = numberServices(drafts, [], capacity);
    const wanted = wantedWorkers(config, log);
    let saved: SavedSessions | undefined;
    if (before === undefined) {
      const stateLock = holdStateFile(config, log);
      undo.push(async () => stateLock?.release());
      saved = SavedSessions.load(config, services, log);
    } else if (before.hasFastPath || config.io.fastPath !== 'off') {
      // Its maps are for one process at a time: hot sessions go on in the kernel, others wait for all of this.
      saved = SavedSessions.from((await before.stepAside()).state, services, log);
    }
    const sessions = Math.ceil(config.sessions.max / wanted);
    const fastStatus = new FastPathStatus(config.io.fastPath, log);
    const fast = await FastPath.open(
      { ports: host.ports, workers: wanted, sessions, name: proxyName(file.path) },
      fastStatus,
    );
    undo.push(async () => fast.close());
    const adopted = fast.found && new AdoptedSessions(fast.found, services, nowMs());
    const steeringKey =
      fast.steeringKey(wanted) ??
      saved?.steeringKey(wanted) ??
      before?.steeringKey(wanted) ??
      randomSteeringKey();
    fast.noteSteeringKey(steeringKey);
    const io = openIoHost(config.io.mode, {
      capture: captureOf(config, host.ports),
      workers: wanted,
      steeringKey,
      bufferSize: config.io.bufferSize,
      busyPoll: config.io.busyPoll,
      maxSessions: config.sessions.max,
      hot: fast.steered,
      log,
    });
    undo.push(async () => io.close());
    if (fast.isOn && !io.isSteered) fast.turnOff('packets come in by capture filters, which do not know it');
    const layout = { capacity, workers: io.workers, sharedSeed: randomSeed() };
    const replans = workerReplans(config, host, services, { layout, steeringKey }, io);
    const { specs, memories, close } = makeWorkerSpecs(replans, io, fast.isOn ? fast : undefined);
    undo.push(async () => close());
    const { steering } = replans[0];
    const writing = { memories, config, services, steering, sharedSeed: layout.sharedSeed, log };
    if (adopted !== undefined) writeAdopted(adopted, writing);
    saved?.write(writing, adopted);
    const workers = new Workers(specs, log);
    undo.push(() => workers.stop());
    workers.launch();
    const serverStates = new ServerStates(memories[0].common, log);
    serverStates.update(services);
    if (saved !== undefined) serverStates.restore(saved.servers);
    const fastSwitch = new FastPathSwitch(memories[0].common, log);
    fastSwitch.update(services);
    const letIn = () => {
      // What comes from now on waits; where the start fails it was looked at only.
      io.start();
      // Programs of a predecessor were at work until here; what they pass comes in already.
      fast.attach(() => fastSwitch.switchOff(undefined));
      adopted?.countRest(memories[0]);
    };
    // The kernel would answer clients whose sessions a predecessor's programs forward until then.
    const isGuardFirst = fast.found?.isAtWork === false;
    const waits = before !== undefined && !before.hasSteppedAside;
    if (!isGuardFirst && !waits) letIn();
    const hostSetup = new HostSetup(log, before === undefined ? [] : [before.hello.guard]);
    const totals = new Totals(memories, services);
    const runtime = {
      log,
      io,
      fast,
      fastStatus,
      fastSwitch,
      layout,
      steeringKey,
      memories,
      totals,
      hostSetup,
      serverStates,
      workers,
    };
    const health = new HealthWatch(
      serverStates,
      () => {
        totals.refresh();
        return totals.servers;
      },
      log,
    );
    undo.push(() => health.stop());
    const reloader = new Reloader(runtime, health, () => file.reload(), { config, host, services, replans });
    const letInLater = isGuardFirst && !waits ? letIn : () => {};
    return new ControlPlane(runtime, reloader, health, version, before, letInLater);
  }

  get services(): readonly ServicePlan[] {
    return this.#reloader.services;
  }

  /** Serves from when it resolves. */
  async start(undo: Undo): Promise<void> {
    const { workers, log, memories, hostSetup } = this.#runtime;
    const { config, host } = this.#reloader;
    const { missing } = host;
    const spec = {
      ...addressesOf(config),
      missing,
      assignAddresses: config.io.assignAddresses,
      canLack: (ips: ReadonlySet<string>) => isAnyWholeWithout(config, ips),
    };
    const prepared = await hostSetup.prepare(spec);
    undo.push(() => (this.#stepping.isHandedOver ? hostSetup.leaveAddresses() : hostSetup.end()));
    await prepared.commit();
    this.#letIn();
    const { serverStates, steeringKey } = this.#runtime;
    undo.push(async () => {
      await workers.stop();
      serverStates.tellSet(() => {});
      if (this.#stepping.isHandedOver) return;
      const { services } = this.#reloader;
      const state = { services, memories, steeringKey, servers: serverStates.set };
      saveState(this.#reloader.config, state, log);
    });
    const before = this.#before;
    if (before === undefined || before.hasSteppedAside) await workers.start();
    else await takeOver(before, this.#runtime, this.#reloader, this.#health);
    if (before !== undefined) await this.#follow(before, undo);
    const pulses = memories.map(({ pulse }) => pulse);
    const unwatch = watchPulse(workers, pulses, log);
    undo.push(async () => unwatch());
    serverStates.tellSet((set) => rememberServers(this.#reloader.config, set, log));
    this.#reloader.start(() => this.#hostWatch.isAsFollowed());
    undo.push(async () => this.#reloader.stop());
    this.#hostWatch.start();
    undo.push(async () => this.#hostWatch.stop());
    this.#readiness = { ready: true, reason: '' };
  }

  /** It forwards: the proxy before ends, and what it had is this one's. */
  async #follow(before: Predecessor, undo: Undo): Promise<void> {
    const { log, hostSetup } = this.#runtime;
    await hostSetup.adopt(await before.end());
    const stateLock = holdStateFile(this.#reloader.config, log);
    undo.push(async () => stateLock?.release());
    log.info({ pid: before.hello.pid, version: before.hello.version }, 'took over');
  }

  /** At the admin socket: another process wants to take over. */
  acceptSuccessor(socket: Duplex, head: Buffer): void {
    this.#stepping.accept(socket, head);
  }

  /** Where the admin server is. */
  noteAdmin(address: { host: string; port: number }): void {
    this.#adminAddress = address;
  }

  /** The last of its end: a process that took over hears of it. */
  leave(): Promise<void> {
    return this.#stepping.leave();
  }

  announceStop(): void {
    this.#readiness = { ready: false, reason: 'stopping' };
    this.#drain.close();
  }

  reload(): Promise<ReloadOutcome> {
    return this.#reloader.reload();
  }

  summary(): Record<string, unknown> {
    const { io, hostSetup } = this.#runtime;
    const { config, host } = this.#reloader;
    return {
      io: io.mode,
      ports: host.ports.map(({ name, side, mtu }) => `${name} (${sideName(side)}, mtu ${mtu})`),
      services: config.services.map(({ name }) => name),
      guard: hostSetup.guardTable,
    };
  }

  adminSources(version: string): Omit<AdminSources, 'logLinesLost'> {
    const { serverStates, workers, io, fast, fastSwitch, memories, totals } = this.#runtime;
    const reloader = this.#reloader;
    /** The same until a change: there may be 65,535, and a scrape reads them twice. */
    let legs = { of: reloader.services, list: withCapacity(reloader.services) };
    return {
      version,
      startedAt: new Date(),
      config: () => reloader.config,
      services: () => reloader.services,
      legs: () => {
        const of = reloader.services;
        if (legs.of !== of) legs = { of, list: withCapacity(of) };
        return legs.list;
      },
      serverState: (index) => serverStates.stateOf(index),
      counters: totals.counters,
      counterSums: totals.columns,
      legsInUse: totals.legsInUse,
      servers: totals.servers,
      io: totals.io,
      refresh: () => totals.refresh(),
      ports: reloader.host.ports,
      ioMode: io.mode,
      fastPath: () => this.#fastPathState(),
      isFastPathOff: (service) => fastSwitch.isOff(service),
      fastPathPassed: () => fast.passed(),
      fastPathMissed: () => fast.missed(),
      readiness: () => this.#readinessNow(),
      clientsUncounted: () => ClientTable.uncounted(memories[0].common.clients),
      isDraining: () => this.#drain.isOn,
      reloads: () => reloader.history(),
      hostChanges: () => this.#hostWatch.counts,
      workers: () => workers.pids.map((pid, index) => ({ pid, restarts: workers.restarts[index] })),
      sessions: {
        list: async (query) => {
          const tables = memories.map(({ records, table, hotStates }) => ({
            records,
            slots: table[0],
            hotStates: fast.isOn ? hotStates : undefined,
          }));
          const { total, sessions } = await inSlices(
            listSessions(tables, () => reloader.names(), query, nowMs()),
          );
          // Those that are not busy, too, which no datapath has looked at.
          for (const one of sessions) if (fast.isOn && fastSwitch.isOff(one.service)) one.fastPath = 'off';
          return { total, sessions };
        },
      },
      operations: {
        reload: () => reloader.reload(),
        drain: (timeoutMs) => this.#drain.begin(timeoutMs),
        cancelDrain: () => this.#drain.cancel(),
        drainServer: (service, rs) => serverStates.drain(this.#serverIndex(service, rs)),
        enableServer: (service, rs) => serverStates.enable(this.#serverIndex(service, rs)),
        setWeight: (service, rs, weight) => serverStates.setWeight(this.#serverIndex(service, rs), weight),
        switchFastPath: (isOn, service) => this.#switchFastPath(isOn, service),
      },
    };
  }

  #fastPathState(): FastPathState {
    const { fast, fastStatus, fastSwitch } = this.#runtime;
    const { wanted, why, interfaces } = fastStatus;
    return {
      kind: fast.kind,
      wanted,
      why,
      interfaces,
      switchedOff: fastSwitch.state,
    };
  }

  #switchFastPath(isOn: boolean, service: string | undefined): void {
    const { fast, fastStatus, fastSwitch } = this.#runtime;
    if (!fast.isOn) throw new OperationError(409, `there is no fast path: ${fastStatus.why}`);
    if (isOn) {
      fastSwitch.switchOn(service);
      fast.unblock();
    } else fastSwitch.switchOff(service);
  }

  #readinessNow(): { ready: boolean; reason: string } {
    if (!this.#readiness.ready) return this.#readiness;
    const { serverStates, workers } = this.#runtime;
    const { config, host } = this.#reloader;
    const count = config.services.length;
    const outages = serverStates.outages();
    const troubles = [
      ...(this.#drain.isOn ? ['draining: no new sessions'] : []),
      ...portsDown(host.ports),
      ...workers.missing.map((n) => `datapath process ${n} is starting again`),
      ...outages
        .filter(({ isServed }) => !isServed)
        .map(({ service, text }) => `service ${service}: ${text}`),
    ];
    if (troubles.length > 0) return { ready: false, reason: troubles.join(', ') };
    const serving = `serving ${count} service${count === 1 ? '' : 's'}`;
    return {
      ready: true,
      reason: [serving, ...outages.map(({ service, text }) => `${service}: ${text}`)].join(', '),
    };
  }

  #serverIndex(service: string, rs: string): number {
    const plan = this.services.find(({ name }) => name === service);
    if (plan === undefined) {
      const names = this.services.map(({ name }) => name).join(', ');
      throw new OperationError(404, `there is no service ${service}, only ${names}`);
    }
    const server = plan.realServers.find((one) => serverName(one) === rs);
    if (server === undefined) {
      const names = plan.realServers.map(serverName).join(', ');
      throw new OperationError(404, `service ${service} has no real server ${rs}, only ${names}`);
    }
    return server.index;
  }

  #sessionCount(): number {
    const { totals } = this.#runtime;
    totals.refresh();
    const { counters } = totals;
    return this.services.reduce((sum, { index }) => {
      const row = counterRow(index);
      return sum + counters[row + COUNTER.sessionsOneway] + counters[row + COUNTER.sessionsNormal];
    }, 0);
  }
}

/** Each leg's number of lports; a pool that services share counts where it is named first. */
function withCapacity(services: readonly ServicePlan[]): { index: number; lip: string; capacity: number }[] {
  const seen = new Set<string>();
  return legPlans(services).map((leg) => {
    const isFirst = !seen.has(poolKey(leg));
    seen.add(poolKey(leg));
    return { index: leg.index, lip: leg.lip, capacity: isFirst ? leg.lports.last - leg.lports.first + 1 : 0 };
  });
}

const sideName = (side: number): string =>
  side === SIDE.both ? 'wan and lan' : side === SIDE.wan ? 'wan' : 'lan';
