// A fresh datapath per row: plan, clock, a queue in the place of packet I/O. Whatever a row asserts, each
// packet also shows that nothing outside [off - HEADROOM, end) of its buffer was touched, that exactly its
// own drop was counted, and that whatever was received ended somewhere.
import assert from 'node:assert/strict';
import { COUNTER, COUNTER_COLUMNS, counterRow, DROP_COLUMN } from '../../src/datapath/counters.ts';
import { Datapath } from '../../src/datapath/datapath.ts';
import { allocateMemory, CONTROL, type DatapathMemory } from '../../src/datapath/memory.ts';
import type { Routing } from '../../src/datapath/options.ts';
import { capacityOf, type DatapathPlan } from '../../src/datapath/plan.ts';
import {
  SERVER_COLUMNS,
  SERVER_COUNTER,
  type ServerCounterName,
  serverRow,
} from '../../src/datapath/server-cells.ts';
import { DROP_REASONS, verdictName } from '../../src/datapath/verdict.ts';
import { type Capacity, numberServices } from '../../src/service/numbering.ts';
import type { RealServerDraft as PlanDraft, ServiceDraft, ServicePlan } from '../../src/service/plan.ts';
import { formatAddress } from '../../src/wire/address.ts';
import { Frame, HEADROOM } from '../../src/wire/frame.ts';
import { hex } from '../packets/bytes.ts';
import { checkAccounts } from './accounts.ts';
import { EventWitness } from './event-witness.ts';

export const SIDE = { wan: 1, lan: 2, both: 3 };
export const PORT = { wan: 0, lan: 1 };

/** A real server without dialect speaks that of its service. */
export type RealServerDraft = Omit<PlanDraft, 'dialect'> & Partial<Pick<PlanDraft, 'dialect'>>;

export interface ServiceChange extends Partial<Omit<ServiceDraft, 'realServers'>> {
  realServers?: readonly RealServerDraft[];
  /** Of every real server that names none. */
  dialect?: PlanDraft['dialect'];
}

export interface PlanChange extends Partial<Omit<DatapathPlan, 'services'>> {
  /** Changes to the one service of the default plan ... */
  service?: ServiceChange;
  /** ... or several services, each a change of that one. */
  services?: ServiceChange[];
}

// With HEADROOM 64 and a 4-byte aligned buffer the IP header stands where Ethernet leaves it.
const GUARD = 46;
const FILL = 0xa5;
const TRAFFIC = new Set([
  'inboundPackets',
  'inboundBytes',
  'outboundPackets',
  'outboundBytes',
  'unassignedPackets',
  'inboundForwarded',
  'outboundForwarded',
  'consumed',
  'passed',
  'fragmentsJoined',
  'fragmentsSent',
]);

export function realServer(ip: string, change: Partial<PlanDraft> = {}): RealServerDraft {
  return {
    ip,
    port: 6000,
    weight: 100,
    mtu: 1500,
    isFallback: false,
    isLeaving: false,
    unreachable: '',
    ...change,
  };
}

const GAME: ServiceDraft = {
  name: 'game',
  vips: ['10.1.0.100'],
  vport: 6000,
  lips: ['10.2.0.200'],
  lports: { first: 20005, last: 20104 },
  scheduler: 'rr',
  persistenceMs: 0,
  onDown: 'keep',
  onewayMs: 300_000,
  normalMs: 300_000,
  maxTrials: 3,
  refreshMs: 0,
  refreshesAcked: true,
  carriage: 'inserted',
  idleRefreshMs: 120_000,
  unifiedType: 31,
  onUnsupported: 'plain',
  proxyV2: 'every',
  limits: {
    sessions: 0,
    sessionsPerClient: 0,
    newSessions: 0,
    newSessionsPerClient: 0,
    prefixV4: 32,
    prefixV6: 64,
  },
  allow: [],
  deny: [],
  realServers: [],
};

