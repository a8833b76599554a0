// What must not be put together: pieces that overlap, lie, never end or come too late, over both families.
// Behind each such sequence a good datagram in pieces and a whole one still pass.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ipv4 } from '../packets/builder.ts';
import { fragmentHeader, ICMP6, ipv6 } from '../packets/builder6.ts';
import { concat, type Family, pattern, u16 } from '../packets/bytes.ts';
import { UDP } from '../packets/udp.ts';
import { PORT, Rig } from './rig.ts';
import { type PacketStep, type Row, rows, type Step } from './rows.ts';
import { cutUp, leaving, WALKS, type Walk, whole } from './walks.ts';

const HELD = { verdict: 'held', changed: { fragmentsReceived: 1 } };
const PAYLOAD = pattern(1000);
const SAME_FAMILY = WALKS.filter(({ from, to, before }) => from === to && before.length === 0);

interface Place {
  /** In the datagram, bytes. */
  at: number;
  more?: boolean;
  id?: number;
}

/** A piece from client to VIP with any data at any place. */
function piece({ over, from }: Walk, data: Uint8Array, { at, more = false, id = 7 }: Place): Uint8Array {
  const { cip: src, vip: dst } = over.named;
  if (from === 4) return ipv4({ src, dst, id, mf: more, fragOffset: at / 8, ttl: 65 }, UDP, data);
  return ipv6({ src, dst, hopLimit: 65, extensions: [fragmentHeader({ offset: at, more, id })] }, UDP, data);
}

/** A datagram in pieces and a whole one, which pass whatever came before. */
function good(walk: Walk): PacketStep[] {
  const pieces = cutUp(walk.packet({ payload: PAYLOAD }), [504], 0x77);
  return [
    walk.step(pieces, { verdict: 'forward', sent: leaving(walk, whole(PAYLOAD), pieces) }),
    { wan: walk.packet(), verdict: 'forward', sent: [walk.result()] },
  ];
}

const hostile = (name: string, steps: (walk: Walk) => Step[]): Row[] =>
  SAME_FAMILY.map((walk) => ({
    name: `${name}, IPv${walk.from}`,
    plan: walk.plan(),
    steps: [...steps(walk), ...good(walk)],
  }));

const bytes = pattern(0x10000);
const first = (walk: Walk, length = 400) => piece(walk, bytes.subarray(0, length), { at: 0, more: true });

