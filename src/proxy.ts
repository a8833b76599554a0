// The composition root of the control plane: config -> host, guard, memory, datapath process, admin server. Wiring only.
// Whatever was done to the host when a later step fails is undone in reverse order, as on stop.
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Logger } from 'pino';
import { type WatchedServer, watchRefusals } from './admin/refusals.ts';
import { type AdminLeg, type AdminSources, startAdmin } from './admin/server.ts';
import type { Config } from './config/schema.ts';
import { mapMemory, memoryBytes } from './datapath/memory.ts';
import { type LegPlan, legPlans, poolKey } from './datapath/plan.ts';
import { captureFilter } from './io/filter.ts';
import { installGuard } from './io/guard.ts';
import { assignAddresses, type HostPlan, planHost, portsDown, removeAddresses } from './io/host.ts';
import { claimPorts } from './io/ownership.ts';
import { SIDE } from './io/packet-io.ts';
import { planService, type ServicePlan } from './service/plan.ts';
import { listSessions } from './session/snapshot.ts';
import { createSharedMemory } from './sys/shared-memory.ts';
import { packageVersion } from './version.ts';
import { formatEndpoint } from './wire/address.ts';
import { type FromWorker, ioCells, nowMs, type ToWorker, type WorkerPlan } from './worker-protocol.ts';

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

/** How long the datapath process may take to end by itself. */
const STOP_TIMEOUT_MS = 2000;

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
  const cells = ioCells(plan.ports.length);
  const { fd, buffer } = createSharedMemory('uoa-proxy', memoryBytes(plan, cells));
  const memory = mapMemory(buffer, plan, cells);
  const legs = legPlans(plan.services);

  // The only mode there is so far; auto will choose when there are more.
  const ioMode = config.io.mode === 'auto' ? 'pcap' : config.io.mode;
  let readiness = { ready: false, reason: 'starting' };
  let worker: ChildProcess | undefined;
  const sources: AdminSources = {
    version: packageVersion(),
    startedAt: new Date(),
    config,
    services: plan.services,
    legs: withCapacity(legs),
    legsInUse: memory.legsInUse,
    counters: memory.counters,
    refusals: memory.refusals,
    ports: plan.ports,
    io: memory.io,
    ioMode,
    readiness: () => {
      const down = portsDown(plan.ports);
      return readiness.ready && down.length > 0 ? { ready: false, reason: down.join(', ') } : readiness;
    },
    datapathPid: () => worker?.pid,
    sessions: {
      list: (query) =>
        listSessions(memory.records, memory.table[0], { services: plan.services, legs }, query, nowMs()),
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

  const filters = plan.ports.map((port) => captureFilter(port, vips, lips));
  const child = await startWorker(
    { kind: 'start', plan, filters, bufferSize: config.io.bufferSize },
    fd,
    log,
  );
  worker = child;
  undo.push(() => stopWorker(child));
  const ended = once(child, 'exit').then(([code, signal]) => {
    worker = undefined;
    if (readiness.ready) log.fatal({ code, signal }, 'the datapath process ended');
    readiness = { ready: false, reason: 'the datapath process ended' };
    return 1;
  });

  const unwatch = watchRefusals(memory.refusals, watchedServers(plan.services), (fields, message) =>
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

/** Forks the datapath process and resolves when it forwards packets. */
async function startWorker(message: ToWorker, memoryFd: number, log: Logger): Promise<ChildProcess> {
  const file = import.meta.url.endsWith('.ts') ? './worker.ts' : './worker.js';
  const child = fork(fileURLToPath(new URL(file, import.meta.url)), [String(process.pid)], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc', memoryFd],
  });
  await new Promise<void>((resolve, reject) => {
    // Emitted when it cannot be forked, and later when a message cannot reach it, which `exit` tells better.
    child.on('error', (error) =>
      reject(new StartError(`the datapath process cannot be started: ${error.message}`, '')),
    );
    child.once('exit', (code, signal) =>
      reject(
        new StartError(`the datapath process ended while it started (${signal ?? `exit code ${code}`})`, ''),
      ),
    );
    child.on('message', (answer: FromWorker) => {
      if (answer.kind === 'ready') resolve();
      else if (answer.kind === 'warning') log.warn(answer.message);
      else reject(new StartError(answer.message, answer.hint));
    });
    child.send(message);
  }).catch(async (error: unknown) => {
    await stopWorker(child);
    throw error;
  });
  return child;
}

async function stopWorker(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  const stop: ToWorker = { kind: 'stop' };
  child.send(stop, () => {});
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
  await exited;
  clearTimeout(timer);
}

const sideName = (side: number): string =>
  side === SIDE.both ? 'wan and lan' : side === SIDE.wan ? 'wan' : 'lan';
