// Packets that belong to a sibling, another datapath of the same services, and clients whose sessions are
// with another one than their packets come to (loans.ts).
import type { Frame } from '../wire/frame.ts';
import type { Packet } from '../wire/packet.ts';
import { COUNTER } from './counters.ts';
import { pointOrigin } from './ends.ts';
import { NOBODY } from './loans.ts';
import type { DatapathState } from './state.ts';
import { DROP, VERDICT, type Verdict } from './verdict.ts';

/**
 * Passes on a packet of no session here that belongs to a sibling; for an ICMP error the tuple is that of the
 * answer to its embedded packet. VERDICT.forward: it stays here.
 */
export function handOver(
  state: DatapathState,
  frame: Frame,
  packet: Packet,
  addresses: Int32Array,
  sport: number,
  dport: number,
  portIndex: number,
): Verdict {
  const { siblings, underWay } = state;
  underWay.lentServer = -1;
  if (siblings === undefined || underWay.isMerged) return VERDICT.forward;
  const { self } = siblings;
  let owner = underWay.isHandedOver ? self : siblings.ownerOf(addresses, sport, dport);
  if (owner === self) owner = holderOf(state, addresses, sport, dport, self);
  if (owner === self || !state.directory.addresses.isServed(addresses, 4)) return VERDICT.forward;
  return passTo(state, owner, frame, packet, portIndex);
}

/** Whose session the client's packet belongs to, where that is not the one that its packets come to. */
function holderOf(
  { directory, loans, underWay }: DatapathState,
  addresses: Int32Array,
  sport: number,
  dport: number,
  self: number,
): number {
  if (loans.isEmpty) return self;
  const service = directory.addresses.serviceAt(addresses, 4, dport);
  if (service < 0) return self;
  const holder = loans.holderOf(addresses, 0, sport, service);
  if (holder === NOBODY) return self;
  if (holder === self && underWay.isHandedOver) underWay.lentServer = loans.chosenServer;
  return holder;
}

/** Passes the packet under way on to a sibling; there must be one. */
export function passTo(
  state: DatapathState,
  to: number,
  frame: Frame,
  { off, totalLen, largestFragment }: Packet,
  portIndex: number,
): Verdict {
  if (!state.siblings!.handOver(to, frame, off, off + totalLen, portIndex, largestFragment))
    return DROP.handover_failed;
  state.count(-1, COUNTER.handedOver);
  return VERDICT.handedOver;
}

/** A restored session: the packets of its client may come to a sibling. */
export function affirmLoan(state: DatapathState, base: number): void {
  const { loans, origin, siblings } = state;
  const service = state.serviceOf(base);
  pointOrigin(state, base, service);
  const { addresses, cport, vport } = origin;
  const owner = siblings?.ownerOf(addresses, cport, vport);
  if (owner !== siblings?.self) loans.affirm(addresses, 0, cport, service.index);
}
