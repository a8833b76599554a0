// UOA and fragments: a UOA never stands in a piece of ours, and none of anybody else gets through inside
// pieces.
import { pattern } from '../packets/bytes.ts';
import { FORMS, uoaOf } from '../packets/uoa-builder.ts';
import { CARRIED, COMBINATIONS, FIRST } from './combination.ts';
import { type Row, rows } from './rows.ts';
import { cutUp, leaving, WALKS, whole } from './walks.ts';

const SENT_ON = { fragmentsReceived: 1, datagramsReassembled: 1, datagramsFragmented: 1 };
const PAYLOAD = pattern(4000);
const INBOUND = WALKS.filter(({ before }) => before.length === 0);
const OUTBOUND = WALKS.filter(({ before }) => before.length > 0);

rows(
  'a carrier goes ahead of the pieces',
  COMBINATIONS.map((it): Row => {
    const walk = INBOUND.find(({ over }) => over === it.pair)!;
    const pieces = cutUp(walk.packet({ payload: PAYLOAD }), 1500);
    const plain = { wan: pieces, verdict: 'forward', sent: leaving(walk, whole(PAYLOAD), pieces) };
    const carried = { ...plain, sent: [it.pair.carrier(it.sent, { df: false }), ...plain.sent] };
    return {
      name: it.name,
      plan: it.plan(),
      steps: [
        { ...carried, changed: { ...FIRST, ...CARRIED, ...SENT_ON } },
        { ...carried, changed: { ...CARRIED, ...SENT_ON } },
        { ...carried, changed: { ...CARRIED, ...SENT_ON } },
        { ...plain, changed: { uoaExhausted: 1, ...SENT_ON } },
      ],
    };
  }),
);

rows(
  'a UOA of a real server inside pieces, of any form, does not reach the client',
  OUTBOUND.flatMap((walk) =>
    FORMS.flatMap((form): Row[] => {
      const { over } = walk;
      const uoa = uoaOf(form, over.server, over.named);
      if (!uoa) return [];
      const pieces = cutUp(over.fromRealServer({ payload: PAYLOAD }, uoa), 1400);
      return [
        {
          name: `${form}, ${walk.name}`,
          plan: walk.plan(),
          steps: [
            ...walk.before,
            walk.step(pieces, {
              verdict: 'forward',
              sent: leaving(walk, whole(PAYLOAD), pieces),
              changed: { sessionsOneway: -1, sessionsNormal: 1, ...SENT_ON, uoaStripped: 1 },
            }),
          ],
        },
      ];
    }),
  ),
);

rows(
  'a datagram that without its opp header is no larger than a piece leaves whole',
  OUTBOUND.map((walk): Row => {
    const { over } = walk;
    const fields = { payload: pattern(40) };
    const pieces = cutUp(over.fromRealServer(fields, over.uoa('opp')), [48]);
    return {
      name: walk.name,
      plan: walk.plan(),
      steps: [
        ...walk.before,
        walk.step(pieces, {
          verdict: 'forward',
          sent: [over.atClient(fields)],
          changed: {
            sessionsOneway: -1,
            sessionsNormal: 1,
            fragmentsReceived: 1,
            datagramsReassembled: 1,
            uoaStripped: 1,
          },
        }),
      ],
    };
  }),
);

const LIAR = {
  4: { cip: '8.8.8.8', cport: 53, vip: '9.9.9.9', vport: 54 },
  6: { cip: '2001:db8::8', cport: 53, vip: '2001:db8::9', vport: 54 },
};

rows(
  'a UOA of a client inside pieces, of any form, does not reach the real server',
  INBOUND.flatMap((walk) =>
    FORMS.flatMap((form) =>
      ([4, 6] as const).flatMap((family): Row[] => {
        const { over } = walk;
        const lie = uoaOf(form, over.client, LIAR[family]);
        if (!lie) return [];
        const pieces = cutUp(over.fromClient({ payload: PAYLOAD }, lie), 1400);
        return [
          {
            name: `${form} with an IPv${family} address, ${over.name}`,
            plan: walk.plan(),
            steps: [
              walk.step(pieces, {
                verdict: 'forward',
                sent: leaving(walk, whole(PAYLOAD), pieces),
                changed: { ...FIRST, ...SENT_ON, uoaForgedRemoved: 1 },
              }),
            ],
          },
        ];
      }),
    ),
  ),
);
