// What the walks share: the directory, sessions, counters, the packet under way and the way out. One per datapath.
import { Persistence } from '../service/persistence.ts';
import type { Service } from '../service/service.ts';
import type { SessionEvents } from '../session/events.ts';
import type { Leg } from '../session/leg.ts';
import {
  CLIENT,
  cportOf,
  familyOfClient,
  HANDSHAKE,
  isNormal,
  isUsed,
  LAST_SEEN,
  learnedMtuOf,
  legOf,
  lportOf,
  SESSION_WORDS,
  serviceOf,
  vipAt,
} from '../session/session.ts';
import { type SessionEnd, SessionTable } from '../session/table.ts';
import { restartHandshake } from '../uoa/handshake.ts';
import { Origin } from '../uoa/origin.ts';
import { type Family, isSameAddress } from '../wire/address.ts';
import type { Frame, Send } from '../wire/frame.ts';
import { Packet } from '../wire/packet.ts';
import { Admission } from './admission.ts';
import { isAnswerable } from './answerable.ts';
import { bookLost, COUNTER, counterRow } from './counters.ts';
import { Departures, type Direction } from './departures.ts';
import { Directory } from './directory.ts';
import { Identifications } from './fragment.ts';
import { countEnd, countSession, gaugesLike, setGauges } from './gauges.ts';
import { handshakeChanged, handshakesChanged, handshakesOver } from './handshake-events.ts';
import { IcmpSender } from './icmp-sender.ts';
import { Loans, NOBODY } from './loans.ts';
import { CONTROL, type DatapathMemory, VIPS_WORDS } from './memory.ts';
import { type DatapathPlan, type Meanings, meaningsOf, SIDE_WAN, type Siblings, type Ways } from './plan.ts';
import { Reassembler } from './reassembly.ts';
import { SERVER_COUNTER, serverRow } from './server-cells.ts';
import { DROP, VERDICT, type Verdict } from './verdict.ts';

const RECEIVED_PACKETS = [COUNTER.inboundPackets, COUNTER.outboundPackets];
const RECEIVED_BYTES = [COUNTER.inboundBytes, COUNTER.outboundBytes];

export class DatapathState {
  readonly directory: Directory;
  readonly table: SessionTable;
  readonly admission: Admission;
  readonly memory: DatapathMemory;
  readonly departures: Departures;
  readonly icmp: IcmpSender;
  readonly reassembler: Reassembler;
  readonly persistence: Persistence;
  readonly identifications: Identifications;
  /** Whose UOA is written or compared at the moment. */
  readonly origin = new Origin();
  /** Source and destination of what is sent to a client at the moment. */
  readonly toClient = new Int32Array(8);
  /** The packet under way. */
  readonly packet = new Packet();
  /** The plan's port that the packet under way came by. */
  portIndex = 0;
  /** The service that the packet under way belongs to, -1 for none; see belongsTo. */
  serviceIndex = -1;
  /** The service of the packet under way has counted it. */
  isReceived = false;
  /** The packet under way comes from a sibling, and is not passed on again. */
  isHandedOver = false;
  /** The packet under way is several in one. */
  isMerged = false;
  readonly loans: Loans;
  /** The packet under way opens a session that a sibling had no lport for, to the real server of this number; -1: it does not. */
  lentServer = -1;
  readonly #siblings: Siblings | undefined;
  /** Undefined: all clients are reached as the plan says. */
  readonly ways: Ways | undefined;
  #meanings: Meanings;
  /** Of each leg that sessions may have, also of those that a new plan lacks. */
  #serverOfLeg: number[] = [];

