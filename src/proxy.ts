// The composition root of the control plane: config -> host, guard, memory, datapath process, admin server. Wiring only.
// Whatever was done to the host when a later step fails is undone in reverse order, as on stop.
import { availableParallelism } from 'node:os';
import type { Logger } from 'pino';
import { type WatchedServer, watchRefusals } from './admin/refusals.ts';
import { type AdminLeg, type AdminSources, startAdmin } from './admin/server.ts';
import type { Config } from './config/schema.ts';
import { mapMemory, memoryBytes } from './datapath/memory.ts';
import { type LegPlan, legPlans, poolKey } from './datapath/plan.ts';
import { Totals } from './datapath/totals.ts';
import { captureFilter } from './io/filter.ts';
import { type GuardSpec, installGuard } from './io/guard.ts';
import { assignAddresses, type HostPlan, planHost, portsDown, removeAddresses } from './io/host.ts';
import { IoError } from './io/io-error.ts';
import { claimPorts } from './io/ownership.ts';
import { type PacketIo, SIDE } from './io/packet-io.ts';
import { openRings, type Rings } from './io/ring-sockets.ts';
import { randomSteeringKey, type SteeringPlan } from './io/steering.ts';
import { steeringProgram } from './io/steering-program.ts';
import { planService, type ServicePlan } from './service/plan.ts';
import { listSessions } from './session/snapshot.ts';
import { createSharedMemory } from './sys/shared-memory.ts';
import { closeSocketPair, openSocketPair, type SocketPair } from './sys/socket-pair.ts';
import { packageVersion } from './version.ts';
import { formatEndpoint } from './wire/address.ts';
import { ioCells, nowMs, type WorkerPlan } from './worker-protocol.ts';
import { Workers } from './workers.ts';

/** What may wait for one worker from the others: some dozens of the largest datagrams. */
const HANDOVER_BYTES = 4 << 20;

export interface Proxy {
  readonly adminAddress: { host: string; port: number };
  /** Resolves with the exit code when the proxy ended by itself, because its datapath process did. */
  readonly ended: Promise<number>;
  /** Ends everything and restores the host; also right after `ended`. */
  stop(): Promise<void>;
}

/** The proxy cannot start, or not stop cleanly; `hint` says what the operator can do. */
export class StartError extends Error {
  override readonly name = 'StartError';
  readonly hint: string;

  constructor(message: string, hint: string) {
    super(message);
    this.hint = hint;
  }
}

/** Starts the proxy. Rejects with a StartError, IoError or AdminListenError, and nothing left behind. */
export async function startProxy(config: Config, log: Logger): Promise<Proxy> {
  const undo: (() => Promise<void>)[] = [];
  const undoAll = async (): Promise<void> => {
    const failures: string[] = [];
    for (let step = undo.pop(); step; step = undo.pop()) {
      await step().catch((error: Error) => failures.push(error.message));
    }
    if (failures.length > 0) {
      throw new StartError(
        `not everything could be undone: ${failures.join('; ')}`,
        'see what is left, as root: ip address',
      );
    }
  };
  try {
    return await start(config, log, undo, undoAll);
  } catch (error) {
    await undoAll().catch((left: Error) => log.error(left.message));
    throw error;
  }
}

