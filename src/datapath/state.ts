// What the walks share: services, legs, sessions, counters, the packet under way and the way out. One per datapath.

import type { RealServerPlan, ServicePlan } from '../service/plan.ts';
import { Service } from '../service/service.ts';
import type { Leg } from '../session/leg.ts';
import { LportPool } from '../session/lport-pool.ts';
import {
  CLIENT,
  cportOf,
  familyOfClient,
  learnedMtuOf,
  legOf,
  serviceOf,
  vipAt,
} from '../session/session.ts';
import { SessionTable } from '../session/table.ts';
import { uoaForms } from '../uoa/dialect.ts';
import { Origin } from '../uoa/origin.ts';
import { UoaReceiver } from '../uoa/receiver.ts';
import {
  AddressSet,
  type Family,
  familyOf,
  isImpossibleSource,
  isLoopback,
  isSameAddress,
  parseAddressInto,
} from '../wire/address.ts';
import type { Frame, Send } from '../wire/frame.ts';
import { Packet } from '../wire/packet.ts';
import { COUNTER, counterRow } from './counters.ts';
import { Identifications } from './fragment.ts';
import { IcmpSender } from './icmp.ts';
import type { DatapathMemory } from './memory.ts';
import {
  type DatapathPlan,
  type DatapathPort,
  type LegPlan,
  legPlans,
  poolKey,
  realServerLegs,
  SIDE_LAN,
  type Siblings,
} from './plan.ts';
import { Reassembler } from './reassembly.ts';
import { DROP, VERDICT, type Verdict } from './verdict.ts';

/** The longest packet that IPv4 can tell; loopback's MTU is larger. */
const LEN_MAX = 0xffff;

export class DatapathState {
  readonly ports: readonly DatapathPort[];
  readonly wanMtu: number;
  readonly services: readonly Service[];
  readonly legs: readonly Leg[];
  readonly table: SessionTable;
  readonly memory: DatapathMemory;
  readonly send: Send;
  readonly icmp: IcmpSender;
  readonly reassembler: Reassembler;
  readonly identifications: Identifications;
  /** Whose UOA is written or compared at the moment. */
  readonly origin = new Origin();
  /** Source and destination of what is sent to a client at the moment. */
  readonly toClient = new Int32Array(8);
  /** The packet under way. */
  readonly packet = new Packet();
  /** The service that the packet under way belongs to, -1 for none. */
  serviceIndex = -1;
  /** The packet under way comes from a sibling, and is not passed on again. */
  isHandedOver = false;
  readonly #siblings: Siblings | undefined;
  readonly #servicesByPort = new Map<number, Service[]>();
  /** VIPs and LIPs. */
  readonly #ours: AddressSet;
  /** Other addresses of this host. */
  readonly #hosts: AddressSet;
  /** LIP:lports, each range once. */
  readonly #locals: readonly { lip: Int32Array; first: number; last: number }[];

