// UOA, dialect opp: protocol 248 between IP and UDP, a carrier where it does not fit, trials, failures to send.

import { withId } from '../packets/builder.ts';
import { concat, pattern, unhex } from '../packets/bytes.ts';
import { dissect } from '../packets/dissect.ts';
import { addressOption } from '../packets/uoa-builder.ts';
import { GOLDEN_V4 } from '../vectors/golden.ts';
import { assertSame } from './expected.ts';
import { realServer } from './rig.ts';
import {
  EMPTY,
  fromClient,
  fromRealServer,
  oppCarrier,
  RIP,
  toClient,
  toRealServer,
  withOpp,
} from './roles.ts';
import { type Row, rows } from './rows.ts';

const OPP = { service: { dialect: 'opp' as const } };
const FIRST = { sessionsCreated: 1, sessionsOneway: 1 };
const INSERTED = { uoaInserted: 1 };
const CARRIED = { uoaCarrier: 1 };
const FULL = pattern(1472);

rows(
  'golden packets of dialect opp',
  GOLDEN_V4.filter((golden) => golden.dialect === 'opp').flatMap((golden): Row[] => {
    const payload = golden.carriage === 'carrier' ? EMPTY : pattern(32);
    const plan = { service: { ...OPP.service, lports: { first: golden.lport, last: golden.lport } } };
    const carrier = (sent: Uint8Array) => assertSame(withId(sent, 0x1234), golden.bytes);
    const arrival: Row = {
      name: `a client's datagram becomes "${golden.name}" byte for byte`,
      plan,
      steps: [
        {
          wan: fromClient({ payload }),
          verdict: 'forward',
          sent: [golden.bytes],
          changed: { ...FIRST, ...INSERTED },
        },
      ],
    };
    if (golden.carriage === 'inserted') return [arrival];
    const ahead: Row = {
      name: `a full-size datagram is preceded by "${golden.name}"`,
      plan,
      steps: [
        {
          wan: fromClient({ payload: FULL }),
          verdict: 'forward',
          sent: [carrier, toRealServer({ sport: golden.lport, payload: FULL })],
          changed: { ...FIRST, ...CARRIED },
        },
      ],
    };
    return [arrival, ahead];
  }),
);

rows('UOA opp, inserted', [
  {
    name: 'the first maxTrials packets carry the header, the next one is plain and counted as exhausted once',
    plan: OPP,
    steps: [
      { wan: fromClient(), verdict: 'forward', sent: [withOpp()], changed: { ...FIRST, ...INSERTED } },
      { wan: fromClient(), verdict: 'forward', sent: [withOpp()], changed: INSERTED },
      { wan: fromClient(), verdict: 'forward', sent: [withOpp()], changed: INSERTED },
      { wan: fromClient(), verdict: 'forward', sent: [toRealServer()], changed: { uoaExhausted: 1 } },
      { wan: fromClient(), verdict: 'forward', sent: [toRealServer()], changed: {} },
    ],
  },
  {
    name: 'each session has its own client in the header',
    plan: OPP,
    steps: [
      { wan: fromClient(), verdict: 'forward', sent: [withOpp()] },
      {
        wan: fromClient({ src: '203.0.113.9', sport: 1 }),
        verdict: 'forward',
        sent: [withOpp({ sport: 20006, option: addressOption('203.0.113.9', 1) })],
      },
    ],
  },
  {
    name: 'TOS, DF, identification, TTL and bytes behind the datagram are kept',
    plan: OPP,
    steps: [
      {
        wan: fromClient({ tos: 3, df: true, id: 77, ttl: 12, surplus: pattern(6) }),
        verdict: 'forward',
        sent: [withOpp({ tos: 3, df: true, id: 77, ttl: 11, surplus: pattern(6) })],
      },
    ],
  },
  {
    name: 'an unfinished checksum is completed, checksum 0 stays 0',
    plan: OPP,
    steps: [
      { wan: fromClient({ checksum: 'partial' }), verdict: 'forward', sent: [withOpp()] },
      { wan: fromClient({ checksum: 'zero' }), verdict: 'forward', sent: [withOpp({ checksum: 'zero' })] },
    ],
  },
  {
    name: 'existing options stay before the header, up to 28 bytes of them',
    plan: OPP,
    steps: [
      {
        wan: fromClient({ options: concat(unhex('071c 04'), new Uint8Array(25)) }),
        verdict: 'forward',
        sent: [withOpp({ options: concat(unhex('071c 04'), new Uint8Array(25)) })],
        changed: { ...FIRST, ...INSERTED },
      },
    ],
  },
  {
    name: 'the packet may grow to exactly the MTU towards the real server',
    plan: OPP,
    steps: [
      {
        wan: fromClient({ payload: pattern(1460) }),
        verdict: 'forward',
        sent: [withOpp({ payload: pattern(1460) })],
        changed: { ...FIRST, ...INSERTED },
      },
    ],
  },
  {
    name: 'replies come back without any header',
    plan: OPP,
    steps: [
      { wan: fromClient(), verdict: 'forward' },
      { lan: fromRealServer(), verdict: 'forward', sent: [toClient()] },
    ],
  },
]);

