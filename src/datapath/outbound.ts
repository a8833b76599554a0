// Real server -> client: end the UOA handshake on its echo ACK, keep every UOA from the client, swallow
// answers to carriers, rewrite. The packet's tuple is that of the session at `base`.
import type { Service } from '../service/service.ts';
import type { Leg } from '../session/leg.ts';
import { CLIENT, cportOf, familyOfClient, HANDSHAKE } from '../session/session.ts';
import { onEchoAck, takesEmptyReply, trialsSent } from '../uoa/handshake.ts';
import { clearOptionTail, stripUoa } from '../uoa/strip.ts';
import type { Frame } from '../wire/frame.ts';
import { clearRecords } from '../wire/ipv4-options.ts';
import { COUNTER } from './counters.ts';
import { rewritePacket, sendPacket } from './egress.ts';
import { mtuToClient, pointOrigin, pointToClient } from './ends.ts';
import { countSession } from './gauges.ts';
import { handshakeChanged, wasHandshakeOver } from './handshake-events.ts';
import { admit, checkMtu, checkTtl } from './ingress.ts';
import { rewrittenLen } from './rewrite.ts';
import { SERVER_COUNTER, serverRow } from './server-cells.ts';
import type { DatapathState } from './state.ts';
import { VERDICT, type Verdict } from './verdict.ts';

export function outbound(
  state: DatapathState,
  frame: Frame,
  service: Service,
  base: number,
  nowMs: number,
): Verdict {
  const { packet, table } = state;
  const { records } = state.memory;
  const admitted = admit(state, frame, service.index, nowMs);
  if (admitted !== VERDICT.forward) return admitted;
  if (packet.hasUoa) {
    if (packet.payloadLen === 0) return endHandshake(state, frame, service, base, nowMs);
    if (packet.family === 4) stripUoa(frame, packet);
    state.count(service.index, COUNTER.uoaStripped);
  } else {
    if (packet.payloadLen === 0 && takesEmptyReply(records, base + HANDSHAKE, nowMs)) {
      state.count(service.index, COUNTER.emptyRepliesSwallowed);
      return VERDICT.consumed;
    }
    if (packet.options.tailOff !== 0) clearOptionTail(frame, packet);
  }
  const alive = checkTtl(state, frame, service.index, nowMs);
  if (alive !== VERDICT.forward) return alive;
  const family = familyOfClient(records, base);
  const mtu = mtuToClient(state, base, service.vips, rewrittenLen(packet, family));
  const fits = checkMtu(state, frame, family, mtu, service.index, nowMs);
  if (fits !== VERDICT.forward) return fits;

  // What the way behind us wrote into its options is not for clients.
  if (packet.options.hasRecords) clearRecords(frame.view, packet.off, packet.headerLen, false);
  table.touch(base, nowMs);
  const leg = state.legOf(base);
  if (!table.isNormal(base)) noteAnswered(state, service, base, leg, nowMs);
  state.departures.serverRow = serverRow(leg.realServerIndex);
  pointToClient(state, base, service, family);
  const { toClient } = state;
  rewritePacket(state, frame, family, toClient, service.vport, cportOf(records, base));
  return sendPacket(state, frame, mtu, toClient, service.index);
}

/** The real server answered for the first time in the session. */
function noteAnswered(
  { admission, memory, table }: DatapathState,
  service: Service,
  base: number,
  { index, realServerIndex }: Leg,
  nowMs: number,
): void {
  const { records, servers } = memory;
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
  state: DatapathState,
  frame: Frame,
  service: Service,
  base: number,
  nowMs: number,
): Verdict {
  const { records } = state.memory;
  pointOrigin(state, base, service);
  const { receiver } = state.legOf(base);
  const choice = receiver.choice(nowMs);
  const isEchoAck =
    choice >= 0 &&
    trialsSent(records, base + HANDSHAKE) > 0 &&
    receiver.choiceIn(frame, state.packet, state.origin) === choice;
  if (!isEchoAck) {
    state.count(service.index, COUNTER.uoaAckRejected);
    return VERDICT.consumed;
  }
  receiver.accept(choice);
  const wasOver = wasHandshakeOver(state, base);
  const ended = onEchoAck(records, base + HANDSHAKE);
  if (ended) handshakeChanged(state, base, wasOver);
  state.count(service.index, ended ? COUNTER.uoaAcked : COUNTER.uoaAckRepeated);
  return VERDICT.consumed;
}
