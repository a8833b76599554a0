// The control plane at work: what the datapaths go by, how it changes by a reload, by checks and by an operator, and what
// the admin server sees of it.
import type { Logger } from 'pino';
import { type AdminSources, OperationError, type ReloadOutcome } from '../admin/sources.ts';
import type { Config } from '../config/schema.ts';
import { ClientTable } from '../datapath/client-table.ts';
import { COUNTER, counterRow } from '../datapath/counters.ts';
import { commonBytes, mapMemory, memoryBytes } from '../datapath/memory.ts';
import { legPlans, poolKey } from '../datapath/plan.ts';
import { Totals } from '../datapath/totals.ts';
import { defaultRoutesAstray, portsDown } from '../host/host.ts';
import { SIDE } from '../io/packet-io.ts';
import { type ServicePlan, serverName } from '../service/plan.ts';
import { listSessions } from '../session/snapshot.ts';
import { randomSteeringKey } from '../steer/steering.ts';
import { createSharedMemory } from '../sys/shared-memory.ts';
import { closeSocketPair, openSocketPair, type SocketPair } from '../sys/socket-pair.ts';
import { ioCells, nowMs } from '../worker-protocol.ts';
import { Workers } from '../workers.ts';
import { Drain } from './drain.ts';
import type { Foundation } from './foundation.ts';
import { HealthWatch } from './health-watch.ts';
import { HostWatch } from './host-watch.ts';
import { closeRings, provideRings, ringFds, wantedWorkers } from './packet-rings.ts';
import {
  addressesOf,
  draftServices,
  drawUp,
  type Fixed,
  planHostOf,
  randomSeed,
  spaciousCapacity,
  steeringOf,
  withoutServicesThatAreOut,
  workerPlans,
} from './planning.ts';
import { Presence } from './presence.ts';
import { watchPulse } from './pulse.ts';
import { Reloader } from './reload.ts';
import { holdStateFile, SavedSessions, saveState } from './saved-sessions.ts';
import { ServerBoard } from './server-board.ts';
import { inSlices } from './slices.ts';

