// What hosts and routers on one side of the proxy wrote about themselves reaches nobody on the other: not in
// the options of packets, not inside ICMP errors, nor behind or beside what those embed.
import assert from 'node:assert/strict';
import { concat, onesSum, pattern, u16, unhex } from '../packets/bytes.ts';
import { dissect } from '../packets/dissect.ts';
import { asSent, errorAbout, fromFarSide, opened, passedOn, pointing } from './errors.ts';
import type { Fields } from './pair.ts';
import type { Message } from './rfc7915.ts';
import { type Row, rows } from './rows.ts';
import { cutUp, filling, WALKS, type Walk } from './walks.ts';

/** Options as a sender has them, and as they are behind a router 10.9.9.1 and the host 10.2.0.10. */
const WRITTEN: [what: string, sent: string, written: string][] = [
  ['record route', '070b04 00000000 00000000 00', '070b0c 0a090901 0a02000a 00'],
  ['record route, half full', '070b04 00000000 00000000 00', '070b08 0a090901 00000000 00'],
  ['record route without room', '070704 00000000 00', '070708 0a02000a 00'],
  ['timestamps', '440c0500 00000000 00000000', '440c0d00 00112233 00112244'],
  ['timestamps that found no room', '440c0500 00000000 00000000', '440c0df0 00112233 00112244'],
  ['timestamps with addresses', '440c0501 00000000 00000000', '440c0d01 0a02000a 00112233'],
  ['timestamps with addresses, no room', '440c0501 00000000 00000000', '440c0d31 0a02000a 00112233'],
  [
    'record route and a timestamp whose pointer is wrong',
    '070b04 00000000 00000000 01 440c0301 00000000 00000000',
    '070b0c 0a090901 0a02000a 01 440c0301 0a02000a 00112233',
  ],
  ['traceroute', '520c 0000 0000 0000 00000000', '520c 1234 0002 0001 0a02000a'],
];

/** Only inside errors, of which nobody needs them. */
const UNKNOWN: [string, string, string][] = [
  ['an option of type 0x9e', '9e08 0000 00000000', '9e08 1234 0a02000a'],
  [
    'an option of type 0x19 behind a router alert',
    '94040001 1908 0000 00000000',
    '94040001 1908 1234 0a02000a',
  ],
  ['bytes behind the end of the options', '00000000 00000000', '00000000 0a02000a'],
];

const V4 = WALKS.filter(({ from, to }) => from === 4 && to === 4);
const ERRORS: Record<4 | 6, Message[]> = {
  4: [{ type: 3, code: 3, rest: 0 }, { type: 11, code: 0, rest: 0 }, pointing(8)],
  6: [
    { type: 1, code: 4, rest: 0 },
    { type: 3, code: 0, rest: 0 },
  ],
};
const withOptions = (text: string): Fields => ({ options: unhex(text) });

rows(
  'what was written into the options of a packet is not inside the error about it',
  [...WRITTEN, ...UNKNOWN].flatMap(([what, sent, written]) =>
    V4.flatMap((walk) =>
      ERRORS[4].map(
        (message): Row => ({
          name: `${what}, ${message.type}/${message.code}, ${walk.name}`,
          plan: walk.plan(),
          steps: [
            ...opened(walk),
            fromFarSide(
              walk,
              errorAbout(walk.result(withOptions(written)), message),
              passedOn(walk, message, asSent(walk, withOptions(sent))),
            ),
            walk.step(walk.packet(), { verdict: 'forward' }),
          ],
        }),
      ),
    ),
  ),
);

const ANSWERS = V4.filter(({ before }) => before.length > 0);

rows('what was written into the options of an answer does not reach the client', [
  ...WRITTEN.flatMap(([what, sent, written]) =>
    ANSWERS.map(
      (walk): Row => ({
        name: what,
        plan: walk.plan(),
        steps: [
          ...walk.before,
          walk.step(walk.packet(withOptions(written)), {
            verdict: 'forward',
            sent: [walk.result(withOptions(sent))],
          }),
        ],
      }),
    ),
  ),
  ...ANSWERS.map((walk): Row => {
    const fields = { ...withOptions('94040001 0707 08 0a02000a 00'), payload: pattern(1000) };
    const showing = (options: string) => (sent: Uint8Array) =>
      assert.equal(dissect(sent, { fragment: true }).options, options);
    return {
      name: 'in pieces neither',
      plan: walk.plan(),
      steps: [
        ...walk.before,
        walk.step(cutUp(walk.packet(fields), [504]), {
          verdict: 'forward',
          sent: [showing('940400010707040000000000'), showing('94040001')],
        }),
      ],
    };
  }),
]);

