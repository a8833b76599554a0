// The control plane at work: what the datapaths go by, how it changes by a reload, by checks and by an
// operator, and what the admin server sees of it.
import type { Duplex } from 'node:stream';
import type { Logger } from 'pino';
import type { AdminSources, ReloadOutcome } from '../admin/sources.ts';
import type { ConfigFile } from '../config/file.ts';
import type { Config } from '../config/schema.ts';
import { COUNTER, counterRow } from '../datapath/counters.ts';
import { Totals } from '../datapath/totals.ts';
import { proxyName } from '../fast/pins.ts';
import type { HostFacts } from '../host/host.ts';
import { openIoHost } from '../io/modes.ts';
import { SIDE } from '../io/packet-io.ts';
import { numberServices } from '../service/numbering.ts';
import type { ServicePlan } from '../service/plan.ts';
import { randomSteeringKey } from '../steer/steering.ts';
import { nowMs } from '../worker-protocol.ts';
import { Workers } from '../workers.ts';
import { adminSources } from './admin-sources.ts';
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
import { rememberSet, SavedSessions, saveState, writeAdopted } from './saved-sessions.ts';
import { ServerStates } from './server-states.ts';
import { StateLock } from './state-lock.ts';
import { SteppingAside } from './stepping-aside.ts';
import { takeOver } from './take-over.ts';
import { wantedWorkers } from './worker-count.ts';
import { makeWorkerSpecs } from './worker-specs.ts';

