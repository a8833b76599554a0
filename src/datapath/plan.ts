// Everything a datapath must know, as plain data that fits in a message, and the legs that follow from it, in an order
// that control plane and datapath share.
import type { RealServerPlan, ServicePlan } from '../service/plan.ts';
import { familyOf } from '../wire/address.ts';
import type { Frame } from '../wire/frame.ts';

export interface DatapathPort {
  /** Bit 1: faces clients, bit 2: faces real servers. */
  readonly side: number;
  /** Largest IP packet that one frame of this port can bring, bytes. */
  readonly mtu: number;
  readonly loopback: boolean;
}

export interface DatapathPlan {
  readonly maxSessions: number;
  readonly ports: readonly DatapathPort[];
  /** Largest IP packet that may be sent to clients, bytes. */
  readonly wanMtu: number;
  readonly services: readonly ServicePlan[];
  /** Which of how many datapaths that share the services this is; without it the only one. */
  readonly worker?: { readonly worker: number; readonly workers: number };
  /** Addresses of this host besides VIPs and LIPs: no client on another host has them. */
  readonly ownAddresses?: readonly string[];
}

/** The other datapaths of the same services, when there are any: each session belongs to one of them. */
export interface Siblings {
  readonly self: number;
  /**
   * Whose the datagram with these addresses (eight words) and ports is; for an ICMP error those of the answer to the packet
   * that it embeds.
   */
  ownerOf(addresses: Int32Array, sport: number, dport: number): number;
  /** Passes the IP packet at frame.bytes[off, end) on; false: it could not. */
  handOver(
    worker: number,
    frame: Frame,
    off: number,
    end: number,
    portIndex: number,
    largestFragment: number,
  ): boolean;
}

export const SIDE_LAN = 2;

export interface LegPlan {
  lip: string;
  rip: string;
  rport: number;
  mtu: number;
  lports: { first: number; last: number };
  dialect: RealServerPlan['dialect'];
}

/** Legs of the same key share their lports: LIP:lport is unique per real server, whatever the service. */
export const poolKey = ({ lip, rip, rport, lports }: LegPlan): string =>
  `${lip} ${rip}:${rport} ${lports.first}-${lports.last}`;

/** All legs: by service, within it by real server, within it by LIP. */
export function legPlans(services: readonly ServicePlan[]): LegPlan[] {
  return services.flatMap((service) =>
    service.realServers.flatMap((realServer) => realServerLegs(service, realServer)),
  );
}

/** One for each LIP of the real server's family. */
export function realServerLegs({ lips, lports }: ServicePlan, realServer: RealServerPlan): LegPlan[] {
  const { ip, port, mtu, dialect } = realServer;
  return lips
    .filter((lip) => familyOf(lip) === familyOf(ip))
    .map((lip) => ({ lip, rip: ip, rport: port, mtu, lports, dialect }));
}

/** Real servers of all services, in order; one cell each in the shared memory. */
export const realServerCount = (services: readonly ServicePlan[]): number =>
  services.reduce((count, { realServers }) => count + realServers.length, 0);
