// ICMP errors of other hosts in all eight walks: what they become in the other family (rfc7915.ts), about the
// packet as its sender sent it, without UOA. IPv4 alone, in more cases: icmp-error.test.ts.
import { fragmentHeader, ICMP6, ipv6 } from '../packets/builder6.ts';
import { pattern } from '../packets/bytes.ts';
import { dissect } from '../packets/dissect.ts';
import { COMBINATIONS, FIRST } from './combination.ts';
import { asSent, errorAbout, fromFarSide, opened, toSender } from './errors.ts';
import { EMPTY, type Fields } from './pair.ts';
import { type Entry, type Message, TRANSLATIONS } from './rfc7915.ts';
import { type Row, rows } from './rows.ts';
import { cutUp, towards, WALKS, type Walk } from './walks.ts';

const PORT_UNREACHABLE: Record<4 | 6, Message> = {
  4: { type: 3, code: 3, rest: 0 },
  6: { type: 1, code: 4, rest: 0 },
};
const TRANSLATED = { icmpTranslated: 1 };

const each = (row: (walk: Walk) => Omit<Row, 'name' | 'plan'>): Row[] =>
  WALKS.map((walk) => ({ name: walk.name, plan: walk.plan(), ...row(walk) }));

/** Larger than any MTU that rfc7915.ts tells, which would else be a lie. */
const LARGE: Fields = { payload: pattern(1440), df: true };

const isTooBig = ({ type, code }: Message, family: 4 | 6) =>
  family === 4 ? type === 3 && code === 4 : type === 2;

/** No path is narrower than this: IPv6 says so, and Linux of IPv4. */
const LEAST = { 4: 552, 6: 1280 };

/** What becomes of each error on the way back to the sender. */
const entriesOf = ({ from, to }: Walk): readonly Entry[] =>
  from !== to
    ? TRANSLATIONS[to]
    : TRANSLATIONS[to].map(([message]): Entry => {
        const rest = isTooBig(message, to) ? Math.max(message.rest, LEAST[to]) : message.rest;
        return [message, { ...message, rest }];
      });

const named = ({ type, code, rest }: Message) => `${type}/${code}${rest ? ` 0x${rest.toString(16)}` : ''}`;

rows(
  'errors with an equivalent are passed on, others are dropped',
  WALKS.flatMap((walk) =>
    entriesOf(walk).map(([message, becomes]): Row => {
      const fields = isTooBig(message, walk.to) ? LARGE : {};
      const packet = errorAbout(walk.result(fields), message);
      const step = becomes
        ? { verdict: 'forward', sent: [toSender(walk, becomes, asSent(walk, fields))], changed: TRANSLATED }
        : { verdict: 'drop:icmp_untranslatable', sent: [], changed: {} };
      return {
        name: `${named(message)} becomes ${becomes ? named(becomes) : 'nothing'}, ${walk.name}`,
        plan: walk.plan(),
        steps: [
          ...opened(walk),
          fromFarSide(walk, packet, step),
          walk.step(walk.packet(), { verdict: 'forward' }),
        ],
      };
    }),
  ),
);

/** The error that says so of a closed port, and what its sender gets. */
const closed = (walk: Walk, about: Uint8Array, sent = asSent(walk)) =>
  fromFarSide(walk, errorAbout(about, PORT_UNREACHABLE[walk.to]), {
    verdict: 'forward',
    sent: [toSender(walk, PORT_UNREACHABLE[walk.from], sent)],
    changed: TRANSLATED,
  });

rows(
  'the packet inside is the one that was sent, whatever its payload',
  each((walk) => {
    const list: Fields[] = [
      { payload: EMPTY },
      { payload: pattern(1) },
      { payload: pattern(33), surplus: pattern(3) },
      { tos: 0xbb, payload: pattern(7) },
    ];
    return {
      steps: [
        ...opened(walk),
        ...list.map((fields) => closed(walk, walk.result(fields), asSent(walk, fields))),
      ],
    };
  }),
);

rows(
  'of a large packet inside as much is told as came and has room',
  each((walk) => {
    const fields = { payload: pattern(1200), ...(walk.from === 4 && { df: walk.to === 4 }) };
    const sent = asSent(walk, fields);
    const headers = { 4: 20, 6: 40 };
    return {
      steps: [
        ...opened(walk),
        ...[8, 9, 528, 1192].map((kept) =>
          closed(
            walk,
            walk.result(fields).slice(0, headers[walk.to] + kept),
            sent.slice(0, headers[walk.from] + kept),
          ),
        ),
      ],
    };
  }),
);

rows(
  'an absent checksum inside stays absent',
  WALKS.filter(({ from, to }) => from === 4 && to === 4).map((walk) => ({
    name: walk.name,
    plan: walk.plan(),
    steps: [
      ...opened(walk),
      closed(walk, walk.result({ checksum: 'zero' }), asSent(walk, { checksum: 'zero' })),
    ],
  })),
);

