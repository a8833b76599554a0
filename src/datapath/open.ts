// Which real server a client's packet goes to: that of a new session, or another one than before, because the
// session's is down.
import type { RealServer } from '../service/real-server.ts';
import type { Service } from '../service/service.ts';
import type { Leg } from '../session/leg.ts';
import { legOf } from '../session/session.ts';
import type { Frame } from '../wire/frame.ts';
import { COUNTER, counterRow } from './counters.ts';
import { addedTo } from './ends.ts';
import { countSession } from './gauges.ts';
import { passTo } from './hand-over.ts';
import { handshakeChanged } from './handshake-events.ts';
import { checkMtu } from './ingress.ts';
import { CONTROL } from './memory.ts';
import { SIDE_WAN } from './plan.ts';
import { SERVER_COUNTER, serverRow } from './server-cells.ts';
import { DROP, VERDICT, type Verdict } from './verdict.ts';
import type { Sessions, Walk } from './walk.ts';

/** What openSession opened last. */
export const opened = { base: -1 };

/**
 * Of the lport that takeLport took last: it is for a client that was answered before, and none was free for
 * others.
 */
const takenLport = { isKnown: false };

/** Opens a session for the packet under way, into `opened`: VERDICT.forward, or why not. */
export function openSession(walk: Walk, frame: Frame, service: Service, nowMs: number): Verdict {
  const { admission, memory, metadata, packet } = walk;
  const { counters, servers, table } = memory;
  if (memory.common.control[CONTROL.draining] !== 0) return DROP.draining;
  if (comesAstray(walk)) return DROP.bad_source;
  let realServer: RealServer | undefined;
  if (metadata.lentServer >= 0) {
    // A sibling has judged and chosen.
    realServer = service.realServers.find(({ index }) => index === metadata.lentServer);
    admission.judgedElsewhere();
  } else {
    const admitted = admission.judge(service.index, packet, nowMs);
    if (admitted !== VERDICT.forward) return admitted;
  }
  realServer ??= service.pick(packet.addresses, packet.sport, nowMs);
  if (realServer === undefined) return service.isOnlyItself ? DROP.bad_source : DROP.no_real_server;
  // All legs of a real server have its MTU: judge before a session is spent on a packet that cannot go.
  const [first] = realServer.legs;
  const added = addedTo(first, packet.family);
  const fits = checkMtu(walk, frame, first.family, added, first.mtu, service.index, nowMs);
  if (fits !== VERDICT.forward) return fits;
  let leg = takeLport(walk, service, realServer, false, nowMs);
  if (leg === undefined) {
    if (isLent(walk, frame, service, realServer, false, nowMs)) return VERDICT.handedOver;
    leg = clearLport(walk, realServer);
    if (leg === undefined && isLent(walk, frame, service, realServer, true, nowMs)) return VERDICT.handedOver;
  }
  if (leg === undefined) return realServer.isReserved ? DROP.lports_reserved : DROP.lports_exhausted;
  const base = walk.table.open(packet, service.index, leg, realServer.lport, nowMs, takenLport.isKnown);
  table[0] = walk.table.usedSlots; // before it is counted: a successor looks no further
  if (metadata.lentServer >= 0) walk.loans.opened(packet.addresses, 0, packet.sport, service.index);
  admission.opened(service.index, memory.records, base);
  counters[counterRow(service.index) + COUNTER.sessionsCreated]++;
  servers[serverRow(realServer.index) + SERVER_COUNTER.sessionsCreated]++;
  countSession(memory, service.index, realServer.index, leg.index, false, 1);
  handshakeChanged(walk, base, false);
  opened.base = base;
  return VERDICT.forward;
}

/**
 * Whether the packet under way came by an interface that only clients are behind, from an address that
 * packets would leave to by one that only real servers are behind.
 */
function comesAstray({
  directory,
  metadata,
  packet,
  routing,
}: Pick<Walk, 'directory' | 'metadata' | 'packet' | 'routing'>): boolean {
  if (routing === undefined || directory.facesRealServers(metadata.portIndex)) return false;
  const out = routing.portTowards(packet.addresses, 0, packet.addresses, 4);
  return out >= 0 && (directory.ports[out].side & SIDE_WAN) === 0;
}

