// The datapath: receive(packet) -> Verdict. The only caller of the walks and the only counter of verdicts.
// Knows no interface, clock or socket; never throws, logs, awaits, or allocates per packet.
import { CLIENT, cportOf } from '../session/session.ts';
import { baseOf, isInbound } from '../session/tuple-index.ts';
import type { Frame, Send } from '../wire/frame.ts';
import { isIcmpError } from '../wire/icmp-writer.ts';
import { PARSE_FRAGMENT, PARSE_OK, PARSE_OTHER_PROTOCOL, parse } from '../wire/packet.ts';
import { COUNTER, counterRow, dropColumn } from './counters.ts';
import { DIRECTION } from './departures.ts';
import { handOver } from './hand-over.ts';
import { icmpError } from './icmp-error.ts';
import { inbound } from './inbound.ts';
import type { DatapathMemory } from './memory.ts';
import type { DatapathOptions, OnAnswered } from './options.ts';
import { outbound } from './outbound.ts';
import type { DatapathPlan } from './plan.ts';
import { reconfigure } from './reconfigure.ts';
import { DatapathState } from './state.ts';
import { restoreSessions } from './successor.ts';
import { DROP, DROP_BASE, VERDICT, type Verdict } from './verdict.ts';

/** Of the tables of clients: of 65,536 sets each is looked at within seven minutes. */
const SETS_PER_TICK = 16;
/**
 * A full sweep for expired sessions takes a tenth of the shortest timeout, but never more or less than this.
 * None forwards meanwhile: a packet of an expired session ends it.
 */
const SWEEP_MIN_MS = 100;
const SWEEP_MAX_MS = 30_000;

export class Datapath {
  readonly #onAnswered: OnAnswered | undefined;
  readonly #state: DatapathState;
  #sweepMs: number;
  #lastTick = 0;
  #isAnswered = false;