/** `before` are the services of the plan that it follows. */
export function makePlan(
  { service, services, ...plan }: PlanChange = {},
  before: readonly ServicePlan[] = [],
): DatapathPlan {
  return {
    maxSessions: 1000,
    ports: [
      { side: SIDE.wan, loopback: false },
      { side: SIDE.lan, loopback: false },
    ],
    wanMtu: 1500,
    onewayShare: 100,
    lportReserve: 0,
    ...plan,
    services: numberServices((services ?? [service ?? {}]).map(planService), before, plan.capacity),
  };
}

function planService({
  dialect = 'ipo',
  realServers = [realServer('10.2.0.10')],
  ...change
}: ServiceChange): ServiceDraft {
  return { ...GAME, ...change, realServers: realServers.map((draft) => ({ dialect, ...draft })) };
}

export type Mtus = Record<string, number>;

/** `ports`: by which of the plan's the routes to these addresses lead. */
function routingOf(mtus: Mtus, ports: Record<string, number>): Routing {
  return {
    get leastMtu() {
      return Math.min(0xffff, ...Object.values(mtus));
    },
    mtuTowards: (words, at) => mtus[formatAddress(words, at)] ?? 0,
    portTowards: (words, at) => ports[formatAddress(words, at)] ?? -1,
  };
}

export interface RigOptions {
  startMs?: number;
  shift?: number;
  mtus?: Mtus;
  leavesBy?: Record<string, number>;
}

export interface Outcome {
  /** 'forward', 'pass', 'consumed', 'held' or 'drop:reason'. */
  verdict: string;
  sent: Uint8Array[];
  /** Named counters that changed, over all services, without those of plain traffic and drops. */
  changed: Counts;
}

export interface SentSuper {
  packet: Uint8Array;
  segmentLen: number;
}

export type Counts = Record<string, number>;

/** How often each real server has refused our UOA. */
export const refusalsIn = (memory: DatapathMemory): number[] => serverCounts(memory, 'refusals');

/** A counter of all real servers, by number. */
export function serverCounts({ servers }: DatapathMemory, name: ServerCounterName): number[] {
  const count = servers.length / SERVER_COLUMNS;
  return Array.from({ length: count }, (_, index) => servers[serverRow(index) + SERVER_COUNTER[name]]);
}

function isFilled(bytes: Uint8Array, from: number, end: number): boolean {
  for (let at = from; at < end; at++) if (bytes[at] !== FILL) return false;
  return true;
}

/** Columns of the counters that an Outcome tells. */
const TOLD = Object.entries(COUNTER).filter(([name]) => !TRAFFIC.has(name));
const DROPS = DROP_REASONS.map((name, index): [string, number] => [name, DROP_COLUMN + index]);

export class Rig {
  /** Milliseconds since the row began; the datapath's clock is int32 and may start anywhere. */
  at = 0;
  /** Asked for each packet that the datapath sends; true makes the send fail. */
  refuse: (packet: Uint8Array) => boolean = () => false;
  readonly memory: DatapathMemory;
  /** Follows the sessions by what it is told of them, and is checked after each step. */
  readonly events: EventWitness;
  datapath: Datapath;
  plan: DatapathPlan;
  private readonly startMs: number;
  private readonly guard: number;
  private readonly mtus: Mtus | undefined;
  private readonly routing: Routing | undefined;
  private readonly capacity: Capacity;
  /** Not the plan that only a successor will have. */
  private isAtWork = true;
  private starts = 0;
  private sent: Uint8Array[] = [];
  private sentSupers: SentSuper[] = [];
  /** What becomes of a super packet that the datapath sends: so many of its datagrams are sent. */
  takenOfSuper = 0;

