// Client -> real server with dialect proxy-v2: the datagram goes on with a header of PROXY protocol before
// its payload, or, of mode first once the trials of its round are used up, without.
import type { Service } from '../service/service.ts';
import type { Leg } from '../session/leg.ts';
import { HANDSHAKE, lportOf } from '../session/session.ts';
import { onInbound, UOA_DUE, UOA_DUE_AGAIN } from '../uoa/handshake.ts';
import { insertProxyHeader, looksLikeProxyHeader } from '../uoa/proxy-v2.ts';
import type { Frame } from '../wire/frame.ts';
import * as ipv4 from '../wire/ipv4.ts';
import { rewritePacket, sendPacket } from './egress.ts';
import { originOf } from './ends.ts';
import { needsFragments } from './fragment.ts';
import { DROP, VERDICT, type Verdict } from './verdict.ts';
import type { Walk } from './walk.ts';

/** Rewrites and sends the packet under way, of the session at `base`. */
export function forwardProxied(
  walk: Walk,
  frame: Frame,
  service: Service,
  base: number,
  leg: Leg,
  mtu: number,
  nowMs: number,
): Verdict {
  const { departures, packet } = walk;
  const { records } = walk.memory;
  rewritePacket(walk, frame, leg.family, leg.towards, lportOf(records, base), leg.rport);
  const isTrial = leg.proxyV2 === 'first' && isDue(walk, service, base, leg, nowMs);
  // A program that was sent headers before may look for one in any datagram: it finds ours before one that
  // the client wrote.
  if (leg.proxyV2 === 'first' && !isTrial && !looksLikeProxyHeader(frame, packet))
    return sendPacket(walk, frame, mtu, leg.towards, service.index);
  insertProxyHeader(frame, packet, originOf(records, base, service));
  if (needsFragments(packet, mtu)) {
    const verdict = sendPacket(walk, frame, mtu, leg.towards, service.index);
    if (verdict === VERDICT.forward) departures.headerInFragments(service.index, base, isTrial, nowMs);
    return verdict;
  }
  if (packet.family === 4) ipv4.fillChecksum(frame.view, packet.off);
  const { off, totalLen } = packet;
  return departures.withHeader(frame, off, totalLen, service.index, base, isTrial, nowMs)
    ? VERDICT.forward
    : DROP.send_failed;
}

/** Whether the datagram is one of those of its round that bring the header; counts it as the session's. */
function isDue(
  { directory, memory }: Walk,
  service: Service,
  base: number,
  leg: Leg,
  nowMs: number,
): boolean {
  const { records } = memory;
  const telling = directory.tellingOf(0, leg, nowMs);
  const due = onInbound(records, base + HANDSHAKE, service, telling, nowMs);
  return due === UOA_DUE || due === UOA_DUE_AGAIN;
}
