// The datapath: receive(packet) -> Verdict. The only caller of the walks and the only counter of verdicts.
// Knows no interface, clock or socket; never throws, logs, awaits, or allocates per packet.
import { Persistence } from '../service/persistence.ts';
import { CLIENT, cportOf } from '../session/session.ts';
import { SessionTable } from '../session/table.ts';
import { baseOf, isInbound, TupleIndex } from '../session/tuple-index.ts';
import type { Frame, Send } from '../wire/frame.ts';
import { isIcmpError } from '../wire/icmp-writer.ts';
import { PARSE_FRAGMENT, PARSE_OK, PARSE_OTHER_PROTOCOL, Packet, parse } from '../wire/packet.ts';
import { Admission } from './admission.ts';
import { isAnswerable } from './answerable.ts';
import { Attempts } from './attempts.ts';
import { bookLost, COUNTER, count, counterRow, dropColumn } from './counters.ts';
import { Departures, DIRECTION } from './departures.ts';
import { Directory } from './directory.ts';
import { Identifications } from './fragment.ts';
import { handOver } from './hand-over.ts';
import { icmpError } from './icmp-error.ts';
import { IcmpSender } from './icmp-sender.ts';
import { inbound } from './inbound.ts';
import { Loans } from './loans.ts';
import { LookAhead } from './look-ahead.ts';
import type { DatapathMemory } from './memory.ts';
import type { DatapathOptions, OnAnswered, OnForwarded } from './options.ts';
import { outbound } from './outbound.ts';
import { PacketMetadata } from './packet-metadata.ts';
import { type DatapathPlan, type Identities, identitiesOf } from './plan.ts';
import { Reassembler } from './reassembly.ts';
import { reconfigure } from './reconfigure.ts';
import { SessionEnds } from './session-ends.ts';
import { restoreSessions } from './successor.ts';
import { SuperPackets } from './super-packets.ts';
import { DROP, DROP_BASE, VERDICT, type Verdict } from './verdict.ts';
import type { Sessions, Walk } from './walk.ts';

/** Of the tables of clients: of 65,536 sets each is looked at within seven minutes. */
const SETS_PER_TICK = 16;
/**
 * A full sweep for expired sessions takes a tenth of the shortest timeout, but never more or less than this.
 * None forwards meanwhile: a packet of an expired session ends it.
 */
const SWEEP_MIN_MS = 100;
const SWEEP_MAX_MS = 30_000;

export class Datapath {
  readonly lookAhead: LookAhead;
  /** Undefined where none can be sent. */
  readonly superPackets: SuperPackets | undefined;
  readonly #onAnswered: OnAnswered | undefined;
  readonly #onForwarded: OnForwarded | undefined;
  readonly #walk: Walk;
  readonly #ends: SessionEnds;
  readonly #persistence: Persistence;
  readonly #reassembler: Reassembler;
  /** Of the plan at work. */
  #identities: Identities;
  readonly #hasReserve: boolean;
  #sweepMs: number;
  #lastTick = 0;
  #isAnswered = false;

