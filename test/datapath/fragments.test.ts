// Fragments of both families in all eight walks: a datagram leaves as what it is, whatever the pieces it came
// in, and in pieces no larger than those. What must not be put together: reassembly.test.ts.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { withId } from '../packets/builder.ts';
import { hex, pattern, unhex } from '../packets/bytes.ts';
import { dissect } from '../packets/dissect.ts';
import { reassemble } from '../packets/fragments.ts';
import { FIRST } from './combination.ts';
import { inFragments } from './expected.ts';
import { pair } from './pair.ts';
import { PORT, Rig } from './rig.ts';
import { type Row, rows } from './rows.ts';
import { answered, cutUp, headerLen, leaving, WALKS, type Walk, whole, withTos } from './walks.ts';

const SENT_ON = { fragmentsReceived: 1, datagramsReassembled: 1, datagramsFragmented: 1 };
const NORMAL = { sessionsOneway: -1, sessionsNormal: 1 };
const PAYLOAD = pattern(4000);

const each = (row: (walk: Walk) => Omit<Row, 'name'> | undefined): Row[] =>
  WALKS.flatMap((walk) => {
    const made = row(walk);
    return made ? [{ name: walk.name, plan: walk.plan(), ...made }] : [];
  });

/** Counters of the first datagram of a row. */
const counted = (walk: Walk) => ({ ...(walk.before.length === 0 ? FIRST : NORMAL), ...SENT_ON });

const permutations = <T>(list: readonly T[]): T[][] =>
  list.length < 2
    ? [[...list]]
    : list.flatMap((one, at) =>
        permutations(list.filter((_, other) => other !== at)).map((rest) => [one, ...rest]),
      );

rows(
  'three pieces are put together in any order of theirs',
  each((walk) => {
    const pieces = cutUp(walk.packet({ payload: PAYLOAD }), 1500);
    assert.equal(pieces.length, 3);
    return {
      steps: [
        ...walk.before,
        ...permutations(pieces).map((order, index) =>
          walk.step(order, {
            verdict: 'forward',
            sent: leaving(walk, whole(PAYLOAD), pieces),
            changed: index === 0 ? counted(walk) : SENT_ON,
          }),
        ),
      ],
    };
  }),
);

rows(
  'datagrams of 41 to 65,000 bytes leave whole, in order and reversed',
  each((walk) => ({
    steps: [
      ...walk.before,
      ...[41, 1473, 3001, 65_000].flatMap((length) => {
        const payload = pattern(length);
        const pieces = cutUp(walk.packet({ payload }), length < 1000 ? [48] : 1500);
        const sent = leaving(walk, whole(payload), pieces);
        return [pieces, pieces.toReversed()].map((order) => walk.step(order, { verdict: 'forward', sent }));
      }),
    ],
  })),
);

/** Bytes of data in each piece but the last. */
const CUTS = [[400, 400, 400], [800, 104, 8], [48, 8, 8], [56], new Array<number>(6).fill(200)];

rows(
  'pieces that leave are no larger than the largest that came',
  each((walk) => ({
    steps: [
      ...walk.before,
      ...CUTS.map((cut) => {
        const payload = pattern(1300);
        const pieces = cutUp(walk.packet({ payload }), cut);
        return walk.step(pieces, { verdict: 'forward', sent: leaving(walk, whole(payload), pieces) });
      }),
    ],
  })),
);

rows(
  'a whole packet behind a datagram in small pieces leaves whole, and too large a one is refused',
  each((walk) => {
    const pieces = cutUp(walk.packet({ payload: PAYLOAD }), new Array<number>(20).fill(200));
    const fits = { payload: pattern(1300), df: true };
    const large = walk.packet({ payload: pattern(1440), df: true });
    const left = walk.before.length === 0 ? walk.over.atRealServer(fits) : walk.over.atClient(fits);
    return {
      plan: walk.plan(1400),
      steps: [
        ...walk.before,
        walk.step(pieces, { verdict: 'forward', sent: leaving(walk, whole(PAYLOAD), pieces) }),
        walk.step(walk.packet(fits), { verdict: 'forward', sent: [left] }),
        walk.step(large, { verdict: 'drop:too_big', sent: [() => {}] }),
      ],
    };
  }),
);

rows(
  'pieces that leave are no larger than the MTU of their way',
  each((walk) => {
    const pieces = cutUp(walk.packet({ payload: PAYLOAD }), 1500);
    return {
      plan: walk.plan(1300),
      steps: [
        ...walk.before,
        walk.step(pieces, { verdict: 'forward', sent: leaving(walk, whole(PAYLOAD), pieces, 1300) }),
      ],
    };
  }),
);

rows(
  'the last piece fills the MTU where the others must end at a multiple of 8',
  each((walk) => {
    const room = 1303 - headerLen(walk.to);
    const payload = pattern((room & ~7) + room - 8);
    const pieces = cutUp(walk.packet({ payload }), [1448]);
    const sent = leaving(walk, whole(payload), pieces, 1303);
    assert.equal(sent.length, 2);
    return {
      plan: walk.plan(1303),
      steps: [...walk.before, walk.step(pieces, { verdict: 'forward', sent })],
    };
  }),
);

rows(
  'a whole packet without DF above the MTU of its way leaves in pieces',
  each((walk) => {
    if (walk.from === 6) return undefined;
    const large = { payload: pattern(1472), tos: 0xb8, ttl: 20 };
    return {
      plan: walk.plan(1300),
      steps: [
        ...walk.before,
        walk.step(walk.packet(large), {
          verdict: 'forward',
          sent: inFragments(walk.result({ ...large, ttl: 19 }), 1300),
        }),
      ],
    };
  }),
);