  /**
   * `memory` is written to as the plan lays it out; `send` gets whole IP packets. Goes on with the sessions
   * that it holds.
   */
  constructor(plan: DatapathPlan, memory: DatapathMemory, send: Send, options: DatapathOptions = {}) {
    this.#onAnswered = options.onAnswered;
    this.#state = new DatapathState(plan, memory, send, options);
    restoreSessions(this.#state, plan.lportReserve > 0);
    this.#sweepMs = sweepMsOf(plan);
  }

  /** Goes on by another plan, of the same capacity; ends the sessions of what is there no more. */
  reconfigure(plan: DatapathPlan): void {
    reconfigure(this.#state, plan);
    this.#sweepMs = sweepMsOf(plan);
  }

  /** Whether the packet received last was forwarded in a session that both ends have used. */
  get isAnswered(): boolean {
    return this.#isAnswered;
  }

  get sessionCount(): number {
    return this.#state.table.count;
  }

  /**
   * Judges the captured IP packet at frame.bytes[off, end) and forwards it. HEADROOM bytes before `off` and
   * the packet itself may be overwritten. `portIndex` is the plan's port it came from, `nowMs` int32
   * milliseconds that may wrap. `isMerged`: it is several packets in one, which cannot be told apart any
   * more.
   */
  receive(
    frame: Frame,
    off: number,
    end: number,
    portIndex: number,
    nowMs: number,
    isMerged = false,
  ): Verdict {
    this.#begin();
    this.#state.underWay.isMerged = isMerged;
    const verdict = this.#walk(frame, off, end, portIndex, nowMs, 0);
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
    const { underWay } = this.#state;
    this.#begin();
    underWay.isHandedOver = true;
    underWay.isMerged = false;
    const verdict = this.#walk(frame, off, end, portIndex, nowMs, largestFragment);
    underWay.isHandedOver = false;
    this.#count(verdict);
    return verdict;
  }

  /** What became of the packet gathered first (Sending) of which nothing was said yet. */
  settled(wasSent: boolean): void {
    this.#state.departures.settled(wasSent);
  }

  /** Ends expired sessions; to be called a few times per second. */
  tick(nowMs: number): void {
    const { table, admission, loans, persistence, reassembler } = this.#state;
    const elapsedMs = Math.max(0, (nowMs - this.#lastTick) | 0);
    this.#lastTick = nowMs;
    table.sweep(Math.ceil((table.usedSlots * elapsedMs) / this.#sweepMs), nowMs);
    admission.sweep(SETS_PER_TICK, nowMs);
    persistence.sweep(SETS_PER_TICK, nowMs);
    loans.sweep(SETS_PER_TICK, nowMs);
    reassembler.tick(nowMs);
  }

  #begin(): void {
    const state = this.#state;
    state.underWay.serviceIndex = -1;
    state.memory.begun[0]++;
    this.#isAnswered = false;
  }

  /**
   * Each packet is received once and ends once: what was sent departures count, what was handed over its
   * owner.
   */
  #count(verdict: Verdict): void {
    if (verdict === VERDICT.handedOver) return;
    const { memory, underWay } = this.#state;
    const { serviceIndex } = underWay;
    const { counters } = memory;
    const row = counterRow(serviceIndex);
    if (serviceIndex < 0) counters[row + COUNTER.unassignedPackets]++;
    if (verdict >= DROP_BASE) counters[row + dropColumn(verdict)]++;
    else if (verdict === VERDICT.pass) counters[row + COUNTER.passed]++;
    else if (verdict === VERDICT.consumed) counters[row + COUNTER.consumed]++;
  }

  #walk(
    frame: Frame,
    off: number,
    end: number,
    portIndex: number,
    nowMs: number,
    largestFragment: number,
  ): Verdict {
    const state = this.#state;
    const { packet, reassembler } = state;
    state.underWay.portIndex = portIndex;
    const fault = parse(packet, frame, off, end);
    if (fault === PARSE_OK) {
      packet.largestFragment = largestFragment;
      return this.#forward(frame, portIndex, nowMs);
    }
    if (fault === PARSE_OTHER_PROTOCOL) {
      return isIcmpError(packet, frame.view) ? icmpError(state, frame, portIndex, nowMs) : VERDICT.pass;
    }
    if (packet.hasAddresses && !state.directory.addresses.isServed(packet.addresses, 4)) return VERDICT.pass;
    if (fault !== PARSE_FRAGMENT) return DROP_BASE + fault;

    if (state.underWay.isMerged) return DROP.super_packet;
    // Judged here, because of what stands before an IPv6 fragment header nothing is left when the datagram is
    // whole.
    if (packet.options.sourceRoute) return DROP.source_route;
    if (packet.options.refusedOff !== 0) {
      state.icmp.unknownOption(frame, packet, packet.options.refusedOff, -1, nowMs);
      return DROP.unknown_ip_option;
    }
    const verdict = reassembler.add(packet, frame, state.directory.ports[portIndex].side, nowMs);
    if (verdict !== VERDICT.forward) return verdict;
    // The last fragment ends here, and the datagram begins.
    state.count(-1, COUNTER.unassignedPackets);
    state.memory.begun[0]++;
    const whole = parse(packet, reassembler.frame, reassembler.off, reassembler.end);
    if (whole === PARSE_OTHER_PROTOCOL) return VERDICT.pass;
    if (whole !== PARSE_OK) return whole === PARSE_FRAGMENT ? DROP.bad_fragment : DROP_BASE + whole;
    packet.largestFragment = reassembler.largest;
    packet.options.uoaCount += reassembler.forged;
    return this.#forward(reassembler.frame, portIndex, nowMs);
  }

  /** A whole UDP packet, parsed. */
  #forward(frame: Frame, portIndex: number, nowMs: number): Verdict {
    const state = this.#state;
    const { directory, packet, table, underWay } = state;
    let entry = table.find(packet);
    if (entry >= 0 && table.isExpired(baseOf(entry), nowMs)) {
      table.end(baseOf(entry), 'expired');
      entry = -1;
    }
    if (entry < 0) {
      const passedOn = handOver(
        state,
        frame,
        packet,
        packet.addresses,
        packet.sport,
        packet.dport,
        portIndex,
      );
      if (passedOn !== VERDICT.forward) return passedOn;
    }
    const base = entry < 0 ? -1 : baseOf(entry);
    const service = base < 0 ? directory.serviceAt(packet.addresses, 4, packet.dport) : state.serviceOf(base);
    if (service === undefined) {
      if (!directory.addresses.isLocal(packet.addresses, 4, packet.dport)) return VERDICT.pass;
      return directory.facesRealServers(portIndex) ? DROP.no_session : DROP.wrong_interface;
    }
    if (base < 0 || isInbound(entry)) {
      if (base < 0) underWay.concerns(service, DIRECTION.inbound);
      else underWay.belongsTo(service, DIRECTION.inbound);
      const verdict = inbound(state, frame, service, base, portIndex, nowMs);
      if (!underWay.isReceived && verdict !== VERDICT.handedOver) underWay.countReceived();
      if (verdict === VERDICT.forward) this.#isAnswered = base >= 0 && table.isNormal(base);
      return verdict;
    }
    underWay.belongsTo(service, DIRECTION.outbound);
    if (!directory.facesRealServers(portIndex)) return DROP.wrong_interface;
    const wasNormal = table.isNormal(base);
    const verdict = outbound(state, frame, service, base, nowMs);
    if (verdict === VERDICT.forward) {
      const { records } = state.memory;
      if (!wasNormal) this.#onAnswered?.(records, base + CLIENT, cportOf(records, base));
      this.#isAnswered = true;
    }
    return verdict;
  }
}

function sweepMsOf({ services }: DatapathPlan): number {
  const shortestMs = Math.min(...services.map(({ onewayMs, normalMs }) => Math.min(onewayMs, normalMs)));
  return Math.min(SWEEP_MAX_MS, Math.max(SWEEP_MIN_MS, shortestMs / 10));
}
