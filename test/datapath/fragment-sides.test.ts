// Pieces that come from the client side and from the real servers' side are of different datagrams, whatever
// their addresses and identification say. And a UOA before an IPv6 fragment header counts although it ends
// here.
import { destOptions, routing } from '../packets/builder6.ts';
import { pattern } from '../packets/bytes.ts';
import { FORMS, uoaOf } from '../packets/uoa-builder.ts';
import { FIRST } from './combination.ts';
import { SIDE } from './rig.ts';
import { type PacketStep, type Row, rows } from './rows.ts';
import { cutUp, leaving, WALKS, type Walk, whole } from './walks.ts';

const INBOUND = WALKS.filter(({ before }) => before.length === 0);
const OUTBOUND = WALKS.filter(({ before }) => before.length > 0);
const PAYLOAD = pattern(2000);
const LIE = pattern(2000).reverse();
const SENT_ON = { fragmentsReceived: 1, datagramsReassembled: 1, datagramsFragmented: 1 };
const NORMAL = { sessionsOneway: -1, sessionsNormal: 1 };

/**
 * A datagram of the real server in two pieces, and another that somebody on the client side sends in its
 * name.
 */
const twoAndTwo = (walk: Walk) => ({
  own: cutUp(walk.packet({ payload: PAYLOAD }), [1000]),
  forged: cutUp(walk.packet({ payload: LIE }), [1000]),
});

const held = (step: Pick<PacketStep, 'wan' | 'lan'>): PacketStep => ({
  ...step,
  verdict: 'held',
  changed: { fragmentsReceived: 1 },
});

const each = (steps: (walk: Walk) => Row['steps'], list = OUTBOUND): Row[] =>
  list.map((walk) => ({ name: walk.name, plan: walk.plan(), steps: [...walk.before, ...steps(walk)] }));

rows(
  "pieces from the client side in a real server's name complete nothing of its own, and make nothing themselves",
  each((walk) => {
    const { own, forged } = twoAndTwo(walk);
    const sent = leaving(walk, whole(PAYLOAD), own);
    return [
      held({ wan: forged[0] }),
      held({ lan: own[1] }),
      { lan: own[0], verdict: 'forward', sent, changed: { ...NORMAL, ...SENT_ON } },
      held({ lan: own[0] }),
      {
        wan: forged[1],
        verdict: 'drop:wrong_interface',
        changed: { fragmentsReceived: 1, datagramsReassembled: 1 },
      },
      { lan: own[1], verdict: 'forward', sent, changed: SENT_ON },
    ];
  }),
);

rows(
  'nor do they end one by overlapping it, by another end, or by standing where its pieces belong',
  each((walk) => {
    const { own } = twoAndTwo(walk);
    const others = [[504, 600], [600, 600], [1000, 400], [1000], [1200]].map(
      (cut) => cutUp(walk.packet({ payload: LIE }), cut)[1],
    );
    return others.flatMap((forged, index): Row['steps'] => [
      { at: index * 10_000, tick: true, ...(index > 0 && { alsoDropped: { fragment_timeout: 1 } }) },
      held({ lan: own[0] }),
      held({ wan: forged }),
      { lan: own[1], verdict: 'forward', sent: leaving(walk, whole(PAYLOAD), own) },
    ]);
  }),
);

rows(
  "pieces from the real servers' side in a client's name complete nothing of its own",
  each((walk) => {
    const { own, forged } = twoAndTwo(walk);
    return [
      held({ lan: forged[0] }),
      held({ wan: own[1] }),
      { wan: own[0], verdict: 'forward', sent: leaving(walk, whole(PAYLOAD), own) },
    ];
  }, INBOUND),
);

rows(
  'where both sides share their interfaces, pieces may come from any of them',
  WALKS.map((walk): Row => {
    const { own } = twoAndTwo(walk);
    const both = { side: SIDE.both, mtu: 1500, loopback: false };
    return {
      name: walk.name,
      plan: { ...walk.plan(), ports: [both, both] },
      steps: [
        ...walk.before,
        held({ wan: own[0] }),
        { lan: own[1], verdict: 'forward', sent: leaving(walk, whole(PAYLOAD), own) },
      ],
    };
  }),
);

const LIAR = {
  4: { cip: '8.8.8.8', cport: 53, vip: '9.9.9.9', vport: 54 },
  6: { cip: '2001:db8::8', cport: 53, vip: '2001:db8::9', vport: 54 },
};

rows(
  'a UOA before the fragment header is counted like any other that is taken out',
  WALKS.filter(({ from }) => from === 6).flatMap((walk) =>
    FORMS.flatMap((form) =>
      ([4, 6] as const).flatMap((family): Row[] => {
        const uoa = uoaOf(form, 6, LIAR[family])!;
        if (!uoa || !('extensions' in uoa)) return [];
        const extensions = [...uoa.extensions, routing()];
        const pieces = cutUp(walk.packet({ payload: PAYLOAD, extensions }), [1000]);
        const harmless = cutUp(
          walk.packet({ payload: PAYLOAD, extensions: [destOptions(new Uint8Array(0)), routing()] }),
          [1000],
        );
        const isInbound = walk.before.length === 0;
        const removed = isInbound ? { uoaForgedRemoved: 1 } : { uoaStripped: 1 };
        const sent = leaving(walk, whole(PAYLOAD), pieces);
        return [
          {
            name: `${form} with an IPv${family} address, ${walk.name}`,
            plan: walk.plan(),
            steps: [
              ...walk.before,
              walk.step(pieces, {
                verdict: 'forward',
                sent,
                changed: { ...(isInbound ? FIRST : NORMAL), ...SENT_ON, ...removed },
              }),
              walk.step(pieces.toReversed(), {
                verdict: 'forward',
                sent,
                changed: { ...SENT_ON, ...removed },
              }),
              walk.step(harmless, { verdict: 'forward', sent, changed: SENT_ON }),
            ],
          },
        ];
      }),
    ),
  ),
);