async function start(
  config: Config,
  log: Logger,
  undo: (() => Promise<void>)[],
  undoAll: () => Promise<void>,
): Promise<Proxy> {
  const vips = config.services.flatMap(({ vip, vport }) => vip.map((ip) => ({ ip, port: vport })));
  const lips = config.services.flatMap((service) => service.lips.map((ip) => ({ ip, ...service.lports })));
  const host = await planHost({
    wan: config.io.wan,
    lan: config.io.lan,
    vips: vips.map(({ ip }) => ip),
    lips: lips.map(({ ip }) => ip),
    rips: config.services.flatMap(({ realServers }) => realServers.map(({ ip }) => ip)),
  });
  const plan = planDatapath(config, host);
  const filters = plan.ports.map((port) => captureFilter(port, vips, lips));
  const { rings, ioMode, steering } = provideRings(config, plan, { vips, lips }, filters, log);
  undo.push(async () => rings?.close());
  const workers = rings?.sockets.length ?? 1;
  const plans = Array.from({ length: workers }, (_, worker) => planWorker(plan, worker, workers));
  const cells = ioCells(plan.ports.length);
  const regionBytes = memoryBytes(plans[0], cells);
  const { fd, buffer } = createSharedMemory('uoa-proxy', regionBytes * workers);
  const memories = plans.map((own, worker) => mapMemory(buffer, own, cells, worker * regionBytes));
  const totals = new Totals(memories);
  const legs = legPlans(plan.services);

  const pairs = workers === 1 ? [] : plans.map(() => openSocketPair(HANDOVER_BYTES));
  undo.push(async () => pairs.forEach(closeSocketPair));
  const crew = new Workers(
    plans.map((own, worker) => ({
      start: {
        kind: 'start',
        plan: own,
        memoryOff: worker * regionBytes,
        memoryBytes: regionBytes * workers,
        filters,
        bufferSize: config.io.bufferSize,
        rings: rings?.sockets[worker]?.map(({ frameBytes, frames }) => ({ frameBytes, frames })),
        busyPoll: config.io.busyPoll,
        steering,
      },
      fds: [fd, ...(rings?.sockets[worker]?.map((ring) => ring.fd) ?? []), ...crewFds(pairs, worker)],
    })),
    log,
  );
  let readiness = { ready: false, reason: 'starting' };
  const sources: AdminSources = {
    version: packageVersion(),
    startedAt: new Date(),
    config,
    services: plan.services,
    legs: withCapacity(legs),
    counters: totals.counters,
    legsInUse: totals.legsInUse,
    refusals: totals.refusals,
    io: totals.io,
    refresh: () => totals.refresh(),
    ports: plan.ports,
    ioMode,
    readiness: () => {
      const troubles = [
        ...portsDown(plan.ports),
        ...crew.missing.map((n) => `datapath process ${n} is starting again`),
      ];
      return readiness.ready && troubles.length > 0
        ? { ready: false, reason: troubles.join(', ') }
        : readiness;
    },
    datapathPids: () => crew.pids,
    sessions: {
      list: (query) => {
        const tables = memories.map(({ records, table }) => ({ records, slots: table[0] }));
        return listSessions(tables, { services: plan.services, legs }, query, nowMs());
      },
    },
  };
  const claim = await claimPorts(vips);
  undo.push(() => claim.release());
  const admin = await startAdmin(sources, config.admin.listen);
  undo.push(() => admin.close());

  // Before the addresses are there and until they are gone, or the kernel answers for them.
  const guard = await installGuard({ vips, lips }, (message) => log.error(message));
  undo.push(() => guard.remove());
  await provideAddresses(config, host, log, undo);

  undo.push(() => crew.stop());
  rings?.start();
  await crew.start();
  const ended = crew.ended.then((exitCode) => {
    readiness = { ready: false, reason: 'the datapath process ended' };
    return exitCode;
  });
  const readRefusals = () => {
    totals.refresh();
    return totals.refusals;
  };
  const unwatch = watchRefusals(readRefusals, watchedServers(plan.services), (fields, message) =>
    log.warn(fields, message),
  );
  undo.push(async () => unwatch());
  readiness = { ready: true, reason: `serving ${plan.services.length} services` };
  log.info(
    {
      io: ioMode,
      ports: plan.ports.map(({ name, side, mtu }) => `${name} (${sideName(side)}, mtu ${mtu})`),
      services: config.services.map(({ name }) => name),
      admin: admin.address,
      guard: guard.table,
    },
    'ready',
  );
  return {
    adminAddress: admin.address,
    ended,
    stop: async () => {
      readiness = { ready: false, reason: 'stopping' };
      await undoAll();
    },
  };
}

/** Each leg's number of lports; a pool that services share counts where it is named first. */
function withCapacity(legs: readonly LegPlan[]): AdminLeg[] {
  const seen = new Set<string>();
  return legs.map((leg) => {
    const isFirst = !seen.has(poolKey(leg));
    seen.add(poolKey(leg));
    return { lip: leg.lip, capacity: isFirst ? leg.lports.last - leg.lports.first + 1 : 0 };
  });
}

