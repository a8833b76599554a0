// Which ICMP errors say that a real server cannot read our UOA, and which are errors like any other: those
// reach the client and change nothing for anybody. What follows a refusal: unsupported.test.ts.
import { unhex } from '../packets/bytes.ts';
import { FORMS, type Uoa, uoaOf } from '../packets/uoa-builder.ts';
import { COMBINATIONS, type Combination, FIRST } from './combination.ts';
import { asSent, errorAbout, othersOf, passedOn, pointing, ROUTER, refusalsOf } from './errors.ts';
import { EMPTY } from './pair.ts';
import type { Message } from './rfc7915.ts';
import { type PlanChange, SIDE } from './rig.ts';
import { type PacketStep, type Row, rows } from './rows.ts';
import { towards, WALKS } from './walks.ts';

const LONG = { onewayMs: 3_600_000, normalMs: 3_600_000, idleRefreshMs: 0 };

const first = (it: Combination) => it.trial({ at: 0, changed: { ...FIRST, ...it.counted } });
const second = ({ pair }: Combination) => ({
  wan: pair.fromClient({ sport: 7777 }),
  verdict: 'forward',
});
const named = ({ type, code, rest }: Message) => `${type}/${code} 0x${rest.toString(16)}`;

rows(
  'a refusal of any kind makes what follows plain, in this session and in the next',
  COMBINATIONS.flatMap((it): Row[] =>
    refusalsOf(it).map((message) => ({
      name: `${named(message)}, ${it.name}`,
      plan: it.plan({ ...LONG, onUnsupported: 'plain' }),
      steps: [
        first(it),
        {
          lan: errorAbout(it.pair.toRealServer({}, it.uoa), message, { src: it.pair.rip }),
          verdict: 'consumed',
          changed: { uoaUnsupported: 1 },
          refusals: [1],
        },
        it.plain({ at: 10 }),
        {
          ...second(it),
          sent: [it.pair.atRealServer({ sport: it.pair.lport + 1 })],
          changed: FIRST,
        },
        it.plain({ at: 59_999 }),
      ],
    })),
  ),
);

rows(
  'a refusal may be about a carrier, and about no more than the head of a packet',
  COMBINATIONS.map((it): Row => {
    const { pair } = it;
    const carrier = pair.toRealServer({ payload: EMPTY }, it.uoa);
    const head = pair.toRealServer({}, it.uoa).slice(0, carrier.length);
    return {
      name: it.name,
      plan: it.plan(LONG),
      steps: [
        first(it),
        ...[carrier, head].map((about, index) => ({
          lan: errorAbout(about, refusalsOf(it)[0], { src: pair.rip }),
          verdict: 'consumed',
          changed: { uoaUnsupported: 1 },
          refusals: [index + 1],
        })),
        it.plain(),
      ],
    };
  }),
);

/**
 * The error reaches the client, about its own packet, and the UOA goes on: in this session and in the next.
 */
function harmless(
  it: Combination,
  packet: Uint8Array,
  becomes: Message,
  from: 'wan' | 'lan' = 'lan',
): PacketStep[] {
  const passed = passedOn(towards(it.pair), becomes);
  const error = from === 'wan' ? { wan: packet } : { lan: packet };
  return [
    first(it),
    { ...error, ...passed, refusals: [0] },
    it.trial(),
    { ...second(it), changed: { ...FIRST, ...it.counted } },
  ];
}

rows(
  'what a real server says of other things about a packet with UOA is for the client, and the pointer is its own',
  COMBINATIONS.flatMap((it) =>
    othersOf(it).map(([message, becomes]): Row => {
      const about = it.pair.toRealServer({}, it.uoa);
      return {
        name: `${named(message)}, ${it.name}`,
        plan: it.plan(),
        steps: harmless(it, errorAbout(about, message, { src: it.pair.rip }), becomes),
      };
    }),
  ),
);

const ONE_ARM: PlanChange = {
  ports: [
    { side: SIDE.both, loopback: false },
    { side: SIDE.both, loopback: false },
  ],
};

/** Neither is the real server. */
const OTHERS = [ROUTER, { 4: '10.2.0.11', 6: 'fd00:2::11' }, { 4: '10.1.0.2', 6: 'fd00:1::2' }];

rows(
  'what another address says is no refusal, also where clients and real servers share an interface',
  COMBINATIONS.flatMap((it) =>
    OTHERS.flatMap((other) =>
      refusalsOf(it).map((message): Row => {
        const src = other[it.pair.server];
        const packet = errorAbout(it.pair.toRealServer({}, it.uoa), message, { src });
        return {
          name: `${named(message)} from ${src}, ${it.name}`,
          plan: { ...it.plan(), ...ONE_ARM },
          steps: harmless(it, packet, message, 'wan'),
        };
      }),
    ),
  ),
);

