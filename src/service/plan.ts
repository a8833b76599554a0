// A service as the datapath is told about it: plain data that fits in a message, every default and name resolved.
import type { ServiceConfig } from '../config/schema.ts';

export interface RealServerPlan {
  ip: string;
  port: number;
  weight: number;
  /** Largest IP packet that may be sent to it, bytes. */
  mtu: number;
  dialect: Dialect;
}

type Dialect = ServiceConfig['uoa']['dialect'];

export interface ServicePlan {
  name: string;
  /** One, or one of each family. */
  vips: readonly string[];
  vport: number;
  lips: readonly string[];
  lports: { first: number; last: number };
  scheduler: ServiceConfig['scheduler'];
  onewayMs: number;
  normalMs: number;
  maxTrials: number;
  refreshMs: number;
  idleRefreshMs: number;
  unifiedType: ServiceConfig['uoa']['unifiedType'];
  onUnsupported: ServiceConfig['uoa']['onUnsupported'];
  realServers: readonly RealServerPlan[];
}

/** `mtuTowards` holds the MTU of the route to each real server address, which a service's own mtu can only lower. */
export function planService(config: ServiceConfig, mtuTowards: Record<string, number>): ServicePlan {
  return {
    name: config.name,
    vips: config.vip,
    vport: config.vport,
    lips: config.lips,
    lports: config.lports,
    scheduler: config.scheduler,
    onewayMs: config.timeouts.oneway,
    normalMs: config.timeouts.normal,
    maxTrials: config.uoa.maxTrials,
    refreshMs: config.uoa.refresh,
    idleRefreshMs: config.uoa.idleRefresh,
    unifiedType: config.uoa.unifiedType,
    onUnsupported: config.uoa.onUnsupported,
    realServers: config.realServers.map(({ ip, port, weight, dialect }) => ({
      ip,
      port,
      weight,
      mtu: config.mtu === 'auto' ? mtuTowards[ip] : Math.min(config.mtu, mtuTowards[ip]),
      dialect: dialect ?? config.uoa.dialect,
    })),
  };
}