rows('a piece that cannot be', [
  ...hostile('one without data is dropped', (walk) => [
    { wan: piece(walk, bytes.subarray(0, 0), { at: 0, more: true }), verdict: 'drop:bad_fragment' },
    { wan: piece(walk, bytes.subarray(0, 0), { at: 400 }), verdict: 'drop:bad_fragment' },
  ]),
  ...hostile('one of no multiple of 8 bytes before the end is dropped', (walk) => [
    { wan: piece(walk, bytes.subarray(0, 401), { at: 0, more: true }), verdict: 'drop:bad_fragment' },
    { wan: piece(walk, bytes.subarray(0, 404), { at: 400, more: true }), verdict: 'drop:bad_fragment' },
  ]),
  ...hostile('one that ends beyond 65,535 bytes is dropped', (walk) => [
    { wan: piece(walk, bytes.subarray(0, 8), { at: 65_528 }), verdict: 'drop:bad_fragment' },
    { wan: piece(walk, bytes.subarray(0, 1400), { at: 64_400 }), verdict: 'drop:bad_fragment' },
    { wan: piece(walk, bytes.subarray(0, 1400), { at: 64_400, more: true }), verdict: 'drop:bad_fragment' },
  ]),
  ...hostile('one behind the end takes all of its datagram along', (walk) => [
    { wan: first(walk), ...HELD },
    { wan: piece(walk, bytes.subarray(0, 8), { at: 400, more: false, id: 8 }), ...HELD },
    { wan: piece(walk, bytes.subarray(0, 8), { at: 800 }), ...HELD },
    {
      wan: piece(walk, bytes.subarray(0, 8), { at: 808, more: true }),
      verdict: 'drop:bad_fragment',
      alsoDropped: { bad_fragment: 2 },
    },
  ]),
  ...hostile('an end before what is there takes all of its datagram along', (walk) => [
    { wan: piece(walk, bytes.subarray(0, 400), { at: 800, more: true }), ...HELD },
    { wan: first(walk), ...HELD },
    {
      wan: piece(walk, bytes.subarray(0, 8), { at: 400 }),
      verdict: 'drop:bad_fragment',
      alsoDropped: { bad_fragment: 2 },
    },
  ]),
  ...hostile('a second end takes all of its datagram along', (walk) => [
    { wan: piece(walk, bytes.subarray(0, 8), { at: 800 }), ...HELD },
    {
      wan: piece(walk, bytes.subarray(0, 16), { at: 400 }),
      verdict: 'drop:bad_fragment',
      alsoDropped: { bad_fragment: 1 },
    },
  ]),
  ...hostile('an end behind the end takes all of its datagram along', (walk) => [
    { wan: piece(walk, bytes.subarray(0, 16), { at: 400 }), ...HELD },
    {
      wan: piece(walk, bytes.subarray(0, 8), { at: 800 }),
      verdict: 'drop:bad_fragment',
      alsoDropped: { bad_fragment: 1 },
    },
  ]),
  ...SAME_FAMILY.filter(({ from }) => from === 4).map((walk): Row => {
    const length = 65_528;
    const data = concat(new Uint8Array(4), u16(length), pattern(length - 6));
    const pieces = Array.from({ length: 46 }, (_, index) => {
      const at = index * 1440;
      return piece(walk, data.subarray(at, at + 1440), { at, more: index < 45 });
    });
    return {
      name: 'one that makes a datagram of more than IPv4 can say with its header takes all of it along',
      plan: walk.plan(),
      steps: [
        { wan: pieces, verdict: 'drop:bad_fragment', alsoDropped: { bad_fragment: 45 } },
        ...good(walk),
      ],
    };
  }),
  ...hostile('a first piece without room for what a filter looks at is dropped', (walk) => [
    { wan: first(walk, 8), verdict: 'drop:fragment_tiny_first' },
    { wan: first(walk, 40), verdict: 'drop:fragment_tiny_first' },
    { wan: first(walk, 48), ...HELD },
  ]),
  ...hostile('several packets in one that cannot be told apart are no piece', (walk) => [
    {
      wan: piece(walk, bytes.subarray(0, 1504), { at: 0, more: true }),
      isMerged: true,
      verdict: 'drop:super_packet',
    },
  ]),
]);

const OVERLAPS: [string, Place & { length: number }][] = [
  ['at its beginning', { at: 800, more: true, length: 408 }],
  ['at its end', { at: 1592, more: true, length: 400 }],
  ['by a part of it', { at: 1208, more: true, length: 8 }],
  ['by more than it', { at: 800, more: true, length: 1400 }],
  ['from the same place on', { at: 1200, more: true, length: 392 }],
  ['to the same place', { at: 1208, more: true, length: 392 }],
  ['as an end of another length', { at: 1200, more: false, length: 408 }],
];

rows('pieces that overlap', [
  ...OVERLAPS.flatMap(([how, { length, ...place }]) =>
    hostile(`one that covers another ${how} takes all of its datagram along`, (walk) => [
      { wan: first(walk), ...HELD },
      { wan: piece(walk, bytes.subarray(0, 400), { at: 1200, more: true }), ...HELD },
      {
        wan: piece(walk, bytes.subarray(0, length), place),
        verdict: 'drop:fragment_overlap',
        alsoDropped: { fragment_overlap: 2 },
      },
      { at: 60_000, tick: true, alsoDropped: {} },
    ]),
  ),
  ...hostile('neighbours do not overlap', (walk) => [
    { wan: first(walk), ...HELD },
    { wan: piece(walk, bytes.subarray(0, 400), { at: 800, more: true }), ...HELD },
    { wan: piece(walk, bytes.subarray(0, 400), { at: 400, more: true }), ...HELD },
  ]),
  ...hostile('the pieces of a datagram that come behind its overlap make none', (walk) => {
    const [one, two] = cutUp(walk.packet({ payload: PAYLOAD }), [504]);
    const over = piece(walk, bytes.subarray(0, 504), { at: 8, more: true, id: 0x1234 });
    return [
      { wan: one, ...HELD },
      { wan: over, verdict: 'drop:fragment_overlap', alsoDropped: { fragment_overlap: 1 } },
      { wan: two, ...HELD },
      { at: 60_000, tick: true, alsoDropped: { fragment_timeout: 1 } },
    ];
  }),
]);

