// ICMP errors about what a walk of walks.ts sent, and the packet that they are about as its sender knows it.
import { icmp4 } from '../packets/builder.ts';
import { icmp6 } from '../packets/builder6.ts';
import { ip6Text } from '../packets/bytes.ts';
import { dissect } from '../packets/dissect.ts';
import type { Combination } from './combination.ts';
import { type Expected, icmpError } from './expected.ts';
import type { Fields } from './pair.ts';
import { FIRST_BYTE, type Message, TRANSLATIONS } from './rfc7915.ts';
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
  // Of a cut packet too.
  const dst = family === 4 ? about.subarray(12, 16).join('.') : ip6Text(about.subarray(8, 24));
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

/**
 * The walk's packet as an error tells its sender of it: with the TTL that it had where the error was made.
 */
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

/**
 * What the walk's sender gets of an error: in its own family the same, in the other what RFC 7915 says, or
 * nothing.
 */
export function passedOn(
  walk: Walk,
  message: Message,
  about = asSent(walk),
): Pick<PacketStep, 'verdict' | 'sent' | 'changed'> {
  const { type, code, rest } = message;
  const isIt = ([one]: readonly [Message, unknown]) =>
    one.type === type && one.code === code && one.rest === rest;
  const becomes = walk.from === walk.to ? message : TRANSLATIONS[walk.to].find(isIt)?.[1];
  return becomes
    ? { verdict: 'forward', sent: [toSender(walk, becomes, about)], changed: { icmpTranslated: 1 } }
    : { verdict: 'drop:icmp_untranslatable', sent: [], changed: {} };
}

/** Bytes of the option within the UOA, or 0 where it is none of the IP header's. */
function optionLen({ uoa }: Combination): number {
  if ('options' in uoa) return uoa.options.length;
  return 'extensions' in uoa ? uoa.extensions[0].bytes[3] + 2 : 0;
}

/** A parameter problem of IPv4 that points at this byte of the packet. */
export const pointing = (pointer: number, code = 0): Message => ({
  type: 12,
  code,
  rest: pointer * FIRST_BYTE,
});

/** What a real server says that cannot read the UOA of `it`; of an option, both ends of it. */
export function refusalsOf(it: Combination): Message[] {
  const length = optionLen(it);
  if (it.pair.server === 6) {
    const first = { type: 4, code: 2, rest: 42 };
    const header = { type: 4, code: 1, rest: 6 };
    return length === 0 ? [header] : [first, { ...first, rest: 41 + length }, header];
  }
  if (length === 0) return [{ type: 3, code: 2, rest: 0 }];
  return [pointing(20), pointing(19 + length), pointing(20, 1), pointing(20, 2)];
}

/**
 * What it may say about a packet with the UOA of `it` without having refused that, and what that is without
 * the UOA.
 */
export function othersOf(it: Combination): [Message, Message][] {
  const length = optionLen(it);
  const same = (message: Message): [Message, Message] => [message, message];
  if (it.pair.server === 6) {
    const problem = (code: number, rest: number): Message => ({ type: 4, code, rest });
    return [
      same({ type: 1, code: 4, rest: 0 }),
      same(problem(2, 41)),
      ...(length < it.size - 2 ? [same(problem(2, 42 + length))] : []),
      [problem(0, 40 + it.size), problem(0, 40)],
      [problem(2, 48 + it.size), problem(2, 48)],
      same(problem(0, 42)),
    ];
  }
  return [
    ...(length === 0 ? [same(pointing(20)), same(pointing(24))] : [same({ type: 3, code: 2, rest: 0 })]),
    same({ type: 3, code: 3, rest: 0 }),
    same(pointing(19)),
    [pointing(20 + it.size), pointing(20)],
    [pointing(27 + it.size, 2), pointing(27, 2)],
    same(pointing(0, 1)),
  ];
}
