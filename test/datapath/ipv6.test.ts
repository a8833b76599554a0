import {
  destOptions,
  type Extension,
  fragmentHeader,
  hopByHop,
  ipv6,
  NO_NEXT_HEADER,
  option6,
  padding6,
  routing,
} from '../packets/builder6.ts';
import { concat, pattern, unhex } from '../packets/bytes.ts';
import { inFragments } from './expected.ts';
import { EMPTY, type Fields } from './pair.ts';
import { type PacketStep, type Row, rows, type Step } from './rows.ts';
import { answered, cutUp, WALKS, type Walk } from './walks.ts';

const FROM_6 = WALKS.filter(({ from }) => from === 6);

const each = (steps: (walk: Walk) => Step[], list: readonly Walk[] = FROM_6): Row[] =>
  list.map((walk) => ({ name: walk.name, plan: walk.plan(), steps: [...walk.before, ...steps(walk)] }));

/** What the walk's packet becomes, whatever identification it gets. */
const becomes = ({ over, before }: Walk, fields: Fields = {}) =>
  before.length === 0 ? over.atRealServer(fields) : over.atClient(fields);

/** A packet with these extension headers leaves without them. */
const passes = (walk: Walk, extensions: readonly Extension[], fields: Fields = {}): PacketStep =>
  walk.step(walk.packet({ ...fields, extensions }), { verdict: 'forward', sent: [becomes(walk, fields)] });

const drops = (walk: Walk, fields: Fields, reason: string): PacketStep =>
  walk.step(walk.packet(fields), { verdict: `drop:${reason}`, sent: [] });

const good = (walk: Walk) => walk.step(walk.packet(), { verdict: 'forward', sent: [becomes(walk)] });

const ROUTER_ALERT = option6(5, unhex('0000'));
const HARMLESS: [string, readonly Extension[]][] = [
  ['hop-by-hop options', [hopByHop(ROUTER_ALERT)]],
  ['destination options', [destOptions(padding6(6))]],
  ['two headers of destination options', [destOptions(padding6(14)), destOptions(EMPTY)]],
  ['a routing header that has nowhere left to go', [routing()]],
  ['a routing header of another type that has nowhere left to go', [routing({ type: 4 })]],
  ['the fragment header of a whole packet', [fragmentHeader()]],
  ['the fragment header of a whole packet, twice', [fragmentHeader(), fragmentHeader({ id: 0 })]],
  ['an option that may be skipped', [destOptions(option6(0x3e, unhex('0102')))]],
  ['Pad1 only', [destOptions(new Uint8Array(6))]],
  [
    'all of them',
    [hopByHop(ROUTER_ALERT), destOptions(EMPTY), routing(), fragmentHeader(), destOptions(padding6(254))],
  ],
];

rows(
  'extension headers end here',
  HARMLESS.flatMap(([what, extensions]) =>
    each((walk) => [
      passes(walk, extensions),
      passes(walk, extensions, { payload: EMPTY }),
      passes(walk, extensions, { payload: pattern(9), surplus: pattern(5) }),
    ]).map((row) => ({ ...row, name: `${what}, ${row.name}` })),
  ),
);

rows(
  'of a datagram in pieces they end here too, before the fragment header and behind it',
  each((walk) => {
    const payload = pattern(1000);
    return [[hopByHop(ROUTER_ALERT), routing()], [destOptions(padding6(14))]].map((extensions) => {
      const pieces = cutUp(walk.packet({ payload, extensions }), [504, 400]);
      const mtu = 504 + (walk.to === 4 ? 20 : 48);
      return walk.step(pieces, {
        verdict: 'forward',
        sent: inFragments(walk.result({ payload, df: false }), mtu),
      });
    });
  }),
);

