// ICMP errors that are not sent: about what the RFCs forbid to answer, and beyond the limits, which are such
// that one who causes many does not keep them from others, and nobody keeps "too big" from anybody.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { destOptions, hopByHop, option6 } from '../packets/builder6.ts';
import { pattern } from '../packets/bytes.ts';
import { errorAbout, opened } from './errors.ts';
import { EMPTY, type Fields } from './pair.ts';
import { PORT, Rig, SIDE } from './rig.ts';
import { type Row, rows } from './rows.ts';
import { answered, cutUp, filling, WALKS, type Walk } from './walks.ts';

const INBOUND = WALKS.filter(({ before }) => before.length === 0);
const FROM_6 = WALKS.filter(({ from }) => from === 6);

/** Its type asks for an answer even where the destination is a group (RFC 8200, 4.2). */
const TELLING = option6(0x80, EMPTY);
const OWN = ['fd00:1::1'];
/**
 * RFC 1122, 3.2.2 and RFC 4443, 2.4 (e.6): no single host; and from outside our own addresses, which are
 * forged.
 */
const NOBODY = ['ff02::1', 'ff0e::1', '::', 'fe80::1', '::1', 'fd00:1::1'];

rows(
  'a piece of a datagram is answered to a single host only, and only the first piece',
  FROM_6.flatMap((walk): Row[] => {
    const pieces = (change: Fields = {}) =>
      cutUp(walk.packet({ payload: pattern(1000), extensions: [hopByHop(TELLING)], ...change }), [504]);
    const refused = { verdict: 'drop:unknown_ip_option', sent: [], changed: {} };
    return [
      ...[...NOBODY, ...(walk.before.length === 0 ? [walk.over.named.vip] : [walk.over.lip])].map(
        (src): Row => ({
          name: `not to ${src}, ${walk.name}`,
          plan: { ...walk.plan(), ownAddresses: OWN },
          steps: [...walk.before, ...pieces({ src }).map((piece) => walk.step(piece, refused))],
        }),
      ),
      {
        name: `to its sender about the first, ${walk.name}`,
        plan: { ...walk.plan(), ownAddresses: OWN },
        steps: [
          ...walk.before,
          walk.step(pieces()[1], refused),
          walk.step(pieces()[0], {
            verdict: 'drop:unknown_ip_option',
            sent: [answered(pieces()[0], { type: 4, code: 2, rest: 42 })],
          }),
        ],
      },
    ];
  }),
);

rows(
  'a whole packet from nobody is not answered either',
  INBOUND.flatMap((walk): Row[] => {
    const nobody = walk.from === 6 ? NOBODY : ['224.0.0.1', '255.255.255.255', '0.0.0.0', '240.0.0.1'];
    const problems: Fields[] = [
      { ttl: 1 },
      { df: true, payload: filling(walk, 1401) },
      ...(walk.from === 6 ? [{ extensions: [destOptions(TELLING)] }] : []),
    ];
    return nobody.map((src) => ({
      name: `${src}, ${walk.name}`,
      plan: { ...walk.plan(1400), ownAddresses: OWN },
      steps: problems.map((problem) =>
        walk.step(walk.packet({ src, ...problem }), { verdict: 'drop:bad_source', sent: [], changed: {} }),
      ),
    }));
  }),
);

rows('over loopback a program of this host is answered', [
  {
    name: 'about a piece',
    plan: { ...FROM_6[0].plan(), ports: [{ side: SIDE.both, loopback: true }] },
    steps: ['::1', 'fd00:1::100'].map((src) => {
      const extensions = [hopByHop(TELLING)];
      const [first] = cutUp(FROM_6[0].packet({ src, payload: pattern(1000), extensions }), [504]);
      return {
        wan: first,
        verdict: 'drop:unknown_ip_option',
        sent: [answered(first, { type: 4, code: 2, rest: 42 })],
      };
    }),
  },
]);

/** Another client of the walk, or the same one to which another real server answers. */
const address = (walk: Walk, number: number) =>
  walk.from === 4 ? `198.18.${number >>> 8}.${number & 255}` : `2001:db8::${number.toString(16)}`;

