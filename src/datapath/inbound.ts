// Client -> real server: open or continue a session, take out forged UOA, bring the true one when it is due,
// rewrite. VIP:vport of the packet is a service's, and `base` is its session or -1.
import type { Service } from '../service/service.ts';
import type { Leg } from '../session/leg.ts';
import { HANDSHAKE, lportOf } from '../session/session.ts';
import { buildCarrier, carrierLen } from '../uoa/carrier.ts';
import { hasRoom, insertUoa, removeUoa, type UoaForm } from '../uoa/form.ts';
import { onInbound, UOA_DUE, UOA_DUE_AGAIN, UOA_EXHAUSTED, UOA_EXHAUSTED_AGAIN } from '../uoa/handshake.ts';
import { clearOptionTail, stripUoa } from '../uoa/strip.ts';
import { Frame, HEADROOM } from '../wire/frame.ts';
import * as ipv4 from '../wire/ipv4.ts';
import { COUNTER } from './counters.ts';
import { rewritePacket, sendPacket } from './egress.ts';
import { mtuToRealServer, pointOrigin } from './ends.ts';
import { needsFragments } from './fragment.ts';
import { handshakeChanged } from './handshake-events.ts';
import { admit, checkMtu, checkTtl } from './ingress.ts';
import { onServerDown, opened, openSession } from './open.ts';
import { serverRow } from './server-cells.ts';
import type { DatapathState } from './state.ts';
import { DROP, VERDICT, type Verdict } from './verdict.ts';

/** Room for the longest carrier: an IPv6 header, UDP, and the UOA before it is inserted. */
const carrierFrame = new Frame(Buffer.alloc(HEADROOM + 64));
/** IP id of the next carrier; never 0, which the kernel would replace. */
let carrierId = 1;

export function inbound(
  state: DatapathState,
  frame: Frame,
  service: Service,
  knownBase: number,
  portIndex: number,
  nowMs: number,
): Verdict {
  const { packet } = state;
  // Of an open session too: a reload may have made the client one of ours, and its datagrams may be forged.
  const { addresses, ports } = state.directory;
  if (!addresses.mayBeClient(packet.addresses, packet.sport, ports[portIndex])) return DROP.bad_source;
  const admitted = admit(state, frame, service.index, nowMs);
  if (admitted !== VERDICT.forward) return admitted;
  const alive = checkTtl(state, frame, service.index, nowMs);
  if (alive !== VERDICT.forward) return alive;

  if (packet.hasUoa) {
    if (packet.family === 4) stripUoa(frame, packet);
    state.count(service.index, COUNTER.uoaForgedRemoved);
  } else if (packet.options.tailOff !== 0) {
    clearOptionTail(frame, packet);
  }

  if (knownBase < 0) {
    const verdict = openSession(state, frame, service, nowMs);
    if (verdict !== VERDICT.forward) {
      if (state.underWay.lentServer >= 0) state.loans.end(packet.addresses, 0, packet.sport, service.index);
      return verdict;
    }
    state.underWay.countReceived();
    return forward(state, frame, service, opened.base, nowMs);
  }
  if (state.directory.weightOf(state.legOf(knownBase)) < 0) {
    const verdict = onServerDown(state, frame, service, knownBase, nowMs);
    if (verdict !== VERDICT.forward) return verdict;
  }
  const leg = state.legOf(knownBase);
  const fits = checkMtu(
    state,
    frame,
    leg.family,
    mtuToRealServer(state, knownBase, leg, nowMs),
    service.index,
    nowMs,
  );
  if (fits !== VERDICT.forward) return fits;
  state.table.touch(knownBase, nowMs);
  return forward(state, frame, service, knownBase, nowMs);
}

function forward(state: DatapathState, frame: Frame, service: Service, base: number, nowMs: number): Verdict {
  const { packet } = state;
  const { records } = state.memory;
  const leg = state.legOf(base);
  const mtu = mtuToRealServer(state, base, leg, nowMs);
  state.departures.serverRow = serverRow(leg.realServerIndex);
  rewritePacket(state, frame, leg.family, leg.towards, lportOf(records, base), leg.rport);

  const { receiver } = leg;
  const choice = receiver.choice(nowMs);
  if (choice >= 0) {
    const uoa = onInbound(records, base + HANDSHAKE, service, choice, nowMs);
    if (uoa === UOA_DUE || uoa === UOA_DUE_AGAIN) {
      if (uoa === UOA_DUE_AGAIN) handshakeChanged(state, base, true);
      pointOrigin(state, base, service);
      const form = receiver.formsOf(choice)[state.origin.family];
      const isInserted =
        hasRoom(form, packet, mtu) && !needsFragments(packet, mtu) && !receiver.carriersOnly(choice, nowMs);
      if (!isInserted) sendCarrier(state, frame, service, base, leg, form, nowMs);
      else if (sendInserted(state, frame, service, base, form, nowMs)) return VERDICT.forward;
    } else if (uoa === UOA_EXHAUSTED || uoa === UOA_EXHAUSTED_AGAIN) {
      if (uoa === UOA_EXHAUSTED) state.count(service.index, COUNTER.uoaExhausted);
      handshakeChanged(state, base, false);
    }
  }
  return sendPacket(state, frame, mtu, leg.towards, service.index);
}

/** True when the packet went out with its UOA; otherwise the packet is as before and must go without. */
function sendInserted(
  state: DatapathState,
  frame: Frame,
  service: Service,
  base: number,
  form: UoaForm,
  nowMs: number,
): boolean {
  const { packet } = state;
  const off = insertUoa(form, frame, packet.off, packet.headerLen, state.origin);
  if (packet.family === 4) ipv4.fillChecksum(frame.view, off);
  const len = packet.totalLen + form.size;
  if (state.departures.withUoa(frame, off, len, service.index, base, nowMs)) return true;
  removeUoa(form, frame, off, packet.headerLen);
  return false;
}

function sendCarrier(
  state: DatapathState,
  frame: Frame,
  service: Service,
  base: number,
  leg: Leg,
  form: UoaForm,
  nowMs: number,
): void {
  const { packet, origin } = state;
  const off = buildCarrier(carrierFrame, HEADROOM, form, origin, frame, packet, leg.towards, carrierId);
  carrierId = (carrierId % 0xffff) + 1;
  state.departures.carrier(carrierFrame, off, carrierLen(form, packet), service.index, base, nowMs);
}
