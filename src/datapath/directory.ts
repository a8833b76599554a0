// What a plan becomes in a datapath: services, real servers and legs by their numbers, and which addresses are whose. A
// later plan takes the place of one at work: what stays keeps its lport pools, its turns and what is known of its real servers.
import type { Persistence } from '../service/persistence.ts';
import type { RealServerPlan, ServicePlan } from '../service/plan.ts';
import { RealServer } from '../service/real-server.ts';
import { type Choosing, Service } from '../service/service.ts';
import type { Leg } from '../session/leg.ts';
import { LportPool } from '../session/lport-pool.ts';
import { uoaForms } from '../uoa/dialect.ts';
import { UoaReceiver } from '../uoa/receiver.ts';
import { familyOf, parseAddressInto } from '../wire/address.ts';
import { AddressBook } from './address-book.ts';
import type { DatapathMemory } from './memory.ts';
import {
  type DatapathPlan,
  type DatapathPort,
  type LegPlan,
  poolKey,
  realServerLegs,
  SIDE_LAN,
} from './plan.ts';
import { SERVER_COUNTER, serverRow } from './server-cells.ts';

/** The longest packet that IPv4 can tell; loopback's MTU is larger. */
const LEN_MAX = 0xffff;

export class Directory {
  ports: readonly DatapathPort[] = [];
  wanMtu = 0;
  /** By index; none where a number is free. */
  services: readonly (Service | undefined)[] = [];
  legs: readonly (Leg | undefined)[] = [];
  addresses = new AddressBook({ services: [] });
  readonly #memory: DatapathMemory;
  readonly #choosing: Choosing;
  readonly #drawLport: (count: number) => number;
  #pools = new Map<string, LportPool>();
  #receivers = new Map<string, UoaReceiver>();

  /** `drawLport` says with which of how many lports a new pool begins. */
  constructor(memory: DatapathMemory, persistence: Persistence, drawLport: (count: number) => number) {
    this.#memory = memory;
    this.#drawLport = drawLport;
    const { servers } = memory;
    this.#choosing = {
      weights: memory.common.weights,
      weightsVersion: memory.common.control,
      sessionsOf: (index) => {
        const row = serverRow(index);
        return servers[row + SERVER_COUNTER.sessionsOneway] + servers[row + SERVER_COUNTER.sessionsNormal];
      },
      persistence,
    };
  }

  /** Sessions of what is there no more must be ended after it. */
  apply(plan: DatapathPlan): void {
    this.#choosing.persistence.longestMs = Math.max(0, ...plan.services.map((one) => one.persistenceMs));
    this.ports = plan.ports;
    this.wanMtu = Math.min(plan.wanMtu, LEN_MAX);
    const pools = new Map<string, LportPool>();
    const receivers = new Map<string, UoaReceiver>();
    const legs: (Leg | undefined)[] = [];
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
          const leg = makeLeg(legPlan, pool, receiver, realServer.index);
          legs[leg.index] = leg;
          return leg;
        });
        return new RealServer(realServer.index, own, plan.lportReserve);
      });
      services[servicePlan.index] = new Service(
        servicePlan,
        realServers,
        this.#choosing,
        this.services[servicePlan.index],
      );
    }
    this.#pools = pools;
    this.#receivers = receivers;
    this.legs = legs;
    this.services = services;
    this.addresses = new AddressBook(plan);
  }

  facesRealServers(portIndex: number): boolean {
    return (this.ports[portIndex].side & SIDE_LAN) !== 0;
  }

  /** Below 0: WEIGHT_DOWN. */
  weightOf({ realServerIndex }: Leg): number {
    return this.#memory.common.weights[realServerIndex];
  }

  /** The service whose VIP:vport this is. */
  serviceAt(addresses: Int32Array, at: number, port: number): Service | undefined {
    return this.services[this.addresses.serviceAt(addresses, at, port)];
  }
}

const receiverKeyOf = (
  { unifiedType, onUnsupported }: ServicePlan,
  { index, ip, dialect }: RealServerPlan,
): string => `${index} ${ip} ${dialect} ${unifiedType} ${onUnsupported}`;

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
  { index, lip, rip, rport, mtu }: LegPlan & { index: number },
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
