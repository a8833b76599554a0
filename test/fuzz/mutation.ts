// Changes packets without regard for what they mean: bytes, lengths, order and place of fragments. Also the
// packets that real receivers accepted (test/vectors), sent from where they do harm.
import fc from 'fast-check';
import { at16, concat, familyOf, ip, pattern, u16 } from '../packets/bytes.ts';
import { fragments4, fragments6 } from '../packets/fragments.ts';
import { udp } from '../packets/uoa-builder.ts';
import { GOLDEN } from '../vectors/golden.ts';
import { datagram, type Side } from './packets.ts';
import { AT, FIRST_LPORT, VPORT } from './plan.ts';
import { read, repaired } from './reader.ts';

const INTERESTING = [
  0, 1, 2, 3, 4, 7, 8, 0x11, 0x1d, 0x1e, 0x1f, 0x2b, 0x2c, 0x3a, 0x3c, 0x40, 0x45, 0x4f, 0x7f, 0x80, 0xf8,
  0xff,
];

const change = fc.record({
  kind: fc.constantFrom('set', 'set', 'set', 'word', 'insert', 'remove', 'cut', 'extend'),
  // mostly the headers, where the lengths are
  at: fc.oneof({ weight: 3, arbitrary: fc.nat(63) }, { weight: 1, arbitrary: fc.nat(1500) }),
  value: fc.oneof(fc.constantFrom(...INTERESTING), fc.nat(255)),
});

type Change = typeof change extends fc.Arbitrary<infer T> ? T : never;

export const changes = fc.record({
  list: fc.array(change, { minLength: 1, maxLength: 4 }),
  isRepaired: fc.oneof(fc.constant(true), fc.constant(true), fc.boolean()),
});

export function changed(
  packet: Uint8Array,
  how: { list: readonly Change[]; isRepaired: boolean },
): Uint8Array {
  const result = how.list.reduce(changedOnce, packet);
  return how.isRepaired ? repaired(result) : result;
}

function changedOnce(packet: Uint8Array, { kind, at, value }: Change): Uint8Array {
  const copy = packet.slice();
  const off = at % Math.max(1, copy.length);
  switch (kind) {
    case 'set':
      if (copy.length > 0) copy[off] = value;
      return copy;
    case 'word':
      if (copy.length > 1) copy.set(u16(value * 257), Math.min(off, copy.length - 2));
      return copy;
    case 'insert':
      return concat(copy.slice(0, off), pattern(value % 41), copy.slice(off));
    case 'remove':
      return concat(copy.slice(0, off), copy.slice(off + (value % 41)));
    case 'cut':
      return copy.slice(0, off);
    default:
      return concat(copy, new Uint8Array(value).fill(0xcc));
  }
}

export const mutated = (packet: fc.Arbitrary<Uint8Array>): fc.Arbitrary<Uint8Array> =>
  fc.tuple(packet, changes).map(([some, how]) => changed(some, how));

/** A golden packet as it is, from a client to the VIP, or back from the real server. */
export const golden = (side: Side): fc.Arbitrary<Uint8Array> =>
  fc
    .tuple(fc.constantFrom(...GOLDEN), fc.nat(3), fc.nat(9))
    .map(([{ bytes, realServerFamily }, nth, kind]) => {
      const { cip, cport, vip, lip, rip } = AT[realServerFamily];
      if (kind === 0) return bytes;
      if (side === 'wan') return moved(bytes, cip, cport + nth, vip, VPORT);
      return moved(bytes, rip, 6000, lip, FIRST_LPORT + nth);
    });

/** The packet with other ends. */
export function moved(
  packet: Uint8Array,
  src: string,
  sport: number,
  dst: string,
  dport: number,
): Uint8Array {
  const copy = packet.slice();
  const v4 = familyOf(src) === 4;
  copy.set(ip(src), v4 ? 12 : 8);
  copy.set(ip(dst), v4 ? 16 : 24);
  const udpOff = read(copy)?.udp?.off;
  if (udpOff !== undefined) copy.set(concat(u16(sport), u16(dport)), udpOff);
  return repaired(copy);
}

