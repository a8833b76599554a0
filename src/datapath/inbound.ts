// Client -> real server: open or continue a session, take out forged UOA, bring the true one when it is due, rewrite.
// VIP:vport of the packet is a service's, and `base` is its session or -1.
import type { Service } from '../service/service.ts';
import { cportOf, HANDSHAKE, lportOf } from '../session/session.ts';
import { buildCarrier, carrierLen } from '../uoa/carrier.ts';
import { onCarrierSent, onInbound, onUoaSent, UOA_DUE, UOA_EXHAUSTED } from '../uoa/handshake.ts';
import { clearOptionTail, stripUoa } from '../uoa/strip.ts';
import { Frame, HEADROOM } from '../wire/frame.ts';
import * as ipv4 from '../wire/ipv4.ts';
import { COUNTER, counterRow } from './counters.ts';
import { admit, checkMtu, checkTtl } from './ingress.ts';
import { rewrite } from './rewrite.ts';
import type { DatapathState } from './state.ts';
import { DROP, VERDICT, type Verdict } from './verdict.ts';

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

  if (knownBase < 0 && !state.mayComeFrom(packet.src, packet.sport, service, portIndex))
    return DROP.bad_source;
  const admitted = admit(state, frame, portIndex);
  if (admitted !== VERDICT.forward) return admitted;
  const alive = checkTtl(state, frame, service.index, nowMs);
  if (alive !== VERDICT.forward) return alive;

  if (packet.hasUoa) {
    stripUoa(frame, packet);
    counters[row + COUNTER.uoaForgedRemoved]++;
  } else if (packet.options.tailOff !== 0) {
    clearOptionTail(frame, packet);
  }

  let base = knownBase;
  if (base < 0) {
    const realServer = service.pick();
    if (realServer === undefined) return DROP.no_real_server;
    // All legs of a real server have its MTU: judge before a session is spent on a packet that cannot go.
    const fits = checkMtu(state, frame, realServer.legs[0].mtu, service.index, nowMs);
    if (fits !== VERDICT.forward) return fits;
    const leg = realServer.takeLport();
    if (leg === undefined) return DROP.lports_exhausted;
    base = state.table.open(packet, service.index, leg, realServer.lport, nowMs);
    counters[row + COUNTER.sessionsCreated]++;
    counters[row + COUNTER.sessionsOneway]++;
    state.memory.legsInUse[leg.index]++;
  } else {
    const fits = checkMtu(state, frame, state.mtuOf(base), service.index, nowMs);
    if (fits !== VERDICT.forward) return fits;
    state.table.touch(base, nowMs);
  }
  return forward(state, frame, service, base, nowMs);
}

function forward(state: DatapathState, frame: Frame, service: Service, base: number, nowMs: number): Verdict {
  const { packet } = state;
  const { records, counters } = state.memory;
  const row = counterRow(service.index);
  const leg = state.legOf(base);
  rewrite(frame, packet, leg.lip, leg.rip, lportOf(records, base), leg.rport);

  const uoa = onInbound(records, base + HANDSHAKE, service, nowMs);
  if (uoa === UOA_DUE) {
    const { size } = service.dialect;
    if (packet.headerLen + size <= ipv4.IPV4_MAX_HEADER_LEN && packet.totalLen + size <= state.mtuOf(base)) {
      if (sendInserted(state, frame, service, base, nowMs)) return VERDICT.forward;
    } else {
      sendCarrier(state, frame, service, base, nowMs);
    }
  } else if (uoa === UOA_EXHAUSTED) {
    counters[row + COUNTER.uoaExhausted]++;
  }

  ipv4.fillChecksum(frame.view, packet.off);
  return state.send(frame, packet.off, packet.totalLen) ? VERDICT.forward : DROP.send_failed;
}

/** True when the packet went out with its UOA; otherwise the packet is as before and must go without. */
function sendInserted(
  state: DatapathState,
  frame: Frame,
  service: Service,
  base: number,
  nowMs: number,
): boolean {
  const { packet } = state;
  const { records } = state.memory;
  const { dialect } = service;
  const off = dialect.insert(frame, packet.off, packet.src, cportOf(records, base));
  ipv4.fillChecksum(frame.view, off);
  if (state.send(frame, off, packet.totalLen + dialect.size)) {
    onUoaSent(records, base + HANDSHAKE, nowMs);
    state.count(service.index, COUNTER.uoaInserted);
    return true;
  }
  dialect.remove(frame, off);
  state.count(service.index, COUNTER.uoaFailed);
  return false;
}

function sendCarrier(
  state: DatapathState,
  frame: Frame,
  service: Service,
  base: number,
  nowMs: number,
): void {
  const { packet } = state;
  const { records } = state.memory;
  const { dialect } = service;
  const cport = cportOf(records, base);
  const off = buildCarrier(
    carrierFrame,
    HEADROOM,
    dialect,
    frame,
    packet.off,
    packet.udpOff,
    carrierId,
    packet.src,
    cport,
  );
  carrierId = (carrierId % 0xffff) + 1;
  if (state.send(carrierFrame, off, carrierLen(dialect))) {
    onUoaSent(records, base + HANDSHAKE, nowMs);
    onCarrierSent(records, base + HANDSHAKE, nowMs);
    state.count(service.index, COUNTER.uoaCarrier);
  } else {
    state.count(service.index, COUNTER.uoaFailed);
  }
}