  constructor(
    plan: DatapathPlan,
    memory: DatapathMemory,
    send: Send,
    seed: readonly [number, number],
    siblings: Siblings | undefined,
    ways: Ways | undefined,
    drawLport: (count: number) => number,
    events: SessionEvents | undefined,
  ) {
    this.#siblings = siblings;
    this.ways = ways;
    this.#meanings = meaningsOf(plan.services);
    this.memory = memory;
    bookLost(memory.counters, memory.begun[0]);
    this.departures = new Departures(send, memory);
    this.reassembler = new Reassembler(memory.counters, seed);
    this.identifications = new Identifications(seed);
    const { common } = memory;
    const sharedSeed = plan.sharedSeed ?? seed;
    this.persistence = new Persistence(common.persistence, sharedSeed);
    const { worker: share = { worker: 0, workers: 1 } } = plan;
    const all = siblings?.memories ?? [memory];
    this.loans = new Loans(common.loans, sharedSeed, share.worker);
    this.directory = new Directory(memory, all, share, this.persistence, drawLport);
    this.directory.apply(plan);
    this.icmp = new IcmpSender(this.departures, memory.counters, seed, (packet) =>
      isAnswerable(packet, this.directory.addresses, this.directory.ports[this.portIndex]),
    );
    this.admission = new Admission(
      plan.services,
      common,
      memory.clientPrefixes,
      all.map(({ counters }) => counters),
      share.worker,
      sharedSeed,
    );
    this.admission.takeOver(memory.records, memory.table[0]);
    this.#noteLegs();
    const onewayMax = Math.max(1, Math.floor((plan.maxSessions * plan.onewayShare) / 100));
    const { services, legs } = this.directory;
    const onEnd = (base: number, end: SessionEnd) => this.#onEnd(base, end);
    this.table = new SessionTable(memory.records, services, legs, seed, onewayMax, onEnd, events);
    this.#restore(plan.lportReserve > 0);
    this.loans.affirmed();
    this.#noteVips();
  }

  /**
   * Goes on by another plan of the same capacity; ends the sessions of what is there no more. Plans in between may have
   * been missed, so a number may stand for something else now.
   */
  reconfigure(plan: DatapathPlan): void {
    const wereOver = handshakesOver(this);
    const before = this.#meanings;
    const after = meaningsOf(plan.services, before);
    this.#meanings = after;
    const legsBefore = this.directory.legs;
    this.directory.apply(plan);
    const { services, legs } = this.directory;
    const sameLegs = legs.map((leg, index) => (before.legs[index] === after.legs[index] ? leg : undefined));
    this.table.reconfigure(services, sameLegs);
    this.table.reconfigure(services, legs);
    this.#noteVips();
    this.#tellAgain(legsBefore);
    this.#noteLegs();
    this.admission.update(plan.services, this.memory.records, this.table.usedSlots);
    handshakesChanged(this, wereOver);
  }

