// ICMP that the proxy sends itself in all eight walks, and what it learns from packet too big: who is told
// which size, and what goes out within it afterwards.
import assert from 'node:assert/strict';
import { pattern } from '../packets/bytes.ts';
import { dissect } from '../packets/dissect.ts';
import { CARRIED, COMBINATIONS, FIRST } from './combination.ts';
import { asSent, errorAbout, fromFarSide, opened, toSender } from './errors.ts';
import { inFragments } from './expected.ts';
import { EMPTY, type Fields } from './pair.ts';
import { type Row, rows } from './rows.ts';
import { answered, cutUp, leaving, WALKS, type Walk, whole } from './walks.ts';

const INBOUND = WALKS.filter(({ before }) => before.length === 0);
const TIME_EXCEEDED = { 4: { type: 11, code: 0 }, 6: { type: 3, code: 0 } };
const TOO_BIG = { 4: { type: 3, code: 4 }, 6: { type: 2, code: 0 } };

const each = (row: (walk: Walk) => Omit<Row, 'name'>): Row[] =>
  WALKS.map((walk) => ({ name: walk.name, plan: walk.plan(), ...row(walk) }));

rows(
  'a packet whose TTL or hop limit ends here is answered to its sender',
  each((walk) => ({
    steps: [
      ...walk.before,
      ...[0, 1].map((ttl) => {
        const expired = walk.packet({ ttl, payload: pattern(1400) });
        return walk.step(expired, {
          verdict: 'drop:ttl_exceeded',
          sent: [answered(expired, TIME_EXCEEDED[walk.from])],
          changed: { icmpSent: 1 },
        });
      }),
      walk.step(walk.packet({ ttl: 2 }), { verdict: 'forward' }),
    ],
  })),
);

/** The packet of the other family is 20 bytes larger or smaller. */
const growth = ({ from, to }: Walk) => (to - from) * 10;

/** A payload that makes a packet of `length` bytes on the way out. */
const filling = (walk: Walk, length: number, change: Fields = {}) =>
  pattern(length - walk.result({ ...change, payload: EMPTY }).length);

const DF = { df: true };

rows(
  'a packet that is too big and must not be cut is answered with the size that its own family may have',
  each((walk) => {
    const fits = { ...DF, payload: filling(walk, 1400) };
    const large = walk.packet({ ...DF, payload: filling(walk, 1401) });
    return {
      plan: walk.plan(1400),
      steps: [
        ...walk.before,
        walk.step(large, {
          verdict: 'drop:too_big',
          sent: [answered(large, { ...TOO_BIG[walk.from], rest: 1400 - growth(walk) })],
          changed: { icmpSent: 1 },
        }),
        walk.step(walk.packet(fits), { verdict: 'forward', sent: [anyIdResult(walk, fits)] }),
      ],
    };
  }),
);

function anyIdResult(walk: Walk, fields: Fields) {
  const { over, before } = walk;
  return before.length === 0 ? over.atRealServer(fields) : over.atClient(fields);
}

rows(
  'a datagram in pieces that is longer than the other family can say is answered and dropped',
  WALKS.filter(({ from, to }) => from === 6 && to === 4).map((walk): Row => {
    const fits = { payload: pattern(65_507) };
    const large = { payload: pattern(65_508) };
    const pieces = cutUp(walk.packet(fits), 1500);
    return {
      name: walk.name,
      plan: walk.plan(),
      steps: [
        ...walk.before,
        walk.step(pieces, { verdict: 'forward', sent: leaving(walk, whole(fits.payload), pieces) }),
        walk.step(cutUp(walk.packet(large), 1500), {
          verdict: 'drop:too_big',
          sent: [
            (sent) => {
              assert.equal(dissect(sent).icmp?.type, 2);
              assert.equal(dissect(sent).icmp?.rest, 1520);
            },
          ],
        }),
      ],
    };
  }),
);

/** About a packet of 1,480 bytes or `about`. */
const taught = (walk: Walk, mtu: number, about = walk.result({ ...DF, payload: filling(walk, 1480) })) =>
  errorAbout(about, { ...TOO_BIG[walk.to], rest: mtu });

rows(
  'packet too big from the way to a real server is told to the client and kept for the session',
  COMBINATIONS.map((it): Row => {
    const walk = INBOUND.find(({ over }) => over === it.pair)!;
    const noRoom = { ...DF, payload: filling(walk, 1400) };
    const large = { ...DF, payload: filling(walk, 1401) };
    const told = { ...TOO_BIG[walk.from], rest: 1400 - growth(walk) };
    const cuttable = walk.packet({ payload: large.payload });
    const inPieces = inFragments(it.pair.toRealServer({ payload: large.payload }), 1400);
    const withoutDf =
      walk.from === 6
        ? { verdict: 'drop:too_big', sent: [answered(cuttable, told)] }
        : { verdict: 'forward', sent: [it.pair.carrier(it.sent), ...inPieces] };
    return {
      name: it.name,
      plan: it.plan(),
      steps: [
        it.trial({ changed: { ...FIRST, ...it.counted } }),
        fromFarSide(walk, taught(walk, 1400, walk.result(large)), {
          verdict: 'forward',
          sent: [toSender(walk, told, asSent(walk, large))],
        }),
        it.trial({ wan: it.pair.fromClient(noRoom), sent: it.carried(noRoom), changed: CARRIED }),
        {
          wan: it.pair.fromClient(large),
          verdict: 'drop:too_big',
          sent: [answered(it.pair.fromClient(large), told)],
        },
        { wan: cuttable, ...withoutDf },
      ],
    };
  }),
);