const cut = fc.array(fc.constantFrom(8, 16, 40, 48, 56, 64, 512, 1024, 1232, 1400), {
  minLength: 1,
  maxLength: 6,
});

const tampering = fc.record({
  kind: fc.constantFrom('drop', 'twice', 'shift', 'swap', 'last', 'change'),
  at: fc.nat(20),
  value: fc.nat(255),
});

/**
 * Fragments of a datagram to the service or back: mostly all and in order, or some late, twice, away or
 * overlapping.
 */
export const fragments = (side: Side): fc.Arbitrary<Uint8Array[]> =>
  fc
    .tuple(whole(side), cut, fc.nat(3), fc.oneof(fc.constant([]), fc.array(tampering, { maxLength: 3 })))
    .map(([packet, sizes, id, tamper]) =>
      tamper.reduce(
        (list: Uint8Array[], { kind, at, value }) => {
          if (list.length === 0) return list;
          const index = at % list.length;
          const piece = list[index];
          if (kind === 'drop') return list.toSpliced(index, 1);
          if (kind === 'twice') return list.concat([piece]);
          if (kind === 'shift') return list.with(index, shifted(piece, (value % 9) - 4, false));
          if (kind === 'last') return list.with(index, shifted(piece, 0, true));
          if (kind === 'swap') return [...list.slice(index), ...list.slice(0, index)];
          return list.with(index, changedOnce(piece, { kind: 'set', at, value }));
        },
        cutUp(packet, sizes, id),
      ),
    );

/** Some size to cut, or whatever a datagram may be. */
const whole = (side: Side): fc.Arbitrary<Uint8Array> =>
  fc.oneof(sized(side, 60, 3000), datagram(side), golden(side));

const sized = (side: Side, min: number, max: number): fc.Arbitrary<Uint8Array> =>
  fc
    .tuple(fc.constantFrom(4 as const, 6 as const), fc.integer({ min, max }), fc.nat(2))
    .map(([of, length, nth]) => {
      const { cip, cport, vip, lip, rip } = AT[of];
      return side === 'wan'
        ? udp({ src: cip, sport: cport + nth, dst: vip, dport: VPORT, payload: pattern(length) })
        : udp({ src: rip, sport: 6000, dst: lip, dport: FIRST_LPORT + nth, payload: pattern(length) });
    });

function cutUp(packet: Uint8Array, sizes: readonly number[], id: number): Uint8Array[] {
  try {
    if ((packet[0] ?? 0) >> 4 === 6) return fragments6(packet, sizes, id);
    const copy = packet.slice();
    if (copy.length >= 20) copy.set(u16(id + 1), 4);
    return fragments4(copy, sizes);
  } catch {
    return [packet]; // lengths that make no sense cannot be cut: the packet goes as it is
  }
}

/** The fragment some places of 8 bytes on, or as the last of its datagram. */
function shifted(fragment: Uint8Array, places: number, isLast: boolean): Uint8Array {
  const copy = fragment.slice();
  const v4 = (copy[0] ?? 0) >> 4 === 4;
  const off = v4 ? 6 : 42;
  if (copy.length < off + 2) return copy;
  const unit = v4 ? 1 : 8;
  const more = v4 ? 0x2000 : 1;
  const field = at16(copy, off);
  copy.set(u16(isLast ? field & ~more : Math.max(0, field + places * unit) & 0xffff), off);
  return repaired(copy);
}

/** A datagram of more pieces than are taken. */
export const pieces = (side: Side): fc.Arbitrary<Uint8Array[]> =>
  fc
    .tuple(sized(side, 600, 700), fc.nat(2))
    .map(([packet, id]) => cutUp(packet, [48, ...new Array<number>(90).fill(8)], id));

/** The first pieces of more datagrams than are kept. */
export const beginnings = (side: Side): fc.Arbitrary<Uint8Array[]> =>
  sized(side, 60, 100).map((packet) => Array.from({ length: 260 }, (_, id) => cutUp(packet, [56], id)[0]));
