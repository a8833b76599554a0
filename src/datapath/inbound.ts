// Client -> real server: open or continue a session, take out forged UOA, bring the true one when it is due, rewrite.
// VIP:vport of the packet is a service's, and `base` is its session or -1.
import type { Service } from '../service/service.ts';
import type { Leg } from '../session/leg.ts';
import { HANDSHAKE, lportOf } from '../session/session.ts';
import { buildCarrier, carrierLen } from '../uoa/carrier.ts';
import { hasRoom, insertUoa, removeUoa, type UoaForm } from '../uoa/form.ts';
import { onCarrierSent, onInbound, onUoaSent, UOA_DUE, UOA_EXHAUSTED } from '../uoa/handshake.ts';
import { clearOptionTail, stripUoa } from '../uoa/strip.ts';
import { Frame, HEADROOM } from '../wire/frame.ts';
import * as ipv4 from '../wire/ipv4.ts';
import { COUNTER, counterRow } from './counters.ts';
import { rewritePacket, sendPacket } from './egress.ts';
import { needsFragments } from './fragment.ts';
import { admit, checkMtu, checkTtl } from './ingress.ts';
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
  const { counters } = state.memory;
  const row = counterRow(service.index);
  counters[row + COUNTER.inboundPackets]++;
  counters[row + COUNTER.inboundBytes] += packet.totalLen;

  if (knownBase < 0 && !state.mayComeFrom(packet, service, portIndex)) return DROP.bad_source;
  const admitted = admit(state, frame, portIndex, service.index, nowMs);
  if (admitted !== VERDICT.forward) return admitted;
  const alive = checkTtl(state, frame, service.index, nowMs);
  if (alive !== VERDICT.forward) return alive;

  if (packet.hasUoa) {
    if (packet.family === 4) stripUoa(frame, packet);
    counters[row + COUNTER.uoaForgedRemoved]++;
  } else if (packet.options.tailOff !== 0) {
    clearOptionTail(frame, packet);
  }

  let base = knownBase;
  let leg: Leg;
  let mtu: number;
  if (base < 0) {
    const realServer = service.pick();
    if (realServer === undefined) return DROP.no_real_server;
    // All legs of a real server have its MTU: judge before a session is spent on a packet that cannot go.
    mtu = realServer.legs[0].mtu;
    const fits = checkMtu(state, frame, realServer.legs[0].family, mtu, service.index, nowMs);
    if (fits !== VERDICT.forward) return fits;
    const free = realServer.takeLport();
    if (free === undefined) return DROP.lports_exhausted;
    leg = free;
    base = state.table.open(packet, service.index, leg, realServer.lport, nowMs);
    counters[row + COUNTER.sessionsCreated]++;
    counters[row + COUNTER.sessionsOneway]++;
    state.memory.legsInUse[leg.index]++;
    state.memory.table[0] = state.table.usedSlots;
  } else {
    leg = state.legOf(base);
    mtu = state.mtuOf(base, leg, nowMs);
    const fits = checkMtu(state, frame, leg.family, mtu, service.index, nowMs);
    if (fits !== VERDICT.forward) return fits;
    state.table.touch(base, nowMs);
  }
  return forward(state, frame, service, base, leg, mtu, nowMs);
}

function forward(
  state: DatapathState,
  frame: Frame,
  service: Service,
  base: number,
  leg: Leg,
  mtu: number,
  nowMs: number,
): Verdict {
  const { packet } = state;
  const { records, counters } = state.memory;
  rewritePacket(state, frame, leg.family, leg.towards, lportOf(records, base), leg.rport);

  const { receiver } = leg;
  const choice = receiver.choice(nowMs);
  if (choice >= 0) {
    const uoa = onInbound(records, base + HANDSHAKE, service, choice, nowMs);
    if (uoa === UOA_DUE) {
      state.pointOrigin(base, service);
      const form = receiver.formsOf(choice)[state.origin.family];
      const isInserted =
        hasRoom(form, packet, mtu) && !needsFragments(packet, mtu) && !receiver.carriersOnly(choice, nowMs);
      if (!isInserted) sendCarrier(state, frame, service, base, leg, form, nowMs);
      else if (sendInserted(state, frame, service, base, form, nowMs)) return VERDICT.forward;
    } else if (uoa === UOA_EXHAUSTED) {
      counters[counterRow(service.index) + COUNTER.uoaExhausted]++;
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
  if (state.send(frame, off, packet.totalLen + form.size)) {
    onUoaSent(state.memory.records, base + HANDSHAKE, nowMs);
    state.count(service.index, COUNTER.uoaInserted);
    return true;
  }
  removeUoa(form, frame, off, packet.headerLen);
  state.count(service.index, COUNTER.uoaFailed);
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
  const { records } = state.memory;
  const off = buildCarrier(carrierFrame, HEADROOM, form, origin, frame, packet, leg.towards, carrierId);
  carrierId = (carrierId % 0xffff) + 1;
  if (state.send(carrierFrame, off, carrierLen(form, packet))) {
    onUoaSent(records, base + HANDSHAKE, nowMs);
    onCarrierSent(records, base + HANDSHAKE, nowMs);
    state.count(service.index, COUNTER.uoaCarrier);
  } else {
    state.count(service.index, COUNTER.uoaFailed);
  }
}