  /** Sessions whose real server is told in another way than before begin with it at once, whatever it was told already. */
  #tellAgain(before: readonly (Leg | undefined)[]): void {
    const { legs } = this.directory;
    const isChanged = legs.map((leg, index) => {
      const last = before[index];
      return last !== undefined && leg !== undefined && last.receiver !== leg.receiver;
    });
    if (!isChanged.includes(true)) return;
    const { records } = this.memory;
    for (let base = 0; base < this.table.usedSlots * SESSION_WORDS; base += SESSION_WORDS) {
      if (isUsed(records, base) && isChanged[legOf(records, base)])
        restartHandshake(records, base + HANDSHAKE);
    }
  }

  /** For a successor that starts with another plan. */
  #noteVips(): void {
    const { vips } = this.memory;
    vips.fill(0);
    for (const service of this.directory.services)
      if (service !== undefined) vips.set(service.vips, service.index * VIPS_WORDS);
  }

  /** Whether the session that a predecessor left is one of the VIP that its service has now. */
  #isOfItsVip(base: number): boolean {
    const { records, vips } = this.memory;
    const index = serviceOf(records, base);
    const service = this.directory.services[index];
    if (service === undefined) return false;
    const at = vipAt(familyOfClient(records, base));
    if (vips.subarray(index * VIPS_WORDS, (index + 1) * VIPS_WORDS).every((word) => word === 0)) return true;
    return isSameAddress(vips, index * VIPS_WORDS + at, service.vips, at);
  }

  #noteLegs(): void {
    this.#serverOfLeg = this.directory.legs.map((leg) => leg?.realServerIndex ?? -1);
  }

  #onEnd(base: number, end: SessionEnd): void {
    const { records } = this.memory;
    const serviceIndex = serviceOf(records, base);
    const leg = legOf(records, base);
    countEnd(this.memory, serviceIndex, this.#serverOfLeg[leg], leg, isNormal(records, base), end);
    this.admission.ended(records, base);
    if (!this.loans.isEmpty) this.loans.end(records, base + CLIENT, cportOf(records, base), serviceIndex);
  }

  /**
   * Goes on with the sessions of a datapath that had this memory before, if there was one. Its gauges stand until all are
   * counted: whoever reads less meanwhile takes real servers and limits for free. `hasReserve`: lports are kept back for known
   * clients.
   */
  #restore(hasReserve: boolean): void {
    const { counters, records, table } = this.memory;
    if (table[0] === 0) return;
    const counted = gaugesLike(this.memory);
    const onRestored = (base: number) => {
      const serviceIndex = serviceOf(records, base);
      const { index, realServerIndex } = this.legOf(base);
      countSession(counted, serviceIndex, realServerIndex, index, isNormal(records, base), 1);
      this.admission.restored(serviceIndex, records, base);
      this.#affirmLoan(base);
      handshakeChanged(this, base, false);
    };
    const { services, legs } = this.directory;
    const isFit = (base: number) => this.#isOfItsVip(base);
    const onGivenUp = (base: number) => {
      const serviceIndex = serviceOf(records, base);
      const pool = legs[legOf(records, base)]?.pool;
      const isRemoved = pool === undefined || !pool.has(lportOf(records, base)) || !isFit(base);
      if (services[serviceIndex] !== undefined && isRemoved)
        counters[counterRow(serviceIndex) + COUNTER.sessionsRemoved]++;
      this.admission.ended(records, base);
    };
    const isKnown = (base: number) =>
      hasReserve &&
      this.admission.isKnown(serviceOf(records, base), records, base + CLIENT, records[base + LAST_SEEN]);
    this.table.restore(table[0], { onRestored, onGivenUp, isFit, isKnown });
    setGauges(this.memory, counted);
  }

  /** The packets of the session's client may come to a sibling. */
  #affirmLoan(base: number): void {
    const service = this.serviceOf(base);
    this.pointOrigin(base, service);
    const { addresses, cport, vport } = this.origin;
    const owner = this.#siblings?.ownerOf(addresses, cport, vport);
    if (owner !== this.#siblings?.self) this.loans.affirm(addresses, 0, cport, service.index);
  }

  /** Adds one to a service's counter; serviceIndex -1 is no service. */
  count(serviceIndex: number, column: number): void {
    this.memory.counters[counterRow(serviceIndex) + column]++;
  }

  /** The packet under way, as it was parsed, belongs to a service, which has received it. */
  belongsTo(service: Service, direction: Direction): void {
    this.concerns(service, direction);
    this.countReceived();
  }

  /** As belongsTo, but that it was received is said by countReceived before anything is sent, unless it is passed on. */
  concerns({ index }: Service, direction: Direction): void {
    const { departures } = this;
    this.isReceived = false;
    this.serviceIndex = index;
    departures.direction = direction;
    departures.receivedLen = this.packet.totalLen;
  }

  countReceived(): void {
    this.isReceived = true;
    const { direction, receivedLen } = this.departures;
    const { counters } = this.memory;
    const row = counterRow(this.serviceIndex);
    counters[row + RECEIVED_PACKETS[direction]]++;
    counters[row + RECEIVED_BYTES[direction]] += receivedLen;
  }

  /** The service of a session. */
  serviceOf(base: number): Service {
    return this.directory.services[serviceOf(this.memory.records, base)]!;
  }

  legOf(base: number): Leg {
    return this.directory.legs[legOf(this.memory.records, base)]!;
  }

  /** Largest IP packet that may be sent to the session's real server: its leg's MTU, or a smaller one that ICMP taught. */
  mtuOf(base: number, leg: Leg, nowMs: number): number {
    const learned = learnedMtuOf(this.memory.records, base, nowMs);
    return learned === 0 ? leg.mtu : Math.min(leg.mtu, learned);
  }

  /** Largest IP packet that may be sent to the session's client; less where one of `len` bytes goes anyway. */
  mtuToClient(base: number, len: number): number {
    const { directory, ways } = this;
    if (ways === undefined) return directory.wanMtu;
    if (len <= ways.leastMtu) return ways.leastMtu;
    return ways.mtuTowards(this.memory.records, base + CLIENT) || directory.wanMtu;
  }

  /**
   * Whether the packet under way came by an interface that only clients are behind, from an address that packets would
   * leave to by one that only real servers are behind.
   */
  get comesAstray(): boolean {
    const { directory, packet, ways } = this;
    if (ways === undefined || directory.facesRealServers(this.portIndex)) return false;
    const out = ways.portTowards(packet.addresses, 0);
    return out >= 0 && (directory.ports[out].side & SIDE_WAN) === 0;
  }

  get isDraining(): boolean {
    return this.memory.common.control[CONTROL.draining] !== 0;
  }

  /** The real server answered for the first time in the session. */
  markNormal(base: number, service: Service, leg: Leg, nowMs: number): void {
    const { memory } = this;
    const { records } = memory;
    const { index, realServerIndex } = leg;
    this.table.markNormal(base);
    countSession(memory, service.index, realServerIndex, index, true, 1);
    countSession(memory, service.index, realServerIndex, index, false, -1);
    memory.servers[serverRow(realServerIndex) + SERVER_COUNTER.sessionsAnswered]++;
    this.admission.answered(service.index, records, base, nowMs);
    service.noteAnswered(records, base + CLIENT, realServerIndex, nowMs);
  }

  /**
   * Passes on a packet of no session here that belongs to a sibling; for an ICMP error the tuple is that of the answer to
   * its embedded packet. VERDICT.forward: it stays here.
   */
  handOver(
    frame: Frame,
    packet: Packet,
    addresses: Int32Array,
    sport: number,
    dport: number,
    portIndex: number,
  ): Verdict {
    const siblings = this.#siblings;
    this.lentServer = -1;
    if (siblings === undefined || this.isMerged) return VERDICT.forward;
    let owner = this.isHandedOver ? siblings.self : siblings.ownerOf(addresses, sport, dport);
    if (owner === siblings.self) owner = this.#holderOf(addresses, sport, dport, siblings.self);
    if (owner === siblings.self || !this.directory.addresses.isServed(addresses, 4)) return VERDICT.forward;
    return this.passTo(owner, frame, packet, portIndex);
  }

  /** Whose session the client's packet belongs to, where that is not the one that its packets come to. */
  #holderOf(addresses: Int32Array, sport: number, dport: number, self: number): number {
    if (this.loans.isEmpty) return self;
    const service = this.directory.addresses.serviceAt(addresses, 4, dport);
    if (service < 0) return self;
    const holder = this.loans.holderOf(addresses, 0, sport, service);
    if (holder === NOBODY) return self;
    if (holder === self && this.isHandedOver) this.lentServer = this.loans.chosenServer;
    return holder;
  }

  /** Passes the packet under way on to a sibling. */
  passTo(to: number, frame: Frame, { off, totalLen, largestFragment }: Packet, portIndex: number): Verdict {
    if (!this.#siblings!.handOver(to, frame, off, off + totalLen, portIndex, largestFragment))
      return DROP.handover_failed;
    this.count(-1, COUNTER.handedOver);
    return VERDICT.handedOver;
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
