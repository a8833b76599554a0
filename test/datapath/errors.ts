// ICMP errors about what a walk of walks.ts sent, and the packet that they are about as its sender knows it.
import { icmp4 } from '../packets/builder.ts';
import { icmp6 } from '../packets/builder6.ts';
import { ip6Text } from '../packets/bytes.ts';
import { dissect } from '../packets/dissect.ts';
import { type Expected, icmpError } from './expected.ts';
import type { Fields } from './pair.ts';
import type { Message } from './rfc7915.ts';
import type { PacketStep } from './rows.ts';
import { familyOf, type Walk } from './walks.ts';

/** Of neither side. */
export const ROUTER = { 4: '10.9.9.9', 6: 'fd00:9::9' };

export interface ErrorChange {
  src?: string;
  dst?: string;
  icmpChecksum?: 'valid' | 'bad';
}

/** An error about a packet that we sent, to the address that sent it. */
export function errorAbout(about: Uint8Array, message: Message, change: ErrorChange = {}): Uint8Array {
  const family = familyOf(about);
  const dst = family === 4 ? about.subarray(12, 16).join('.') : ip6Text(about.subarray(8, 24)); // of a cut packet too
  const fields = { src: ROUTER[family], dst, ...message, body: about, ...change };
  return family === 4 ? icmp4(fields) : icmp6(fields);
}

/** A step in which a packet comes in on the side that the walk's packets leave to. */
export function fromFarSide(
  walk: Walk,
  packet: Uint8Array,
  step: Omit<PacketStep, 'wan' | 'lan'>,
): PacketStep {
  return walk.before.length === 0 ? { lan: packet, ...step } : { wan: packet, ...step };
}

/** The walk's packet as an error tells its sender of it: with the TTL that it had where the error was made. */
export function asSent(walk: Walk, change: Fields = {}): Uint8Array {
  return walk.packet({ ttl: 64, ...(walk.from === 4 && walk.to === 6 && { id: 0 }), ...change });
}

/** The error that the walk's sender gets, from whom it sent the packet to. */
export function toSender(walk: Walk, message: Message, about = asSent(walk)): Expected {
  const { src, dst } = dissect(walk.packet());
  return icmpError(dst, src, { ...message, about });
}

/** The walk has sent its packet. */
export const opened = (walk: Walk): PacketStep[] => [
  ...walk.before,
  walk.step(walk.packet(), { verdict: 'forward' }),
];
