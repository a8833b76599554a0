// ICMP errors of other hosts about a session's packets: passed on to who sent the packet, about the packet as
// that side sent it; all others are not ours.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { icmp4 } from '../packets/builder.ts';
import { concat, pattern } from '../packets/bytes.ts';
import { icmpError } from './expected.ts';
import { PORT, Rig, realServer } from './rig.ts';
import {
  CIP,
  fromClient,
  fromRealServer,
  LIP,
  RIP,
  toClient,
  toRealServer,
  VIP,
  withIpo,
  withOpp,
} from './roles.ts';
import { type Row, rows } from './rows.ts';

const PLAIN = { service: { maxTrials: 0 } };
const OPEN = { wan: fromClient(), verdict: 'forward' };
const GOOD = { wan: fromClient(), verdict: 'forward', sent: [toRealServer()] };
const ROUTER = '10.9.9.9';
const BIG = { df: true, payload: pattern(1380) }; // 1,408 bytes

/** An error about a packet that we sent: from `src` to the address that sent it. */
const errorTo = (
  dst: string,
  about: Uint8Array,
  {
    type = 3,
    code = 3,
    rest = 0,
    src = RIP,
  }: { type?: number; code?: number; rest?: number; src?: string } = {},
) => icmp4({ src, dst, type, code, rest, body: about });

/** What is sent has a TTL of 64, so the sender's own packet shows as it was when its TTL was that. */
const asClientSent = fromClient({ ttl: 64 });
const asServerSent = fromRealServer({ ttl: 64 });

const CODES: { type: number; code: number; name: string }[] = [
  { type: 3, code: 0, name: 'network unreachable' },
  { type: 3, code: 1, name: 'host unreachable' },
  { type: 3, code: 3, name: 'port unreachable' },
  { type: 3, code: 13, name: 'administratively prohibited' },
  { type: 11, code: 0, name: 'time exceeded' },
];

rows('errors about what was sent to a real server', [
  ...CODES.map(
    ({ type, code, name }): Row => ({
      name: `${name} reaches the client, from the VIP, about its own packet`,
      plan: PLAIN,
      steps: [
        OPEN,
        {
          lan: errorTo(LIP, toRealServer(), { type, code }),
          verdict: 'forward',
          sent: [icmpError(VIP, CIP, { type, code, about: asClientSent })],
          changed: { icmpTranslated: 1 },
        },
        GOOD,
      ],
    }),
  ),
  {
    name: 'an error of a router on the way counts like one of the real server',
    plan: PLAIN,
    steps: [
      OPEN,
      {
        lan: errorTo(LIP, toRealServer(), { code: 1, src: ROUTER }),
        verdict: 'forward',
        sent: [icmpError(VIP, CIP, { type: 3, code: 1, about: asClientSent })],
      },
    ],
  },
  {
    name: 'the UOA in the embedded packet is taken out',
    steps: [
      OPEN,
      {
        lan: errorTo(LIP, withIpo()),
        verdict: 'forward',
        sent: [icmpError(VIP, CIP, { type: 3, code: 3, about: asClientSent })],
      },
    ],
  },
  {
    name: 'the protocol-248 header in the embedded packet is taken out',
    plan: { service: { dialect: 'opp' } },
    steps: [
      OPEN,
      {
        lan: errorTo(LIP, withOpp()),
        verdict: 'forward',
        sent: [icmpError(VIP, CIP, { type: 3, code: 3, about: asClientSent })],
      },
    ],
  },
  {
    name: 'an error that embeds no more than the UDP header is enough',
    plan: PLAIN,
    steps: [
      OPEN,
      {
        lan: errorTo(LIP, toRealServer().slice(0, 28)),
        verdict: 'forward',
        sent: [icmpError(VIP, CIP, { type: 3, code: 3, about: asClientSent.slice(0, 28) })],
      },
    ],
  },
  {
    name: 'a UDP checksum of zero in the embedded packet stays zero',
    plan: PLAIN,
    steps: [
      { wan: fromClient({ checksum: 'zero' }), verdict: 'forward' },
      {
        lan: errorTo(LIP, toRealServer({ checksum: 'zero' })),
        verdict: 'forward',
        sent: [icmpError(VIP, CIP, { type: 3, code: 3, about: fromClient({ ttl: 64, checksum: 'zero' }) })],
      },
    ],
  },
  {
    name: 'that the real server cannot read a UOA is for us alone',
    plan: { service: { dialect: 'opp' } },
    steps: [
      OPEN,
      { lan: errorTo(LIP, withOpp(), { code: 2 }), verdict: 'consumed', changed: { uoaUnsupported: 1 } },
    ],
  },
]);

rows('errors about what was sent to a client', [
  {
    name: 'port unreachable reaches the real server, from the LIP, about its own packet',
    plan: PLAIN,
    steps: [
      OPEN,
      { lan: fromRealServer(), verdict: 'forward' },
      {
        wan: errorTo(VIP, toClient(), { src: CIP }),
        verdict: 'forward',
        sent: [icmpError(LIP, RIP, { type: 3, code: 3, about: asServerSent })],
        changed: { icmpTranslated: 1 },
      },
    ],
  },
  {
    name: 'fragmentation needed on the way to the client keeps its MTU',
    plan: PLAIN,
    steps: [
      OPEN,
      { lan: fromRealServer(), verdict: 'forward' },
      {
        wan: errorTo(VIP, toClient(BIG), { code: 4, rest: 1300, src: ROUTER }),
        verdict: 'forward',
        sent: [
          icmpError(LIP, RIP, { type: 3, code: 4, rest: 1300, about: fromRealServer({ ...BIG, ttl: 64 }) }),
        ],
      },
    ],
  },
]);

