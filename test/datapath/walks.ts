// The eight walks of fragments.test.ts and its neighbours: a pair of families in one direction, what comes in
// and what leaves; and the pieces of a packet that a sender or a router on the way would make.
import { withHeaderChecksum, withId } from '../packets/builder.ts';
import { FRAGMENT } from '../packets/builder6.ts';
import { type Family, pattern } from '../packets/bytes.ts';
import { dissect } from '../packets/dissect.ts';
import { type Cut, fragments4, fragments6 } from '../packets/fragments.ts';
import type { Uoa } from '../packets/uoa-builder.ts';
import { type Expected, icmpError, inFragments } from './expected.ts';
import { EMPTY, type Fields, PAIRS, type Pair } from './pair.ts';
import { type PlanChange, realServer } from './rig.ts';
import type { PacketStep } from './rows.ts';

type Packets = Uint8Array | readonly Uint8Array[];

export interface Walk {
  /** 'IPv4 client -> IPv6 real server'. */
  name: string;
  over: Pair;
  /** Family of what comes in, and of what leaves. */
  from: Family;
  to: Family;
  /** No UOA; `mtu` is that of the way out. */
  plan(mtu?: number): PlanChange;
  /** What a row needs to have behind it: an open session for an answer. */
  before: PacketStep[];
  packet(change?: Fields, uoa?: Uoa): Uint8Array;
  result(change?: Fields): Uint8Array;
  /** A step in which these come in. */
  step(packets: Packets, step: Omit<PacketStep, 'wan' | 'lan'>): PacketStep;
}

function inbound(over: Pair): Walk {
  return {
    name: `IPv${over.client} client -> IPv${over.server} real server`,
    over,
    from: over.client,
    to: over.server,
    plan: (mtu = 1500) => ({
      service: { ...over.service, dialect: 'none', realServers: [realServer(over.rip, { mtu })] },
    }),
    before: [],
    packet: over.fromClient,
    result: over.toRealServer,
    step: (wan, step) => ({ wan, ...step }),
  };
}

function outbound(over: Pair): Walk {
  return {
    name: `IPv${over.server} real server -> IPv${over.client} client`,
    over,
    from: over.server,
    to: over.client,
    plan: (wanMtu = 1500) => ({ service: { ...over.service, dialect: 'none' }, wanMtu }),
    before: [{ wan: over.fromClient(), verdict: 'forward', sent: [over.atRealServer()] }],
    packet: over.fromRealServer,
    result: over.toClient,
    step: (lan, step) => ({ lan, ...step }),
  };
}

export const WALKS: readonly Walk[] = PAIRS.flatMap((over) => [inbound(over), outbound(over)]);

/** The walk of a client's packet to its real server. */
export const towards = (over: Pair): Walk =>
  WALKS.find((walk) => walk.over === over && walk.before.length === 0)!;

/** A payload that makes a packet of `length` bytes on the way out. */
export const filling = (walk: Walk, length: number): Uint8Array =>
  pattern(length - walk.result({ payload: EMPTY }).length);

export const familyOf = (packet: Uint8Array): Family => (packet[0] >> 4 === 6 ? 6 : 4);

/** The pieces of a packet of either family, in order. */
export function cutUp(packet: Uint8Array, cut: Cut, id = 0x1234): Uint8Array[] {
  return familyOf(packet) === 6 ? fragments6(packet, cut, id) : fragments4(withId(packet, id), cut);
}

/** Bytes of IP header in front of the data of a piece without options. */
export const headerLen = (family: Family): number => (family === 4 ? 20 : 48);

/** The fields of the whole datagram when it leaves in pieces: they may be cut further on the way. */
export const whole = (payload: Uint8Array, change: Fields = {}): Fields => ({
  payload,
  df: false,
  ...change,
});

/** What a datagram that came in `pieces` leaves as: pieces with no more data, within the MTU. */
export function leaving(walk: Walk, change: Fields, pieces: readonly Uint8Array[], mtu = 1500): Expected[] {
  const largest = Math.max(...pieces.map(dataLen));
  return inFragments(walk.result(change), Math.min(mtu, headerLen(walk.to) + largest));
}

/** Bytes of data in a piece. */
function dataLen(piece: Uint8Array): number {
  if (familyOf(piece) === 4) return piece.length - (piece[0] & 15) * 4;
  let off = 40;
  for (let next = piece[6]; next !== FRAGMENT; ) {
    if (off >= piece.length) throw new Error('no fragment header');
    next = piece[off]!;
    off += (piece[off + 1] + 1) * 8;
  }
  return piece.length - off - 8;
}

/** A copy with another TOS or traffic class. */
export function withTos(packet: Uint8Array, tos: number): Uint8Array {
  const copy = packet.slice();
  if (familyOf(copy) === 4) {
    copy[1] = tos;
    return withHeaderChecksum(copy, (copy[0] & 15) * 4);
  }
  copy[0] = 0x60 | (tos >> 4);
  copy[1] = ((tos & 15) << 4) | (copy[1] & 15);
  return copy;
}

/** The ICMP error that answers `about`: to its sender, from where it was sent to. */
export function answered(
  about: Uint8Array,
  message: { type: number; code: number; rest?: number },
): Expected {
  const { src, dst } = dissect(about, { fragment: true });
  return icmpError(dst, src, { ...message, about });
}
