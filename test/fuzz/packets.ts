// Draws packets as clients, real servers and others could send them: right ones, and ones with some fields
// wrong.
import fc from 'fast-check';
import { icmp4 } from '../packets/builder.ts';
import {
  destOptions,
  type Extension,
  fragmentHeader,
  hopByHop,
  icmp6,
  option6,
  padding6,
  routing,
} from '../packets/builder6.ts';
import { concat, type Family, familyOf, pattern } from '../packets/bytes.ts';
import { type EitherFields, FORMS, proxyHeader, type Uoa, udp, uoaOf } from '../packets/uoa-builder.ts';
import { AT, FIRST_LPORT, RPORT, VPORT } from './plan.ts';

export type Side = 'wan' | 'lan';

const family = fc.constantFrom<Family>(4, 6);
const EMPTY = new Uint8Array(0);

/**
 * Addresses that a packet may bear instead of its right ones: of other hosts, ours, and those that no packet
 * bears.
 */
const OTHERS = {
  4: [
    '10.1.0.3',
    '10.2.0.1',
    '0.0.0.0',
    '127.0.0.1',
    '224.0.0.1',
    '255.255.255.255',
    '192.0.2.1',
    AT[4].vip,
    AT[4].lip,
    AT[4].rip,
  ],
  6: [
    'fd00:1::3',
    'fd00:2::1',
    '::',
    '::1',
    'ff02::1',
    'fe80::1',
    '0:0:0:0:0:ffff:a01:2',
    '2001:db8::1',
    AT[6].vip,
    AT[6].lip,
    AT[6].rip,
  ],
};

const port = fc.constantFrom(VPORT, FIRST_LPORT, FIRST_LPORT + 1, 5000, 53, 0, 511);
const lport = fc
  .oneof({ weight: 8, arbitrary: fc.nat(3) }, { weight: 1, arbitrary: fc.nat(30) })
  .map((n) => FIRST_LPORT + n);

