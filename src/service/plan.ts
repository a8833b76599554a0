// A service as the datapath is told about it: plain data that fits in a message, every default and name resolved.
import type { ServiceConfig } from '../config/schema.ts';

export interface RealServerPlan {
  ip: string;
  port: number;
  weight: number;
  /** Largest IP packet that may be sent to it, bytes. */
  mtu: number;
}

export interface ServicePlan {
  name: string;
  vip: string;
  vport: number;
  lips: readonly string[];
  lports: { first: number; last: number };
  scheduler: ServiceConfig['scheduler'];
  onewayMs: number;
  normalMs: number;
  dialect: ServiceConfig['uoa']['dialect'];
  maxTrials: number;
  refreshMs: number;
  idleRefreshMs: number;
  realServers: readonly RealServerPlan[];
}

/** `mtuTowards` holds the MTU of the route to each real server address, which a service's own mtu can only lower. */
export function planService(config: ServiceConfig, mtuTowards: Record<string, number>): ServicePlan {
  return {
    name: config.name,
    vip: config.vip,
    vport: config.vport,
    lips: config.lips,
    lports: config.lports,
    scheduler: config.scheduler,
    onewayMs: config.timeouts.oneway,
    normalMs: config.timeouts.normal,
    dialect: config.uoa.dialect,
    maxTrials: config.uoa.maxTrials,
    refreshMs: config.uoa.refresh,
    idleRefreshMs: config.uoa.idleRefresh,
    realServers: config.realServers.map(({ ip, port, weight }) => ({
      ip,
      port,
      weight,
      mtu: config.mtu === 'auto' ? mtuTowards[ip] : Math.min(config.mtu, mtuTowards[ip]),
    })),
  };
}