  /**
   * `memory` is written to as the plan lays it out; `send` gets whole IP packets. Goes on with the sessions
   * that it holds.
   */
  constructor(plan: DatapathPlan, memory: DatapathMemory, send: Send, options: DatapathOptions = {}) {
    const { seed = [0, 0], siblings, routing, drawLport = () => 0 } = options;
    const { sharedSeed = seed, worker: share = { worker: 0, workers: 1 } } = plan;
    const { common, counters, records } = memory;
    const all = siblings?.memories ?? [memory];
    bookLost(counters, memory.begun[0]);
    this.#onAnswered = options.onAnswered;
    this.#onForwarded = options.onForwarded;
    this.#identities = identitiesOf(plan.services);
    this.#persistence = new Persistence(common.persistence, sharedSeed);
    this.#reassembler = new Reassembler(counters, seed);
    const directory = new Directory(memory, all, share, this.#persistence, drawLport);
    directory.apply(plan);
    const loans = new Loans(common.loans, sharedSeed, share.worker);
    const admission = new Admission(
      plan.services,
      common,
      memory.clientPrefixes,
      all.map((one) => one.counters),
      share.worker,
      sharedSeed,
    );
    const ends = new SessionEnds(memory, admission, loans);
    ends.noteLegs(directory.legs);
    this.#ends = ends;
    const departures = new Departures(send, memory, options.sendSuper);
    const attempts = new Attempts(departures, memory);
    const onewayMax = Math.max(1, Math.floor((plan.maxSessions * plan.onewayShare) / 100));
    const table = new SessionTable(
      records,
      new TupleIndex(records, directory.services, directory.legs, seed, memory.index),
      onewayMax,
      (base, end) => {
        attempts.ended(base);
        ends.ended(base, end);
      },
      options.events,
    );
    const packet = new Packet();
    const metadata = new PacketMetadata(packet, counters, departures);
    const icmp = new IcmpSender(departures, counters, seed, (about) =>
      isAnswerable(about, directory.addresses, directory.ports[metadata.portIndex]),
    );
    this.#walk = {
      table,
      directory,
      memory,
      packet,
      metadata,
      admission,
      loans,
      siblings,
      routing,
      departures,
      attempts,
      icmp,
      identifications: new Identifications(seed),
    };
    this.lookAhead = new LookAhead(table);
    this.superPackets = options.sendSuper && new SuperPackets(this.#walk, options.onForwarded);
    this.#hasReserve = plan.lportReserve > 0;
    this.#sweepMs = sweepMsOf(plan);
    if (!options.isWaiting) this.goOn();
  }

  /** With the sessions in its memory; once, before any packet. */
  goOn(): void {
    const { admission, directory, memory } = this.#walk;
    admission.takeOver(memory.records, memory.table[0]);
    directory.placeLports();
    restoreSessions(this.#walk, this.#hasReserve);
  }

  /**
   * Goes on by another plan, of the same capacity; ends the sessions of what is there no more. Plans in
   * between may have been missed, so a number may stand for something else now.
   */
  reconfigure(plan: DatapathPlan): void {
    const before = this.#identities.legs;
    this.#identities = identitiesOf(plan.services, this.#identities);
    const after = this.#identities.legs;
    reconfigure(this.#walk, plan, (leg) => before[leg] === after[leg]);
    this.#ends.noteLegs(this.#walk.directory.legs);
    this.#sweepMs = sweepMsOf(plan);
  }

  /** The sessions that there are. */
  get sessions(): Sessions {
    return this.#walk;
  }

  /** Whether the packet received last was forwarded in a session that both ends have used. */
  get isAnswered(): boolean {
    return this.#isAnswered;
  }

  get sessionCount(): number {
    return this.#walk.table.count;
  }

  /**
   * Judges the captured IP packet at frame.bytes[off, end) and forwards it. HEADROOM bytes before `off` and
   * the packet itself may be overwritten. `portIndex` is the plan's port it came from, `nowMs` int32
   * milliseconds that may wrap. `isMerged`: it is several packets in one, which cannot be told apart any
   * more. `isVerified`: its UDP checksum is known to be right.
   */
  receive(
    frame: Frame,
    off: number,
    end: number,
    portIndex: number,
    nowMs: number,
    isMerged = false,
    isVerified = false,
  ): Verdict {
    this.#begin();
    const { metadata } = this.#walk;
    metadata.isMerged = isMerged;
    metadata.isVerified = isVerified;
    const verdict = this.#judge(frame, off, end, portIndex, nowMs, 0);
    this.#count(verdict);
    return verdict;
  }

  /**
   * As `receive`, for a packet that another datapath passed on; `largestFragment` is 0 when it came whole.
   */
  receiveHandedOver(
    frame: Frame,
    off: number,
    end: number,
    portIndex: number,
    largestFragment: number,
    nowMs: number,
  ): Verdict {
    const { metadata } = this.#walk;
    this.#begin();
    metadata.isHandedOver = true;
    metadata.isMerged = false;
    metadata.isVerified = false;
    const verdict = this.#judge(frame, off, end, portIndex, nowMs, largestFragment);
    metadata.isHandedOver = false;
    this.#count(verdict);
    return verdict;
  }

  /** What became of the packet gathered first (Sending) of which nothing was said yet. */
  settled(wasSent: boolean): void {
    this.#walk.departures.settled(wasSent);
  }

  /** Sends what it kept back, before its packet I/O ends. */
  sendKept(): void {
    this.#walk.attempts.giveUp(this.#lastTick);
  }

  /** Notes in the memory, before it ends for good, what only this process knows and the next one needs. */
  noteForNext(): void {
    this.#walk.directory.noteLports();
  }

  /** Ends expired sessions; to be called a few times per second. */
  tick(nowMs: number): void {
    const { table, admission, loans } = this.#walk;
    const elapsedMs = Math.max(0, (nowMs - this.#lastTick) | 0);
    this.#lastTick = nowMs;
    table.sweep(Math.ceil((table.usedSlots * elapsedMs) / this.#sweepMs), nowMs);
    admission.sweep(SETS_PER_TICK, nowMs);
    this.#persistence.sweep(SETS_PER_TICK, nowMs);
    loans.sweep(nowMs);
    this.#walk.attempts.tick(nowMs);
    this.#reassembler.tick(nowMs);
  }

  #begin(): void {
    const walk = this.#walk;
    walk.metadata.serviceIndex = -1;
    walk.memory.begun[0]++;
    this.#isAnswered = false;
  }

  /**
   * Each packet is received once and ends once: what was sent departures count, what was handed over its
   * owner.
   */
  #count(verdict: Verdict): void {
    if (verdict === VERDICT.handedOver) return;
    const { memory, metadata } = this.#walk;
    const { serviceIndex } = metadata;
    const { counters } = memory;
    const row = counterRow(serviceIndex);
    if (serviceIndex < 0) counters[row + COUNTER.unassignedPackets]++;
    if (verdict >= DROP_BASE) counters[row + dropColumn(verdict)]++;
    else if (verdict === VERDICT.pass) counters[row + COUNTER.passed]++;
    else if (verdict === VERDICT.consumed) counters[row + COUNTER.consumed]++;
  }

  #judge(
    frame: Frame,
    off: number,
    end: number,
    portIndex: number,
    nowMs: number,
    largestFragment: number,
  ): Verdict {
    const walk = this.#walk;
    const { packet } = walk;
    const reassembler = this.#reassembler;
    walk.metadata.portIndex = portIndex;
    const fault = parse(packet, frame, off, end);
    if (fault === PARSE_OK) {
      packet.largestFragment = largestFragment;
      return this.#forward(frame, portIndex, nowMs);
    }
    if (fault === PARSE_OTHER_PROTOCOL) {
      return isIcmpError(packet, frame.view) ? icmpError(walk, frame, portIndex, nowMs) : VERDICT.pass;
    }
    if (packet.hasAddresses && !walk.directory.addresses.isServed(packet.addresses, 4)) return VERDICT.pass;
    if (fault !== PARSE_FRAGMENT) return DROP_BASE + fault;

    if (walk.metadata.isMerged) return DROP.super_packet;
    walk.metadata.isVerified = false; // not as a whole
    // Judged here, because of what stands before an IPv6 fragment header nothing is left when the datagram is
    // whole.
    if (packet.options.sourceRoute) return DROP.source_route;
    if (packet.options.refusedOff !== 0) {
      walk.icmp.unknownOption(frame, packet, packet.options.refusedOff, -1, nowMs);
      return DROP.unknown_ip_option;
    }
    const verdict = reassembler.add(packet, frame, walk.directory.ports[portIndex].side, nowMs);
    if (verdict !== VERDICT.forward) return verdict;
    // The last fragment ends here, and the datagram begins.
    count(walk.memory.counters, -1, COUNTER.unassignedPackets);
    walk.memory.begun[0]++;
    const whole = parse(packet, reassembler.frame, reassembler.off, reassembler.end);
    if (whole === PARSE_OTHER_PROTOCOL) return VERDICT.pass;
    if (whole !== PARSE_OK) return whole === PARSE_FRAGMENT ? DROP.bad_fragment : DROP_BASE + whole;
    packet.largestFragment = reassembler.largest;
    packet.options.uoaCount += reassembler.forged;
    return this.#forward(reassembler.frame, portIndex, nowMs);
  }

  /** A whole UDP packet, parsed. */
  #forward(frame: Frame, portIndex: number, nowMs: number): Verdict {
    const walk = this.#walk;
    const { directory, packet, table, metadata } = walk;
    let entry = table.find(packet);
    if (entry >= 0 && table.isExpired(baseOf(entry), nowMs)) {
      table.end(baseOf(entry), 'expired');
      entry = -1;
    }
    if (entry < 0) {
      const passedOn = handOver(walk, frame, packet, packet.addresses, packet.sport, packet.dport, portIndex);
      if (passedOn !== VERDICT.forward) return passedOn;
    }
    const base = entry < 0 ? -1 : baseOf(entry);
    const service =
      base < 0 ? directory.serviceAt(packet.addresses, 4, packet.dport) : directory.serviceOf(base);
    if (service === undefined) {
      if (!directory.addresses.isLocal(packet.addresses, 4, packet.dport)) return VERDICT.pass;
      return directory.facesRealServers(portIndex) ? DROP.no_session : DROP.wrong_interface;
    }
    if (base < 0 || isInbound(entry)) {
      if (base < 0) metadata.concerns(service, DIRECTION.inbound);
      else metadata.belongsTo(service, DIRECTION.inbound);
      const verdict = inbound(walk, frame, service, base, portIndex, nowMs);
      if (!metadata.isReceived && verdict !== VERDICT.handedOver) metadata.countReceived();
      if (verdict === VERDICT.forward && base >= 0) {
        this.#isAnswered = table.isNormal(base);
        this.#onForwarded?.(base, directory.facesClients(portIndex));
      }
      return verdict;
    }
    metadata.belongsTo(service, DIRECTION.outbound);
    if (!directory.facesRealServers(portIndex)) return DROP.wrong_interface;
    const wasNormal = table.isNormal(base);
    const verdict = outbound(walk, frame, service, base, nowMs);
    if (verdict === VERDICT.forward) {
      const { records } = walk.memory;
      if (!wasNormal) this.#onAnswered?.(records, base + CLIENT, cportOf(records, base));
      this.#isAnswered = true;
      this.#onForwarded?.(base, true);
    }
    return verdict;
  }
}

function sweepMsOf({ services }: DatapathPlan): number {
  const shortestMs = Math.min(...services.map(({ onewayMs, normalMs }) => Math.min(onewayMs, normalMs)));
  return Math.min(SWEEP_MAX_MS, Math.max(SWEEP_MIN_MS, shortestMs / 10));
}