  /**
   * `shift` moves the packet in its buffer, away from the place where Ethernet leaves it. `mtus` are those of
   * the routes, by address, which may be changed meanwhile; `leavesBy` are ports that packets to addresses
   * leave by. Without either there are no routes that the datapath could ask.
   */
  constructor(change: PlanChange = {}, { startMs = 5_000, shift = 0, mtus, leavesBy }: RigOptions = {}) {
    this.plan = makePlan(change);
    this.capacity = capacityOf(this.plan);
    this.memory = allocateMemory(this.plan);
    this.events = new EventWitness(this.memory);
    this.startMs = startMs;
    this.guard = GUARD + shift;
    this.mtus = mtus;
    this.routing = mtus || leavesBy ? routingOf(mtus ?? {}, leavesBy ?? {}) : undefined;
    this.datapath = this.start();
  }

  /** Each process hashes with a key of its own. */
  private start(): Datapath {
    this.starts++;
    return new Datapath(
      this.plan,
      this.memory,
      (frame, off, len) => {
        const packet = Uint8Array.from(frame.bytes.subarray(off, off + len)); // a Buffer's slice is no copy
        if (this.refuse(packet)) return false;
        this.sent.push(packet);
        return true;
      },
      {
        seed: [0x01234567 * this.starts, 0x09abcdef],
        routing: this.routing,
        events: this.events,
        sendSuper: (frame, off, len, segmentLen) => {
          this.sentSupers.push({ packet: Uint8Array.from(frame.bytes.subarray(off, off + len)), segmentLen });
          return this.takenOfSuper;
        },
      },
    );
  }

  /** The datapath ends, and another one goes on with its memory. */
  succeed(): Counts {
    const before = this.memory.counters.slice();
    this.events.forget();
    this.datapath = this.start();
    this.isAtWork = true;
    this.events.check(this.plan);
    return this.changed(before);
  }

  /**
   * Another plan; what is new has its weight from then on. Returns what it counts, of numbers that were in
   * use before.
   */
  replan(change: PlanChange, isGivenToDatapath = true): Counts {
    const before = this.memory.counters.slice();
    const known = new Set(
      this.plan.services.flatMap(({ realServers }) => realServers.map(({ index }) => index)),
    );
    this.plan = makePlan({ ...change, capacity: this.capacity }, this.plan.services);
    for (const { realServers } of this.plan.services)
      for (const { index, weight } of realServers) if (!known.has(index)) this.setWeight(index, weight);
    if (isGivenToDatapath) {
      this.datapath.reconfigure(this.plan);
      this.events.check(this.plan);
    }
    this.isAtWork = isGivenToDatapath;
    return this.changed(before);
  }

  /** As the control plane does: a weight, or WEIGHT_DOWN. */
  setWeight(realServerIndex: number, weight: number): void {
    const { control, weights } = this.memory.common;
    weights[realServerIndex] = weight;
    Atomics.add(control, CONTROL.weightsVersion, 1);
  }

  /** The routes to these addresses change. */
  setMtus(mtus: Mtus): void {
    Object.assign(this.mtus ?? {}, mtus);
  }

  set isDraining(isDraining: boolean) {
    this.memory.common.control[CONTROL.draining] = isDraining ? 1 : 0;
  }

  get nowMs(): number {
    return (this.startMs + this.at) | 0;
  }

  /**
   * `alsoDropped`: drops that are counted beside this packet's own verdict, of fragments held until now, or
   * any.
   */
  receive(
    packet: Uint8Array,
    port: number,
    alsoDropped: Counts | 'any' = {},
    isMerged = false,
    isVerified = false,
  ): Outcome {
    const off = this.guard + HEADROOM;
    const end = off + packet.length;
    const bytes = new Uint8Array(end + GUARD).fill(FILL);
    bytes.set(packet, off);
    this.sent = [];
    const before = this.memory.counters.slice();
    const { nowMs } = this;
    const verdict = verdictName(
      this.datapath.receive(new Frame(bytes), off, end, port, nowMs, isMerged, isVerified),
    );
    if (!isFilled(bytes, 0, this.guard) || !isFilled(bytes, end, bytes.length))
      assert.fail(`bytes outside the packet and its headroom are touched: ${hex(bytes)}`);
    this.checkDrops(this.drops(before), verdict, alsoDropped);
    checkAccounts(this.memory);
    if (this.isAtWork) this.events.check(this.plan);
    bytes.fill(FILL); // the frame belongs to packet I/O again: what was held must have been copied
    return { verdict, sent: this.sent, changed: this.changed(before) };
  }