/** Once in `times`, else nothing. */
export const seldom = <T>(times: number, drawn: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> =>
  fc.oneof({ weight: times - 1, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: drawn });

const plainPayload: fc.Arbitrary<Uint8Array> = fc
  .oneof(
    { weight: 6, arbitrary: fc.constantFrom(32, 0, 1, 7, 8) },
    { weight: 2, arbitrary: fc.nat(200) },
    {
      weight: 2,
      arbitrary: fc.constantFrom(1184, 1212, 1232, 1424, 1432, 1440, 1444, 1452, 1460, 1472, 1473),
    },
    { weight: 1, arbitrary: fc.integer({ min: 1000, max: 4000 }) },
  )
  .map(pattern);

/** Somebody's header of PROXY protocol, or the beginning of one, stands before some. */
const FORGED = proxyHeader({ cip: '8.8.8.8', cport: 53, vip: '9.9.9.9', vport: 54 });
export const payload: fc.Arbitrary<Uint8Array> = fc.oneof(
  { weight: 15, arbitrary: plainPayload },
  { weight: 1, arbitrary: plainPayload.map((some) => concat(FORGED, some)) },
  { weight: 1, arbitrary: fc.constantFrom(11, 12, 16).map((length) => FORGED.subarray(0, length)) },
);

const bytes = (maxLength: number) => fc.uint8Array({ maxLength });

/** The tuple of a packet on its right way: client -> VIP, or real server -> LIP. */
const flow = (side: Side): fc.Arbitrary<EitherFields> =>
  side === 'wan'
    ? fc.tuple(family, fc.nat(2)).map(([of, nth]) => ({
        src: AT[of].cip,
        sport: AT[of].cport + nth,
        dst: AT[of].vip,
        dport: VPORT,
        payload: pattern(32),
      }))
    : fc.tuple(family, lport).map(([of, dport]) => ({
        src: AT[of].rip,
        sport: RPORT,
        dst: AT[of].lip,
        dport,
        payload: pattern(40).reverse(),
      }));

/** Whom a forged UOA names: a client of ours, or anybody. */
const named = fc.record({
  cip: fc.constantFrom('10.1.0.2', 'fd00:1::2', '8.8.8.8', '2001:db8::8'),
  cport: fc.constantFrom(5000, 5001, 53),
  vip: fc.constantFrom('10.1.0.100', 'fd00:1::100'),
  vport: fc.constant(VPORT),
});

const uoa = (of: Family): fc.Arbitrary<Uoa | undefined> =>
  fc.oneof(
    fc.tuple(fc.constantFrom(...FORMS), named).map(([form, whom]) => uoaOf(form, of, whom)),
    fc.record({
      option: fc.oneof(
        bytes(40),
        named.map((whom) => optionOf(whom)),
      ),
      oppVersion: fc.nat(3),
      inner: fc.constantFrom(17, 17, 17, 6, 248),
    }),
    fc.record({
      option: named.map((whom) => optionOf(whom)),
      oppLength: fc.constantFrom(0, 3, 4, 8, 12, 13, 24, 52, 65_535),
    }),
  );

function optionOf(whom: Parameters<typeof uoaOf>[2]): Uint8Array {
  const found = uoaOf('opp', 4, whom);
  return found && 'option' in found ? found.option : EMPTY;
}

/** IPv4 options: what a receiver reads, what nobody does, padding, an end with something behind it. */
const HARMLESS = [[1], [1, 1, 1, 1], [0x94, 4, 0, 0], [0x44, 8, 5, 0, 0, 0, 0, 0], [7, 7, 4, 0, 0, 0, 0]];
const options = fc
  .array(
    fc.oneof(
      fc.constantFrom(...HARMLESS).map((list) => Uint8Array.from(list)),
      fc.constantFrom(...HARMLESS).map((list) => Uint8Array.from(list)),
      named.map(optionOf),
      fc.constantFrom('ipo', 'unified', 'type30', 'type29').chain((form) =>
        named.map((whom) => {
          const found = uoaOf(form, 4, whom);
          return found && 'options' in found ? found.options : EMPTY;
        }),
      ),
      fc
        .constantFrom(
          [1],
          [0],
          [0x94, 4, 0, 0],
          [0x44, 8, 5, 0, 0, 0, 0, 0],
          [0x83, 7, 4, 10, 9, 9, 9],
          [0x89, 3, 4],
          [0x9f, 4, 1, 1],
          [0x1f, 2],
          [0x1e, 3, 0],
          [7, 1],
          [0x1f, 0],
        )
        .map((list) => Uint8Array.from(list)),
      bytes(8),
    ),
    { minLength: 1, maxLength: 4 },
  )
  .map((list) => concat(...list).slice(0, 40));

const option = fc.oneof(
  fc
    .tuple(fc.constantFrom(31, 30, 29, 5, 0x3e, 0x45, 0x85, 0xc2, 0x9f), bytes(20))
    .map(([type, data]) => option6(type, data)),
  fc.nat(6).map(padding6),
  bytes(6),
);

const extension: fc.Arbitrary<Extension> = fc.oneof(
  fc.array(option, { maxLength: 3 }).map((list) => destOptions(concat(...list))),
  fc.array(option, { maxLength: 3 }).map((list) => hopByHop(concat(...list))),
  fc
    .tuple(fc.array(option, { maxLength: 2 }), fc.nat(40))
    .map(([list, length]) => destOptions(concat(...list), length)),
  fc.record({ type: fc.constantFrom(0, 2, 4), segmentsLeft: fc.constantFrom(0, 1, 255) }).map(routing),
  fc.record({ offset: fc.constantFrom(0, 0, 8), more: fc.boolean() }).map(fragmentHeader),
  fc.constant(fragmentHeader()),
);

/** One thing that is not as in most packets. */
const deviation: fc.Arbitrary<Partial<EitherFields>> = fc.oneof(
  { weight: 6, arbitrary: payload.map((some) => ({ payload: some })) },
  { weight: 2, arbitrary: fc.boolean().map((df) => ({ df })) },
  { weight: 3, arbitrary: fc.constantFrom(0, 1, 2, 255).map((ttl) => ({ ttl, hopLimit: ttl })) },
  {
    weight: 3,
    arbitrary: fc.integer({ min: 1200, max: 1480 }).map((length) => ({ df: true, payload: pattern(length) })),
  },
  { weight: 1, arbitrary: fc.nat(255).map((tos) => ({ tos })) },
  { weight: 1, arbitrary: fc.nat(0xfffff).map((flowLabel) => ({ flowLabel })) },
  {
    weight: 2,
    arbitrary: fc
      .constantFrom('zero' as const, 'partial' as const, 'bad' as const)
      .map((checksum) => ({ checksum })),
  },
  { weight: 2, arbitrary: bytes(12).map((surplus) => ({ surplus })) },
  { weight: 6, arbitrary: options.map((list) => ({ options: list })) },
  {
    weight: 3,
    arbitrary: fc.array(extension, { minLength: 1, maxLength: 3 }).map((extensions) => ({ extensions })),
  },
  { weight: 1, arbitrary: fc.constantFrom(0, 7, 8, 9, 39, 41, 65_535).map((udpLength) => ({ udpLength })) },
  {
    weight: 1,
    arbitrary: fc
      .constantFrom(0, 19, 20, 27, 28, 59, 61, 65_535)
      .map((length) => ({ totalLength: length, payloadLength: length })),
  },
  { weight: 1, arbitrary: fc.nat(15).map((ihl) => ({ ihl })) },
  { weight: 1, arbitrary: fc.constantFrom(0, 5, 15).map((version) => ({ version })) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(17, 248, 58, 1, 59, 0, 43, 44, 60, 6).map((nextHeader) => ({ nextHeader })),
  },
  {
    weight: 1,
    arbitrary: fc
      .tuple(fc.boolean(), fc.constantFrom(0, 1, 4, 8191))
      .map(([mf, fragOffset]) => ({ mf, fragOffset })),
  },
  { weight: 1, arbitrary: fc.constant({ ipChecksum: 'bad' as const }) },
  { weight: 1, arbitrary: port.map((sport) => ({ sport })) },
  { weight: 1, arbitrary: port.map((dport) => ({ dport })) },
);

const deviations = fc
  .oneof(
    { weight: 4, arbitrary: fc.array(deviation, { maxLength: 2 }) },
    { weight: 1, arbitrary: fc.array(deviation, { maxLength: 4 }) },
  )
  .map((list): Partial<EitherFields> => Object.assign({}, ...list));

const otherAddress = seldom(12, fc.tuple(fc.boolean(), fc.nat()));

/** A datagram that arrives on a side. */
export const datagram = (side: Side): fc.Arbitrary<Uint8Array> =>
  fc.tuple(flow(side), deviations, otherAddress).chain(([fields, change, other]) => {
    const all = { ...fields, ...change };
    if (other) {
      const list = OTHERS[familyOf(all.src)];
      all[other[0] ? 'src' : 'dst'] = list[other[1] % list.length]!;
    }
    return seldom(3, uoa(familyOf(all.src))).map((brought) => udp(all, brought));
  });

const KINDS: Record<Family, fc.Arbitrary<[number, number, number]>> = {
  4: fc.tuple(
    fc.constantFrom(3, 3, 3, 11, 12, 4, 5, 8),
    fc.constantFrom(3, 4, 2, 0, 1, 13, 16),
    fc.constantFrom(0, 68, 67, 600, 1400, 0x14000000, 0x63000000),
  ),
  6: fc.tuple(
    fc.constantFrom(1, 2, 4, 3, 128, 5),
    fc.constantFrom(0, 1, 2, 4, 3, 6),
    fc.constantFrom(0, 1280, 1279, 1400, 6, 42, 40, 0x10000, 0xffffffff),
  ),
};

/** A datagram of ours as it was sent towards a side, for an error about it to embed. */
const sentTowards = (side: Side): fc.Arbitrary<Uint8Array> =>
  fc
    .tuple(
      flow(side),
      fc.oneof(fc.array(deviation, { maxLength: 1 }), fc.constant([{ checksum: 'zero' as const }])),
      fc.boolean(),
    )
    .chain(([fields, change, isTold]) => {
      const { src, sport, dst, dport } = fields;
      const all: EitherFields = Object.assign(
        {},
        fields,
        { src: dst, sport: dport, dst: src, dport: sport },
        ...change,
      );
      const told = isTold && side === 'lan' ? uoa(familyOf(src)) : fc.constant(undefined);
      return told.map((brought) => udp(all, brought));
    });

/** An error about `about`, from whom it was sent to or a router on the way. */
export const errorAbout = (about: fc.Arbitrary<Uint8Array>, side: Side): fc.Arbitrary<Uint8Array> =>
  fc
    .tuple(
      about,
      fc.nat(5),
      fc.oneof({ weight: 3, arbitrary: fc.constant(1300) }, { weight: 1, arbitrary: fc.nat(80) }),
      fc.nat(11),
    )
    .chain(([packet, router, length, spoil]) => {
      const of: Family = (packet[0] ?? 0) >> 4 === 6 ? 6 : 4;
      const right =
        side === 'wan' ? { src: AT[of].cip, dst: AT[of].vip } : { src: AT[of].rip, dst: AT[of].lip };
      const ends = router === 0 ? { ...right, src: OTHERS[of][1] } : right;
      return KINDS[of].map(([type, code, rest]) => {
        const fields = { ...ends, type, code, rest, ...(spoil === 1 && { ttl: 1, hopLimit: 1 }) };
        if (of === 6)
          return icmp6({
            ...fields,
            body: packet.slice(0, length),
            ...(spoil === 0 && { icmpChecksum: 'bad' }),
          });
        const built = icmp4({ ...fields, body: packet.slice(0, length) });
        if (spoil === 0) built[22] ^= 1;
        return built;
      });
    });

export const icmpError = (side: Side): fc.Arbitrary<Uint8Array> => errorAbout(sentTowards(side), side);