rows("a client's own record goes on as it came", [
  ...WRITTEN.flatMap(([what, , written]) =>
    V4.filter(({ before }) => before.length === 0).map(
      (walk): Row => ({
        name: what,
        plan: walk.plan(),
        steps: [
          walk.step(walk.packet(withOptions(written)), {
            verdict: 'forward',
            sent: [walk.result(withOptions(written))],
          }),
        ],
      }),
    ),
  ),
]);

/** Interface 5 with the address 10.2.0.1 (RFC 5837), and a label stack (RFC 4950). */
const OBJECTS = [unhex('0010020c 00000005 00010000 0a020001'), unhex('00080101 0001e601')];

/** Extensions (RFC 4884, 7); without checksum it is 0. */
function extensions(hasChecksum: boolean): Uint8Array {
  const bytes = concat(unhex('20000000'), ...OBJECTS);
  if (hasChecksum) bytes.set(u16(onesSum(bytes) ^ 0xffff), 2);
  return bytes;
}

const HEADER = { 4: 20, 6: 40 };
const larger = (walk: Walk, length: number): Fields => ({
  df: walk.from === walk.to || length > 1280, // RFC 7915, 5.1
  payload: filling(walk, length),
});
const each = (row: (walk: Walk, message: Message) => Omit<Row, 'name' | 'plan'>): Row[] =>
  WALKS.flatMap((walk) =>
    ERRORS[walk.to].map((message) => ({
      name: `${message.type}/${message.code}, ${walk.name}`,
      plan: walk.plan(),
      ...row(walk, message),
    })),
  );

rows(
  'extensions of a router that does not say the length of what stands before them are not passed on',
  each((walk, message) => ({
    steps: [
      ...opened(walk),
      ...[true, false].map((hasChecksum) => {
        const body = concat(walk.result(larger(walk, 1400)).slice(0, 128), extensions(hasChecksum));
        const told = asSent(walk, larger(walk, 1400)).slice(0, HEADER[walk.from] + 128 - HEADER[walk.to]);
        return fromFarSide(walk, errorAbout(body, message), passedOn(walk, message, told));
      }),
    ],
  })),
);

rows(
  "bytes of the packet that only begin like extensions are the packet's",
  each((walk, message) => {
    const fields = larger(walk, 400);
    fields.payload!.set(unhex('20001234'), 128 - HEADER[walk.to] - 8);
    return {
      steps: [
        ...opened(walk),
        fromFarSide(
          walk,
          errorAbout(walk.result(fields), message),
          passedOn(walk, message, asSent(walk, fields)),
        ),
      ],
    };
  }),
);

rows(
  'what stands behind a packet that is shorter than its place is not passed on',
  each((walk, message) => {
    const about = walk.result(larger(walk, 100));
    const unit = walk.to === 4 ? { bytes: 4, one: 0x10000 } : { bytes: 8, one: 0x1000000 };
    const padded = concat(about, new Uint8Array(28).fill(0x0a), extensions(true));
    return {
      steps: [
        ...opened(walk),
        ...[0, 128].map((length) =>
          fromFarSide(
            walk,
            errorAbout(padded, { ...message, rest: message.rest + (length / unit.bytes) * unit.one }),
            passedOn(walk, message, asSent(walk, larger(walk, 100))),
          ),
        ),
      ],
    };
  }),
);

rows(
  'what stands in the unused bytes of an error is not passed on',
  each((walk, message) => ({
    steps: [
      ...opened(walk),
      fromFarSide(
        walk,
        // Not in the byte that would be a length.
        errorAbout(walk.result(), {
          ...message,
          rest: message.rest + (message.type === 12 ? 0x000a : 0x000a0a),
        }),
        passedOn(walk, message),
      ),
    ],
  })),
);
