// UOA beyond the table of dialects.test.ts: trials, what stands beside the UOA and in a carrier, failures to
// send.
import { pattern, unhex } from '../packets/bytes.ts';
import { dissect } from '../packets/dissect.ts';
import { addressOption } from '../packets/uoa-builder.ts';
import { icmpError, inFragments } from './expected.ts';
import { realServer } from './rig.ts';
import {
  CIP,
  fromClient,
  fromRealServer,
  ipoCarrier,
  RIP,
  toClient,
  toRealServer,
  VIP,
  withIpo,
  withOpp,
} from './roles.ts';
import { rows } from './rows.ts';

const FIRST = { sessionsCreated: 1, sessionsOneway: 1 };
const INSERTED = { uoaInserted: 1 };
const CARRIED = { uoaCarrier: 1 };
const OPP = { service: { dialect: 'opp' as const } };
const FULL = pattern(1472); // makes a packet of 1,500 bytes

rows('UOA, inserted', [
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
    name: 'the same are kept beside a protocol-248 header',
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
]);

rows('UOA, carrier', [
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
    steps: [
      {
        wan: fromClient({ payload: FULL, df: true }),
        verdict: 'drop:too_big',
        sent: [
          icmpError(VIP, CIP, {
            type: 3,
            code: 4,
            rest: 1400,
            about: fromClient({ payload: FULL, df: true }),
          }),
        ],
        sessions: 0,
      },
    ],
  },
  {
    name: 'a carrier precedes a packet that goes in fragments',
    plan: { service: { realServers: [realServer(RIP, { mtu: 1400 })] } },
    steps: [
      {
        wan: fromClient({ payload: FULL }),
        verdict: 'forward',
        sent: [ipoCarrier(), ...inFragments(toRealServer({ payload: FULL }), 1400)],
        changed: { ...FIRST, ...CARRIED, datagramsFragmented: 1 },
      },
    ],
  },
]);

const isOpp = (packet: Uint8Array) => dissect(packet).proto === 248;
const hasUoa = (packet: Uint8Array) => dissect(packet).options.startsWith('1f08') || isOpp(packet);
const isCarrier = (packet: Uint8Array) => dissect(packet).payload === '';

rows('UOA, failures to send', [
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
    name: 'a packet with options that cannot be sent with a protocol-248 header goes with its options',
    plan: OPP,
    steps: [
      {
        wan: fromClient({ options: unhex('94040000') }),
        refuse: hasUoa,
        verdict: 'forward',
        sent: [toRealServer({ options: unhex('94040000') })],
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