rows('pieces that come twice', [
  ...hostile('the second is dropped, and the first stays', (walk) => {
    const pieces = cutUp(walk.packet({ payload: PAYLOAD }), [504]);
    const twice = withBytes(pieces[0], 0xee);
    return [
      { wan: pieces[0], ...HELD },
      { wan: twice, verdict: 'drop:fragment_duplicate' },
      { wan: pieces[1], verdict: 'forward', sent: leaving(walk, whole(PAYLOAD), pieces) },
      { wan: pieces[1], ...HELD },
      { at: 60_000, tick: true, alsoDropped: { fragment_timeout: 1 } },
    ];
  }),
]);

rows('pieces that are too many', [
  ...hostile('the 65th takes all of its datagram along', (walk) => [
    ...Array.from({ length: 64 }, (_, index) => ({
      wan: piece(walk, bytes.subarray(0, 64), { at: index * 64, more: true }),
      ...HELD,
    })),
    {
      wan: piece(walk, bytes.subarray(0, 64), { at: 64 * 64 }),
      verdict: 'drop:fragment_too_many',
      alsoDropped: { fragment_too_many: 64 },
    },
    { at: 60_000, tick: true, alsoDropped: {} },
  ]),
  ...hostile('64 are not', (walk) => {
    const payload = pattern(64 * 64 - 8);
    const pieces = cutUp(walk.packet({ payload }), 64 + (walk.from === 4 ? 20 : 48));
    assert.equal(pieces.length, 64);
    return [walk.step(pieces, { verdict: 'forward', sent: leaving(walk, whole(payload), pieces) })];
  }),
]);

rows('pieces that come too late', [
  ...hostile('a datagram that is not whole within 5 s is given up', (walk) => {
    const [one, two, three] = cutUp(walk.packet({ payload: PAYLOAD }), [304, 304]);
    return [
      { at: 1_000, wan: one, ...HELD },
      { at: 4_000, wan: two, ...HELD },
      { at: 5_999, tick: true, alsoDropped: {} },
      { at: 6_000, tick: true, alsoDropped: { fragment_timeout: 2 } },
      { at: 6_001, wan: three, ...HELD },
      { at: 6_002, tick: true, alsoDropped: {} },
      { at: 11_001, tick: true, alsoDropped: { fragment_timeout: 1 } },
    ];
  }),
  ...hostile('within 5 s it is whole', (walk) => {
    const pieces = cutUp(walk.packet({ payload: PAYLOAD }), [504]);
    return [
      { at: 1_000, wan: pieces[0], ...HELD },
      { at: 5_999, tick: true, alsoDropped: {} },
      { wan: pieces[1], verdict: 'forward', sent: leaving(walk, whole(PAYLOAD), pieces) },
    ];
  }),
]);

rows('the clock may wrap between two pieces', [
  ...SAME_FAMILY.map((walk): Row => {
    const pieces = cutUp(walk.packet({ payload: PAYLOAD }), [504]);
    return {
      name: walk.name,
      plan: walk.plan(),
      startMs: 0x7fffffff - 100,
      steps: [
        { at: 0, wan: pieces[0], ...HELD },
        { at: 200, tick: true, alsoDropped: {} },
        { at: 4_999, tick: true, alsoDropped: {} },
        { at: 5_000, tick: true, alsoDropped: { fragment_timeout: 1 } },
        ...good(walk),
      ],
    };
  }),
]);