rows(
  'what would be a refusal is none about a packet without UOA, as of a session whose UOA another packet brought',
  COMBINATIONS.flatMap((it) =>
    [
      ...refusalsOf(it),
      it.pair.server === 4 ? { type: 3, code: 2, rest: 0 } : { type: 4, code: 2, rest: 42 },
    ].map(
      (message): Row => ({
        name: `${named(message)}, ${it.name}`,
        plan: it.plan(),
        steps: harmless(it, errorAbout(it.pair.toRealServer(), message, { src: it.pair.rip }), message),
      }),
    ),
  ),
);

/** UOA that this session was never sent: of another client, and in another form. */
function strange(it: Combination): [string, Uoa][] {
  const { named: client, server } = it.pair;
  const found: [string, Uoa | undefined][] = [
    ['of another port', uoaOf(it.sent, server, { ...client, cport: client.cport + 1 })],
    [
      'of another client',
      uoaOf(it.sent, server, { ...client, cip: it.pair.client === 4 ? '10.1.0.3' : 'fd00:1::3' }),
    ],
    ...FORMS.filter((form) => !isSame(form, it.sent, server)).map((form): [string, Uoa | undefined] => [
      `as ${form}`,
      uoaOf(form, server, client),
    ]),
  ];
  return found.flatMap(([name, uoa]): [string, Uoa][] => (uoa ? [[name, uoa]] : []));
}

const isSame = (one: string, other: string, over: 4 | 6) =>
  one === other || (over === 4 && ['ipo', 'elb'].includes(one) && ['ipo', 'elb'].includes(other));

rows(
  'what would be a refusal is none about a UOA that the session was not sent',
  COMBINATIONS.flatMap((it) =>
    strange(it).map(([what, uoa]): Row => {
      const option = it.pair.server === 4 ? pointing(20) : { type: 4, code: 2, rest: 42 };
      const protocol = it.pair.server === 4 ? { type: 3, code: 2, rest: 0 } : { type: 4, code: 1, rest: 6 };
      const message = 'option' in uoa ? protocol : option;
      const packet = errorAbout(it.pair.toRealServer({}, uoa), message, { src: it.pair.rip });
      return { name: `${what}, ${it.name}`, plan: it.plan(), steps: harmless(it, packet, message) };
    }),
  ),
);

/** Their third byte is wrong, and the real server says so. */
const FAULTY: [string, Uint8Array][] = [
  ['record route', unhex('070b03 0000000000000000 00')],
  ['timestamp', unhex('440c0501 00000000 00000000')],
];

rows(
  "a parameter problem about a client's own option is that client's, and the UOA goes on for everybody",
  COMBINATIONS.filter(({ pair }) => pair.client === 4 && pair.server === 4).flatMap((it) =>
    FAULTY.map(([what, options]): Row => {
      const { pair } = it;
      const isAlone = it.sent === 'unified' || it.sent === 'type30';
      const inOption = 'options' in it.uoa && !isAlone;
      const brought = isAlone
        ? [pair.carrier(it.sent), pair.atRealServer({ options })]
        : it.brought({ options });
      const about = isAlone ? pair.toRealServer({ options }) : pair.toRealServer({ options }, it.uoa);
      const message = pointing(20 + (inOption ? it.size : 0) + 2);
      const own = asSent(towards(pair), { options });
      return {
        name: `${what}, ${it.name}`,
        plan: it.plan(),
        steps: [
          { wan: pair.fromClient({ options }), verdict: 'forward', sent: brought },
          {
            lan: errorAbout(about, message, { src: pair.rip }),
            ...passedOn(towards(pair), pointing(22), own),
            refusals: [0],
          },
          it.trial(),
          { ...second(it), changed: { ...FIRST, ...it.counted } },
        ],
      };
    }),
  ),
);

const INBOUND = WALKS.filter(({ before }) => before.length === 0);

const ANY: Record<4 | 6, Message[]> = {
  4: [{ type: 3, code: 2, rest: 0 }, pointing(20), pointing(0, 1), pointing(20, 2)],
  6: [
    { type: 4, code: 1, rest: 6 },
    { type: 4, code: 2, rest: 42 },
  ],
};

rows(
  "without UOA the same errors of the real server are the client's, where its family has them",
  INBOUND.flatMap((walk): Row[] =>
    ANY[walk.to].map((message) => ({
      name: `${named(message)}, ${walk.name}`,
      plan: walk.plan(),
      steps: [
        { wan: walk.packet(), verdict: 'forward' },
        {
          lan: errorAbout(walk.result(), message, { src: walk.over.rip }),
          ...passedOn(walk, message),
          refusals: [0],
        },
      ],
    })),
  ),
);

rows(
  'a client that says so changes nothing for its real server',
  COMBINATIONS.map((it): Row => {
    const { pair } = it;
    const walk = WALKS.find(({ over, before }) => over === pair && before.length > 0)!;
    const src = pair.named.cip;
    return {
      name: it.name,
      plan: it.plan(LONG),
      steps: [
        first(it),
        { lan: walk.packet(), verdict: 'forward' },
        {
          wan: errorAbout(walk.result(), ANY[pair.client][0], { src }),
          verdict: 'forward',
          refusals: [0],
        },
        it.trial(),
      ],
    };
  }),
);