rows(
  'a routing header with segments left is dropped, in a whole packet and in a piece',
  each((walk) => [
    ...[0, 2, 4].flatMap((type) => [
      drops(walk, { extensions: [routing({ type, segmentsLeft: 1 })] }, 'source_route'),
      drops(walk, { extensions: [destOptions(EMPTY), routing({ type, segmentsLeft: 255 })] }, 'source_route'),
    ]),
    ...cutUp(walk.packet({ payload: pattern(1000), extensions: [routing({ segmentsLeft: 1 })] }), [504]).map(
      (piece) => walk.step(piece, { verdict: 'drop:source_route' }),
    ),
    good(walk),
  ]),
);

/** Where an option stands whose header is the first, behind `before`. */
const pointerTo = (before: Uint8Array) => 40 + 2 + before.length;

/** Of 256 option types every fourth part says what to do with them (RFC 8200, 4.2); 0x1d to 0x1f are UOA. */
const SILENT = [0x40, 0x5f, 0x7f, 0x6d];
const TOLD = [0x80, 0x9f, 0xbe, 0xc0, 0xc2, 0xc9, 0xdf, 0xff];

rows(
  'an unknown option that says so is dropped in silence',
  each((walk) => [
    ...SILENT.flatMap((type) => [
      drops(walk, { extensions: [hopByHop(option6(type, EMPTY))] }, 'unknown_ip_option'),
      drops(walk, { extensions: [destOptions(option6(type, unhex('0102')))] }, 'unknown_ip_option'),
    ]),
    good(walk),
  ]),
);

rows(
  'an unknown option that asks for it is told to the sender, with where it stands',
  each((walk) => [
    ...TOLD.flatMap((type) =>
      [hopByHop, destOptions].flatMap((header) =>
        [EMPTY, ROUTER_ALERT, padding6(1)].map((before) => {
          const option = concat(before, option6(type, unhex('01020304')));
          const packet = walk.packet({ extensions: [header(option)] });
          return walk.step(packet, {
            verdict: 'drop:unknown_ip_option',
            sent: [answered(packet, { type: 4, code: 2, rest: pointerTo(before) })],
            changed: { icmpSent: 1 },
          });
        }),
      ),
    ),
    good(walk),
  ]),
);

rows(
  'of two such options the first counts',
  each((walk) => {
    const silent = destOptions(concat(option6(0x40, EMPTY), option6(0x80, EMPTY)));
    const told = walk.packet({
      extensions: [hopByHop(option6(0x80, EMPTY)), destOptions(option6(0x40, EMPTY))],
    });
    return [
      drops(walk, { extensions: [silent] }, 'unknown_ip_option'),
      walk.step(told, {
        verdict: 'drop:unknown_ip_option',
        sent: [answered(told, { type: 4, code: 2, rest: 42 })],
      }),
      good(walk),
    ];
  }),
);

rows(
  'such an option before the fragment header is dropped with its piece, and told once',
  each((walk) => {
    const extensions = [hopByHop(option6(0x80, EMPTY))];
    const [first, second] = cutUp(walk.packet({ payload: pattern(1000), extensions }), [504]);
    return [
      walk.step(first, {
        verdict: 'drop:unknown_ip_option',
        sent: [answered(first, { type: 4, code: 2, rest: 42 })],
      }),
      walk.step(second, { verdict: 'drop:unknown_ip_option', sent: [] }),
      good(walk),
    ];
  }),
);

/** An options header with these bytes behind its length field. */
const raw = (length: number, rest: string): Extension => ({
  ...destOptions(EMPTY),
  bytes: concat(Uint8Array.of(0, length), unhex(rest)),
});