/** An open session, and how many of what comes in on a side is answered. */
function ready(walk: Walk, mtu = 1400) {
  const rig = new Rig(walk.plan(mtu));
  for (const step of opened(walk))
    rig.receive((step.wan ?? step.lan) as Uint8Array, step.wan ? PORT.wan : PORT.lan);
  const isInbound = walk.before.length === 0;
  const [near, far] = isInbound ? [PORT.wan, PORT.lan] : [PORT.lan, PORT.wan];
  const answers = (packets: Uint8Array[], port = near) =>
    packets.reduce((sum, packet) => sum + rig.receive(packet, port).sent.length, 0);
  return { rig, far, answers };
}
const times = (count: number, packet: Uint8Array): Uint8Array[] =>
  Array.from({ length: count }, () => packet);
const each = (count: number, make: (number: number) => Uint8Array): Uint8Array[] =>
  Array.from({ length: count }, (_, number) => make(number));

const tooBig = (walk: Walk, src?: string) =>
  walk.packet({ df: true, payload: filling(walk, 1401), ...(src !== undefined && { src }) });
const expired = (walk: Walk, src?: string) =>
  walk.packet({ ttl: 1, payload: EMPTY, ...(src !== undefined && { src }) });
const told = (walk: Walk) => errorAbout(walk.result(), { type: walk.to === 4 ? 11 : 3, code: 0, rest: 0 });
const toldTooBig = (walk: Walk) =>
  errorAbout(walk.result({ df: true, payload: filling(walk, 1400) }), {
    type: walk.to === 4 ? 3 : 2,
    code: walk.to === 4 ? 4 : 0,
    rest: 1300,
  });

describe('limits of ICMP errors', () => {
  for (const walk of WALKS) {
    test(`each kind is sent 50 times at once and 250 times a second to one, ${walk.name}`, () => {
      const { rig, far, answers } = ready(walk);
      assert.equal(answers(times(60, expired(walk))), 50);
      assert.equal(answers(times(60, told(walk)), far), 50);
      assert.equal(rig.counter('icmpSuppressed'), 20);
      rig.at += 20;
      assert.equal(answers(times(60, expired(walk))), 5);
      assert.equal(answers(times(60, told(walk)), far), 5);
      rig.at += 1_000;
      assert.equal(answers(times(60, expired(walk))), 50);
    });

    test(`other kinds in any number do not stop "too big", ${walk.name}`, () => {
      const { rig, far, answers } = ready(walk);
      const [late, unreachable] = [times(100, expired(walk)), times(20, told(walk))];
      const [large, largeTold] = [tooBig(walk), toldTooBig(walk)];
      for (let burst = 0; burst < 100; burst++) {
        answers(late);
        answers(unreachable, far);
        assert.equal(answers([large]), 1, `after ${2 * burst} ms of 60,000 errors a second`);
        assert.equal(answers([largeTold], far), 1);
        rig.at += 2;
      }
    });
  }

  for (const walk of WALKS) {
    test(`"too big" is sent about each packet, also to whom others forge, ${walk.name}`, () => {
      const { rig, far, answers } = ready(walk);
      const [large, largeTold] = [tooBig(walk), toldTooBig(walk)];
      for (let packet = 0; packet < 100; packet++) {
        assert.equal(answers(times(100, large)), 100, `after ${packet} ms of 100,000 a second`);
        assert.equal(answers(times(20, largeTold), far), 20);
        rig.at++;
      }
      assert.equal(rig.counter('icmpSuppressed'), 0);
    });
  }

  for (const walk of INBOUND) {
    test(`to one who causes them without end go 250 a second, and others get theirs, ${walk.name}`, () => {
      const { rig, answers } = ready(walk);
      answers(times(100, expired(walk)));
      rig.at += 100;
      const again = times(20, expired(walk));
      let toOne = 0;
      let toOthers = 0;
      for (let ms = 0; ms < 1_000; ms++) {
        toOne += answers(again);
        if (ms % 2 === 0) toOthers += answers([expired(walk, address(walk, ms))]);
        rig.at++;
      }
      assert.ok(toOne >= 250 && toOne <= 300, `${toOne}`);
      assert.equal(toOthers, 500);
    });

    test(`to all together go 1,000 a second of a kind but "too big", ${walk.name}`, () => {
      const { rig, answers } = ready(walk);
      let sent = 0;
      let large = 0;
      for (let ms = 0; ms < 500; ms++) {
        sent += answers(each(5, (n) => expired(walk, address(walk, 5 * ms + n))));
        large += answers(each(2, (n) => tooBig(walk, address(walk, 2 * ms + n))));
        rig.at++;
      }
      assert.ok(sent >= 500 && sent <= 550, `${sent}`);
      assert.equal(large, 1_000);
    });
  }
});
