// From a config and a host to the plans of the datapaths.
import { randomBytes } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import type { Logger } from 'pino';
import type { Config, ServiceConfig } from '../config/schema.ts';
import { targetsOf } from '../config/targets.ts';
import type { GuardSpec } from '../host/guard.ts';
import { type HostFacts, inspectHost } from '../host/host.ts';
import type { CaptureSpec, IoHost } from '../io/io-mode.ts';
import { lackFor, refusalOf } from '../io/modes.ts';
import type { NoRoomError } from '../io/no-room.ts';
import { type IoPort, SIDE } from '../io/packet-io.ts';
import { LEN_MAX } from '../route/paths.ts';
import { type Capacity, isMadeOf, sameServiceIn } from '../service/numbering.ts';
import {
  lipsTowards,
  planService,
  type RealServerPlan,
  type ServiceDraft,
  type ServicePlan,
  serverName,
} from '../service/plan.ts';
import { steeringSpec } from '../steer/steering.ts';
import { IoError } from '../sys/io-error.ts';
import { familyOf } from '../wire/address.ts';
import type { WorkerPlan, WorkerReplan } from '../worker-protocol.ts';

/** What the shared memory is made for, so that a reload can add to it. */
export function spaciousCapacity(services: readonly ServiceDraft[]): Capacity {
  const realServers = services.reduce((sum, one) => sum + one.realServers.length, 0);
  const legs = services.reduce((sum, one) => sum + one.realServers.length * one.lips.length, 0);
  const room = (needed: number, least: number) => Math.min(0xffff, Math.max(least, 2 * needed));
  return { services: room(services.length, 64), realServers: room(realServers, 256), legs: room(legs, 1024) };
}

export const addressesOf = (config: Config): GuardSpec => ({
  vips: config.services.flatMap(({ vip, vport }) => vip.map((ip) => ({ ip, port: vport }))),
  lips: config.services.flatMap((service) => service.lips.map((ip) => ({ ip, ...service.lports }))),
});

/** What the config says of a service; undefined when it names it no more. */
export function configsIn({ services }: Config): (service: ServicePlan) => ServiceConfig | undefined {
  const find = sameServiceIn(
    services.map((config) => ({ name: config.name, vport: config.vport, vips: config.vip, config })),
  );
  return (service) => find(service)?.config;
}

/** How long the real servers that a service names no more keep their sessions, ms. */
export function drainTimeoutsIn(config: Config): (service: ServicePlan) => number {
  let configOf: ReturnType<typeof configsIn> | undefined;
  return (service) => {
    configOf ??= configsIn(config); // hardly ever needed
    return configOf(service)?.drainTimeout ?? 0;
  };
}

/** What must be an address of the host: not the LIPs of a family that their service has no real server of. */
export function neededAddresses({ services }: Pick<Config, 'services'>): { vips: string[]; lips: string[] } {
  const lips = services.flatMap((service) => {
    const families = new Set(targetsOf(service).map(({ ip }) => familyOf(ip)));
    return service.lips.filter((lip) => families.has(familyOf(lip)));
  });
  return { vips: services.flatMap(({ vip }) => vip), lips };
}

/**
 * For the start: services whose VIPs or LIPs this host does not have, or cannot use, must not keep the others
 * from being served. Logs them, and throws an IoError when that is true of every service. What is left in
 * `missing` is to be added.
 */
export function withoutServicesThatAreOut(config: Config, host: HostFacts, log: Logger): HostFacts {
  const absent = config.io.assignAddresses ? [] : host.missing;
  const out = new Set([...host.troubles, ...absent].map(({ ip }) => ip));
  if (isAnyWholeWithout(config, out)) {
    for (const { text, hint } of host.troubles) log.error(`${text} (${hint})`);
    for (const { ip, command } of absent) log.error(`not on this host: ${ip} (${command})`);
    return { ...host, missing: host.missing.filter((one) => !absent.includes(one)) };
  }
  for (const { text, hint } of host.troubles) throw new IoError(text, hint);
  return host;
}

/** Whether a service needs none of these addresses. */
export const isAnyWholeWithout = (config: Config, ips: ReadonlySet<string>): boolean =>
  config.services.some((service) => {
    const { vips, lips } = neededAddresses({ services: [service] });
    return ![...vips, ...lips].some((ip) => ips.has(ip));
  });

/** `ports` are those of the proxy that is at work. Throws an IoError. */
export function inspectHostFor(config: Config, ports?: readonly IoPort[]): Promise<HostFacts> {
  return inspectHost({
    wan: config.io.wan,
    lan: config.io.lan,
    services: config.services.map((service) => ({
      ...neededAddresses({ services: [service] }),
      rips: targetsOf(service).map(({ ip }) => ip),
    })),
    ports,
  });
}

/** Whether the same is asked of the host for both. */
export const needsTheSame = (a: Config, b: Config): boolean =>
  a.services.length === b.services.length &&
  a.services.every(
    (one, at) => one === b.services[at] || isDeepStrictEqual(needsOf(one), needsOf(b.services[at])),
  );

const needsOf = (service: ServiceConfig) => ({
  vip: service.vip,
  lips: service.lips,
  rips: targetsOf(service).map(({ ip }) => ip),
});

/** What was drafted last of each service, and the look at the host that it was drafted on. */
const drafted = new WeakMap<ServiceConfig, { on: HostFacts['reach'][number]; draft: ServiceDraft }>();

