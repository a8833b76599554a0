// The checks that a packet of either direction must pass before it is forwarded, and what its sender is told.
import type { Family } from '../wire/address.ts';
import type { Frame } from '../wire/frame.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';
import { type Packet, sumPayload } from '../wire/packet.ts';
import * as udp from '../wire/udp.ts';
import { rewrittenLen } from './rewrite.ts';
import { DROP, VERDICT, type Verdict } from './verdict.ts';
import type { Walk } from './walk.ts';

/** Longest packet that the length fields can tell; of IPv6 without its fixed header. */
const MAX_LEN = 0xffff;

/** The packet, and who tells its sender. */
type Asked = Pick<Walk, 'packet' | 'icmp'>;

/**
 * Whether the packet may be looked at: VERDICT.forward, or why not. Sums the payload, unless somebody has
 * verified it: 175 ns for 1,200 bytes.
 */
export function admit(
  walk: Asked & Pick<Walk, 'metadata'>,
  frame: Frame,
  serviceIndex: number,
  nowMs: number,
): Verdict {
  const { packet } = walk;
  const { options } = packet;
  if (walk.metadata.isMerged) return DROP.super_packet;
  if (options.sourceRoute) return DROP.source_route;
  if (options.refusedOff !== 0) {
    walk.icmp.unknownOption(frame, packet, options.refusedOff, serviceIndex, nowMs);
    return DROP.unknown_ip_option;
  }
  packet.isSummed = !walk.metadata.isVerified || udp.checksum(frame.view, packet.udpOff) === 0;
  if (!packet.isSummed || sumPayload(packet, frame.view)) return VERDICT.forward;
  return DROP.bad_udp_checksum;
}

/** TTL: VERDICT.forward, or a drop and an ICMP error to the sender. */
export function checkTtl(walk: Asked, frame: Frame, serviceIndex: number, nowMs: number): Verdict {
  const { packet } = walk;
  const { view } = frame;
  const ttl = packet.family === 4 ? ipv4.ttl(view, packet.off) : ipv6.hopLimit(view, packet.off);
  if (ttl > 1) return VERDICT.forward;
  walk.icmp.timeExceeded(frame, packet, serviceIndex, nowMs);
  return DROP.ttl_exceeded;
}

/**
 * Size as a packet of `family` that is `added` bytes longer, whose largest is `mtu`: VERDICT.forward, also
 * for a larger one that may be fragmented, or a drop and an ICMP error to the sender that tells the largest
 * packet of its own family.
 */
export function checkMtu(
  walk: Asked,
  frame: Frame,
  family: Family,
  added: number,
  mtu: number,
  serviceIndex: number,
  nowMs: number,
): Verdict {
  const { packet } = walk;
  const len = rewrittenLen(packet, family) + added;
  if (len <= mtu) return VERDICT.forward;
  const maxLen = family === 4 ? MAX_LEN : ipv6.IPV6_HEADER_LEN + MAX_LEN;
  if (mayFragment(frame.view, packet) && len <= maxLen) return VERDICT.forward;
  const growth = added + (family === packet.family ? 0 : family === 4 ? -20 : 20);
  const allowed = packet.family === 4 ? mtu - growth : Math.max(ipv6.IPV6_MTU_MIN, mtu - growth);
  walk.icmp.tooBig(frame, packet, allowed, serviceIndex, nowMs);
  return DROP.too_big;
}

/** What came in fragments, came without DF, or comes from IPv6 and fits every link. */
function mayFragment(view: DataView, packet: Packet): boolean {
  if (packet.largestFragment !== 0) return true;
  if (packet.family === 4) return !ipv4.isDf(view, packet.off);
  return packet.totalLen <= ipv6.IPV6_MTU_MIN;
}
