// Packets that belong to a sibling, another datapath of the same services, and clients whose sessions are
// with another one than their packets come to (loans.ts).
import type { Frame } from '../wire/frame.ts';
import type { Packet } from '../wire/packet.ts';
import { COUNTER, count } from './counters.ts';
import { originOf } from './ends.ts';
import { NOBODY } from './loans.ts';
import { DROP, VERDICT, type Verdict } from './verdict.ts';
import type { Walk } from './walk.ts';

type Passing = Pick<Walk, 'directory' | 'loans' | 'memory' | 'metadata' | 'siblings'>;

/**
 * Passes on a packet of no session here that belongs to a sibling; for an ICMP error the tuple is that of the
 * answer to its embedded packet. VERDICT.forward: it stays here.
 */
export function handOver(
  walk: Passing,
  frame: Frame,
  packet: Packet,
  addresses: Int32Array,
  sport: number,
  dport: number,
  portIndex: number,
): Verdict {
  const { siblings, metadata } = walk;
  metadata.lentServer = -1;
  if (siblings === undefined || metadata.isMerged) return VERDICT.forward;
  const { self } = siblings;
  let owner = metadata.isHandedOver ? self : siblings.ownerOf(addresses, sport, dport);
  if (owner === self) owner = holderOf(walk, addresses, sport, dport, self);
  if (owner === self || !walk.directory.addresses.isServed(addresses, 4)) return VERDICT.forward;
  return passTo(walk, owner, frame, packet, portIndex);
}

/** Whose session the client's packet belongs to, where that is not the one that its packets come to. */
function holderOf(
  { directory, loans, metadata }: Passing,
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
  if (holder === self && metadata.isHandedOver) metadata.lentServer = loans.chosenServer;
  return holder;
}

/** Passes the packet under way on to a sibling; there must be one. */
export function passTo(
  { memory, siblings }: Pick<Walk, 'memory' | 'siblings'>,
  to: number,
  frame: Frame,
  { off, totalLen, largestFragment }: Packet,
  portIndex: number,
): Verdict {
  if (!siblings!.handOver(to, frame, off, off + totalLen, portIndex, largestFragment))
    return DROP.handover_failed;
  count(memory.counters, -1, COUNTER.handedOver);
  return VERDICT.handedOver;
}

/**
 * A restored session: the packets of its client may come to a sibling, which must know of it. False: they
 * would not find it, because there is no room for its loan.
 */
export function affirmLoan(
  { directory, loans, memory, siblings }: Pick<Walk, 'directory' | 'loans' | 'memory' | 'siblings'>,
  base: number,
): boolean {
  const service = directory.serviceOf(base);
  const { addresses, cport, vport } = originOf(memory.records, base, service);
  const owner = siblings?.ownerOf(addresses, cport, vport);
  return owner === siblings?.self || loans.affirm(addresses, 0, cport, service.index);
}