const NAT64 = WALKS.filter(({ from, to }) => from === 6 && to === 4);

rows(
  'what every IPv6 link carries whole leaves in pieces where IPv4 is narrower; what is larger is refused',
  NAT64.map((walk): Row => {
    const fits = walk.packet({ payload: pattern(1232) });
    const large = walk.packet({ payload: pattern(1233) });
    return {
      name: walk.name,
      plan: walk.plan(1000),
      steps: [
        ...walk.before,
        walk.step(fits, {
          verdict: 'forward',
          sent: inFragments(walk.result({ payload: pattern(1232) }), 1000),
        }),
        walk.step(large, {
          verdict: 'drop:too_big',
          sent: [answered(large, { type: 2, code: 0, rest: 1280 })],
        }),
      ],
    };
  }),
);

/** Record route is not copied into every fragment; 133 and router alert are (RFC 791, 3.1). */
const OPTIONS: [string, string][] = [
  ['01 0707 0400000000 94040000', '94040000'],
  ['0707 0400000000 8503aa 94040000 0000', '8503aa94 04000000'],
  ['01010707 0400000000 000000', ''],
];

for (const [first, later] of OPTIONS) {
  test(`of the IPv4 options ${first} the first piece bears all, the others ${later || 'none'}`, () => {
    const over = pair(4, 4);
    const rig = new Rig({ service: { ...over.service, dialect: 'none' } });
    const fields = { payload: PAYLOAD, options: unhex(first) };
    const pieces = cutUp(over.fromClient(fields), 1500);
    const { sent } = pieces.map((piece) => rig.receive(piece, PORT.wan)).at(-1)!;
    const seen = sent.map((piece) => dissect(piece, { fragment: true }));
    assert.deepEqual(
      seen.map(({ options }) => options),
      [first, later, later].map((options) => options.replaceAll(' ', '')),
    );
    assert.ok(seen.every(({ ipChecksumOk }) => ipChecksumOk));
    assert.equal(hex(reassemble(sent)), hex(withId(over.toRealServer(fields), seen[0].id)));
  });
}

rows(
  'behind a piece that cannot be sent no other is',
  each((walk) => {
    const pieces = cutUp(walk.packet({ payload: PAYLOAD }), 1500);
    const sent = leaving(walk, whole(PAYLOAD), pieces);
    return {
      steps: [
        ...walk.before,
        walk.step(pieces, {
          refuse: (piece) => (dissect(piece, { fragment: true }).fragment?.offset ?? 0) > 0,
          verdict: 'drop:send_failed',
          sent: sent.slice(0, 1),
        }),
        walk.step(pieces, { verdict: 'forward', sent }),
      ],
    };
  }),
);

describe('pieces that leave, put together by the test', () => {
  for (const walk of WALKS) {
    test(`${walk.name} make the datagram, its checksum right, or absent where it was and may be`, () => {
      const rig = new Rig(walk.plan());
      for (const step of walk.before) rig.receive(step.wan as Uint8Array, PORT.wan);
      const port = walk.before.length === 0 ? PORT.wan : PORT.lan;
      for (const checksum of walk.from === 4 ? (['valid', 'zero'] as const) : (['valid'] as const)) {
        const pieces = cutUp(walk.packet({ payload: PAYLOAD, checksum }), 1400);
        const { sent } = pieces.map((piece) => rig.receive(piece, port)).at(-1)!;
        const seen = dissect(reassemble(sent));
        assert.equal(seen.payload, hex(PAYLOAD));
        assert.equal(seen.udpChecksumOk, true);
        assert.equal(seen.udpChecksum === 0, checksum === 'zero' && walk.to === 4);
      }
    });
  }
});

rows(
  'a datagram without checksum that came in pieces over IPv6 is dropped',
  each((walk) =>
    walk.from === 4
      ? undefined
      : {
          steps: [
            ...walk.before,
            walk.step(cutUp(walk.packet({ payload: PAYLOAD, checksum: 'zero' }), 1500), {
              verdict: 'drop:bad_udp_checksum',
            }),
          ],
        },
  ),
);

rows(
  'a wrong checksum is seen behind the last piece only, and nothing leaves',
  each((walk) => ({
    steps: [
      ...walk.before,
      walk.step(cutUp(walk.packet({ payload: PAYLOAD, checksum: 'bad' }), 1500), {
        verdict: 'drop:bad_udp_checksum',
      }),
    ],
  })),
);

rows(
  'congestion that one piece met is told in all that leave; else TOS is that of the first',
  each((walk) => {
    const pieces = cutUp(walk.packet({ payload: PAYLOAD, tos: 0xba }), 1500);
    const met = (nth: number) => pieces.map((piece, index) => (index === nth ? withTos(piece, 0xbb) : piece));
    const step = (came: Uint8Array[], tos: number) =>
      walk.step(came, { verdict: 'forward', sent: leaving(walk, whole(PAYLOAD, { tos }), pieces) });
    return {
      steps: [
        ...walk.before,
        step(pieces, 0xba),
        ...[0, 1, 2].map((nth) => step(met(nth), 0xbb)),
        step([pieces[0], ...pieces.slice(1).map((piece) => withTos(piece, 0x0e))], 0xba),
      ],
    };
  }),
);

rows(
  'a TTL that ends here is told to the sender, who sees its first piece as a whole packet',
  each((walk) => {
    const pieces = cutUp(walk.packet({ payload: PAYLOAD, ttl: 1 }), 1500);
    return {
      steps: [
        ...walk.before,
        walk.step(pieces, {
          verdict: 'drop:ttl_exceeded',
          sent: [(sent) => assert.equal(dissect(sent).icmp?.code, 0)],
        }),
      ],
    };
  }),
);
