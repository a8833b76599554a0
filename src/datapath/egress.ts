// The way out of both directions: the packet is rewritten, and sent whole or in fragments.
import type { Family } from '../wire/address.ts';
import type { Frame } from '../wire/frame.ts';
import * as ipv4 from '../wire/ipv4.ts';
import { needsFragments, sendFragments } from './fragment.ts';
import { rewrite } from './rewrite.ts';
import { DROP, VERDICT, type Verdict } from './verdict.ts';
import type { Walk } from './walk.ts';

/** See rewrite; a packet that comes to IPv4 from IPv6 gets an identification. */
export function rewritePacket(
  { packet, identifications }: Pick<Walk, 'packet' | 'identifications'>,
  frame: Frame,
  family: Family,
  addresses: Int32Array,
  sport: number,
  dport: number,
): void {
  const id = family === 4 && packet.family === 6 ? identifications.take(4, addresses) : 0;
  rewrite(frame, packet, family, addresses, sport, dport, id);
}

/** Sends the rewritten packet, `addresses` its source and destination. */
export function sendPacket(
  { packet, departures, identifications }: Pick<Walk, 'packet' | 'departures' | 'identifications'>,
  frame: Frame,
  mtu: number,
  addresses: Int32Array,
  serviceIndex: number,
): Verdict {
  if (needsFragments(packet, mtu)) {
    const id = identifications.take(packet.family, addresses);
    if (!sendFragments(departures, frame, packet, mtu, id, serviceIndex)) return DROP.send_failed;
    departures.fragmented(serviceIndex);
    return VERDICT.forward;
  }
  if (packet.family === 4) ipv4.fillChecksum(frame.view, packet.off);
  return departures.packet(frame, packet.off, packet.totalLen, serviceIndex)
    ? VERDICT.forward
    : DROP.send_failed;
}
