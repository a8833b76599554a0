// The MTU of the way to each client, in all four walks of answers: what is larger is cut, or answered with
// the size that goes; what another client's way would take counts for nothing.

import { inFragments } from './expected.ts';
import { type Fields, PAIRS, pair } from './pair.ts';
import { type Row, rows } from './rows.ts';
import { answered, cutUp, filling, leaving, WALKS, type Walk, whole } from './walks.ts';

const ANSWERS = WALKS.filter(({ before }) => before.length > 0);
const TOO_BIG = { 4: { type: 3, code: 4 }, 6: { type: 2, code: 0 } };
const DF = { df: true };
/** Somebody else's way, so that packets are looked at from this size on. */
const NARROW = { '192.0.2.1': 1280 };

const each = (row: (walk: Walk) => Omit<Row, 'name'>): Row[] =>
  ANSWERS.map((walk) => ({ name: walk.name, plan: walk.plan(), ...row(walk) }));

const outboundV4 = ANSWERS.find(({ from, to }) => from === 4 && to === 4)!;
const client = ({ over }: Walk): string => over.named.cip;
const growth = ({ from, to }: Walk) => (to - from) * 10;
const result = (walk: Walk, fields: Fields) => walk.over.atClient(fields);

/** An answer that makes a packet of `length` bytes, and what it is told where that is more than `mtu`. */
function large(walk: Walk, length: number, mtu: number) {
  const packet = walk.packet({ ...DF, payload: filling(walk, length) });
  return walk.step(packet, {
    verdict: 'drop:too_big',
    sent: [answered(packet, { ...TOO_BIG[walk.from], rest: mtu - growth(walk) })],
    changed: { icmpSent: 1 },
  });
}

function fitting(walk: Walk, length: number) {
  const fields = { ...DF, payload: filling(walk, length) };
  return walk.step(walk.packet(fields), { verdict: 'forward', sent: [result(walk, fields)] });
}

rows(
  'an answer is judged by the MTU of the route to its client, which may be smaller than that of the interface',
  each((walk) => ({
    mtus: { ...NARROW, [client(walk)]: 1400 },
    steps: [...walk.before, large(walk, 1401, 1400), fitting(walk, 1400), fitting(walk, 1280)],
  })),
);

rows(
  'an answer is judged by the MTU of the route to its client, which may be larger than that of another interface',
  each((walk) => ({
    plan: {
      ...walk.plan(1400),
      ports: [
        { side: 1, mtu: 1400, loopback: false },
        { side: 2, mtu: 9000, loopback: false },
      ],
    },
    mtus: { ...NARROW, [client(walk)]: 3000 },
    steps: [...walk.before, fitting(walk, 1401), fitting(walk, 3000), large(walk, 3001, 3000)],
  })),
);

rows(
  'without a route to the client the MTU of the interface counts',
  each((walk) => ({
    plan: walk.plan(1400),
    mtus: NARROW,
    steps: [...walk.before, large(walk, 1401, 1400), fitting(walk, 1400)],
  })),
);

rows(
  'a route that changes its MTU counts from the next packet on',
  each((walk) => ({
    mtus: { ...NARROW, [client(walk)]: 1480 },
    steps: [
      ...walk.before,
      fitting(walk, 1480),
      { ...large(walk, 1480, 1340), mtus: { [client(walk)]: 1340 } },
      fitting(walk, 1340),
      { ...fitting(walk, 1450), mtus: { [client(walk)]: 1450 } },
    ],
  })),
);

rows(
  'a packet that all ways take is not asked about',
  each((walk) => ({
    plan: walk.plan(1300),
    mtus: { '192.0.2.1': 1450 },
    // Were it asked, it would hear of no route, and go by the 1,300 of the plan.
    steps: [...walk.before, fitting(walk, 1450), large(walk, 1451, 1300)],
  })),
);

rows(
  'an answer without DF is cut to the MTU of the route to its client',
  ANSWERS.filter(({ from }) => from === 4).map((walk) => {
    const payload = filling(walk, 1450);
    const cut = inFragments(walk.result({ payload, df: false }), 1400);
    return {
      name: walk.name,
      plan: walk.plan(),
      mtus: { ...NARROW, [client(walk)]: 1400 },
      steps: [
        ...walk.before,
        walk.step(walk.packet({ payload }), {
          verdict: 'forward',
          sent: cut,
        }),
      ],
    };
  }),
);

rows(
  'an answer that came in pieces leaves in pieces that the route to its client takes',
  each((walk) => {
    const payload = filling(walk, 4000);
    const pieces = cutUp(walk.packet({ payload }), 1480);
    return {
      mtus: { ...NARROW, [client(walk)]: 1304 },
      steps: [
        ...walk.before,
        walk.step(pieces, {
          verdict: 'forward',
          sent: leaving(walk, whole(payload), pieces, 1304),
        }),
      ],
    };
  }),
);

rows(
  'clients of one service are reached by ways of their own',
  PAIRS.map((over): Row => {
    const walk = ANSWERS.find((one) => one.over === over)!;
    const other = pair(over.client, over.server, { lport: over.lport + 1 });
    const cip = over.client === 4 ? '10.1.0.3' : 'fd00:1::3';
    const payload = filling(walk, 1450);
    const answer = (lport: number) => over.fromRealServer({ ...DF, payload, dport: lport });
    const told = { ...TOO_BIG[walk.from], rest: 1300 - growth(walk) };
    return {
      name: over.name,
      plan: walk.plan(),
      mtus: { ...NARROW, [client(walk)]: 1500, [cip]: 1300 },
      steps: [
        ...walk.before,
        { wan: other.fromClient({ src: cip }), verdict: 'forward' },
        {
          lan: answer(over.lport + 1),
          verdict: 'drop:too_big',
          sent: [answered(answer(over.lport + 1), told)],
        },
        { lan: answer(over.lport), verdict: 'forward', sent: [over.atClient({ ...DF, payload })] },
      ],
    };
  }),
);

/** Ten options that each piece bears. */
const STREAM_IDS = Uint8Array.from({ length: 40 }, (_, i) => [0x88, 4, 0, 7][i % 4]);

rows('a way that has no room beside the header takes no piece, and nothing waits for it', [
  {
    name: 'IPv4 options fill the MTU',
    plan: outboundV4.plan(),
    mtus: { ...NARROW, [client(outboundV4)]: 64 },
    steps: [
      ...outboundV4.before,
      {
        lan: outboundV4.packet({ payload: filling(outboundV4, 200), options: STREAM_IDS }),
        verdict: 'drop:send_failed',
        sent: [],
      },
    ],
  },
]);
