// An ICMP error about a packet of a session (RFC 5508, 4.2): passed on to the side that sent the packet, about the packet
// as that side sent it, without our UOA. To that side it comes from VIP or LIP, because other addresses of ours or behind
// us mean nothing there. Fragmentation needed also teaches the session the path MTU towards its real server.
import { CLIENT, cportOf, HANDSHAKE, lportOf, serviceOf } from '../session/session.ts';
import { baseOf, isInbound } from '../session/table.ts';
import { trialsSent } from '../uoa/handshake.ts';
import { stripUoa } from '../uoa/strip.ts';
import { Frame, HEADROOM } from '../wire/frame.ts';
import * as icmp from '../wire/icmp.ts';
import * as ipv4 from '../wire/ipv4.ts';
import { Packet } from '../wire/packet.ts';
import { COUNTER } from './counters.ts';
import { rewriteEmbedded } from './rewrite.ts';
import type { DatapathState } from './state.ts';
import { DROP, VERDICT, type Verdict } from './verdict.ts';

/** RFC 791: every link carries 68 bytes; a smaller MTU is a lie. */
const MTU_MIN = 68;

/** The packet that the error embeds, and its tuple as the answer to it would have. */
const embedded = new Packet();
const answer = new Packet();
const copy = new Frame(Buffer.alloc(HEADROOM + icmp.ICMP_MAX_EMBEDDED));

/**
 * Judges the ICMP error at frame.bytes[off, end), whose message starts at `icmpOff` (icmp.icmpErrorOff). Pass when it is
 * about no session of ours.
 */
export function icmpError(
  state: DatapathState,
  frame: Frame,
  off: number,
  icmpOff: number,
  end: number,
  portIndex: number,
  nowMs: number,
): Verdict {
  const { view } = frame;
  const embeddedOff = icmpOff + icmp.ICMP_HEADER_LEN;
  if (!icmp.parseEmbedded(embedded, frame, embeddedOff, end)) return VERDICT.pass;
  if (embedded.src !== ipv4.dst(view, off)) return VERDICT.pass;
  answer.addresses[3] = embedded.dst;
  answer.addresses[7] = embedded.src;
  answer.sport = embedded.dport;
  answer.dport = embedded.sport;
  const entry = state.table.find(answer);
  if (entry < 0) return VERDICT.pass;

  const base = baseOf(entry);
  const { records } = state.memory;
  const service = state.services[serviceOf(records, base)];
  state.serviceIndex = service.index;
  const wasInbound = !isInbound(entry);
  if (wasInbound && !state.facesRealServers(portIndex)) return DROP.wrong_interface;
  if (!icmp.icmpIntact(view, off, icmpOff, end)) return DROP.bad_icmp;

  const type = icmp.type(view, icmpOff);
  const code = icmp.code(view, icmpOff);
  if (wasInbound) {
    const cannotRead =
      type === icmp.ICMP_PARAMETER_PROBLEM ||
      (type === icmp.ICMP_UNREACHABLE && code === icmp.ICMP_PROTOCOL_UNREACHABLE);
    if (cannotRead && (embedded.hasUoa || trialsSent(records, base + HANDSHAKE) > 0)) {
      state.count(service.index, COUNTER.uoaUnsupported);
      return VERDICT.consumed;
    }
    if (type === icmp.ICMP_UNREACHABLE && code === icmp.ICMP_FRAGMENTATION_NEEDED) {
      const mtu = icmp.nextHopMtu(view, icmpOff);
      if (mtu >= MTU_MIN && mtu < state.mtuOf(base)) state.table.learnMtu(base, mtu);
    }
  }

  const len = copyEmbedded(frame, Math.min(end, off + ipv4.totalLen(view, off)));
  const rest = icmp.rest(view, icmpOff);
  const cip = records[base + CLIENT + 3];
  const cport = cportOf(records, base);
  if (wasInbound) {
    rewriteEmbedded(copy, embedded, cip, service.vip, cport, service.vport);
    return state.icmp.pass(type, code, rest, service.vip, cip, copy, embedded.off, len, service.index, nowMs);
  }
  const { lip, rip, rport } = state.legOf(base);
  rewriteEmbedded(copy, embedded, rip, lip, rport, lportOf(records, base));
  return state.icmp.pass(type, code, rest, lip, rip, copy, embedded.off, len, service.index, nowMs);
}

/** Copies the head of the embedded packet, points `embedded` at the copy, and takes UOA out; returns its length. */
function copyEmbedded(frame: Frame, end: number): number {
  const len = Math.min(end - embedded.off, icmp.ICMP_MAX_EMBEDDED);
  for (let i = 0; i < len; i++) copy.bytes[HEADROOM + i] = frame.bytes[embedded.off + i];
  embedded.udpOff += HEADROOM - embedded.off;
  embedded.off = HEADROOM;
  if (embedded.hasUoa) stripUoa(copy, embedded);
  return HEADROOM + len - embedded.off;
}