/** A service of which another look at the host says the same has the same draft. */
export function draftServices(config: Config, host: HostFacts): ServiceDraft[] {
  const lans = host.ports.filter(({ side }) => (side & SIDE.lan) !== 0);
  // For sessions of one that cannot be reached any more.
  const lanMtu = Math.min(LEN_MAX, ...lans.map(({ mtu }) => mtu));
  return config.services.map((service, index) => {
    const on = host.reach[index];
    const last = drafted.get(service);
    if (last?.on === on) return last.draft;
    const anew = planService(service, (ip) => {
      const { mtu, unreachable, isOnHost } = on[ip];
      return {
        mtu: mtu || lanMtu,
        unreachable: unreachable || (isOnHost ? '' : stuckLip(service.lips, ip)),
      };
    });
    const draft = last !== undefined && isDeepStrictEqual(last.draft, anew) ? last.draft : anew;
    drafted.set(service, { on, draft });
    return draft;
  });
}

/** Why a real server on another host cannot be sent to from all of these LIPs; '': it can. */
function stuckLip(lips: readonly string[], ip: string): string {
  const stuck = lipsTowards(lips, ip).find((lip) => lip === '::1' || lip.startsWith('127.'));
  return stuck === undefined
    ? ''
    : `the LIP ${stuck} cannot reach it: loopback addresses are for real servers on this host`;
}

/** What this host lacks for the config's packet I/O, where that can be told; undefined: nothing. */
export const lackOfIo = (config: Config): IoError | undefined => lackFor(config.io.mode);

/** What is to come in for this config. */
export const captureOf = (config: Config, ports: readonly IoPort[]): CaptureSpec => ({
  ...addressesOf(config),
  services: config.services.length,
  ports,
});

/**
 * Why packet I/O would refuse this config at a start on this host; undefined: it would not. Throws an IoError
 * where that cannot be told.
 */
export function captureRefusal(config: Config): NoRoomError | undefined {
  const port = {
    name: config.io.wan ?? 'wan',
    side: SIDE.both,
    mtu: 1500,
    mac: '02:00:00:00:00:00',
    loopback: false,
  };
  return refusalOf(config.io.mode, captureOf(config, [port]));
}

/**
 * The drafts with the real servers of `before` that they lack, where `stays` says that these keep their
 * sessions. None without a LIP of its family, and none whose LIP:lports another service now uses towards it
 * in part: then two sessions could have the same tuple.
 */
export function withLeaving(
  drafts: readonly ServiceDraft[],
  before: readonly ServicePlan[],
  stays: (service: ServicePlan, realServerIndex: number) => boolean,
): ServiceDraft[] {
  const all = [...drafts];
  const oldOf = sameServiceIn(before);
  for (const [at, draft] of drafts.entries()) {
    const old = oldOf(draft);
    if (old === undefined || isMadeOf(old, draft)) continue;
    const names = new Set(draft.realServers.map(serverName));
    const isFree = ({ ip, port }: RealServerPlan) =>
      !all.some((other, index) => index !== at && isInTheWay(other, draft, ip, port));
    const leaving = old.realServers
      .filter((one) => !names.has(serverName(one)) && lipsTowards(draft.lips, one.ip).length > 0)
      .filter((one) => stays(old, one.index) && isFree(one))
      .map(({ index: _, legs: __, ...server }) => ({ ...server, isFallback: false, isLeaving: true }));
    if (leaving.length > 0) all[at] = { ...draft, realServers: [...draft.realServers, ...leaving] };
  }
  return all;
}

/** Whether both send to ip:port from one LIP, with ranges of lports that overlap and are not the same. */
function isInTheWay(other: ServiceDraft, { lips, lports }: ServiceDraft, ip: string, port: number): boolean {
  const isSame = other.lports.first === lports.first && other.lports.last === lports.last;
  const overlap = other.lports.first <= lports.last && lports.first <= other.lports.last;
  if (isSame || !overlap || !other.realServers.some((one) => one.ip === ip && one.port === port))
    return false;
  return lipsTowards(lips, ip).some((lip) => other.lips.includes(lip));
}

/** What the shared memory is laid out by, from the start of the proxy to its end. */
export interface MemoryLayout {
  capacity: Capacity;
  workers: number;
  /** Keys the tables that all workers share. */
  sharedSeed: readonly [number, number];
}

/** One per worker: its share of the sessions, and every `workers`-th lport. */
export function workerPlans(
  config: Config,
  host: HostFacts,
  services: readonly ServicePlan[],
  { capacity, workers, sharedSeed }: MemoryLayout,
): WorkerPlan[] {
  const { max, onewayShare, lportReserve } = config.sessions;
  return Array.from({ length: workers }, (_, worker) => ({
    maxSessions: Math.ceil(max / workers),
    maxAllSessions: max,
    onewayShare,
    lportReserve,
    capacity,
    sharedSeed,
    ports: host.ports,
    ownAddresses: [...host.own, ...host.broadcasts],
    wanMtu: Math.min(...host.ports.filter(({ side }) => (side & SIDE.wan) !== 0).map(({ mtu }) => mtu)),
    services,
    worker: { worker, workers },
  }));
}

/** The same with the rest that each worker goes by; `io` is the packet I/O, or a change of it. */
export function workerReplans(
  config: Config,
  host: HostFacts,
  services: readonly ServicePlan[],
  { layout, steeringKey }: { layout: MemoryLayout; steeringKey: readonly number[] },
  io: Pick<IoHost, 'describe'>,
): WorkerReplan[] {
  const steering = steeringSpec(addressesOf(config), layout.workers, steeringKey);
  return workerPlans(config, host, services, layout).map((plan, worker) => ({
    plan,
    io: io.describe(worker),
    steering,
  }));
}

export function randomSeed(): [number, number] {
  const bytes = randomBytes(8);
  return [bytes.readInt32LE(0), bytes.readInt32LE(4)];
}
