// The checks that a packet of either direction must pass before it is forwarded, and what its sender is told.
import type { Frame } from '../wire/frame.ts';
import * as ipv4 from '../wire/ipv4.ts';
import { sumPayload } from '../wire/packet.ts';
import type { DatapathState } from './state.ts';
import { DROP, VERDICT, type Verdict } from './verdict.ts';

/** Whether the packet may be looked at: VERDICT.forward, or why not. Sums the payload. */
export function admit(state: DatapathState, frame: Frame, portIndex: number): Verdict {
  const { packet } = state;
  if (packet.totalLen > state.ports[portIndex].mtu) return DROP.super_packet;
  if (packet.options.sourceRoute) return DROP.source_route;
  return sumPayload(packet, frame.view) ? VERDICT.forward : DROP.bad_udp_checksum;
}

/** TTL: VERDICT.forward, or a drop and an ICMP error to the sender. */
export function checkTtl(state: DatapathState, frame: Frame, serviceIndex: number, nowMs: number): Verdict {
  const { packet } = state;
  if (ipv4.ttl(frame.view, packet.off) > 1) return VERDICT.forward;
  state.icmp.timeExceeded(frame, packet, serviceIndex, nowMs);
  return DROP.ttl_exceeded;
}

/** Size towards the other side: VERDICT.forward, or a drop, with DF set also an ICMP error to the sender. */
export function checkMtu(
  state: DatapathState,
  frame: Frame,
  mtu: number,
  serviceIndex: number,
  nowMs: number,
): Verdict {
  const { packet } = state;
  if (packet.totalLen <= mtu) return VERDICT.forward;
  if (!ipv4.isDf(frame.view, packet.off)) return DROP.too_big_no_df;
  state.icmp.fragmentationNeeded(frame, packet, mtu, serviceIndex, nowMs);
  return DROP.too_big;
}