const OPTIONS_32 = concat(unhex('0720 04'), new Uint8Array(29));

rows('UOA opp, carrier', [
  {
    name: 'a packet that the header would lift above the MTU by one byte is preceded by a carrier and left as it is',
    plan: OPP,
    steps: [
      {
        wan: fromClient({ payload: pattern(1461), df: true, id: 9, tos: 8 }),
        verdict: 'forward',
        sent: [
          oppCarrier({ df: true, tos: 8 }),
          toRealServer({ payload: pattern(1461), df: true, id: 9, tos: 8 }),
        ],
        changed: { ...FIRST, ...CARRIED },
      },
    ],
  },
  {
    name: 'the MTU of the real server counts',
    plan: { service: { dialect: 'opp', realServers: [realServer(RIP, { mtu: 600 })] } },
    steps: [
      {
        wan: fromClient({ payload: pattern(561) }),
        verdict: 'forward',
        sent: [oppCarrier(), toRealServer({ payload: pattern(561) })],
      },
      {
        wan: fromClient({ payload: pattern(560) }),
        verdict: 'forward',
        sent: [withOpp({ payload: pattern(560) })],
      },
    ],
  },
  {
    name: 'options and header that need more than 60 bytes are preceded by a carrier without those options',
    plan: OPP,
    steps: [
      {
        wan: fromClient({ options: OPTIONS_32 }),
        verdict: 'forward',
        sent: [oppCarrier(), toRealServer({ options: OPTIONS_32 })],
        changed: { ...FIRST, ...CARRIED },
      },
    ],
  },
  {
    name: 'the carrier has a checksum of its own when the packet has none',
    plan: OPP,
    steps: [
      {
        wan: fromClient({ payload: FULL, checksum: 'zero', ttl: 30 }),
        verdict: 'forward',
        sent: [oppCarrier({ ttl: 29 }), toRealServer({ payload: FULL, checksum: 'zero', ttl: 29 })],
      },
    ],
  },
]);

const isOpp = (packet: Uint8Array) => dissect(packet).proto === 248;

rows('UOA opp, failures to send', [
  {
    name: 'a packet that cannot be sent with the header goes without it, which costs no trial',
    plan: OPP,
    steps: [
      {
        wan: fromClient({ payload: pattern(7), checksum: 'partial' }),
        refuse: isOpp,
        verdict: 'forward',
        sent: [toRealServer({ payload: pattern(7) })],
        changed: { ...FIRST, uoaFailed: 1 },
      },
      { wan: fromClient(), verdict: 'forward', sent: [withOpp()], changed: INSERTED },
      { wan: fromClient(), verdict: 'forward', sent: [withOpp()], changed: INSERTED },
      { wan: fromClient(), verdict: 'forward', sent: [withOpp()], changed: INSERTED },
      { wan: fromClient(), verdict: 'forward', sent: [toRealServer()], changed: { uoaExhausted: 1 } },
    ],
  },
  {
    name: 'a packet with options that cannot be sent with the header goes with its options',
    plan: OPP,
    steps: [
      {
        wan: fromClient({ options: unhex('94040000') }),
        refuse: isOpp,
        verdict: 'forward',
        sent: [toRealServer({ options: unhex('94040000') })],
      },
    ],
  },
  {
    name: 'a carrier that cannot be sent costs no trial and its packet goes',
    plan: OPP,
    steps: [
      {
        wan: fromClient({ payload: FULL }),
        refuse: isOpp,
        verdict: 'forward',
        sent: [toRealServer({ payload: FULL })],
        changed: { ...FIRST, uoaFailed: 1 },
      },
      {
        wan: fromClient({ payload: FULL }),
        verdict: 'forward',
        sent: [oppCarrier(), toRealServer({ payload: FULL })],
        changed: CARRIED,
      },
    ],
  },
]);