rows(
  'a UOA inside is taken out',
  COMBINATIONS.flatMap((it): Row[] => {
    const walk = towards(it.pair);
    return [EMPTY, pattern(32)].map((payload) => ({
      name: `${it.name}, payload of ${payload.length} bytes`,
      plan: it.plan(),
      steps: [
        it.trial({ changed: { ...FIRST, ...it.counted } }),
        closed(walk, it.pair.toRealServer({ payload }, it.uoa), asSent(walk, { payload })),
        it.trial(),
      ],
    }));
  }),
);

rows(
  'extension headers inside are left out',
  WALKS.filter(({ to }) => to === 6).map((walk): Row => {
    const about = walk.result({ extensions: [fragmentHeader()] });
    return { name: walk.name, plan: walk.plan(), steps: [...opened(walk), closed(walk, about)] };
  }),
);

rows(
  'of a datagram that left in pieces the first tells whose it is, and the others do not',
  each((walk) => {
    const fields = { payload: pattern(1000), df: false };
    const [first, second] = cutUp(walk.result(fields), [504]);
    const headerLen = walk.from === 4 ? 20 : 40;
    const lengths = {
      totalLength: headerLen + 504,
      payloadLength: 504,
      mf: walk.from === 4 && walk.to === 4,
    };
    const sent = asSent(walk, { ...fields, ...lengths }).slice(0, headerLen + 504);
    return {
      steps: [
        ...opened(walk),
        closed(walk, first, sent),
        fromFarSide(walk, errorAbout(second, PORT_UNREACHABLE[walk.to]), { verdict: 'pass' }),
      ],
    };
  }),
);

const CROOKED: [string, string, (walk: Walk) => Uint8Array][] = [
  ['about a tuple of no session', 'pass', (walk) => about(walk, { sport: 9, dport: 9 })],
  ['about an address that is not its own destination', 'pass', misdirected],
  [
    'with less than the UDP header inside',
    'pass',
    (walk) => errorAbout(cut(walk, 7), PORT_UNREACHABLE[walk.to]),
  ],
  [
    'that is an echo request',
    'pass',
    (walk) => errorAbout(walk.result(), { type: walk.to === 4 ? 8 : 128, code: 0, rest: 0 }),
  ],
  ['with a wrong checksum', 'drop:bad_icmp', corrupt],
  ['that calls a packet too big for more than its size', 'drop:bad_icmp', (walk) => notTooBig(walk, 0)],
  [
    'that calls a packet too big for far more than its size',
    'drop:bad_icmp',
    (walk) => notTooBig(walk, 9000),
  ],
];

function about(walk: Walk, fields: Fields): Uint8Array {
  return errorAbout(walk.result(fields), PORT_UNREACHABLE[walk.to]);
}

function misdirected(walk: Walk): Uint8Array {
  const dst = { 4: '10.2.0.201', 6: 'fd00:2::201' }[walk.to];
  return errorAbout(walk.result(), PORT_UNREACHABLE[walk.to], { dst });
}

const cut = (walk: Walk, kept: number) => walk.result().slice(0, (walk.to === 4 ? 20 : 40) + kept);

function notTooBig(walk: Walk, more: number): Uint8Array {
  const about = walk.result(LARGE);
  const [type, code] = walk.to === 4 ? [3, 4] : [2, 0];
  return errorAbout(about, { type, code, rest: about.length + more });
}

/** The last byte of the payload inside changed, and no checksum with it. */
function corrupt(walk: Walk): Uint8Array {
  const packet = about(walk, {});
  packet[packet.length - 1] ^= 1;
  return packet;
}

rows(
  'an error that is not passed on',
  CROOKED.flatMap(([what, verdict, build]) =>
    WALKS.map(
      (walk): Row => ({
        name: `${what}, ${walk.name}`,
        plan: walk.plan(),
        steps: [
          ...opened(walk),
          fromFarSide(walk, build(walk), { verdict, changed: {} }),
          walk.step(walk.packet(), { verdict: 'forward', changed: {} }),
        ],
      }),
    ),
  ),
);

rows(
  'an ICMPv6 error in pieces is none',
  WALKS.filter(({ to }) => to === 6).map((walk): Row => {
    const error = about(walk, {});
    const { src, dst } = dissect(error);
    const fields = { src, dst, extensions: [fragmentHeader({ more: true })] };
    return {
      name: walk.name,
      plan: walk.plan(),
      steps: [
        ...opened(walk),
        fromFarSide(walk, ipv6(fields, ICMP6, error.slice(40)), { verdict: 'pass', changed: {} }),
      ],
    };
  }),
);

rows(
  'an error about a packet to a real server that comes from the client side is forged',
  WALKS.filter(({ before }) => before.length === 0).map(
    (walk): Row => ({
      name: walk.name,
      plan: walk.plan(),
      steps: [...opened(walk), { wan: about(walk, {}), verdict: 'drop:wrong_interface', changed: {} }],
    }),
  ),
);

rows(
  'an error without room for itself is dropped and changes nothing',
  each((walk) => ({
    steps: [
      ...opened(walk),
      fromFarSide(walk, about(walk, {}), { refuse: () => true, verdict: 'drop:send_failed', changed: {} }),
      closed(walk, walk.result()),
    ],
  })),
);
