// Everything a datapath must know, as plain data that fits in a message, and the legs that follow from it.
import { type Capacity, isSameService } from '../service/numbering.ts';
import type { RealServerPlan, ServicePlan } from '../service/plan.ts';
import { isInPayload, type ProxyV2Mode } from '../uoa/dialect.ts';

export interface DatapathPort {
  /** Bit 1: faces clients, bit 2: faces real servers. */
  readonly side: number;
  readonly loopback: boolean;
}

export interface DatapathPlan {
  readonly maxSessions: number;
  /** Of all datapaths that share the services; without it there is no other. */
  readonly maxAllSessions?: number;
  readonly ports: readonly DatapathPort[];
  /** Largest IP packet that may be sent to clients, bytes, where nothing else is known of the way to one. */
  readonly wanMtu: number;
  readonly services: readonly ServicePlan[];
  /** What the shared memory has room for; without it exactly for this plan. */
  readonly capacity?: Capacity;
  /** Percent of maxSessions that sessions without an answer may take, 1 to 100. */
  readonly onewayShare: number;
  /** Keys the tables that all datapaths share; without it each datapath's own seed. */
  readonly sharedSeed?: readonly [number, number];
  /** Percent of each pool's lports that are kept for clients that were answered before. */
  readonly lportReserve: number;
  /** Which of how many datapaths that share the services this is; without it the only one. */
  readonly worker?: { readonly worker: number; readonly workers: number };
  /**
   * Addresses of this host besides VIPs and LIPs, and broadcasts of its subnets: no client on another host
   * has them.
   */
  readonly ownAddresses?: readonly string[];
}

export const SIDE_WAN = 1;
export const SIDE_LAN = 2;

export interface LegPlan {
  lip: string;
  rip: string;
  rport: number;
  mtu: number;
  lports: { first: number; last: number };
  dialect: RealServerPlan['dialect'];
  /** Undefined: it is sent no header of PROXY protocol. */
  proxyV2: ProxyV2Mode | undefined;
}

/** Legs of the same key share their lports: LIP:lport is unique per real server, whatever the service. */
export const poolKey = ({ lip, rip, rport, lports }: LegPlan): string =>
  `${lip} ${rip}:${rport} ${lports.first}-${lports.last}`;

/** All legs, by service and real server. */
export function legPlans(services: readonly ServicePlan[]): (LegPlan & { index: number })[] {
  return services.flatMap((service) =>
    service.realServers.flatMap((realServer) => realServerLegs(service, realServer)),
  );
}

export function realServerLegs(
  { lports, proxyV2: mode }: ServicePlan,
  { ip, port, mtu, dialect, legs }: RealServerPlan,
): (LegPlan & { index: number })[] {
  const proxyV2 = isInPayload(dialect) ? mode : undefined;
  return legs.map(({ index, lip }) => ({ index, lip, rip: ip, rport: port, mtu, lports, dialect, proxyV2 }));
}

/**
 * What the numbers of a plan stand for, by number; that of a leg also for those of its service and real
 * server.
 */
export interface Identities {
  readonly services: readonly string[];
  readonly realServers: readonly string[];
  readonly legs: readonly string[];
  /** By number. */
  readonly plans: readonly ServicePlan[];
  /** How many services there were so far. */
  readonly serial: number;
}

/**
 * `before` are those of the plan that this datapath had before. A service goes by a serial number, because
 * its VIPs may change one after the other until a service of its first name and VIP could be another one.
 */
export function identitiesOf(all: readonly ServicePlan[], before?: Identities): Identities {
  const services: string[] = [];
  const realServers: string[] = [];
  const legs: string[] = [];
  const plans: ServicePlan[] = [];
  let serial = before?.serial ?? 0;
  for (const plan of all) {
    const old = before?.plans[plan.index];
    const isSame = old !== undefined && isSameService(old, plan);
    const service = isSame ? before!.services[plan.index] : String(serial++);
    plans[plan.index] = plan;
    services[plan.index] = service;
    for (const server of plan.realServers) {
      realServers[server.index] = `${service} ${server.ip} ${server.port}`;
      for (const { index, lip } of server.legs)
        legs[index] = `${service} ${server.index} ${server.ip} ${server.port} ${lip}`;
    }
  }
  return { services, realServers, legs, plans, serial };
}

/** What the memory of a plan has room for. */
export function capacityOf({ capacity, services }: DatapathPlan): Capacity {
  const needed = (items: readonly { index: number }[]): number =>
    items.reduce((most, { index }) => Math.max(most, index + 1), 0);
  return (
    capacity ?? {
      services: needed(services),
      realServers: needed(services.flatMap(({ realServers }) => realServers)),
      legs: needed(legPlans(services)),
    }
  );
}