const FITS = { df: true, payload: pattern(1368) }; // 1,396 bytes: no room for a UOA within 1,400
const needed = (mtu: number) => errorTo(LIP, toRealServer(BIG), { code: 4, rest: mtu, src: ROUTER });
const tooBig = (mtu: number) => icmpError(VIP, CIP, { type: 3, code: 4, rest: mtu, about: fromClient(BIG) });

rows('the path MTU that fragmentation needed teaches', [
  {
    name: 'the client is told, and the session keeps it',
    plan: PLAIN,
    steps: [
      { wan: fromClient(BIG), verdict: 'forward', sent: [toRealServer(BIG)] },
      {
        lan: needed(1400),
        verdict: 'forward',
        sent: [icmpError(VIP, CIP, { type: 3, code: 4, rest: 1400, about: fromClient({ ...BIG, ttl: 64 }) })],
      },
      { wan: fromClient(BIG), verdict: 'drop:too_big', sent: [tooBig(1400)] },
      { wan: fromClient(FITS), verdict: 'forward', sent: [toRealServer(FITS)] },
    ],
  },
  {
    name: 'a packet without room for the UOA within it gets a carrier',
    steps: [
      { wan: fromClient(BIG), verdict: 'forward' },
      { lan: needed(1400), verdict: 'forward' },
      { wan: fromClient(FITS), verdict: 'forward', changed: { uoaCarrier: 1 } },
    ],
  },
  {
    name: 'the way of another plan may be narrower',
    plan: PLAIN,
    steps: [
      { wan: fromClient(BIG), verdict: 'forward' },
      { lan: needed(1400), verdict: 'forward' },
      { replan: { service: { maxTrials: 0, realServers: [realServer(RIP, { mtu: 1300 })] } }, sessions: 1 },
      { wan: fromClient(BIG), verdict: 'drop:too_big', sent: [tooBig(1300)] },
    ],
  },
]);

/** Each leaves the session as it was. */
const NOT_TRANSLATED: { name: string; packet: Uint8Array; verdict: string }[] = [
  {
    name: 'an error about a tuple that is no session of ours passes',
    packet: errorTo(LIP, toRealServer({ sport: 20099 })),
    verdict: 'pass',
  },
  {
    name: 'an error whose embedded source is not its destination passes',
    packet: errorTo('10.2.0.201', toRealServer()),
    verdict: 'pass',
  },
  {
    name: 'an error that embeds less than the UDP header passes',
    packet: errorTo(LIP, toRealServer().slice(0, 27)),
    verdict: 'pass',
  },
  {
    name: 'an error about a fragment passes',
    packet: errorTo(LIP, toRealServer({ fragOffset: 10 })),
    verdict: 'pass',
  },
  {
    name: 'an echo reply passes',
    packet: errorTo(LIP, toRealServer(), { type: 0, code: 0 }),
    verdict: 'pass',
  },
  {
    name: 'a wrong ICMP checksum is dropped',
    packet: corrupt(errorTo(LIP, toRealServer())),
    verdict: 'drop:bad_icmp',
  },
  {
    name: 'a total length beyond the packet is dropped',
    packet: icmp4({ src: RIP, dst: LIP, type: 3, code: 3, body: toRealServer(), totalLength: 900 }),
    verdict: 'drop:truncated',
  },
];

rows('errors that are not translated', [
  ...NOT_TRANSLATED.map(
    ({ name, packet, verdict }): Row => ({
      name,
      plan: PLAIN,
      steps: [OPEN, { lan: packet, verdict, sent: [], sessions: 1 }, GOOD],
    }),
  ),
  {
    name: 'an error about an inbound packet from the client side is forged',
    plan: PLAIN,
    steps: [OPEN, { wan: errorTo(LIP, toRealServer()), verdict: 'drop:wrong_interface' }, GOOD],
  },
  {
    name: 'an error is no sign of life: the session expires as if it had not come',
    plan: PLAIN,
    steps: [
      { at: 0, ...OPEN },
      { at: 299_000, lan: errorTo(LIP, toRealServer()), verdict: 'forward' },
      { at: 300_000, tick: true },
      { at: 305_000, tick: true, sessions: 0 },
    ],
  },
]);

describe('the rate limit', () => {
  test('errors beyond 50 at once are dropped and counted', () => {
    const rig = new Rig(PLAIN, { startMs: 5_000, shift: 0 });
    rig.receive(fromClient(), PORT.wan);
    const verdicts = Array.from(
      { length: 52 },
      () => rig.receive(errorTo(LIP, toRealServer()), PORT.lan).verdict,
    );
    assert.equal(verdicts.filter((verdict) => verdict === 'forward').length, 50);
    assert.deepEqual(verdicts.slice(50), ['drop:icmp_rate_limited', 'drop:icmp_rate_limited']);
  });
});

/** The last byte of the embedded payload changed, and no checksum with it. */
function corrupt(packet: Uint8Array): Uint8Array {
  return concat(packet.slice(0, -1), Uint8Array.of(packet[packet.length - 1] ^ 1));
}
