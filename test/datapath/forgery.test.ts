// What a client must not be able to do: make the real server believe another address, or route through us.
import assert from 'node:assert/strict';
import { concat, pattern, unhex } from '../packets/bytes.ts';
import { dissect, options } from '../packets/dissect.ts';
import { addressOption } from '../packets/uoa-builder.ts';
import { SIDE } from './rig.ts';
import {
  EMPTY,
  forgedOpp,
  fromClient,
  fromRealServer,
  ipoCarrier,
  LIP,
  RIP,
  toClient,
  toRealServer,
  UOA,
  VIP,
  withIpo,
  withOpp,
} from './roles.ts';
import { type Row, rows } from './rows.ts';

const PLAIN = { service: { maxTrials: 0 } };
const OPP = { service: { dialect: 'opp' as const } };
const LIE = addressOption('8.8.8.8', 53);
const FORGED = { sessionsCreated: 1, sessionsOneway: 1, uoaForgedRemoved: 1 };
const OPEN = { wan: fromClient(), verdict: 'forward' };

const removed = (what: string, area: string, left = ''): Row => ({
  name: `${what} is removed, ours is inserted, and with all trials used up nothing of it remains`,
  plan: { service: { maxTrials: 1 } },
  steps: [
    {
      wan: fromClient({ options: unhex(area) }),
      verdict: 'forward',
      sent: [withIpo({ options: unhex(left) })],
      changed: { ...FORGED, uoaInserted: 1 },
    },
    {
      wan: fromClient({ options: unhex(area) }),
      verdict: 'forward',
      sent: [toRealServer({ options: unhex(left) })],
      changed: { uoaForgedRemoved: 1, uoaExhausted: 1 },
    },
    { wan: fromClient(), verdict: 'forward', sent: [toRealServer()], changed: {} },
  ],
});

rows('forged options', [
  removed('an option 31 of 8 bytes', '1f08 0035 08080808'),
  removed('an option 31 of 16 bytes', '1f10 0000 0035 1770 08080808 0a010064'),
  removed('an option 31 of 20 bytes', '1f14 0035 20010db8 00000000 00000000 00000001'),
  removed('an option 31 of 40 bytes', `1f28 0100 0035 1770 ${'20010db8000000000000000000000001'.repeat(2)}`),
  removed('an option 31 of 2 bytes', '1f02 0101', '0101'),
  removed('an option 30', '1e10 0000 0035 1770 08080808 0a010064'),
  removed('an option 29', '1d08 0035 08080808'),
  removed('an option behind a NOP', '01 1f08 0035 08080808 00 0000', '01'),
  removed(
    'an option between others',
    '94040000 1f08003508080808 07060400 0000 0101',
    '94040000 070604000000 0101',
  ),
  removed('each of several options', '1f0800350808 0808 1e0400 00 01 1f0300 1d02', '01'),
  {
    name: 'a 36-byte forged option that left no room for ours is removed and ours inserted',
    steps: [
      {
        wan: fromClient({ options: concat(unhex('1f24'), new Uint8Array(34)) }),
        verdict: 'forward',
        sent: [withIpo()],
        changed: { ...FORGED, uoaInserted: 1 },
      },
    ],
  },
  {
    name: 'an option behind End-of-Options is zeroed',
    plan: PLAIN,
    steps: [
      {
        wan: fromClient({ options: concat(unhex('01 00 0101'), LIE) }),
        verdict: 'forward',
        sent: [
          (sent) => {
            const area = unhex(dissect(sent).options);
            assert.deepEqual(options(area), [Uint8Array.of(1)]);
            assert.ok(area.subarray(1).every((byte) => byte === 0));
          },
        ],
      },
    ],
  },
  {
    name: 'an option behind the End-of-Options of a packet that gets ours is zeroed too',
    steps: [
      {
        wan: fromClient({ options: concat(unhex('01 00 0101'), LIE) }),
        verdict: 'forward',
        sent: [
          (sent) => {
            const area = unhex(dissect(sent).options);
            assert.deepEqual(options(area), [UOA, Uint8Array.of(1)]);
            assert.ok(area.subarray(9).every((byte) => byte === 0));
          },
        ],
      },
    ],
  },
  {
    name: 'type 0x9f, which nobody reads, stays',
    plan: PLAIN,
    steps: [
      {
        wan: fromClient({ options: unhex('9f08 0035 08080808') }),
        verdict: 'forward',
        sent: [toRealServer({ options: unhex('9f08 0035 08080808') })],
        changed: { sessionsCreated: 1, sessionsOneway: 1 },
      },
    ],
  },
  {
    name: 'unfinished and absent checksums survive the removal',
    plan: PLAIN,
    steps: [
      { wan: fromClient({ options: LIE, checksum: 'partial' }), verdict: 'forward', sent: [toRealServer()] },
      {
        wan: fromClient({ options: LIE, checksum: 'zero' }),
        verdict: 'forward',
        sent: [toRealServer({ checksum: 'zero' })],
      },
    ],
  },
  {
    name: 'a full-size packet with a forged option is preceded by our carrier',
    steps: [
      {
        wan: fromClient({ options: LIE, payload: pattern(1464) }),
        verdict: 'forward',
        sent: [withIpo({ payload: pattern(1464) })],
      },
      {
        wan: fromClient({ payload: pattern(1472) }),
        verdict: 'forward',
        sent: [ipoCarrier(), toRealServer({ payload: pattern(1472) })],
      },
    ],
  },
  {
    name: 'a forged carrier becomes a plain empty datagram behind our carrier',
    steps: [
      {
        wan: fromClient({ options: LIE, payload: EMPTY }),
        verdict: 'forward',
        sent: [ipoCarrier(), toRealServer({ payload: EMPTY })],
      },
    ],
  },
]);

