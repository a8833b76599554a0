// What the walks share: the directory, sessions, the memory, the packet under way and the way out. One per
// datapath.
import { Persistence } from '../service/persistence.ts';
import type { Service } from '../service/service.ts';
import type { Leg } from '../session/leg.ts';
import { CLIENT, cportOf, isNormal, legOf, serviceOf } from '../session/session.ts';
import { type SessionEnd, SessionTable } from '../session/table.ts';
import { Origin } from '../uoa/origin.ts';
import type { Send } from '../wire/frame.ts';
import type { Packet } from '../wire/packet.ts';
import { Admission } from './admission.ts';
import { isAnswerable } from './answerable.ts';
import { bookLost, counterRow } from './counters.ts';
import { Departures } from './departures.ts';
import { Directory } from './directory.ts';
import { Identifications } from './fragment.ts';
import { countEnd } from './gauges.ts';
import { IcmpSender } from './icmp-sender.ts';
import { Loans } from './loans.ts';
import type { DatapathMemory } from './memory.ts';
import type { DatapathOptions, Routing, Siblings } from './options.ts';
import { type DatapathPlan, type Identities, identitiesOf } from './plan.ts';
import { Reassembler } from './reassembly.ts';
import { UnderWay } from './under-way.ts';

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
  readonly loans: Loans;
  readonly siblings: Siblings | undefined;
  readonly routing: Routing | undefined;
  readonly underWay: UnderWay;
  /** That of underWay. */
  readonly packet: Packet;
  /** Whose UOA is written or compared at the moment. */
  readonly origin = new Origin();
  /** Source and destination of what is sent to a client at the moment. */
  readonly toClient = new Int32Array(8);
  /** Of the plan at work. */
  identities: Identities;
  /** Of each leg that sessions may have, also of those that a new plan lacks. */
  #serverOfLeg: number[] = [];

  /** Has no session yet, whatever the memory holds: see restoreSessions. */
  constructor(plan: DatapathPlan, memory: DatapathMemory, send: Send, options: DatapathOptions) {
    const { seed = [0, 0], siblings, routing, drawLport = () => 0, events } = options;
    this.memory = memory;
    this.siblings = siblings;
    this.routing = routing;
    this.identities = identitiesOf(plan.services);
    bookLost(memory.counters, memory.begun[0]);
    this.departures = new Departures(send, memory);
    this.underWay = new UnderWay(memory.counters, this.departures);
    this.packet = this.underWay.packet;
    this.reassembler = new Reassembler(memory.counters, seed);
    this.identifications = new Identifications(seed);
    const { common } = memory;
    const sharedSeed = plan.sharedSeed ?? seed;
    const { worker: share = { worker: 0, workers: 1 } } = plan;
    const all = siblings?.memories ?? [memory];
    this.persistence = new Persistence(common.persistence, sharedSeed);
    this.loans = new Loans(common.loans, sharedSeed, share.worker);
    this.directory = new Directory(memory, all, share, this.persistence, drawLport);
    this.directory.apply(plan);
    this.noteLegs();
    this.icmp = new IcmpSender(this.departures, memory.counters, seed, (packet) =>
      isAnswerable(packet, this.directory.addresses, this.directory.ports[this.underWay.portIndex]),
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
    const onewayMax = Math.max(1, Math.floor((plan.maxSessions * plan.onewayShare) / 100));
    const { services, legs } = this.directory;
    const onEnd = (base: number, end: SessionEnd) => this.#onEnd(base, end);
    this.table = new SessionTable(memory.records, services, legs, seed, onewayMax, onEnd, events);
  }

  /** The sessions of legs that are gone have ended. */
  noteLegs(): void {
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

  /** Adds one to a service's counter; serviceIndex -1 is no service. */
  count(serviceIndex: number, column: number): void {
    this.memory.counters[counterRow(serviceIndex) + column]++;
  }

  /** The service of a session. */
  serviceOf(base: number): Service {
    return this.directory.services[serviceOf(this.memory.records, base)]!;
  }

  legOf(base: number): Leg {
    return this.directory.legs[legOf(this.memory.records, base)]!;
  }
}
