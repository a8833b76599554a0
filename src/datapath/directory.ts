// What a plan becomes in a datapath: services, real servers and legs by their numbers, and which addresses
// are whose. A later plan takes the place of one at work: what stays keeps its lport pools, its turns and
// what is known of its real servers.
import type { Persistence } from '../service/persistence.ts';
import type { RealServerPlan, ServicePlan } from '../service/plan.ts';
import { RealServer } from '../service/real-server.ts';
import type { Share } from '../service/scheduler/scheduler.ts';
import { type SchedulingState, Service } from '../service/service.ts';
import type { Leg } from '../session/leg.ts';
import { LportPool, lportsOf } from '../session/lport-pool.ts';
import { legOf, serviceOf } from '../session/session.ts';
import { dialectNumber, isInPayload, uoaForms } from '../uoa/dialect.ts';
import { tellingOf } from '../uoa/handshake.ts';
import { UoaReceiver } from '../uoa/receiver.ts';
import { addressWords, familyOf } from '../wire/address.ts';
import { AddressBook } from './address-book.ts';
import { Announcements } from './announcements.ts';
import { type DatapathMemory, LPORT_ARC_CELLS } from './memory.ts';
import {
  type DatapathPlan,
  type DatapathPort,
  type LegPlan,
  poolKey,
  realServerLegs,
  SIDE_LAN,
  SIDE_WAN,
} from './plan.ts';
import { SERVER_COUNTER, serverRow } from './server-cells.ts';

/** The longest packet that IPv4 can tell; loopback's MTU is larger. */
const LEN_MAX = 0xffff;
/** A datapath that works has ten pulses in a second. */
const SILENT_MS = 1000;

export class Directory {
  ports: readonly DatapathPort[] = [];
  wanMtu = 0;
  /** By index; none where a number is free. */
  services: readonly (Service | undefined)[] = [];
  legs: readonly (Leg | undefined)[] = [];
  addresses = new AddressBook({ services: [] });
  readonly announcements: Announcements;
  readonly #memory: DatapathMemory;
  readonly #schedulingState: SchedulingState;
  readonly #drawLport: (count: number) => number;
  readonly #all: readonly DatapathMemory[];
  readonly #share: Share;
  /** Of each datapath, as it was looked at last, and when that was new. */
  readonly #pulses: Float64Array;
  readonly #pulsesAt: Int32Array;
  /** By leg. */
  #pooled: readonly Pooled[] = [];
  #pools = new Map<string, LportPool>();
  #receivers = new Map<string, UoaReceiver>();