/** What may wait for one worker from the others: some dozens of the largest datagrams. */
const HANDOVER_BYTES = 4 << 20;

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
  readonly #foundation: Foundation;
  readonly #reloader: Reloader;
  readonly #saved: SavedSessions | undefined;
  #readiness = { ready: false, reason: 'starting' };
  readonly #drain: Drain;
  readonly #hostWatch: HostWatch;
  #end: (end: End) => void = () => {};

  private constructor(foundation: Foundation, reloader: Reloader, saved: SavedSessions | undefined) {
    this.#saved = saved;
    this.#foundation = foundation;
    this.#reloader = reloader;
    this.#hostWatch = new HostWatch(() => reloader.followHost(), foundation.log);
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
    const { control } = foundation.memories[0]!.common;
    const end = () => this.#end({ exitCode: EXIT_DRAINED, isWanted: true });
    this.#drain = new Drain(control, () => this.#sessionCount(), end, foundation.log);
    void foundation.crew.ended.then((exitCode) => {
      this.#readiness = { ready: false, reason: 'the datapath process ended' };
      this.#end({ exitCode, isWanted: false });
    });
  }

  /** Looks at the host and prepares everything; nothing is served or changed on the host yet. */
  static async plan(
    config: Config,
    log: Logger,
    reread: () => Promise<Config>,
    undo: Undo,
  ): Promise<ControlPlane> {
    const host = withoutServicesThatAreOut(config, await planHostOf(config), log);
    const vips = config.services.flatMap(({ vip }) => vip);
    for (const line of defaultRoutesAstray(host.ports, vips)) log.warn(line);
    const drafts = draftServices(config, host);
    const capacity = spaciousCapacity(drafts);
    const blueprint = drawUp(config, host, drafts, [], capacity);
    const wanted = wantedWorkers(config, log);
    const stateLock = holdStateFile(config, log);
    undo.push(async () => stateLock?.release());
    const saved = SavedSessions.load(config, blueprint.services, log);
    const steeringKey = saved?.steeringKey(wanted) ?? randomSteeringKey();
    const io = provideRings(
      config,
      host.ports,
      blueprint.capture.filters,
      steeringOf(blueprint, wanted, steeringKey),
      log,
    );
    undo.push(async () => closeRings(io));
    const fixed: Fixed = { capacity, workers: io.workers, sharedSeed: randomSeed() };
    const plans = workerPlans(config, host, blueprint.services, fixed);
    const cells = ioCells(host.ports.length);
    const common = commonBytes(plans[0]!);
    const regionBytes = memoryBytes(plans[0]!, cells);
    const allBytes = common + regionBytes * io.workers;
    const { fd, buffer } = createSharedMemory('uoa-proxy', allBytes);
    const memories = plans.map((own, worker) => mapMemory(buffer, own, cells, common + worker * regionBytes));
    const steering = steeringOf(blueprint, io.workers, steeringKey);
    saved?.write(memories, config, steering, fixed.sharedSeed);
    const pairs = io.workers === 1 ? [] : plans.map(() => openSocketPair(HANDOVER_BYTES));
    undo.push(async () => pairs.forEach(closeSocketPair));
    const crew = new Workers(
      plans.map((plan, worker) => ({
        start: {
          kind: 'start',
          plan,
          memoryOff: common + worker * regionBytes,
          memoryBytes: allBytes,
          filters: blueprint.capture.filters,
          bufferSize: config.io.bufferSize,
          rings: io.rings?.sockets[worker]?.map(({ frameBytes, frames }) => ({ frameBytes, frames })),
          known: io.known?.plan,
          busyPoll: config.io.busyPoll,
          steering,
        },
        fds: [fd, ...ringFds(io, worker), ...crewFds(pairs, worker)],
      })),
      log,
    );
    undo.push(() => crew.stop());
    // What comes from now on waits in the rings; where the start fails it was looked at only.
    io.rings?.start();
    crew.launch();
    const board = new ServerBoard(memories[0]!.common, log);
    board.update(blueprint.services);
    const presence = new Presence(log);
    const totals = new Totals(memories, blueprint.services);
    const foundation = { log, io, fixed, steeringKey, memories, totals, presence, board, crew };
    const health = new HealthWatch(
      board,
      () => {
        totals.refresh();
        return totals.servers;
      },
      log,
    );
    undo.push(() => health.stop());
    const reloader = new Reloader(foundation, health, reread, config, host, blueprint);
    return new ControlPlane(foundation, reloader, saved);
  }

  get services(): readonly ServicePlan[] {
    return this.#reloader.services;
  }

  /** Serves from when it resolves. */
  async start(undo: Undo): Promise<void> {
    const { crew, log, memories, presence } = this.#foundation;
    const { config, host } = this.#reloader;
    const { missing } = host;
    const spec = { ...addressesOf(config), missing, assignAddresses: config.io.assignAddresses };
    const prepared = await presence.prepare(spec);
    undo.push(() => presence.end());
    await prepared.commit();
    undo.push(async () => {
      await crew.stop();
      saveState(this.#reloader.config, this.#reloader.services, memories, this.#foundation.steeringKey, log);
    });
    await crew.start();
    const pulses = memories.map(({ pulse }) => pulse);
    const unwatch = watchPulse(crew, pulses, log);
    undo.push(async () => unwatch());
    this.#saved?.forget();
    this.#reloader.start();
    undo.push(async () => this.#reloader.stop());
    this.#hostWatch.start();
    undo.push(async () => this.#hostWatch.stop());
    this.#readiness = { ready: true, reason: '' };
  }

  announceStop(): void {
    this.#readiness = { ready: false, reason: 'stopping' };
    this.#drain.close();
  }

  reload(): Promise<ReloadOutcome> {
    return this.#reloader.reload();
  }

  summary(): Record<string, unknown> {
    const { io, presence } = this.#foundation;
    const { config, host } = this.#reloader;
    return {
      io: io.ioMode,
      ports: host.ports.map(({ name, side, mtu }) => `${name} (${sideName(side)}, mtu ${mtu})`),
      services: config.services.map(({ name }) => name),
      guard: presence.guardTable,
    };
  }

  adminSources(version: string): Omit<AdminSources, 'logLinesLost'> {
    const { board, crew, io, memories, totals } = this.#foundation;
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
      serverState: (index) => board.stateOf(index),
      counters: totals.counters,
      counterSums: totals.columns,
      legsInUse: totals.legsInUse,
      servers: totals.servers,
      io: totals.io,
      refresh: () => totals.refresh(),
      ports: reloader.host.ports,
      ioMode: io.ioMode,
      readiness: () => this.#readinessNow(),
      clientsUncounted: () => ClientTable.uncounted(memories[0]!.common.clients),
      isDraining: () => this.#drain.isOn,
      reloads: () => reloader.history(),
      hostChanges: () => this.#hostWatch.counts,
      workers: () => crew.pids.map((pid, index) => ({ pid, restarts: crew.restarts[index]! })),
      sessions: {
        list: (query) => {
          const tables = memories.map(({ records, table }) => ({ records, slots: table[0]! }));
          return inSlices(listSessions(tables, () => reloader.names(), query, nowMs()));
        },
      },
      operations: {
        reload: () => reloader.reload(),
        drain: (timeoutMs) => this.#drain.begin(timeoutMs),
        cancelDrain: () => this.#drain.cancel(),
        drainServer: (service, rs) => board.drain(this.#serverIndex(service, rs)),
        enableServer: (service, rs) => board.enable(this.#serverIndex(service, rs)),
        setWeight: (service, rs, weight) => board.setWeight(this.#serverIndex(service, rs), weight),
      },
    };
  }

  #readinessNow(): { ready: boolean; reason: string } {
    if (!this.#readiness.ready) return this.#readiness;
    const { board, crew } = this.#foundation;
    const { config, host } = this.#reloader;
    const count = config.services.length;
    const outages = board.outages();
    const troubles = [
      ...(this.#drain.isOn ? ['draining: no new sessions'] : []),
      ...portsDown(host.ports),
      ...crew.missing.map((n) => `datapath process ${n} is starting again`),
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
    const { totals } = this.#foundation;
    totals.refresh();
    const { counters } = totals;
    return this.services.reduce((sum, { index }) => {
      const row = counterRow(index);
      return sum + counters[row + COUNTER.sessionsOneway]! + counters[row + COUNTER.sessionsNormal]!;
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

/** What a worker reads from the others, and how it reaches each. */
const crewFds = (pairs: readonly SocketPair[], worker: number): number[] =>
  pairs.length === 0 ? [] : [pairs[worker]!.receiveFd, ...pairs.map(({ sendFd }) => sendFd)];

const sideName = (side: number): string =>
  side === SIDE.both ? 'wan and lan' : side === SIDE.wan ? 'wan' : 'lan';