rows('forged headers', [
  {
    name: 'a protocol-248 header is removed, ours is inserted, and with all trials used up nothing of it remains',
    plan: { service: { dialect: 'opp', maxTrials: 1 } },
    steps: [
      {
        wan: forgedOpp({ option: LIE }),
        verdict: 'forward',
        sent: [withOpp()],
        changed: { ...FORGED, uoaInserted: 1 },
      },
      {
        wan: forgedOpp({ option: LIE }),
        verdict: 'forward',
        sent: [toRealServer()],
        changed: { uoaForgedRemoved: 1, uoaExhausted: 1 },
      },
    ],
  },
  ...(
    [
      [
        'of version 2 with a client of 20 bytes',
        { oppVersion: 2, option: concat(unhex('1f140035'), new Uint8Array(16)) },
      ],
      ['without any option', { option: EMPTY }],
      ['with an odd length', { option: pattern(7) }],
      ['with 200 bytes of anything', { option: pattern(200) }],
      ['in a packet with options', { options: unhex('94040000') }],
      ['with an unfinished checksum', { checksum: 'partial' as const }],
    ] as const
  ).map(
    ([what, change]): Row => ({
      name: `a header ${what} is removed`,
      plan: PLAIN,
      steps: [
        {
          wan: forgedOpp(change),
          verdict: 'forward',
          sent: [toRealServer('options' in change ? { options: change.options } : {})],
          changed: FORGED,
        },
      ],
    }),
  ),
  {
    name: 'a header in a service of dialect ipo is removed as well',
    steps: [
      {
        wan: forgedOpp({ option: LIE }),
        verdict: 'forward',
        sent: [withIpo()],
        changed: { ...FORGED, uoaInserted: 1 },
      },
    ],
  },
  {
    name: 'an option and a header in one packet are both removed and counted once',
    plan: OPP,
    steps: [
      {
        wan: forgedOpp({ option: LIE, options: concat(LIE, unhex('94040000')) }),
        verdict: 'forward',
        sent: [withOpp({ options: unhex('94040000') })],
        changed: { ...FORGED, uoaInserted: 1 },
      },
    ],
  },
  {
    name: 'a header whose datagram is for nobody of us passes',
    plan: PLAIN,
    steps: [{ wan: forgedOpp({ dst: '10.1.0.101' }), verdict: 'pass', changed: {}, sessions: 0 }],
  },
]);

const LSRR = unhex('8307 04 0a090909 00');
const SSRR = unhex('8907 04 0a090909 00');