/** The session's real server is down: VERDICT.forward when the packet goes on, to it or to another one. */
export function onServerDown(
  walk: Walk,
  frame: Frame,
  service: Service,
  base: number,
  nowMs: number,
): Verdict {
  if (service.onDown === 'keep') return VERDICT.forward;
  if (service.onDown === 'reset') {
    walk.table.end(base, 'reset');
    walk.icmp.portUnreachable(frame, walk.packet, service.index, nowMs);
    return DROP.server_down;
  }
  const { packet, table } = walk;
  const before = walk.directory.legOf(base).realServerIndex;
  const realServer = service.pick(packet.addresses, packet.sport, nowMs);
  // Without another one, or an lport towards it, the session waits for its own. The scheduler may offer that
  // too, as long as it was not told of the new weights.
  if (realServer === undefined || realServer.index === before) return VERDICT.forward;
  const isNormal = table.isNormal(base);
  const leg = takeLport(walk, service, realServer, isNormal, nowMs) ?? clearLport(walk, realServer);
  if (leg === undefined) return VERDICT.forward;
  const { memory } = walk;
  const { counters, records, servers } = memory;
  countSession(memory, service.index, realServer.index, leg.index, isNormal, 1);
  countSession(memory, service.index, before, legOf(records, base), isNormal, -1);
  table.move(base, leg, realServer.lport, nowMs, takenLport.isKnown);
  servers[serverRow(realServer.index) + SERVER_COUNTER.sessionsCreated]++;
  counters[counterRow(service.index) + COUNTER.sessionsMoved]++;
  handshakeChanged(walk, base, false);
  return VERDICT.forward;
}

/**
 * Takes a free lport towards the real server, for the client of the packet under way, into
 * `realServer.lport`, and returns its leg; undefined when there is none to be had: one that is free for
 * everybody, else one of those that are kept for clients that were answered.
 */
function takeLport(
  { admission, packet }: Pick<Walk, 'admission' | 'packet'>,
  service: Service,
  realServer: RealServer,
  isAnswered: boolean,
  nowMs: number,
): Leg | undefined {
  takenLport.isKnown = isAnswered;
  const leg = realServer.takeLport(isAnswered);
  if (leg !== undefined || !realServer.hasReserve) return leg;
  if (!admission.isKnown(service.index, packet.addresses, 0, nowMs)) return undefined;
  takenLport.isKnown = true;
  return realServer.takeLport(true);
}

/**
 * Lets a sibling open the session of the client's packet under way: one that has an lport towards the real
 * server, or, with `isToClear`, a session without an answer that has one. False: none does.
 */
function isLent(
  walk: Sessions & Pick<Walk, 'loans' | 'metadata' | 'packet' | 'siblings'>,
  frame: Frame,
  service: Service,
  realServer: RealServer,
  isToClear: boolean,
  nowMs: number,
): boolean {
  const { directory, loans, packet } = walk;
  const { lentServer, portIndex } = walk.metadata;
  const { addresses, sport } = packet;
  const lender = lentServer >= 0 ? -1 : directory.lenderFor(realServer, isToClear, takenLport.isKnown, nowMs);
  if (lender < 0 || !loans.lend(addresses, 0, sport, service.index, lender, realServer.index, nowMs))
    return false;
  if (passTo(walk, lender, frame, packet, portIndex) === VERDICT.handedOver) return true;
  // Its queue is full: this one helps itself.
  loans.end(addresses, 0, sport, service.index, lender);
  return false;
}

/** As takeLport, where none is free: that of the session which waits longest for an answer. */
function clearLport({ table }: Pick<Walk, 'table'>, realServer: RealServer): Leg | undefined {
  const full = realServer.legToClear();
  if (full === undefined) return undefined;
  table.displaceOldest(full.pool);
  realServer.lport = full.pool.take();
  return full;
}
