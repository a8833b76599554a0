// An ICMP error about a packet of a session (RFC 5508, 4.2; between families RFC 7915): passed on to the side that sent
// the packet, about the packet as that side sent it, without our UOA. To that side it comes from VIP or LIP, because other
// addresses of ours or behind us mean nothing there. Fragmentation needed and packet too big also teach the session the
// path MTU towards its real server.
import { HANDSHAKE, lportOf, serviceOf } from '../session/session.ts';
import { baseOf, isInbound } from '../session/table.ts';
import { startHandshake, trialsSent } from '../uoa/handshake.ts';
import { stripUoa } from '../uoa/strip.ts';
import { type Family, isSameAddress } from '../wire/address.ts';
import { Frame, HEADROOM } from '../wire/frame.ts';
import * as icmp from '../wire/icmp.ts';
import { type IcmpMessage, translateIcmp } from '../wire/icmp-translation.ts';
import { IPV4_MAX_HEADER_LEN, IPV4_MAX_LEN, IPV4_MTU_MIN } from '../wire/ipv4.ts';
import { IPV6_MTU_MIN } from '../wire/ipv6.ts';
import { Packet } from '../wire/packet.ts';
import { COUNTER } from './counters.ts';
import { rewriteEmbedded, rewrittenLen } from './rewrite.ts';
import type { DatapathState } from './state.ts';
import { DROP, VERDICT, type Verdict } from './verdict.ts';

/** The packet that the error embeds, and its tuple as the answer to it would have. */
const embedded = new Packet();
const answer = new Packet();
const message: IcmpMessage = { type: 0, code: 0, rest: 0 };

/** Where a copy of an embedded packet starts, and room for its header to become the other family's. */
const COPY_OFF = HEADROOM + IPV4_MAX_HEADER_LEN;
const copy = new Frame(Buffer.alloc(COPY_OFF + icmp.ICMP_MAX_LEN));

/** Judges the ICMP error (icmp.isIcmpError) in state.packet. Pass when it is about no session of ours. */
export function icmpError(state: DatapathState, frame: Frame, portIndex: number, nowMs: number): Verdict {
  const { packet } = state;
  const { view } = frame;
  const { family, udpOff: icmpOff } = packet;
  const end = packet.off + packet.totalLen;
  if (!icmp.parseEmbedded(embedded, frame, family, icmpOff + icmp.ICMP_HEADER_LEN, end)) return VERDICT.pass;
  if (!isSameAddress(embedded.addresses, 0, packet.addresses, 4)) return VERDICT.pass;
  answer.family = family;
  for (let i = 0; i < 8; i++) answer.addresses[i] = embedded.addresses[i ^ 4];
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
  if (!icmp.icmpIntact(packet, view)) return DROP.bad_icmp;

  message.type = icmp.type(view, icmpOff);
  message.code = icmp.code(view, icmpOff);
  message.rest = icmp.rest(view, icmpOff);
  const leg = state.legOf(base);
  if (wasInbound) {
    if (saysUnreadable(family) && (embedded.hasUoa || trialsSent(records, base + HANDSHAKE) > 0)) {
      state.count(service.index, COUNTER.uoaUnsupported);
      state.memory.refusals[leg.realServerIndex]++;
      leg.receiver.refuse(nowMs);
      startHandshake(records, base + HANDSHAKE, nowMs);
      return VERDICT.consumed;
    }
    const mtu = mtuOf(family);
    if (mtu > 0 && mtu < state.mtuOf(base)) state.table.learnMtu(base, mtu);
  }

  state.pointAtClient(base, service);
  const toFamily = wasInbound ? state.origin.family : leg.family;
  // Only a forged error is about a packet that was too long to come from IPv4 or to go there.
  if (toFamily === 4 && rewrittenLen(embedded, toFamily) > IPV4_MAX_LEN) return DROP.bad_icmp;
  if (toFamily !== family && !translateIcmp(message, family)) return DROP.icmp_untranslatable;
  const len = copyEmbedded(frame, end);
  const { origin, toClient } = state;
  if (wasInbound) {
    // As the client sent it: from the client to the VIP.
    rewriteEmbedded(copy, embedded, toFamily, origin.addresses, origin.cport, origin.vport);
    return pass(state, toFamily, toClient, len, service.index, nowMs);
  }
  rewriteEmbedded(copy, embedded, toFamily, leg.from, leg.rport, lportOf(records, base));
  return pass(state, toFamily, leg.towards, len, service.index, nowMs);
}

/** Whether the message is what a host says that does not know a protocol, an option or an extension header. */
function saysUnreadable(family: Family): boolean {
  const { type, code } = message;
  if (family === 4) {
    if (type === icmp.ICMP.parameterProblem) return true;
    return type === icmp.ICMP.unreachable && code === icmp.ICMP_UNREACHABLE.protocol;
  }
  const { unknownNextHeader, unknownOption } = icmp.ICMPV6_PARAMETER;
  return type === icmp.ICMPV6.parameterProblem && (code === unknownNextHeader || code === unknownOption);
}

/** The path MTU that the message tells, bytes; 0 when it tells none that can be true. */
function mtuOf(family: Family): number {
  const { type, code, rest } = message;
  if (family === 6) {
    if (type !== icmp.ICMPV6.packetTooBig || rest > 0xffff) return 0;
    return Math.max(IPV6_MTU_MIN, rest);
  }
  if (type !== icmp.ICMP.unreachable || code !== icmp.ICMP_UNREACHABLE.fragmentationNeeded) return 0;
  const mtu = rest & 0xffff;
  return mtu >= IPV4_MTU_MIN ? mtu : 0;
}

/**
 * Copies the head of the embedded packet, points `embedded` at the copy, and takes UOA out of an IPv4 one; of an IPv6 one
 * only the fixed header and the datagram will go on. Returns how many bytes of the datagram are there.
 */
function copyEmbedded(frame: Frame, end: number): number {
  const len = Math.min(end - embedded.off, icmp.ICMP_MAX_LEN);
  for (let i = 0; i < len; i++) copy.bytes[COPY_OFF + i] = frame.bytes[embedded.off + i];
  const copyEnd = COPY_OFF + len;
  embedded.udpOff += COPY_OFF - embedded.off;
  embedded.off = COPY_OFF;
  if (embedded.family === 4 && embedded.hasUoa) stripUoa(copy, embedded);
  return copyEnd - embedded.udpOff;
}

/** Sends the error about the rewritten copy, of whose datagram `len` bytes are there. */
function pass(
  state: DatapathState,
  family: Family,
  addresses: Int32Array,
  len: number,
  serviceIndex: number,
  nowMs: number,
): Verdict {
  const { off, headerLen } = embedded;
  return state.icmp.pass(message, family, addresses, copy, off, headerLen + len, serviceIndex, nowMs);
}
