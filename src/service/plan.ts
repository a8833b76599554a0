// A service as the datapath is told about it: plain data that fits in a message, every default and name
// resolved. A draft says what the config says; numbering.ts makes the plan of it, in which everything has its
// number.
import type { ServiceConfig } from '../config/schema.ts';
import { familyOf, formatEndpoint } from '../wire/address.ts';

type Dialect = ServiceConfig['uoa']['dialect'];

/** What uoa.refresh auto is, of rounds that ended without an echo ACK. */
const REFRESH_UNACKED_MS = 60_000;

export interface RealServerDraft {
  ip: string;
  port: number;
  weight: number;
  /** Largest IP packet that may be sent to it, bytes. */
  mtu: number;
  dialect: Dialect;
  /** Takes new sessions only while no other real server does. */
  isFallback: boolean;
  /** The config names it no more: it keeps its sessions, and takes no new ones. */
  isLeaving: boolean;
  /** Why the host cannot send to it, in words; '': it can. */
  unreachable: string;
}

export interface RealServerPlan extends RealServerDraft {
  /** Over all services; its cells in the shared memory. */
  readonly index: number;
  /** One per LIP of its family. */
  readonly legs: readonly { readonly index: number; readonly lip: string }[];
}

export interface Limits {
  /** 0 is no limit, here and below. */
  sessions: number;
  sessionsPerClient: number;
  /** Per second. */
  newSessions: number;
  newSessionsPerClient: number;
  /** Bits of an address that make a client. */
  prefixV4: number;
  prefixV6: number;
}

interface ServiceBase {
  name: string;
  /** One, or one of each family. */
  vips: readonly string[];
  vport: number;
  lips: readonly string[];
  lports: { first: number; last: number };
  scheduler: ServiceConfig['scheduler'];
  /** 0 = off. */
  persistenceMs: number;
  onDown: ServiceConfig['onDown'];
  onewayMs: number;
  normalMs: number;
  maxTrials: number;
  refreshMs: number;
  /** Real servers that acknowledged are told again, too. */
  refreshesAcked: boolean;
  idleRefreshMs: number;
  unifiedType: ServiceConfig['uoa']['unifiedType'];
  carriage: ServiceConfig['uoa']['carriage'];
  onUnsupported: ServiceConfig['uoa']['onUnsupported'];
  proxyV2: ServiceConfig['uoa']['proxyV2'];
  limits: Limits;
  /** Prefixes as address/length; with both empty every client is served. */
  allow: readonly string[];
  deny: readonly string[];
}

export interface ServiceDraft extends ServiceBase {
  realServers: readonly RealServerDraft[];
}

export interface ServicePlan extends ServiceBase {
  /** Its row of the counters, and what session records call it. */
  readonly index: number;
  realServers: readonly RealServerPlan[];
}

/**
 * What the host knows of the way to a real server: the MTU, which a service's own can only lower, and
 * RealServerDraft.unreachable.
 */
export interface Reach {
  mtu: number;
  unreachable: string;
}

export function planService(config: ServiceConfig, reachOf: (ip: string) => Reach): ServiceDraft {
  const reach = (ip: string): Reach => {
    const { mtu, unreachable } = reachOf(ip);
    return { mtu: config.mtu === 'auto' ? mtu : Math.min(config.mtu, mtu), unreachable };
  };
  const { fallback } = config;
  return {
    name: config.name,
    vips: config.vip,
    vport: config.vport,
    lips: config.lips,
    lports: config.lports,
    scheduler: config.scheduler,
    persistenceMs: config.persistence,
    onDown: config.onDown,
    onewayMs: config.timeouts.oneway,
    normalMs: config.timeouts.normal,
    maxTrials: config.uoa.maxTrials,
    refreshMs: config.uoa.refresh === 'auto' ? REFRESH_UNACKED_MS : config.uoa.refresh,
    refreshesAcked: config.uoa.refresh !== 'auto',
    idleRefreshMs: config.uoa.idleRefresh,
    unifiedType: config.uoa.unifiedType,
    carriage: config.uoa.carriage,
    onUnsupported: config.uoa.onUnsupported,
    proxyV2: config.uoa.proxyV2,
    limits: config.limits,
    allow: config.allow,
    deny: config.deny,
    realServers: [
      ...config.realServers.map(({ ip, port, weight, dialect }) => ({
        ip,
        port,
        weight,
        ...reach(ip),
        dialect: dialect ?? config.uoa.dialect,
        isFallback: false,
        isLeaving: false,
      })),
      ...(fallback === undefined
        ? []
        : [
            {
              ...fallback,
              weight: 1,
              ...reach(fallback.ip),
              dialect: config.uoa.dialect,
              isFallback: true,
              isLeaving: false,
            },
          ]),
    ],
  };
}

/** What a real server is called, in logs, metrics and between plans. */
export const serverName = ({ ip, port }: { ip: string; port: number }): string => formatEndpoint(ip, port);

/** LIPs that a real server is sent to from. */
export const lipsTowards = (lips: readonly string[], ip: string): readonly string[] =>
  lips.filter((lip) => familyOf(lip) === familyOf(ip));

/** Whether both have the same name and real servers, in the same order, and call them by the same numbers. */
export const isNumberedAs = (a: ServicePlan, b: ServicePlan): boolean =>
  a === b ||
  (a.name === b.name &&
    a.index === b.index &&
    a.realServers.length === b.realServers.length &&
    a.realServers.every(({ ip, port, index }, at) => {
      const other = b.realServers[at];
      return ip === other.ip && port === other.port && index === other.index;
    }));