  /**
   * A super packet whose UDP header stands `headerLen` behind its beginning: of how many datagrams it was
   * accepted, 0: not at all; and what was sent, all of it if `taken` does not say how many datagrams.
   */
  receiveSuper(
    packet: Uint8Array,
    port: number,
    segmentLen: number,
    { headerLen = packet[0] >>> 4 === 6 ? 40 : 20, taken }: { headerLen?: number; taken?: number } = {},
  ): { datagrams: number; sent: SentSuper[] } {
    const off = this.guard + HEADROOM;
    const end = off + packet.length;
    const bytes = new Uint8Array(end + GUARD).fill(FILL);
    bytes.set(packet, off);
    const frame = new Frame(bytes);
    const before = this.memory.counters.slice();
    this.sentSupers = [];
    const { datapath, nowMs } = this;
    const { superPackets } = datapath;
    const datagrams = superPackets!.accept(frame, off, end, port, nowMs, segmentLen, off + headerLen);
    this.takenOfSuper = taken ?? datagrams;
    if (datagrams > 0) superPackets!.forward(frame);
    else {
      assert.deepEqual(this.memory.counters, before, 'what is not accepted counts nowhere');
      assert.deepEqual(bytes.subarray(off, end), packet, 'and is as it was');
    }
    if (!isFilled(bytes, 0, this.guard) || !isFilled(bytes, end, bytes.length))
      assert.fail(`bytes outside the packet and its headroom are touched: ${hex(bytes)}`);
    checkAccounts(this.memory);
    this.events.check(this.plan);
    return { datagrams, sent: this.sentSupers };
  }

  /** `alsoDropped`: drops that it counts, all of them. */
  tick(alsoDropped: Counts = {}): Counts {
    const before = this.memory.counters.slice();
    this.datapath.tick(this.nowMs);
    assert.deepEqual(this.drops(before), alsoDropped, 'drops counted by the tick');
    checkAccounts(this.memory);
    if (this.isAtWork) this.events.check(this.plan);
    return this.changed(before);
  }

  /** A named counter now; `service` -1 is the row of no service. */
  counter(name: keyof typeof COUNTER, service = 0): number {
    return this.memory.counters[counterRow(service) + COUNTER[name]] ?? Number.NaN;
  }

  /** Sum over all legs. */
  legsInUse(): number {
    return this.memory.legsInUse.reduce((sum, inUse) => sum + inUse, 0);
  }

  private checkDrops(counted: Counts, verdict: string, alsoDropped: Counts | 'any'): void {
    const own = verdict.startsWith('drop:') ? verdict.slice('drop:'.length) : undefined;
    if (alsoDropped === 'any') {
      assert.ok(own === undefined || (counted[own] ?? 0) >= 1, `${verdict} is counted`);
      return;
    }
    const expected = { ...alsoDropped };
    if (own !== undefined) expected[own] = (expected[own] ?? 0) + 1;
    assert.deepEqual(counted, expected, `drops counted besides the verdict ${verdict}`);
  }

  private changed(before: Float64Array): Counts {
    return this.grown(before, TOLD);
  }

  private drops(before: Float64Array): Counts {
    return this.grown(before, DROPS);
  }

  private grown(before: Float64Array, columns: readonly (readonly [name: string, column: number])[]): Counts {
    const { counters } = this.memory;
    const found: Counts = {};
    for (const [name, column] of columns) {
      let change = 0;
      for (let cell = column; cell < before.length; cell += COUNTER_COLUMNS)
        change += counters[cell] - before[cell];
      if (change !== 0) found[name] = change;
    }
    return found;
  }
}