/** How a drain ends, so that a service manager does not start again what was to end. */
const EXIT_DRAINED = 10;
/** And how one does that another process took over from. */
const EXIT_HANDED_OVER = 11;

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
  readonly #stateLock: StateLock;
  /** The sessions are this process's: until then there is nothing to save, and a file may be another's. */
  #hasSessions: boolean;
  readonly #stepping: SteppingAside;
  #adminAddress = { host: '', port: 0 };
  /** What is hot goes on beyond the end. */
  #isOutlived = false;
  #end: (end: End) => void = () => {};
  /** What is to be done when the guard is in force. */
  readonly #letIn: () => void;

  private constructor(
    runtime: Runtime,
    reloader: Reloader,
    health: HealthWatch,
    version: string,
    before: Predecessor | undefined,
    stateLock: StateLock,
    letIn: () => void,
  ) {
    this.#letIn = letIn;
    this.#stateLock = stateLock;
    this.#hasSessions = before === undefined;
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
      stateLock,
      isDraining: () => this.#drain.isOn,
      end: () => this.#end({ exitCode: EXIT_HANDED_OVER, isWanted: true }),
      fail: () => this.#end({ exitCode: 1, isWanted: false }),
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
    const name = proxyName(file.path);
    const hostSetup = new HostSetup(log, name, before === undefined ? [] : [before.hello.guard]);
    let saved: SavedSessions | undefined;
    const stateLock = StateLock.take(config, log, before?.hello.stateLock ?? '');
    undo.push(async () => stateLock.release());
    if (before === undefined) {
      saved = SavedSessions.load(config, services, log);
      hostSetup.inherit(saved?.added ?? []);
    }
    const sessions = Math.ceil(config.sessions.max / wanted);
    const fastStatus = new FastPathStatus(config.io, log);
    const fast = await FastPath.open(
      {
        ports: host.ports,
        workers: wanted,
        sessions,
        services,
        name,
        guards: [hostSetup.guardTable, before?.hello.guard ?? ''],
      },
      fastStatus,
      before?.hello.fastPath,
    );
    undo.push(async () => fast.close());
    const { found } = fast;
    // One that lives has them until it steps aside.
    const adopted = before || !found ? undefined : new AdoptedSessions(found, services, nowMs());
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
    // What is found is known by now to be at work, or not to be any more.
    const isFoundAtWork = fast.found?.isAtWork;
    if (adopted !== undefined) writeAdopted(adopted, isFoundAtWork === true, writing);
    saved?.write(writing, adopted);
    const workers = new Workers(specs, log);
    undo.push(() => workers.stop());
    workers.launch();
    const serverStates = new ServerStates(memories[0].common, log);
    serverStates.update(services);
    if (saved !== undefined) serverStates.restore(saved.set.servers);
    const fastSwitch = new FastPathSwitch(memories[0].common, log);
    fastSwitch.update(services);
    if (saved !== undefined) fastSwitch.restore(saved.set.fastPathOff);
    const letIn = () => {
      // What comes from now on waits; where the start fails it was looked at only.
      io.start();
      // Programs of a predecessor were at work until here; what they pass comes in already.
      fast.attach(() => fastSwitch.impede());
      // The workers may have been told of one.
      if (!fast.isOn) fastSwitch.withdraw();
      if (isFoundAtWork === false) adopted?.countRest(memories[0]);
      fast.forget();
    };
    // The kernel would answer clients whose sessions a predecessor's programs forward until then.
    const isGuardFirst = isFoundAtWork === false;
    if (!isGuardFirst && before === undefined) letIn();
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
    const letInLater = isGuardFirst && before === undefined ? letIn : () => {};
    return new ControlPlane(runtime, reloader, health, version, before, stateLock, letInLater);
  }

  get services(): readonly ServicePlan[] {
    return this.#reloader.services;
  }

  /** Serves from when it resolves. */
  async start(undo: Undo): Promise<void> {
    const { workers, log, memories, hostSetup } = this.#runtime;
    const { config, host } = this.#reloader;
    const before = this.#before;
    await setUp(hostSetup, config, host, undo);
    this.#letIn();
    const { serverStates, fastSwitch, steeringKey } = this.#runtime;
    const operatorSet = () => ({ servers: serverStates.set, fastPathOff: fastSwitch.set });
    undo.push(async () => {
      await workers.stop();
      serverStates.tellSet(() => {});
      fastSwitch.tellSet(() => {});
      if (this.#stepping.isHandedOver || !this.#hasSessions) return;
      const { services } = this.#reloader;
      const added = this.#isOutlived ? hostSetup.assigned : [];
      const state = { services, memories, steeringKey, ...operatorSet(), added };
      // Without them nobody would be told where VIPs and LIPs are. Where no file says whose they are they go.
      const isSaved = saveState(this.#reloader.config, state, this.#stateLock, log);
      if (isSaved && this.#isOutlived) hostSetup.leaveAddresses();
    });
    if (before === undefined) await workers.start();
    else await this.#takeOver(before);
    this.#runtime.fast.serve();
    const pulses = memories.map(({ pulse }) => pulse);
    const unwatch = watchPulse(workers, pulses, log);
    undo.push(async () => unwatch());
    const remember = () => rememberSet(this.#reloader.config, operatorSet(), this.#stateLock, log);
    serverStates.tellSet(remember);
    fastSwitch.tellSet(remember);
    this.#reloader.start(() => this.#hostWatch.isAsFollowed());
    undo.push(async () => this.#reloader.stop());
    this.#hostWatch.start();
    undo.push(async () => this.#hostWatch.stop());
    this.#readiness = { ready: true, reason: '' };
  }

  async #takeOver(before: Predecessor): Promise<void> {
    const { fast, fastSwitch, hostSetup, log } = this.#runtime;
    try {
      await takeOver(before, this.#runtime, this.#reloader, this.#health);
      this.#hasSessions = true;
      const { pid } = before.hello;
      const still = `process ${pid}, which handed over, stands still: this one forwards, but is not ready until that one is gone: end it`;
      await hostSetup.adopt(await before.end(() => log.error(still)));
    } catch (error) {
      fast.standDown();
      throw error;
    }
    this.#stateLock.hold('sessions would not be saved now');
    log.info({ pid: before.hello.pid, version: before.hello.version }, 'took over');
    await fast.own(() => fastSwitch.impede());
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

  /** First of its end: a takeover that is under way comes to its end, and no other one begins. */
  async settle(): Promise<void> {
    this.#readiness = { ready: false, reason: 'stopping' };
    await this.#stepping.settle();
  }

  /** `forRestart`: what is hot goes on in the kernel, where it can. */
  announceStop(forRestart: boolean): void {
    this.#drain.close();
    this.#isOutlived = forRestart && !this.#stepping.isHandedOver && this.#runtime.fast.outlive();
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
    const parts = { runtime: this.#runtime, reloader: this.#reloader, drain: this.#drain };
    return adminSources({ ...parts, hostWatch: this.#hostWatch, readiness: () => this.#readiness }, version);
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

/** Guard and addresses. Throws an IoError or StartError. */
async function setUp(hostSetup: HostSetup, config: Config, host: HostFacts, undo: Undo): Promise<void> {
  const { missing } = host;
  const spec = {
    ...addressesOf(config),
    missing,
    assignAddresses: config.io.assignAddresses,
    canLack: (ips: ReadonlySet<string>) => isAnyWholeWithout(config, ips),
  };
  const prepared = await hostSetup.prepare(spec);
  undo.push(() => hostSetup.end());
  await prepared.commit();
}

const sideName = (side: number): string =>
  side === SIDE.both ? 'wan and lan' : side === SIDE.wan ? 'wan' : 'lan';
