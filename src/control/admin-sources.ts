// What the admin server sees of the control plane, and what it can have it do.
import { unknownName } from '../admin/names.ts';
import {
  type AdminSources,
  type FastPathState,
  OperationError,
  type ProbeOptions,
  type ProbeReport,
} from '../admin/sources.ts';
import { ClientTable } from '../datapath/client-table.ts';
import { legPlans, poolKey } from '../datapath/plan.ts';
import { portsDown } from '../host/host.ts';
import { type RealServerPlan, type ServicePlan, serverName } from '../service/plan.ts';
import { findSession, type SessionTuple } from '../session/find-session.ts';
import { listSessions, type SessionSnapshot } from '../session/snapshot.ts';
import { isInPayload } from '../uoa/dialect.ts';
import { formatEndpoint } from '../wire/address.ts';
import { nowMs } from '../worker-protocol.ts';
import type { Drain } from './drain.ts';
import type { HostWatch } from './host-watch.ts';
import { probePath } from './path-probe.ts';
import { configsIn } from './planning.ts';
import type { Reloader } from './reload.ts';
import type { Runtime } from './runtime.ts';
import { inSlices } from './slices.ts';

interface Readiness {
  ready: boolean;
  reason: string;
}

/** Of the control plane. */
interface Shown {
  readonly runtime: Runtime;
  readonly reloader: Reloader;
  readonly drain: Drain;
  readonly hostWatch: HostWatch;
  readonly readiness: () => Readiness;
}

export function adminSources(plane: Shown, version: string): Omit<AdminSources, 'logLinesLost'> {
  const { runtime, reloader, drain, hostWatch } = plane;
  const { serverStates, workers, io, fast, fastSwitch, memories, totals } = runtime;
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
    fastPath: () => fastPathState(runtime),
    isFastPathOff: (service) => fastSwitch.isOff(service),
    fastPathPassed: () => fast.passed(),
    fastPathMissed: () => fast.missed(),
    fastPathUncounted: () => fast.uncounted(),
    readiness: () => readinessNow(plane),
    clientsUncounted: () => ClientTable.uncounted(memories[0].common.clients),
    isDraining: () => drain.isOn,
    reloads: () => reloader.history(),
    hostChanges: () => hostWatch.counts,
    workers: () => workers.pids.map((pid, index) => ({ pid, restarts: workers.restarts[index] })),
    sessions: {
      list: async (query) => {
        const { total, sessions } = await inSlices(
          listSessions(tablesOf(runtime), () => reloader.names(), query, nowMs()),
        );
        for (const one of sessions) saySwitchedOff(one, runtime);
        return { total, sessions };
      },
      find: (tuple) => {
        const found = findSession(tablesOf(runtime), reloader.names(), tuple, nowMs());
        if (found === undefined) throw notFound(tuple, plane);
        saySwitchedOff(found, runtime);
        return found;
      },
    },
    operations: {
      reload: () => reloader.reload(),
      drain: (timeoutMs) => drain.begin(timeoutMs),
      cancelDrain: () => drain.cancel(),
      drainServer: (service, rs) => serverStates.drain(serverIndex(reloader.services, service, rs)),
      enableServer: (service, rs) => serverStates.enable(serverIndex(reloader.services, service, rs)),
      announceServer: (service, rs) => announceServer(runtime, reloader.services, service, rs),
      setWeight: (service, rs, weight) =>
        serverStates.setWeight(serverIndex(reloader.services, service, rs), weight),
      probe: (service, rs, options) => probe(plane, service, rs, options),
      switchFastPath: (isOn, service) => switchFastPath(runtime, isOn, service),
    },
  };
}

async function probe(
  { runtime, reloader }: Shown,
  name: string,
  rs: string,
  options: ProbeOptions,
): Promise<ProbeReport> {
  const { services, config, host } = reloader;
  const { service, server } = serverCalled(services, name, rs);
  const isTaken = (lip: string, lport: number) => {
    const tuple = { lip, lport, rs: server.ip, rsPort: server.port };
    return findSession(tablesOf(runtime), reloader.names(), tuple, nowMs()) !== undefined;
  };
  const health = configsIn(config)(service)?.health;
  return await probePath({ service, server, health, ports: host.ports, isTaken }, options);
}

const tablesOf = ({ memories, fast }: Runtime) =>
  memories.map(({ records, table, hotStates, index }) => ({
    records,
    slots: table[0],
    hotStates: fast.isOn ? hotStates : undefined,
    index,
  }));

