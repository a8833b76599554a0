// Real server -> client: end the UOA handshake on its echo ACK, keep every UOA from the client, swallow
// answers to carriers, rewrite. The packet's tuple is that of the session at `base`.
import type { Service } from '../service/service.ts';
import type { Leg } from '../session/leg.ts';
import { CLIENT, cportOf, familyOfClient, HANDSHAKE } from '../session/session.ts';
import { onEchoAck, takesEmptyReply, trialsSent } from '../uoa/handshake.ts';
import { clearOptionTail, stripUoa } from '../uoa/strip.ts';
import type { Frame } from '../wire/frame.ts';
import { clearRecords } from '../wire/ipv4-options.ts';
import { COUNTER, count } from './counters.ts';
import { rewritePacket, sendPacket } from './egress.ts';
import { addressesToClient, mtuToClient, originOf } from './ends.ts';
import { countSession } from './gauges.ts';
import { handshakeChanged, wasHandshakeOver } from './handshake-events.ts';
import { admit, checkMtu, checkTtl } from './ingress.ts';
import { rewrittenLen } from './rewrite.ts';
import { SERVER_COUNTER, serverRow } from './server-cells.ts';
import { VERDICT, type Verdict } from './verdict.ts';
import type { Sessions, Walk } from './walk.ts';

export function outbound(walk: Walk, frame: Frame, service: Service, base: number, nowMs: number): Verdict {
  const { packet, table } = walk;
  const { counters, records } = walk.memory;
  const admitted = admit(walk, frame, service.index, nowMs);
  if (admitted !== VERDICT.forward) return admitted;
  if (packet.hasUoa) {
    if (packet.payloadLen === 0) return endHandshake(walk, frame, service, base, nowMs);
    if (packet.family === 4) stripUoa(frame, packet);
    count(counters, service.index, COUNTER.uoaStripped);
  } else {
    if (packet.payloadLen === 0 && takesEmptyReply(records, base + HANDSHAKE, nowMs)) {
      count(counters, service.index, COUNTER.emptyRepliesSwallowed);
      return VERDICT.consumed;
    }
    if (packet.options.tailOff !== 0) clearOptionTail(frame, packet);
  }
  const alive = checkTtl(walk, frame, service.index, nowMs);
  if (alive !== VERDICT.forward) return alive;
  const family = familyOfClient(records, base);
  const mtu = mtuToClient(walk, base, service.vips, rewrittenLen(packet, family));
  const fits = checkMtu(walk, frame, family, 0, mtu, service.index, nowMs);
  if (fits !== VERDICT.forward) return fits;

  // What the way behind us wrote into its options is not for clients.
  if (packet.options.hasRecords) clearRecords(frame.view, packet.off, packet.headerLen, false);
  table.touch(base, nowMs);
  const leg = walk.directory.legOf(base);
  walk.directory.announcements.answered(leg.realServerIndex, nowMs);
  if (!table.isNormal(base)) noteAnswered(walk, service, base, leg, nowMs);
  walk.departures.serverRow = serverRow(leg.realServerIndex);
  const toClient = addressesToClient(records, base, service, family);
  rewritePacket(walk, frame, family, toClient, service.vport, cportOf(records, base));
  return sendPacket(walk, frame, mtu, toClient, service.index);
}

/** The real server answered for the first time in the session. */
function noteAnswered(
  { admission, attempts, memory, table }: Pick<Walk, 'admission' | 'attempts' | 'memory' | 'table'>,
  service: Service,
  base: number,
  leg: Leg,
  nowMs: number,
): void {
  const { records, servers } = memory;
  const { index, realServerIndex } = leg;
  const choice = leg.receiver.choiceAt(nowMs);
  if (choice >= 0) attempts.answered(base, leg, choice, nowMs);
  table.markNormal(base);
  countSession(memory, service.index, realServerIndex, index, true, 1);
  countSession(memory, service.index, realServerIndex, index, false, -1);
  servers[serverRow(realServerIndex) + SERVER_COUNTER.sessionsAnswered]++;
  admission.answered(service.index, records, base, nowMs);
  service.noteAnswered(records, base + CLIENT, realServerIndex, nowMs);
}

/**
 * An empty packet with a UOA: an echo ACK if it is the one we send in this session, else rejected without
 * effect. Consumed either way, and no sign of life of the session.
 */
function endHandshake(
  walk: Sessions & Pick<Walk, 'attempts' | 'packet'>,
  frame: Frame,
  service: Service,
  base: number,
  nowMs: number,
): Verdict {
  const { counters, records } = walk.memory;
  const leg = walk.directory.legOf(base);
  const { realServerIndex, receiver } = leg;
  const choice = receiver.choice(nowMs);
  const isEchoAck =
    choice >= 0 &&
    trialsSent(records, base + HANDSHAKE) > 0 &&
    receiver.choiceIn(frame, walk.packet, originOf(records, base, service)) === choice;
  if (!isEchoAck) {
    count(counters, service.index, COUNTER.uoaAckRejected);
    return VERDICT.consumed;
  }
  receiver.accept(choice);
  if (walk.attempts.isOf(base)) walk.attempts.answered(base, leg, choice, nowMs);
  walk.directory.announcements.answered(realServerIndex, nowMs);
  const wasOver = wasHandshakeOver(walk, base);
  const ended = onEchoAck(records, base + HANDSHAKE);
  if (ended) handshakeChanged(walk, base, wasOver);
  count(counters, service.index, ended ? COUNTER.uoaAcked : COUNTER.uoaAckRepeated);
  return VERDICT.consumed;
}