const BROKEN: [string, Fields][] = [
  ['a header of 2,048 bytes in a packet of 96', { extensions: [destOptions(EMPTY, 255)] }],
  ['a header one unit beyond the packet', { payload: EMPTY, extensions: [destOptions(EMPTY, 2)] }],
  [
    'a routing header beyond the packet',
    { extensions: [{ ...routing(), bytes: unhex('00ff000000000000') }] },
  ],
  ['hop-by-hop options that stand second', { extensions: [destOptions(EMPTY), hopByHop(EMPTY)] }],
  ['hop-by-hop options twice', { extensions: [hopByHop(EMPTY), hopByHop(EMPTY)] }],
  ['an option beyond its header', { extensions: [raw(0, '3e05 00000000')] }],
  ['an option one byte beyond its header', { extensions: [raw(0, '0000 3e03 0000')] }],
  ['a UOA beyond its header', { extensions: [raw(0, '1f12 1388 0a01')] }],
  ['padding beyond its header', { extensions: [raw(0, '0105 00000000')] }],
  ['an option without its length', { extensions: [raw(0, '0000 0000 003e')] }],
];

rows(
  'headers that lie about their lengths',
  BROKEN.flatMap(([what, fields]) =>
    each((walk) => [drops(walk, fields, 'bad_ip_options'), good(walk)]).map((row) => ({
      ...row,
      name: `${what}, ${row.name}`,
    })),
  ),
);

/** An extension header's beginning, with the packet ending in it. */
const CUT: [number, number][] = [0, 43, 44, 60].flatMap((header) =>
  [0, 1, 7].map((kept): [number, number] => [header, kept]),
);

rows(
  'a packet that ends within a header is dropped',
  each((walk) => {
    const { src, dst } = endpoints(walk);
    return [
      ...CUT.map(([header, kept]) =>
        walk.step(ipv6({ src, dst, hopLimit: 65 }, header, new Uint8Array(kept)), {
          verdict: 'drop:bad_ip_options',
        }),
      ),
      walk.step(ipv6({ src, dst }, 17, new Uint8Array(7)), { verdict: 'drop:bad_udp_length' }),
      walk.step(ipv6({ src, dst }, 17, EMPTY), { verdict: 'drop:bad_udp_length' }),
      good(walk),
    ];
  }),
);

function endpoints({ over, before }: Walk): { src: string; dst: string } {
  return before.length === 0
    ? { src: over.named.cip, dst: over.named.vip }
    : { src: over.rip, dst: over.lip };
}

rows(
  'lengths of the fixed header',
  each((walk) => [
    drops(walk, { payloadLength: 57 }, 'truncated'),
    drops(walk, { payloadLength: 39 }, 'bad_udp_length'),
    drops(walk, { payloadLength: 0 }, 'bad_udp_length'),
    drops(walk, { payloadLength: 65_535 }, 'truncated'),
    walk.step(walk.packet().subarray(0, 39), { verdict: 'drop:truncated' }),
    walk.step(walk.packet().subarray(0, 40), { verdict: 'drop:truncated' }),
    drops(walk, { version: 5 }, 'not_ip'),
    walk.step(concat(walk.packet(), pattern(9)), { verdict: 'forward', sent: [becomes(walk)] }),
  ]),
);

/** A jumbogram says its length in an option, and 0 in its header (RFC 2675). */
const JUMBO = hopByHop(option6(0xc2, unhex('00010000')));

rows(
  'jumbograms are dropped',
  each((walk) => {
    const honest = walk.packet({ extensions: [JUMBO] });
    return [
      drops(walk, { extensions: [JUMBO], payloadLength: 0 }, 'bad_ip_options'),
      walk.step(honest, {
        verdict: 'drop:unknown_ip_option',
        sent: [answered(honest, { type: 4, code: 2, rest: 42 })],
      }),
      good(walk),
    ];
  }),
);

rows(
  'what is neither UDP nor protocol 248 passes, also behind headers',
  each((walk) => {
    const { src, dst } = endpoints(walk);
    return [NO_NEXT_HEADER, 6, 50, 51, 58, 135, 139, 255].flatMap((protocol) =>
      [[], [hopByHop(ROUTER_ALERT), destOptions(EMPTY), fragmentHeader()]].map((extensions) =>
        walk.step(ipv6({ src, dst, extensions }, protocol, new Uint8Array(64)), {
          verdict: 'pass',
          changed: {},
        }),
      ),
    );
  }),
);
