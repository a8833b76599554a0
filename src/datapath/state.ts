// What the walks share: services, legs, sessions, counters, the packet under way and the way out. One per datapath.

import { Service } from '../service/service.ts';
import type { Leg } from '../session/leg.ts';
import { LportPool } from '../session/lport-pool.ts';
import { learnedMtuOf, legOf, serviceOf } from '../session/session.ts';
import { SessionTable } from '../session/table.ts';
import { isImpossibleSource, isLoopback, parseIpv4 } from '../wire/address.ts';
import type { Send } from '../wire/frame.ts';
import { Packet } from '../wire/packet.ts';
import { COUNTER, counterRow } from './counters.ts';
import { IcmpSender } from './icmp.ts';
import type { DatapathMemory } from './memory.ts';
import { type DatapathPlan, type DatapathPort, legPlans, poolKey, SIDE_LAN } from './plan.ts';

export class DatapathState {
  readonly ports: readonly DatapathPort[];
  readonly wanMtu: number;
  readonly services: readonly Service[];
  readonly legs: readonly Leg[];
  readonly table: SessionTable;
  readonly memory: DatapathMemory;
  readonly send: Send;
  readonly icmp: IcmpSender;
  /** The packet under way. */
  readonly packet = new Packet();
  /** The service that the packet under way belongs to, -1 for none. */
  serviceIndex = -1;
  readonly #servicesByPort = new Map<number, Service[]>();
  /** VIPs and LIPs. */
  readonly #ours = new Set<number>();
  /** Other addresses of this host. */
  readonly #hosts: ReadonlySet<number>;
  /** LIP:lports, each range once. */
  readonly #locals: readonly { lip: number; first: number; last: number }[];

  constructor(plan: DatapathPlan, memory: DatapathMemory, send: Send, seed: readonly [number, number]) {
    this.ports = plan.ports;
    this.wanMtu = plan.wanMtu;
    this.memory = memory;
    this.send = send;
    this.icmp = new IcmpSender(send, memory.counters);
    const pools = new Map<string, LportPool>();
    const planned = legPlans(plan.services);
    this.legs = planned.map((leg, index) => {
      const key = poolKey(leg);
      const pool = pools.get(key) ?? new LportPool(leg.lports.first, leg.lports.last);
      pools.set(key, pool);
      return {
        index,
        lip: parseIpv4(leg.lip),
        rip: parseIpv4(leg.rip),
        rport: leg.rport,
        mtu: leg.mtu,
        pool,
      };
    });
    let firstLeg = 0;
    this.services = plan.services.map((servicePlan, index) => {
      const count = servicePlan.realServers.length * servicePlan.lips.length;
      const legs = this.legs.slice(firstLeg, firstLeg + count);
      firstLeg += count;
      return new Service(index, servicePlan, legs);
    });
    for (const service of this.services) {
      const samePort = this.#servicesByPort.get(service.vport) ?? [];
      samePort.push(service);
      this.#servicesByPort.set(service.vport, samePort);
    }
    const locals = new Map(
      planned.map(({ lip, lports }) => [
        `${lip} ${lports.first}-${lports.last}`,
        { lip: parseIpv4(lip), ...lports },
      ]),
    );
    this.#locals = [...locals.values()];
    for (const { vip } of this.services) this.#ours.add(vip);
    for (const { lip } of this.#locals) this.#ours.add(lip);
    this.#hosts = new Set((plan.ownAddresses ?? []).map(parseIpv4));
    this.table = new SessionTable(memory.records, this.services, this.legs, seed, (base, end) => {
      const row = counterRow(serviceOf(memory.records, base));
      memory.counters[row + (end === 'expired' ? COUNTER.sessionsExpired : COUNTER.sessionsEvicted)]++;
      memory.counters[row + (this.table.isNormal(base) ? COUNTER.sessionsNormal : COUNTER.sessionsOneway)]--;
      memory.legsInUse[legOf(memory.records, base)]--;
    });
  }

  /** Adds one to a service's counter; serviceIndex -1 is no service. */
  count(serviceIndex: number, column: number): void {
    this.memory.counters[counterRow(serviceIndex) + column]++;
  }

  legOf(base: number): Leg {
    return this.legs[legOf(this.memory.records, base)];
  }

  /** Largest IP packet that may be sent to the session's real server: the leg's MTU, or a smaller one that ICMP taught. */
  mtuOf(base: number): number {
    const learned = learnedMtuOf(this.memory.records, base);
    return learned === 0 ? this.legOf(base).mtu : learned;
  }

  facesRealServers(portIndex: number): boolean {
    return (this.ports[portIndex].side & SIDE_LAN) !== 0;
  }

  serviceAt(vip: number, vport: number): Service | undefined {
    const samePort = this.#servicesByPort.get(vport);
    if (samePort === undefined) return undefined;
    for (const service of samePort) if (service.vip === vip) return service;
    return undefined;
  }

  /**
   * Whether a datagram to `service` may come from this source. The capture sees packets that the kernel would refuse as
   * martians: an address that none has, or this host's own from outside. And an answer to a VIP:vport, a LIP:lport or
   * the service's own real server would come back to us as a client's datagram, for ever.
   */
  mayComeFrom(src: number, sport: number, service: Service, portIndex: number): boolean {
    if (isImpossibleSource(src)) return false;
    const isHosts = isLoopback(src) || this.#ours.has(src) || this.#hosts.has(src);
    if (isHosts && !this.ports[portIndex].loopback) return false;
    if (this.serviceAt(src, sport) !== undefined || this.isLocal(src, sport)) return false;
    for (const { legs } of service.realServers) {
      if (legs[0].rip === src && legs[0].rport === sport) return false;
    }
    return true;
  }

  /** Whether the address is a VIP or LIP, whatever the port. */
  isOurs(ip: number): boolean {
    return this.#ours.has(ip);
  }

  /** Whether the address and port are one of our LIP:lport. */
  isLocal(ip: number, port: number): boolean {
    for (const local of this.#locals) {
      if (local.lip === ip && port >= local.first && port <= local.last) return true;
    }
    return false;
  }
}