function watchedServers(services: readonly ServicePlan[]): WatchedServer[] {
  return services.flatMap(({ name, realServers, onUnsupported }) =>
    realServers.map(({ ip, port, dialect }) => ({
      service: name,
      rs: formatEndpoint(ip, port),
      dialect,
      instead: onUnsupported,
    })),
  );
}

async function provideAddresses(
  config: Config,
  { missing }: HostPlan,
  log: Logger,
  undo: (() => Promise<void>)[],
): Promise<void> {
  if (missing.length === 0) return;
  if (!config.io.assignAddresses) {
    const commands = missing.map(({ command }) => `  ${command}`).join('\n');
    throw new StartError(
      `not on this host: ${missing.map(({ ip }) => ip).join(', ')}`,
      `add them:\n${commands}\nor set io.assignAddresses: true, which adds them on start and removes them on stop`,
    );
  }
  await assignAddresses(missing);
  undo.push(() => removeAddresses(missing));
  log.info({ addresses: missing.map(({ ip, device }) => `${ip} on ${device}`) }, 'addresses added');
}

function planDatapath(config: Config, host: HostPlan): WorkerPlan {
  return {
    maxSessions: config.sessions.max,
    ports: host.ports,
    ownAddresses: host.own,
    wanMtu: Math.min(...host.ports.filter(({ side }) => (side & SIDE.wan) !== 0).map(({ mtu }) => mtu)),
    services: config.services.map((service) => planService(service, host.mtuTowards)),
  };
}

/** Its share of the sessions, and every `workers`-th lport. */
function planWorker(plan: WorkerPlan, worker: number, workers: number): WorkerPlan {
  return { ...plan, maxSessions: Math.ceil(plan.maxSessions / workers), worker: { worker, workers } };
}

/** What a worker reads from the others, and how it reaches each. */
const crewFds = (pairs: readonly SocketPair[], worker: number): number[] =>
  pairs.length === 0 ? [] : [pairs[worker]!.receiveFd, ...pairs.map(({ sendFd }) => sendFd)];

interface ProvidedIo {
  /** Undefined where packet I/O is pcap. */
  rings: Rings | undefined;
  ioMode: PacketIo['mode'];
  /** Undefined for one worker. */
  steering: SteeringPlan | undefined;
}

/** Opens the rings of all workers, or settles for pcap. Throws an IoError. */
function provideRings(
  { io, services }: Config,
  { ports }: WorkerPlan,
  addresses: GuardSpec,
  filters: readonly string[],
  log: Logger,
): ProvidedIo {
  if (io.mode === 'pcap') return { rings: undefined, ioMode: 'pcap', steering: undefined };
  // Each needs an lport of every LIP, or some clients would find none.
  const most = Math.min(...services.map(({ lports }) => lports.last - lports.first + 1));
  const wanted = io.workers === 'auto' ? Math.max(1, availableParallelism() - 1) : io.workers;
  const workers = Math.min(wanted, most);
  if (workers < wanted) log.warn(`${workers} of ${wanted} workers: a service has no more lports than that`);
  const steering = workers === 1 ? undefined : { workers, key: randomSteeringKey(), ...addresses };
  const programs = steering === undefined ? [] : ports.map(({ side }) => steeringProgram(steering, side));
  try {
    const rings = openRings({ ports, filters, bufferSize: io.bufferSize, workers, steering: programs });
    return { rings, ioMode: 'ring', steering };
  } catch (error) {
    if (io.mode === 'ring' || !(error instanceof IoError)) throw error;
    log.warn(`io.mode auto: pcap, because ring does not work here: ${error.message} (${error.hint})`);
    return { rings: undefined, ioMode: 'pcap', steering: undefined };
  }
}

const sideName = (side: number): string =>
  side === SIDE.both ? 'wan and lan' : side === SIDE.wan ? 'wan' : 'lan';