/** What an error may say, and what is then kept. */
const TAUGHT = {
  4: [
    [0, 552],
    [67, 552],
    [551, 552],
    [552, 552],
    [1479, 1479],
  ],
  6: [
    [0, 1280],
    [1279, 1280],
    [1281, 1281],
    [1479, 1479],
  ],
} as const;

rows(
  'no path is narrower than the least of its family, whoever says so',
  INBOUND.flatMap((walk) =>
    TAUGHT[walk.to].map(([mtu, kept]): Row => {
      const fits = { ...DF, payload: filling(walk, kept) };
      const large = walk.packet({ ...DF, payload: filling(walk, Math.max(kept, 1261) + 1) });
      const allowed = Math.max(kept - growth(walk), walk.from === 6 ? 1280 : 0);
      return {
        name: `${mtu}, ${walk.name}`,
        plan: walk.plan(),
        steps: [
          ...opened(walk),
          fromFarSide(walk, taught(walk, mtu), { verdict: 'forward' }),
          ...(walk.from === 6 && kept < 1260
            ? []
            : [walk.step(walk.packet(fits), { verdict: 'forward', sent: [anyIdResult(walk, fits)] })]),
          walk.step(large, {
            verdict: 'drop:too_big',
            sent: [answered(large, { ...TOO_BIG[walk.from], rest: allowed })],
          }),
        ],
      };
    }),
  ),
);

rows(
  'an MTU that the packet inside had room in teaches nothing',
  INBOUND.flatMap((walk) =>
    [1480, 1500, 9000].map((mtu): Row => {
      const large = { ...DF, payload: filling(walk, 1480) };
      return {
        name: `${mtu}, ${walk.name}`,
        plan: walk.plan(),
        steps: [
          ...opened(walk),
          fromFarSide(walk, taught(walk, mtu), { verdict: 'drop:bad_icmp' }),
          walk.step(walk.packet(large), { verdict: 'forward', sent: [anyIdResult(walk, large)] }),
        ],
      };
    }),
  ),
);

const UNIT_MS = 65_536;

rows(
  'a path MTU is forgotten after ten minutes',
  INBOUND.map((walk): Row => {
    const large = { ...DF, payload: filling(walk, 1480) };
    return {
      name: walk.name,
      plan: { service: { ...walk.plan().service, onewayMs: 3_600_000 } },
      startMs: 0,
      steps: [
        ...opened(walk),
        fromFarSide(walk, taught(walk, 1400), { verdict: 'forward' }),
        {
          at: 11 * UNIT_MS - 1,
          ...walk.step(walk.packet(large), { verdict: 'drop:too_big', sent: [() => {}] }),
        },
        {
          at: 11 * UNIT_MS,
          ...walk.step(walk.packet(large), { verdict: 'forward', sent: [anyIdResult(walk, large)] }),
        },
        fromFarSide(walk, taught(walk, 1450), { verdict: 'forward' }),
        walk.step(walk.packet(large), { verdict: 'drop:too_big', sent: [() => {}] }),
      ],
    };
  }),
);

rows(
  'a smaller MTU that comes later is kept, a larger one is not',
  INBOUND.map((walk): Row => {
    const error = (mtu: number) => fromFarSide(walk, taught(walk, mtu), { verdict: 'forward' });
    const fits = { ...DF, payload: filling(walk, 1300) };
    return {
      name: walk.name,
      plan: walk.plan(),
      steps: [
        ...opened(walk),
        error(1400),
        error(1300),
        error(1450),
        walk.step(walk.packet(fits), { verdict: 'forward', sent: [anyIdResult(walk, fits)] }),
        walk.step(walk.packet({ ...DF, payload: filling(walk, 1301) }), {
          verdict: 'drop:too_big',
          sent: [(sent) => assert.equal(dissect(sent).icmp?.rest, 1300 - growth(walk))],
        }),
      ],
    };
  }),
);

rows(
  'packet too big from the way to a client is told to the real server and nothing is kept',
  WALKS.filter(({ before }) => before.length > 0).map((walk): Row => {
    const large = { ...DF, payload: filling(walk, 1480) };
    return {
      name: walk.name,
      plan: walk.plan(),
      steps: [
        ...opened(walk),
        fromFarSide(walk, taught(walk, 1400), {
          verdict: 'forward',
          sent: [toSender(walk, { ...TOO_BIG[walk.from], rest: 1400 - growth(walk) }, asSent(walk, large))],
        }),
        walk.step(walk.packet(large), { verdict: 'forward', sent: [anyIdResult(walk, large)] }),
      ],
    };
  }),
);

rows(
  'a path that was narrow for one session is not for another',
  INBOUND.map((walk): Row => {
    const large = { ...DF, payload: filling(walk, 1480) };
    const other = { ...large, sport: 7777 };
    return {
      name: walk.name,
      plan: walk.plan(),
      steps: [
        ...opened(walk),
        fromFarSide(walk, taught(walk, 1400), { verdict: 'forward' }),
        walk.step(walk.packet(other), {
          verdict: 'forward',
          sent: [anyIdResult(walk, { ...large, sport: walk.over.lport + 1 })],
        }),
      ],
    };
  }),
);