  constructor(
    plan: DatapathPlan,
    memory: DatapathMemory,
    send: Send,
    seed: readonly [number, number],
    siblings: Siblings | undefined,
  ) {
    this.#siblings = siblings;
    this.ports = plan.ports;
    this.wanMtu = Math.min(plan.wanMtu, LEN_MAX);
    this.memory = memory;
    this.send = send;
    this.icmp = new IcmpSender(send, memory.counters);
    this.reassembler = new Reassembler(memory.counters, seed);
    this.identifications = new Identifications(seed);
    const legs: Leg[] = [];
    const pools = new Map<string, LportPool>();
    let realServerIndex = 0;
    this.services = plan.services.map((servicePlan, index) => {
      const perServer = servicePlan.realServers.map((realServer) => {
        const receiver = makeReceiver(servicePlan, realServer);
        const own = realServerLegs(servicePlan, realServer).map((legPlan, nth) => {
          const key = poolKey(legPlan);
          const { first, last } = legPlan.lports;
          const pool = pools.get(key) ?? new LportPool(first, last, plan.worker);
          pools.set(key, pool);
          return makeLeg(legs.length + nth, legPlan, pool, receiver, realServerIndex);
        });
        legs.push(...own);
        realServerIndex++;
        return own;
      });
      return new Service(index, servicePlan, perServer);
    });
    this.legs = legs;
    for (const service of this.services) {
      const samePort = this.#servicesByPort.get(service.vport) ?? [];
      samePort.push(service);
      this.#servicesByPort.set(service.vport, samePort);
    }
    const locals = new Map(
      legPlans(plan.services).map(({ lip, lports }) => [
        `${lip} ${lports.first}-${lports.last}`,
        { lip: addressWords(lip), ...lports },
      ]),
    );
    this.#locals = [...locals.values()];
    this.#ours = new AddressSet(plan.services.flatMap(({ vips, lips }) => [...vips, ...lips]));
    this.#hosts = new AddressSet(plan.ownAddresses ?? []);
    this.table = new SessionTable(memory.records, this.services, this.legs, seed, (base, end) => {
      const row = counterRow(serviceOf(memory.records, base));
      memory.counters[row + (end === 'expired' ? COUNTER.sessionsExpired : COUNTER.sessionsEvicted)]++;
      memory.counters[row + (this.table.isNormal(base) ? COUNTER.sessionsNormal : COUNTER.sessionsOneway)]--;
      memory.legsInUse[legOf(memory.records, base)]--;
    });
    this.#restore();
  }