  /**
   * `all` are the memories of all datapaths that share the services; `drawLport` says with which of how many
   * lports a new pool begins.
   */
  constructor(
    memory: DatapathMemory,
    all: readonly DatapathMemory[],
    share: Share,
    persistence: Persistence,
    drawLport: (count: number) => number,
  ) {
    this.#memory = memory;
    this.announcements = new Announcements(memory.common.announcements);
    this.#all = all;
    this.#share = share;
    this.#pulses = new Float64Array(share.workers).fill(-1);
    this.#pulsesAt = new Int32Array(share.workers);
    this.#drawLport = drawLport;
    const { control, turns, weights } = memory.common;
    this.#schedulingState = {
      weights,
      weightsVersion: control,
      sessionsOf: (index) => {
        const row = serverRow(index);
        let sessions = 0;
        for (const { servers } of all) {
          sessions += servers[row + SERVER_COUNTER.sessionsOneway];
          sessions += servers[row + SERVER_COUNTER.sessionsNormal];
        }
        return sessions;
      },
      turns,
      share,
      persistence,
    };
  }

  /** Sessions of what is there no more must be ended after it. */
  apply(plan: DatapathPlan): void {
    this.#schedulingState.persistence.longestMs = Math.max(
      0,
      ...plan.services.map((one) => one.persistenceMs),
    );
    this.ports = plan.ports;
    this.wanMtu = Math.min(plan.wanMtu, LEN_MAX);
    const pools = new Map<string, LportPool>();
    const receivers = new Map<string, UoaReceiver>();
    const legs: (Leg | undefined)[] = [];
    const sharing = new Map<string, number[]>();
    const pooled: Pooled[] = [];
    const services: (Service | undefined)[] = [];
    for (const servicePlan of plan.services) {
      const realServers = servicePlan.realServers.map((realServer) => {
        const receiverKey = receiverKeyOf(servicePlan, realServer);
        const receiver = this.#receivers.get(receiverKey) ?? makeReceiver(servicePlan, realServer);
        receivers.set(receiverKey, receiver);
        const own = realServerLegs(servicePlan, realServer).map((legPlan) => {
          const key = poolKey(legPlan);
          const { first, last } = legPlan.lports;
          const pool =
            pools.get(key) ??
            this.#pools.get(key) ??
            new LportPool(first, last, plan.worker, this.#drawLport);
          pools.set(key, pool);
          const sharers = sharing.get(key) ?? [];
          sharing.set(key, sharers);
          sharers.push(legPlan.index);
          pooled[legPlan.index] = { lports: legPlan.lports, legs: sharers };
          const leg =
            this.#sameLeg(legPlan, pool, receiver, realServer.index) ??
            makeLeg(legPlan, pool, receiver, realServer.index);
          legs[leg.index] = leg;
          return leg;
        });
        return new RealServer(realServer.index, own, plan.lportReserve);
      });
      services[servicePlan.index] = new Service(
        servicePlan,
        realServers,
        this.#schedulingState,
        this.services[servicePlan.index],
      );
    }
    this.#pools = pools;
    this.#pooled = pooled;
    this.#receivers = receivers;
    this.legs = legs;
    this.services = services;
    this.addresses = new AddressBook(plan);
  }

  /**
   * Pools begin where an earlier process noted that it stopped, for once: a successor after a crash begins
   * elsewhere. Before anything is handed out.
   */
  placeLports(): void {
    const { lportArcs } = this.#memory;
    for (const leg of this.legs) {
      if (leg === undefined) continue;
      const at = LPORT_ARC_CELLS * leg.index + 1;
      if (lportArcs[at] !== 0) leg.pool.beginAt(lportArcs[at]);
      lportArcs[at] = 0;
    }
  }

  /** Notes in the memory where each pool stands, for who goes on with these legs. */
  noteLports(): void {
    const { lportArcs } = this.#memory;
    for (const leg of this.legs) {
      const arc = leg?.pool.arc;
      if (arc !== undefined) lportArcs.set([arc.first, arc.next], LPORT_ARC_CELLS * leg!.index);
    }
  }

  /** That of the plan before, where all that it says is the same: packets wait while thousands are made. */
  #sameLeg(
    { index, mtu, proxyV2 }: LegPlan & { index: number },
    pool: LportPool,
    receiver: UoaReceiver,
    realServerIndex: number,
  ): Leg | undefined {
    const before = this.legs[index];
    // A pool is of one LIP, real server and range.
    const isSame =
      before?.pool === pool &&
      before.receiver === receiver &&
      before.realServerIndex === realServerIndex &&
      before.proxyV2 === proxyV2 &&
      before.mtu === Math.min(mtu, LEN_MAX);
    return isSame ? before : undefined;
  }

  /**
   * The other datapath that has most lports left towards the real server, or, with `isToClear`, most with
   * sessions that have no answer; -1: none that works has any for such a client.
   */
  lenderFor(realServer: RealServer, isToClear: boolean, isKnown: boolean, nowMs: number): number {
    const { worker: self, workers } = this.#share;
    let lender = -1;
    let most = 0;
    for (let worker = 0; worker < workers; worker++) {
      if (worker === self || !this.#works(worker, nowMs)) continue;
      const { legsInUse, legsUnanswered } = this.#all[worker];
      for (const { index } of realServer.legs) {
        const { lports, legs } = this.#pooled[index];
        const capacity = lportsOf(lports.first, lports.last, worker, workers);
        const found = isToClear
          ? sumOf(legsUnanswered, legs)
          : realServer.left(capacity, sumOf(legsInUse, legs), isKnown);
        if (found <= most) continue;
        most = found;
        lender = worker;
      }
    }
    return lender;
  }

  /** Whether the datapath's pulse did not stand still between two looks more than a second apart. */
  #works(worker: number, nowMs: number): boolean {
    const pulse = this.#all[worker]?.pulse[0];
    if (pulse === undefined) return false;
    if (pulse !== this.#pulses[worker]) {
      this.#pulses[worker] = pulse;
      this.#pulsesAt[worker] = nowMs;
    }
    return Math.abs((nowMs - this.#pulsesAt[worker]) | 0) <= SILENT_MS;
  }

  facesRealServers(portIndex: number): boolean {
    return (this.ports[portIndex].side & SIDE_LAN) !== 0;
  }

  facesClients(portIndex: number): boolean {
    return (this.ports[portIndex].side & SIDE_WAN) !== 0;
  }

  /** Below 0: WEIGHT_DOWN. */
  weightOf({ realServerIndex }: Leg): number {
    return this.#memory.common.weights[realServerIndex];
  }

  /** How the leg's real server is told now (tellingOf), of a `choice` of its receiver. */
  tellingOf(choice: number, { realServerIndex }: Leg, nowMs: number): number {
    return tellingOf(choice, this.announcements.lastTo(realServerIndex, nowMs));
  }

  /** The service of a session. */
  serviceOf(base: number): Service {
    return this.services[serviceOf(this.#memory.records, base)]!;
  }

  /** The leg of a session. */
  legOf(base: number): Leg {
    return this.legs[legOf(this.#memory.records, base)]!;
  }

  /** The service whose VIP:vport this is. */
  serviceAt(addresses: Int32Array, at: number, port: number): Service | undefined {
    return this.services[this.addresses.serviceAt(addresses, at, port)];
  }
}

/** Lports, of which each datapath has its share, and the legs that take from them. */
interface Pooled {
  readonly lports: LegPlan['lports'];
  readonly legs: readonly number[];
}

function sumOf(cells: Float64Array, legs: readonly number[]): number {
  let sum = 0;
  for (const leg of legs) sum += cells[leg];
  return sum;
}

const receiverKeyOf = (
  { unifiedType, onUnsupported, carriage }: ServicePlan,
  { index, ip, dialect }: RealServerPlan,
): string => `${index} ${ip} ${dialect} ${unifiedType} ${onUnsupported} ${carriage}`;

function makeReceiver(plan: ServicePlan, { ip, dialect }: RealServerPlan): UoaReceiver {
  const over = familyOf(ip);
  const { carriage, onUnsupported, unifiedType } = plan;
  // Somebody's error about a UOA that was never sent must not bring one to a real server that is to be told
  // nothing, or in its payloads.
  if (dialect === 'none' || isInPayload(dialect)) return new UoaReceiver(undefined, undefined, carriage);
  const first = uoaForms(dialect, over, unifiedType);
  const fallback =
    onUnsupported === 'plain' || onUnsupported === dialect
      ? undefined
      : uoaForms(onUnsupported, over, unifiedType);
  return new UoaReceiver(first, fallback === first ? undefined : fallback, carriage);
}

function makeLeg(
  { index, lip, rip, rport, mtu, dialect, proxyV2 }: LegPlan & { index: number },
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
    proxyV2,
    dialectNumber: dialectNumber(dialect),
    realServerIndex,
  };
}