rows('source routes', [
  ...(
    [
      ['loose', LSRR],
      ['loose behind NOPs', concat(unhex('010101'), LSRR)],
      ['strict', SSRR],
      ['loose behind a forged', concat(LIE, LSRR)],
    ] as const
  ).map(
    ([what, area]): Row => ({
      name: `a ${what} source route from a client is dropped`,
      steps: [
        { wan: fromClient({ options: area }), verdict: 'drop:source_route', sessions: 0 },
        { wan: fromClient(), verdict: 'forward', sent: [withIpo()] },
      ],
    }),
  ),
  ...(
    [
      ['loose', LSRR],
      ['strict', SSRR],
    ] as const
  ).map(
    ([what, area]): Row => ({
      name: `a ${what} source route from a real server is dropped`,
      plan: PLAIN,
      steps: [
        OPEN,
        { lan: fromRealServer({ options: area }), verdict: 'drop:source_route' },
        { lan: fromRealServer(), verdict: 'forward', sent: [toClient()] },
      ],
    }),
  ),
]);

const SOURCES = [
  '0.0.0.0',
  '0.1.2.3',
  '127.0.0.1',
  '127.255.0.9',
  '224.0.0.1',
  '239.1.1.1',
  '169.254.0.0',
  '169.254.9.9',
  '169.254.255.255',
  '240.0.0.1',
  '255.255.255.255',
];

/**
 * A datagram whose answer would come back to the proxy as a client's, for ever, and the interface it comes
 * from.
 */
const LOOPS: { what: string; from: 'wan' | 'lan'; src: string; sport: number }[] = [
  { what: 'the VIP:vport itself', from: 'wan', src: VIP, sport: 6000 },
  { what: 'the VIP with another port', from: 'wan', src: VIP, sport: 7 },
  { what: 'a LIP:lport', from: 'lan', src: LIP, sport: 20050 },
  { what: 'the real server of the service', from: 'wan', src: RIP, sport: 6000 },
  { what: 'the real server of the service, from its own side', from: 'lan', src: RIP, sport: 6000 },
  { what: 'an address of this host', from: 'wan', src: '10.1.0.1', sport: 5000 },
  { what: "the broadcast of this host's subnet", from: 'wan', src: '10.1.0.255', sport: 5000 },
];

rows('sources whose answer would loop', [
  ...LOOPS.map(
    ({ what, from, src, sport }): Row => ({
      name: `a request from ${what} is dropped`,
      plan: { ownAddresses: ['10.1.0.1', '10.1.0.255'] },
      steps: [
        { [from]: fromClient({ src, sport }), verdict: 'drop:bad_source', sessions: 0 },
        { wan: fromClient(), verdict: 'forward', sent: [withIpo()] },
      ],
    }),
  ),
  {
    name: 'a real server is a client like any other from another port',
    plan: PLAIN,
    steps: [
      {
        lan: fromClient({ src: RIP, sport: 5000 }),
        verdict: 'forward',
        sent: [toRealServer()],
      },
    ],
  },
  {
    name: 'in a sidecar a program of the pod is a client over loopback, under the address that is the VIP',
    plan: { ...PLAIN, ports: [{ side: SIDE.both, loopback: true }], ownAddresses: [VIP] },
    steps: [
      { wan: fromClient({ src: VIP, sport: 5000 }), verdict: 'forward', sent: [toRealServer()] },
      { wan: fromClient({ src: VIP, sport: 6000 }), verdict: 'drop:bad_source' },
    ],
  },
]);

rows('impossible sources', [
  ...SOURCES.map(
    (src): Row => ({
      name: `a request from ${src} is dropped`,
      steps: [
        { wan: fromClient({ src }), verdict: 'drop:bad_source', sessions: 0 },
        { wan: fromClient(), verdict: 'forward', sent: [withIpo()] },
      ],
    }),
  ),
  ...['1.0.0.1', '126.255.255.255', '128.0.0.1', '169.253.255.255', '169.255.0.0', '223.255.255.255'].map(
    (src): Row => ({
      name: `a request from ${src} is served`,
      plan: PLAIN,
      steps: [{ wan: fromClient({ src }), verdict: 'forward', sent: [toRealServer()] }],
    }),
  ),
  {
    name: 'a reply that pretends to come to the LIP from the client side does not reach a client',
    plan: PLAIN,
    steps: [OPEN, { wan: fromRealServer(), verdict: 'drop:wrong_interface' }],
  },
  {
    name: 'on one arm a client cannot open a session through a LIP',
    plan: { ...PLAIN, ports: [{ side: SIDE.both, loopback: false }] },
    steps: [OPEN, { wan: fromClient({ dst: LIP, dport: 20005 }), verdict: 'drop:no_session' }],
  },
]);