rows('pieces of more than 256 datagrams', [
  ...hostile('the datagram begun longest ago gives way', (walk) => [
    ...Array.from({ length: 256 }, (_, id) => ({
      wan: piece(walk, bytes.subarray(0, 400), { at: 0, more: true, id: id + 1 }),
      ...HELD,
    })),
    { wan: piece(walk, bytes.subarray(0, 8), { at: 400, more: true, id: 1 }), ...HELD },
    {
      wan: piece(walk, bytes.subarray(0, 400), { at: 0, more: true, id: 1000 }),
      ...HELD,
      alsoDropped: { fragment_evicted: 2 },
    },
    { wan: piece(walk, bytes.subarray(0, 8), { at: 400, more: true, id: 2 }), ...HELD },
    {
      wan: piece(walk, bytes.subarray(0, 400), { at: 0, more: true, id: 1001 }),
      ...HELD,
      alsoDropped: { fragment_evicted: 2 },
    },
    { at: 60_000, tick: true, alsoDropped: { fragment_timeout: 256 } },
  ]),
  ...hostile('one that waits stays while others come and go', (walk) => {
    const [one, two] = cutUp(walk.packet({ payload: PAYLOAD }), [504], 5000);
    return [
      { wan: one, ...HELD },
      ...Array.from({ length: 600 }, (_, id) => ({
        wan: cutUp(walk.packet({ payload: PAYLOAD }), [504], id + 1),
        verdict: 'forward',
      })),
      { wan: two, verdict: 'forward', sent: leaving(walk, whole(PAYLOAD), [one, two]) },
    ];
  }),
]);

test('a flood of pieces is held in 256 places, and a datagram in its midst still passes', () => {
  for (const walk of SAME_FAMILY) {
    const rig = new Rig(walk.plan());
    for (let id = 1; id <= 3_000; id++) {
      const outcome = rig.receive(
        piece(walk, bytes.subarray(0, 64), { at: 64, more: true, id }),
        PORT.wan,
        'any',
      );
      assert.equal(outcome.verdict, 'held');
      if (id % 1000 !== 0) continue;
      const pieces = cutUp(walk.packet({ payload: PAYLOAD }), [504], 20_000 + id);
      const verdicts = pieces.map((one) => rig.receive(one, PORT.wan, 'any').verdict);
      assert.deepEqual(verdicts, ['held', 'forward']);
    }
    rig.at = 60_000;
    rig.tick({ fragment_timeout: 255 });
  }
});

const OTHERS: [string, (walk: Walk) => Uint8Array][] = [
  [
    'of another host',
    ({ over, from }) => cutUp(over.fromClient({ dst: from === 4 ? '10.1.0.101' : 'fd00:1::101' }), [8])[0],
  ],
  ['of another protocol', ({ over, from }) => other(over.named, from)],
  ['of ICMP', ({ over, from }) => other(over.named, from, from === 4 ? 1 : ICMP6)],
];

function other(
  { cip: src, vip: dst }: { cip: string; vip: string },
  family: Family,
  protocol = 6,
): Uint8Array {
  const data = concat(Uint8Array.of(1, 4, 0, 0), pattern(60));
  if (family === 4) return ipv4({ src, dst, mf: true }, protocol, data);
  return ipv6({ src, dst, extensions: [fragmentHeader({ more: true })] }, protocol, data);
}

rows(
  'pieces that are none of ours pass',
  OTHERS.flatMap(([whose, build]) =>
    hostile(whose, (walk) => [{ wan: build(walk), verdict: 'pass', changed: {} }]),
  ),
);

rows(
  'pieces for a service without it',
  hostile('to a VIP and another port they are put together and pass', (walk) => [
    {
      wan: cutUp(walk.packet({ payload: PAYLOAD, dport: 6001 }), [504]),
      verdict: 'pass',
      changed: { fragmentsReceived: 1, datagramsReassembled: 1 },
    },
  ]),
);

rows(
  'pieces of answers',
  SAME_FAMILY.flatMap((walk): Row[] => {
    const { over } = walk;
    const pieces = cutUp(over.fromRealServer({ payload: PAYLOAD }), [504]);
    const stray = cutUp(over.fromRealServer({ payload: PAYLOAD, dport: over.lport + 1 }), [504]);
    return [
      {
        name: `are forged when they come from the client side, IPv${walk.from}`,
        plan: walk.plan(),
        steps: [
          { wan: walk.packet(), verdict: 'forward' },
          { wan: pieces, verdict: 'drop:wrong_interface' },
          { wan: stray, verdict: 'drop:wrong_interface' },
          ...good(walk),
        ],
      },
      {
        name: `belong to no session when it is over, IPv${walk.from}`,
        plan: walk.plan(),
        steps: [
          { wan: walk.packet(), verdict: 'forward' },
          { lan: stray, verdict: 'drop:no_session' },
          ...good(walk),
        ],
      },
    ];
  }),
);

/** A piece with other data. */
function withBytes(packet: Uint8Array, byte: number): Uint8Array {
  return packet.slice().fill(byte, packet.length - 100);
}
