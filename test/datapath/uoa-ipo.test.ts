// UOA, dialect ipo: the option in front of all others, a carrier where it does not fit, trials, failures to send.

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
  ipoCarrier,
  RIP,
  toClient,
  toRealServer,
  withIpo,
} from './roles.ts';
import { type Row, rows } from './rows.ts';

const FIRST = { sessionsCreated: 1, sessionsOneway: 1 };
const INSERTED = { uoaInserted: 1 };
const CARRIED = { uoaCarrier: 1 };
const FULL = pattern(1472); // makes a packet of 1,500 bytes

rows(
  'golden packets of dialect ipo',
  GOLDEN_V4.filter((golden) => golden.dialect === 'ipo').flatMap((golden): Row[] => {
    const payload = golden.carriage === 'carrier' ? EMPTY : pattern(32);
    const plan = { service: { lports: { first: golden.lport, last: golden.lport } } };
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

rows('UOA ipo, inserted', [
  {
    name: 'the first maxTrials packets carry the option, the next one is plain and counted as exhausted once',
    steps: [
      { wan: fromClient(), verdict: 'forward', sent: [withIpo()], changed: { ...FIRST, ...INSERTED } },
      { wan: fromClient(), verdict: 'forward', sent: [withIpo()], changed: INSERTED },
      { wan: fromClient(), verdict: 'forward', sent: [withIpo()], changed: INSERTED },
      { wan: fromClient(), verdict: 'forward', sent: [toRealServer()], changed: { uoaExhausted: 1 } },
      { wan: fromClient(), verdict: 'forward', sent: [toRealServer()], changed: {} },
    ],
  },
  {
    name: 'maxTrials 0 turns UOA off',
    plan: { service: { maxTrials: 0 } },
    steps: [
      { wan: fromClient(), verdict: 'forward', sent: [toRealServer()], changed: FIRST },
      { wan: fromClient(), verdict: 'forward', sent: [toRealServer()], changed: {} },
    ],
  },
  {
    name: 'maxTrials 1 sends one',
    plan: { service: { maxTrials: 1 } },
    steps: [
      { wan: fromClient(), verdict: 'forward', sent: [withIpo()], changed: { ...FIRST, ...INSERTED } },
      { wan: fromClient(), verdict: 'forward', sent: [toRealServer()], changed: { uoaExhausted: 1 } },
    ],
  },
  {
    name: 'each session has its own trials and its own client in the option',
    plan: { service: { maxTrials: 1 } },
    steps: [
      { wan: fromClient(), verdict: 'forward', sent: [withIpo()] },
      {
        wan: fromClient({ src: '203.0.113.9', sport: 65535 }),
        verdict: 'forward',
        sent: [toRealServer({ sport: 20006, options: addressOption('203.0.113.9', 65535) })],
      },
      { wan: fromClient(), verdict: 'forward', sent: [toRealServer()] },
    ],
  },
  {
    name: 'replies do not end the trials',
    steps: [
      { wan: fromClient(), verdict: 'forward', sent: [withIpo()] },
      { lan: fromRealServer(), verdict: 'forward', sent: [toClient()] },
      { wan: fromClient(), verdict: 'forward', sent: [withIpo()], changed: INSERTED },
    ],
  },
  {
    name: 'TOS, DF, identification, TTL and bytes behind the datagram are kept beside the option',
    steps: [
      {
        wan: fromClient({ tos: 3, df: true, id: 77, ttl: 12, surplus: pattern(6) }),
        verdict: 'forward',
        sent: [withIpo({ tos: 3, df: true, id: 77, ttl: 11, surplus: pattern(6) })],
      },
    ],
  },
  {
    name: 'an empty datagram carries the option itself',
    steps: [
      {
        wan: fromClient({ payload: EMPTY }),
        verdict: 'forward',
        sent: [withIpo({ payload: EMPTY })],
        changed: { ...FIRST, ...INSERTED },
      },
    ],
  },
  {
    name: 'an unfinished checksum is completed, checksum 0 stays 0',
    steps: [
      { wan: fromClient({ checksum: 'partial' }), verdict: 'forward', sent: [withIpo()] },
      { wan: fromClient({ checksum: 'zero' }), verdict: 'forward', sent: [withIpo({ checksum: 'zero' })] },
    ],
  },
  {
    name: 'foreign options stand behind ours in their order',
    steps: [
      {
        wan: fromClient({ options: unhex('94040000 0101 0706 0400 0000') }),
        verdict: 'forward',
        sent: [withIpo({ options: unhex('94040000 0101 0706 0400 0000') })],
        changed: { ...FIRST, ...INSERTED },
      },
    ],
  },
  {
    name: 'the packet may grow to exactly the MTU towards the real server',
    steps: [
      {
        wan: fromClient({ payload: pattern(1464), df: true }),
        verdict: 'forward',
        sent: [withIpo({ payload: pattern(1464), df: true })],
        changed: { ...FIRST, ...INSERTED },
      },
    ],
  },
  {
    name: 'the option fits behind 32 bytes of foreign options',
    steps: [
      {
        wan: fromClient({ options: concat(unhex('0720 04'), new Uint8Array(29)) }),
        verdict: 'forward',
        sent: [withIpo({ options: concat(unhex('0720 04'), new Uint8Array(29)) })],
        changed: { ...FIRST, ...INSERTED },
      },
    ],
  },
]);

const FULL_OPTIONS = concat(unhex('0724 04'), new Uint8Array(33));

rows('UOA ipo, carrier', [
  {
    name: 'a packet that the option would lift above the MTU by one byte is preceded by a carrier and left as it is',
    steps: [
      {
        wan: fromClient({ payload: pattern(1465), df: true, id: 9 }),
        verdict: 'forward',
        sent: [ipoCarrier({ df: true }), toRealServer({ payload: pattern(1465), df: true, id: 9 })],
        changed: { ...FIRST, ...CARRIED },
      },
    ],
  },
  {
    name: 'the MTU of the real server counts, not that of the port',
    plan: { service: { realServers: [realServer(RIP, { mtu: 600 })] } },
    steps: [
      {
        wan: fromClient({ payload: pattern(564) }),
        verdict: 'forward',
        sent: [withIpo({ payload: pattern(564) })],
      },
      {
        wan: fromClient({ payload: pattern(565) }),
        verdict: 'forward',
        sent: [ipoCarrier(), toRealServer({ payload: pattern(565) })],
      },
    ],
  },
  {
    name: 'a header without room for the option is preceded by a carrier and left as it is',
    steps: [
      {
        wan: fromClient({ options: FULL_OPTIONS }),
        verdict: 'forward',
        sent: [ipoCarrier(), toRealServer({ options: FULL_OPTIONS })],
        changed: { ...FIRST, ...CARRIED },
      },
    ],
  },
  {
    name: 'the carrier copies TOS and DF and has the TTL of the packet that it precedes',
    steps: [
      {
        wan: fromClient({ payload: FULL, tos: 0xba, df: true, ttl: 20 }),
        verdict: 'forward',
        sent: [
          ipoCarrier({ tos: 0xba, df: true, ttl: 19 }),
          toRealServer({ payload: FULL, tos: 0xba, df: true, ttl: 19 }),
        ],
      },
    ],
  },
  {
    name: 'the carrier has a checksum of its own when the packet has none',
    steps: [
      {
        wan: fromClient({ payload: FULL, checksum: 'zero' }),
        verdict: 'forward',
        sent: [ipoCarrier(), toRealServer({ payload: FULL, checksum: 'zero' })],
      },
    ],
  },
  {
    name: 'a carrier counts as a trial like an inserted option',
    steps: [
      {
        wan: fromClient({ payload: FULL }),
        verdict: 'forward',
        sent: [ipoCarrier(), toRealServer({ payload: FULL })],
      },
      { wan: fromClient(), verdict: 'forward', sent: [withIpo()] },
      {
        wan: fromClient({ payload: FULL }),
        verdict: 'forward',
        sent: [ipoCarrier(), toRealServer({ payload: FULL })],
      },
      {
        wan: fromClient({ payload: FULL }),
        verdict: 'forward',
        sent: [toRealServer({ payload: FULL })],
        changed: { uoaExhausted: 1 },
      },
    ],
  },
  {
    name: 'no carrier precedes a packet that is too big itself',
    plan: { service: { realServers: [realServer(RIP, { mtu: 1400 })] } },
    steps: [{ wan: fromClient({ payload: FULL }), verdict: 'drop:too_big_no_df' }],
  },
]);

const hasUoa = (packet: Uint8Array) => dissect(packet).options.startsWith('1f08');
const isCarrier = (packet: Uint8Array) => dissect(packet).payload === '';

rows('UOA ipo, failures to send', [
  {
    name: 'a packet that cannot be sent with the option goes without it, which costs no trial',
    steps: [
      {
        wan: fromClient({ df: true, tos: 9 }),
        refuse: hasUoa,
        verdict: 'forward',
        sent: [toRealServer({ df: true, tos: 9 })],
        changed: { ...FIRST, uoaFailed: 1 },
      },
      { wan: fromClient(), verdict: 'forward', sent: [withIpo()], changed: INSERTED },
      { wan: fromClient(), verdict: 'forward', sent: [withIpo()], changed: INSERTED },
      { wan: fromClient(), verdict: 'forward', sent: [withIpo()], changed: INSERTED },
      { wan: fromClient(), verdict: 'forward', sent: [toRealServer()], changed: { uoaExhausted: 1 } },
    ],
  },
  {
    name: 'the packet that goes without the option keeps its foreign options, its odd length and its unfinished checksum is complete',
    steps: [
      {
        wan: fromClient({ options: unhex('94040000'), payload: pattern(7), checksum: 'partial' }),
        refuse: hasUoa,
        verdict: 'forward',
        sent: [toRealServer({ options: unhex('94040000'), payload: pattern(7) })],
      },
    ],
  },
  {
    name: 'a carrier that cannot be sent costs no trial and its packet goes',
    steps: [
      {
        wan: fromClient({ payload: FULL }),
        refuse: isCarrier,
        verdict: 'forward',
        sent: [toRealServer({ payload: FULL })],
        changed: { ...FIRST, uoaFailed: 1 },
      },
      {
        wan: fromClient({ payload: FULL }),
        verdict: 'forward',
        sent: [ipoCarrier(), toRealServer({ payload: FULL })],
        changed: CARRIED,
      },
    ],
  },
  {
    name: 'a packet that cannot be sent at all is dropped with its own reason',
    plan: { service: { maxTrials: 0 } },
    steps: [
      { wan: fromClient(), refuse: () => true, verdict: 'drop:send_failed' },
      { wan: fromClient(), verdict: 'forward', sent: [toRealServer()] },
      { lan: fromRealServer(), refuse: () => true, verdict: 'drop:send_failed' },
      { lan: fromRealServer(), verdict: 'forward', sent: [toClient()] },
    ],
  },
  {
    name: 'a packet that can be sent neither with nor without the option is dropped, and the trial is still due',
    steps: [
      { wan: fromClient(), refuse: () => true, verdict: 'drop:send_failed' },
      { wan: fromClient(), verdict: 'forward', sent: [withIpo()], changed: INSERTED },
    ],
  },
]);
