// Client -> real server: open or continue a session, take out forged UOA, bring the true one when it is due,
// rewrite. VIP:vport of the packet is a service's, and `base` is its session or -1.
import type { Service } from '../service/service.ts';
import type { Leg } from '../session/leg.ts';
import { HANDSHAKE, lportOf } from '../session/session.ts';
import { buildCarrier, carrierLen } from '../uoa/carrier.ts';
import { hasRoom, insertUoa, removeUoa, type UoaForm } from '../uoa/form.ts';
import { onInbound, UOA_DUE, UOA_DUE_AGAIN, UOA_EXHAUSTED, UOA_EXHAUSTED_AGAIN } from '../uoa/handshake.ts';
import type { Origin } from '../uoa/origin.ts';
import { clearOptionTail, stripUoa } from '../uoa/strip.ts';
import { Frame, HEADROOM } from '../wire/frame.ts';
import * as ipv4 from '../wire/ipv4.ts';
import { COUNTER, count } from './counters.ts';
import { rewritePacket, sendPacket } from './egress.ts';
import { addedTo, mtuToRealServer, originOf } from './ends.ts';
import { needsFragments } from './fragment.ts';
import { handshakeChanged } from './handshake-events.ts';
import { admit, checkMtu, checkTtl } from './ingress.ts';
import { onServerDown, opened, openSession } from './open.ts';
import { forwardProxied } from './proxied.ts';
import { serverRow } from './server-cells.ts';
import { DROP, VERDICT, type Verdict } from './verdict.ts';
import type { Walk } from './walk.ts';

/** Room for the longest carrier: an IPv6 header, UDP, and the UOA before it is inserted. */
const carrierFrame = new Frame(Buffer.alloc(HEADROOM + 64));
/** IP id of the next carrier; never 0, which the kernel would replace. */
let carrierId = 1;

export function inbound(
  walk: Walk,
  frame: Frame,
  service: Service,
  knownBase: number,
  portIndex: number,
  nowMs: number,
): Verdict {
  const { packet } = walk;
  // Of an open session too: a reload may have made the client one of ours, and its datagrams may be forged.
  const { addresses, ports } = walk.directory;
  if (!addresses.mayBeClient(packet.addresses, packet.sport, ports[portIndex])) return DROP.bad_source;
  const admitted = admit(walk, frame, service.index, nowMs);
  if (admitted !== VERDICT.forward) return admitted;
  const alive = checkTtl(walk, frame, service.index, nowMs);
  if (alive !== VERDICT.forward) return alive;

  if (packet.hasUoa) {
    if (packet.family === 4) stripUoa(frame, packet);
    count(walk.memory.counters, service.index, COUNTER.uoaForgedRemoved);
  } else if (packet.options.tailOff !== 0) {
    clearOptionTail(frame, packet);
  }

  if (knownBase < 0) {
    const verdict = openSession(walk, frame, service, nowMs);
    if (verdict !== VERDICT.forward) {
      if (walk.metadata.lentServer >= 0) walk.loans.end(packet.addresses, 0, packet.sport, service.index);
      return verdict;
    }
    walk.metadata.countReceived();
    const leg = walk.directory.legOf(opened.base);
    const mtu = mtuToRealServer(walk.memory.records, opened.base, leg, nowMs);
    return forward(walk, frame, service, opened.base, leg, mtu, true, nowMs);
  }
  let leg = walk.directory.legOf(knownBase);
  if (walk.directory.weightOf(leg) < 0) {
    const verdict = onServerDown(walk, frame, service, knownBase, nowMs);
    if (verdict !== VERDICT.forward) return verdict;
    leg = walk.directory.legOf(knownBase); // it may have moved
  }
  const mtu = mtuToRealServer(walk.memory.records, knownBase, leg, nowMs);
  const added = addedTo(leg, walk.packet.family);
  const fits = checkMtu(walk, frame, leg.family, added, mtu, service.index, nowMs);
  if (fits !== VERDICT.forward) return fits;
  walk.table.touch(knownBase, nowMs);
  if (walk.attempts.isOf(knownBase)) walk.attempts.giveUp(nowMs); // what it keeps goes first
  return forward(walk, frame, service, knownBase, leg, mtu, false, nowMs);
}

function forward(
  walk: Walk,
  frame: Frame,
  service: Service,
  base: number,
  leg: Leg,
  mtu: number,
  isFirst: boolean,
  nowMs: number,
): Verdict {
  const { packet } = walk;
  const { records } = walk.memory;
  walk.departures.serverRow = serverRow(leg.realServerIndex);
  if (leg.proxyV2 !== undefined) return forwardProxied(walk, frame, service, base, leg, mtu, nowMs);
  rewritePacket(walk, frame, leg.family, leg.towards, lportOf(records, base), leg.rport);

  const { receiver } = leg;
  const choice = receiver.choice(nowMs);
  if (choice >= 0) {
    const telling = walk.directory.tellingOf(choice, leg, nowMs);
    const uoa = onInbound(records, base + HANDSHAKE, service, telling, nowMs);
    if (uoa === UOA_DUE || uoa === UOA_DUE_AGAIN) {
      if (uoa === UOA_DUE_AGAIN) handshakeChanged(walk, base, true);
      const origin = originOf(records, base, service);
      const form = receiver.formsOf(choice)[origin.family];
      let isInserted = hasRoom(form, packet, mtu) && !needsFragments(packet, mtu);
      if (isInserted && receiver.carriersOnly(choice, nowMs))
        isInserted = isFirst && walk.attempts.begin(frame, packet, base, service, leg, choice, nowMs);
      if (!isInserted) sendCarrier(walk, frame, service, base, leg, form, origin, nowMs);
      else if (sendInserted(walk, frame, service, base, form, origin, nowMs)) return VERDICT.forward;
      else if (walk.attempts.isOf(base)) walk.attempts.cancel();
    } else if (uoa === UOA_EXHAUSTED || uoa === UOA_EXHAUSTED_AGAIN) {
      if (uoa === UOA_EXHAUSTED) count(walk.memory.counters, service.index, COUNTER.uoaExhausted);
      handshakeChanged(walk, base, false);
    }
  }
  return sendPacket(walk, frame, mtu, leg.towards, service.index);
}

/** True when the packet went out with its UOA; otherwise the packet is as before and must go without. */
function sendInserted(
  { departures, packet }: Pick<Walk, 'departures' | 'packet'>,
  frame: Frame,
  service: Service,
  base: number,
  form: UoaForm,
  origin: Origin,
  nowMs: number,
): boolean {
  const off = insertUoa(form, frame, packet.off, packet.headerLen, origin);
  if (packet.family === 4) ipv4.fillChecksum(frame.view, off);
  const len = packet.totalLen + form.size;
  if (departures.withUoa(frame, off, len, service.index, base, nowMs)) return true;
  removeUoa(form, frame, off, packet.headerLen);
  return false;
}

function sendCarrier(
  { departures, packet }: Pick<Walk, 'departures' | 'packet'>,
  frame: Frame,
  service: Service,
  base: number,
  leg: Leg,
  form: UoaForm,
  origin: Origin,
  nowMs: number,
): void {
  const off = buildCarrier(carrierFrame, HEADROOM, form, origin, frame, packet, leg.towards, carrierId);
  carrierId = (carrierId % 0xffff) + 1;
  departures.carrier(carrierFrame, off, carrierLen(form, packet), service.index, base, nowMs);
}