/** Also of those that are not busy, which no datapath has looked at. */
function saySwitchedOff(session: SessionSnapshot, { fast, fastSwitch }: Runtime): void {
  if (fast.isOn && fastSwitch.isOff(session.service)) session.fastPath = 'off';
}

/** A real server may ask with a LIP of another proxy, or not know what it is called here. */
function notFound({ lip, lport, rs, rsPort }: SessionTuple, { runtime, reloader }: Shown): OperationError {
  const { missing } = runtime.workers;
  if (missing.length > 0)
    return new OperationError(
      503,
      `datapath process ${missing.join(', ')} is starting again: ask once more in a second`,
    );
  const legs = legPlans(reloader.services).filter((leg) => leg.rip === rs && leg.rport === rsPort);
  const server = formatEndpoint(rs, rsPort);
  if (legs.length === 0) {
    const names = reloader.services.flatMap(({ realServers }) => realServers.map(serverName));
    return new OperationError(404, unknownName('real server', server, [...new Set(names)]));
  }
  if (!legs.some((leg) => leg.lip === lip)) {
    const lips = [...new Set(legs.map((leg) => leg.lip))];
    return new OperationError(404, unknownName(`LIP towards ${server}`, lip, lips));
  }
  return new OperationError(404, `no session of ${formatEndpoint(lip, lport)} with ${server}`);
}

function fastPathState({ fast, fastStatus, fastSwitch }: Runtime): FastPathState {
  const { wanted, why, interfaces } = fastStatus;
  return {
    kind: fast.kind,
    wanted,
    why,
    interfaces,
    switchedOff: fastSwitch.state,
  };
}

function switchFastPath(
  { fast, fastStatus, fastSwitch }: Runtime,
  isOn: boolean,
  service: string | undefined,
): void {
  // What is off for the next one can be taken back where there is none.
  if (!fast.isOn && !(isOn && fastSwitch.isAnyOff))
    throw new OperationError(409, `there is no fast path: ${fastStatus.why}`);
  if (isOn) {
    fastSwitch.switchOn(service);
    fast.unblock();
  } else fastSwitch.switchOff(service);
}

function readinessNow({ runtime, reloader, drain, readiness }: Shown): Readiness {
  const known = readiness();
  if (!known.ready) return known;
  const { serverStates, workers } = runtime;
  const { config, host } = reloader;
  const count = config.services.length;
  const outages = serverStates.outages();
  const troubles = [
    ...(drain.isOn ? ['draining: no new sessions'] : []),
    ...portsDown(host.ports),
    ...workers.missing.map((n) => `datapath process ${n} is starting again`),
    ...outages.filter(({ isServed }) => !isServed).map(({ service, text }) => `service ${service}: ${text}`),
  ];
  if (troubles.length > 0) return { ready: false, reason: troubles.join(', ') };
  const serving = `serving ${count} service${count === 1 ? '' : 's'}`;
  return {
    ready: true,
    reason: [serving, ...outages.map(({ service, text }) => `${service}: ${text}`)].join(', '),
  };
}

function announceServer(
  { serverStates }: Runtime,
  services: readonly ServicePlan[],
  name: string,
  rs: string,
): void {
  const { service, server } = serverCalled(services, name, rs);
  const why =
    server.dialect === 'none' ? 'its dialect is none' : service.maxTrials === 0 ? 'uoa.maxTrials is 0' : '';
  if (why !== '') throw new OperationError(409, `${rs} of ${name} is told of no client: ${why}`);
  if (isInPayload(server.dialect) && service.proxyV2 === 'every')
    throw new OperationError(
      409,
      `each datagram to ${rs} of ${name} brings its client already: uoa.proxyV2 is every`,
    );
  serverStates.announceClients(server.index);
}

const serverIndex = (services: readonly ServicePlan[], service: string, rs: string): number =>
  serverCalled(services, service, rs).server.index;

function serverCalled(
  services: readonly ServicePlan[],
  service: string,
  rs: string,
): { service: ServicePlan; server: RealServerPlan } {
  const plan = services.find(({ name }) => name === service);
  if (plan === undefined) {
    const names = services.map(({ name }) => name).join(', ');
    throw new OperationError(404, `there is no service ${service}, only ${names}`);
  }
  const server = plan.realServers.find((one) => serverName(one) === rs);
  if (server === undefined) {
    const names = plan.realServers.map(serverName).join(', ');
    throw new OperationError(404, `service ${service} has no real server ${rs}, only ${names}`);
  }
  return { service: plan, server };
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
