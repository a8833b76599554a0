// ICMP errors that say how long the packet inside is, because extensions stand behind it (RFC 4884): those
// are about somebody else's network. What is passed on ends with the packet and says no length.
import { concat, unhex } from '../packets/bytes.ts';
import { COMBINATIONS, FIRST } from './combination.ts';
import { asSent, errorAbout, fromFarSide, opened, passedOn, pointing, refusalsOf } from './errors.ts';
import type { Message } from './rfc7915.ts';
import { type Row, rows } from './rows.ts';
import { filling, towards, WALKS, type Walk } from './walks.ts';

/** Version 2, a checksum, and one object: an MPLS label stack (RFC 4950). */
const EXTENSION = unhex('20005d3d 00080101 0001e601');

/** Errors that have a length. */
const EXTENSIBLE: Record<4 | 6, Message[]> = {
  4: [
    { type: 3, code: 3, rest: 0 },
    { type: 3, code: 4, rest: 1400 },
    { type: 11, code: 0, rest: 0 },
    pointing(8),
  ],
  6: [
    { type: 1, code: 4, rest: 0 },
    { type: 3, code: 0, rest: 0 },
  ],
};
/** IPv4 counts units of 4 bytes in the second byte, IPv6 units of 8 in the first. */
const UNIT = { 4: 4, 6: 8 };
const ONE = { 4: 0x10000, 6: 0x1000000 };
const HEADER = { 4: 20, 6: 40 };

/** The error says that the packet inside is `bytes` long. */
const withLength = (family: 4 | 6, message: Message, bytes: number): Message => ({
  ...message,
  rest: message.rest + (bytes / UNIT[family]) * ONE[family],
});

const fieldsOf = (walk: Walk) => ({ df: true, payload: filling(walk, 1480) });

const each = (row: (walk: Walk, message: Message) => Omit<Row, 'name' | 'plan'>): Row[] =>
  WALKS.flatMap((walk) =>
    EXTENSIBLE[walk.to].map((message) => ({
      name: `${message.type}/${message.code}, ${walk.name}`,
      plan: walk.plan(),
      ...row(walk, message),
    })),
  );

rows(
  'the packet inside ends where the error says, and what follows is not passed on',
  each((walk, message) => ({
    steps: [
      ...opened(walk),
      ...[128, 256, 480].map((length) => {
        const body = concat(walk.result(fieldsOf(walk)).slice(0, length), EXTENSION);
        const kept = HEADER[walk.from] + length - HEADER[walk.to];
        return fromFarSide(
          walk,
          errorAbout(body, withLength(walk.to, message, length)),
          passedOn(walk, message, asSent(walk, fieldsOf(walk)).slice(0, kept)),
        );
      }),
    ],
  })),
);

rows(
  'a length beyond the error is that of the error',
  each((walk, message) => {
    const room = { 4: 500, 6: 1000 }[walk.to];
    const body = walk.result(fieldsOf(walk)).slice(0, room);
    const kept = HEADER[walk.from] + room - HEADER[walk.to];
    return {
      steps: [
        ...opened(walk),
        fromFarSide(
          walk,
          errorAbout(body, withLength(walk.to, message, 255 * UNIT[walk.to])),
          passedOn(walk, message, asSent(walk, fieldsOf(walk)).slice(0, kept)),
        ),
      ],
    };
  }),
);

rows(
  'a length that ends the packet inside before its ports and checksum is a lie',
  each((walk, message) => ({
    steps: [
      ...opened(walk),
      ...[UNIT[walk.to], HEADER[walk.to], 24 + (walk.to === 6 ? 16 : 0)].map((length) =>
        fromFarSide(walk, errorAbout(walk.result(fieldsOf(walk)), withLength(walk.to, message, length)), {
          verdict: 'drop:bad_icmp',
          changed: {},
        }),
      ),
      walk.step(walk.packet(), { verdict: 'forward' }),
    ],
  })),
);

rows(
  'the length counts the UOA that is taken out',
  COMBINATIONS.map((it): Row => {
    const walk = towards(it.pair);
    const [message] = EXTENSIBLE[walk.to];
    const body = concat(it.pair.toRealServer(fieldsOf(walk), it.uoa).slice(0, 128), EXTENSION);
    const kept = HEADER[walk.from] + 128 - HEADER[walk.to] - it.size;
    return {
      name: it.name,
      plan: it.plan(),
      steps: [
        it.trial({ changed: { ...FIRST, ...it.counted } }),
        fromFarSide(
          walk,
          errorAbout(body, withLength(walk.to, message, 128)),
          passedOn(walk, message, asSent(walk, fieldsOf(walk)).slice(0, kept)),
        ),
      ],
    };
  }),
);

rows(
  'a refusal may have extensions too',
  COMBINATIONS.filter(({ pair }) => pair.server === 4).flatMap((it) =>
    refusalsOf(it).map((message): Row => {
      const body = concat(it.pair.toRealServer(fieldsOf(towards(it.pair)), it.uoa).slice(0, 128), EXTENSION);
      return {
        name: `${message.type}/${message.code}, ${it.name}`,
        plan: it.plan(),
        steps: [
          it.trial({ changed: { ...FIRST, ...it.counted } }),
          {
            lan: errorAbout(body, withLength(4, message, 128), { src: it.pair.rip }),
            verdict: 'consumed',
            changed: { uoaUnsupported: 1 },
            refusals: [1],
          },
        ],
      };
    }),
  ),
);