  /** Goes on with the sessions of a datapath that had this memory before, if there was one. */
  #restore(): void {
    const { counters, legsInUse, records, table } = this.memory;
    if (table[0] === 0) return;
    legsInUse.fill(0);
    for (const { index } of this.services) {
      counters[counterRow(index) + COUNTER.sessionsOneway] = 0;
      counters[counterRow(index) + COUNTER.sessionsNormal] = 0;
    }
    this.table.restore(table[0], (base) => {
      const state = this.table.isNormal(base) ? COUNTER.sessionsNormal : COUNTER.sessionsOneway;
      counters[counterRow(serviceOf(records, base)) + state]++;
      legsInUse[legOf(records, base)]++;
    });
  }

  /** Adds one to a service's counter; serviceIndex -1 is no service. */
  count(serviceIndex: number, column: number): void {
    this.memory.counters[counterRow(serviceIndex) + column]++;
  }

  legOf(base: number): Leg {
    return this.legs[legOf(this.memory.records, base)];
  }

  /** Largest IP packet that may be sent to the session's real server: its leg's MTU, or a smaller one that ICMP taught. */
  mtuOf(base: number, leg: Leg, nowMs: number): number {
    const learned = learnedMtuOf(this.memory.records, base, nowMs);
    return learned === 0 ? leg.mtu : learned;
  }

  facesRealServers(portIndex: number): boolean {
    return (this.ports[portIndex].side & SIDE_LAN) !== 0;
  }

  /** The service whose VIP:vport this is. */
  serviceAt(family: Family, addresses: Int32Array, at: number, port: number): Service | undefined {
    const samePort = this.#servicesByPort.get(port);
    if (samePort === undefined) return undefined;
    for (const service of samePort) {
      if (isSameAddress(service.vips, vipAt(family), addresses, at)) return service;
    }
    return undefined;
  }

  /**
   * Whether the packet's datagram to `service` may come from its source. The capture sees packets that the kernel would
   * refuse as martians: an address that none has, or this host's own from outside. And an answer to a VIP:vport, a
   * LIP:lport or the service's own real server would come back to us as a client's datagram, for ever.
   */
  mayComeFrom({ family, addresses, sport }: Packet, service: Service, portIndex: number): boolean {
    if (isImpossibleSource(addresses, 0)) return false;
    const isHosts = isLoopback(addresses, 0) || this.#ours.has(addresses, 0) || this.#hosts.has(addresses, 0);
    if (isHosts && !this.ports[portIndex].loopback) return false;
    if (this.serviceAt(family, addresses, 0, sport) !== undefined) return false;
    if (this.isLocal(addresses, 0, sport)) return false;
    for (const { legs } of service.realServers) {
      if (legs[0].rport === sport && isSameAddress(legs[0].from, 0, addresses, 0)) return false;
    }
    return true;
  }

  /**
   * Passes on a packet of no session here that belongs to a sibling; for an ICMP error the tuple is that of the answer to
   * its embedded packet. VERDICT.forward: it stays here.
   */
  handOver(
    frame: Frame,
    { off, totalLen, largestFragment }: Packet,
    addresses: Int32Array,
    sport: number,
    dport: number,
    portIndex: number,
  ): Verdict {
    const siblings = this.#siblings;
    if (siblings === undefined || this.isHandedOver) return VERDICT.forward;
    const owner = siblings.ownerOf(addresses, sport, dport);
    if (owner === siblings.self || !this.#ours.has(addresses, 4)) return VERDICT.forward;
    if (!siblings.handOver(owner, frame, off, off + totalLen, portIndex, largestFragment))
      return DROP.handover_failed;
    this.count(-1, COUNTER.handedOver);
    return VERDICT.handedOver;
  }

  /** Whether the address is a VIP or LIP, whatever the port. */
  isOurs(addresses: Int32Array, at: number): boolean {
    return this.#ours.has(addresses, at);
  }

  /** Whether the address and port are one of our LIP:lport. */
  isLocal(addresses: Int32Array, at: number, port: number): boolean {
    for (const { lip, first, last } of this.#locals) {
      if (port >= first && port <= last && isSameAddress(lip, 0, addresses, at)) return true;
    }
    return false;
  }

  /** Points `origin` at the session's client and the VIP that it called. */
  pointOrigin(base: number, service: Service): void {
    const { records } = this.memory;
    const { addresses } = this.origin;
    const family = familyOfClient(records, base);
    this.origin.family = family;
    this.origin.cport = cportOf(records, base);
    this.origin.vport = service.vport;
    const at = vipAt(family);
    for (let i = 0; i < 4; i++) {
      addresses[i] = records[base + CLIENT + i];
      addresses[4 + i] = service.vips[at + i];
    }
  }

  /** Points `toClient` from the VIP to the session's client of that family. */
  pointToClient(base: number, service: Service, family: Family): void {
    const { records } = this.memory;
    const { toClient } = this;
    const at = vipAt(family);
    for (let i = 0; i < 4; i++) {
      toClient[i] = service.vips[at + i];
      toClient[4 + i] = records[base + CLIENT + i];
    }
  }
}

function makeReceiver(plan: ServicePlan, { ip, dialect }: RealServerPlan): UoaReceiver {
  const over = familyOf(ip);
  const { onUnsupported, unifiedType } = plan;
  // Somebody's error about a UOA that was never sent must not bring one to a real server that is to be told nothing.
  if (dialect === 'none') return new UoaReceiver(undefined, undefined);
  const first = uoaForms(dialect, over, unifiedType);
  const fallback =
    onUnsupported === 'plain' || onUnsupported === dialect
      ? undefined
      : uoaForms(onUnsupported, over, unifiedType);
  return new UoaReceiver(first, fallback === first ? undefined : fallback);
}

function makeLeg(
  index: number,
  { lip, rip, rport, mtu }: LegPlan,
  pool: LportPool,
  receiver: UoaReceiver,
  realServerIndex: number,
): Leg {
  const towards = new Int32Array([...addressWords(lip), ...addressWords(rip)]);
  const from = new Int32Array([...addressWords(rip), ...addressWords(lip)]);
  return {
    index,
    family: familyOf(rip),
    towards,
    from,
    rport,
    mtu: Math.min(mtu, LEN_MAX),
    pool,
    receiver,
    realServerIndex,
  };
}

function addressWords(text: string): Int32Array {
  const words = new Int32Array(4);
  parseAddressInto(words, 0, text);
  return words;
}
