// What comes from a real server with a UOA or without payload: echo ACKs, rejected UOAs, answers to carriers.

import { concat, pattern, unhex } from '../packets/bytes.ts';
import { dissect } from '../packets/dissect.ts';
import { addressOption } from '../packets/uoa-builder.ts';
import {
  CIP,
  CPORT,
  EMPTY,
  fromClient,
  fromRealServer,
  ipoAck,
  ipoCarrier,
  oppAck,
  oppCarrier,
  REPLY,
  toClient,
  toRealServer,
  UOA,
  withIpo,
  withOpp,
} from './roles.ts';
import { type Row, rows } from './rows.ts';

const OPP = { service: { dialect: 'opp' as const } };
const ACKED = { uoaAcked: 1 };
const REJECTED = { uoaAckRejected: 1 };
const FIRST_IPO = { wan: fromClient(), verdict: 'forward', sent: [withIpo()] };
const FIRST_OPP = { wan: fromClient(), verdict: 'forward', sent: [withOpp()] };
const STILL_IPO = { wan: fromClient(), verdict: 'forward', sent: [withIpo()], changed: { uoaInserted: 1 } };
const STILL_OPP = { wan: fromClient(), verdict: 'forward', sent: [withOpp()], changed: { uoaInserted: 1 } };
const DONE = { wan: fromClient(), verdict: 'forward', sent: [toRealServer()], changed: {} };

rows('echo ACK', [
  {
    name: 'an echo ACK of dialect ipo is consumed and ends the trials',
    steps: [FIRST_IPO, { lan: ipoAck(), verdict: 'consumed', changed: ACKED }, DONE, DONE, DONE, DONE],
  },
  {
    name: 'an echo ACK of dialect opp is consumed and ends the trials',
    plan: OPP,
    steps: [FIRST_OPP, { lan: oppAck(), verdict: 'consumed', changed: ACKED }, DONE, DONE, DONE, DONE],
  },
  {
    name: 'an echo ACK may have an unfinished checksum or none',
    steps: [
      FIRST_IPO,
      { lan: ipoAck({ checksum: 'partial' }), verdict: 'consumed', changed: ACKED },
      DONE,
      { lan: ipoAck({ checksum: 'zero' }), verdict: 'consumed' },
    ],
  },
  {
    name: 'an echo ACK after exhausted trials is still one',
    plan: { service: { maxTrials: 1 } },
    steps: [
      FIRST_IPO,
      { wan: fromClient(), verdict: 'forward', sent: [toRealServer()], changed: { uoaExhausted: 1 } },
      { lan: ipoAck(), verdict: 'consumed', changed: ACKED },
      DONE,
    ],
  },
  {
    name: 'an echo ACK right after the last trial prevents the count of an exhausted round',
    plan: { service: { maxTrials: 1 } },
    steps: [FIRST_IPO, { lan: ipoAck(), verdict: 'consumed', changed: ACKED }, DONE],
  },
  {
    name: 'an echo ACK that comes twice is consumed twice',
    steps: [
      FIRST_IPO,
      { lan: ipoAck(), verdict: 'consumed', changed: ACKED },
      { lan: ipoAck(), verdict: 'consumed', changed: { uoaAckRepeated: 1 } },
      DONE,
    ],
  },
  {
    name: 'an echo ACK of a carrier is consumed as one',
    steps: [
      { wan: fromClient({ payload: pattern(1472) }), verdict: 'forward' },
      { lan: ipoAck(), verdict: 'consumed', changed: ACKED },
      DONE,
    ],
  },
  {
    name: 'an echo ACK of one session does not end the trials of another',
    steps: [
      FIRST_IPO,
      { wan: fromClient({ sport: 5001 }), verdict: 'forward' },
      { lan: ipoAck(), verdict: 'consumed', changed: ACKED },
      {
        wan: fromClient({ sport: 5001 }),
        verdict: 'forward',
        sent: [toRealServer({ sport: 20006, options: addressOption(CIP, 5001) })],
      },
    ],
  },
  {
    name: 'an echo ACK without a session is dropped',
    steps: [{ lan: ipoAck(), verdict: 'drop:no_session' }, FIRST_IPO, STILL_IPO],
  },
]);

const rejected = (what: string, lan: Uint8Array): Row => ({
  name: `${what} is consumed, rejected and changes nothing`,
  steps: [FIRST_IPO, { lan, verdict: 'consumed', changed: REJECTED }, STILL_IPO, STILL_IPO],
});
const rejectedOpp = (what: string, lan: Uint8Array): Row => ({
  name: `${what} is consumed, rejected and changes nothing`,
  plan: OPP,
  steps: [FIRST_OPP, { lan, verdict: 'consumed', changed: REJECTED }, STILL_OPP, STILL_OPP],
});

rows('UOA from a real server that is no echo ACK', [
  rejected('an option with another client port', ipoAck({ options: addressOption(CIP, CPORT + 1) })),
  rejected('an option with another client address', ipoAck({ options: addressOption('10.1.0.3', CPORT) })),
  rejected(
    'an option with our content in type 30',
    ipoAck({ options: concat(unhex('1e'), UOA.subarray(1)) }),
  ),
  rejected('an option of 16 bytes', ipoAck({ options: unhex('1f10 0000 1388 1770 0a010002 0a010064') })),
  rejected('an option of 4 bytes', ipoAck({ options: unhex('1f04 1388') })),
  rejected('two matching options', ipoAck({ options: concat(UOA, UOA) })),
  rejected('an opp header in a session of dialect ipo', oppAck()),
  rejected('a matching option and a header in one packet', oppAck({ options: UOA })),
  rejectedOpp('a matching header and an option in one packet', oppAck({ options: UOA })),
  rejectedOpp('an option in a session of dialect opp', ipoAck()),
  rejectedOpp('a header with another client', oppAck({ option: addressOption('10.1.0.3', CPORT) })),
  rejectedOpp('a header of version 2', oppAck({ oppVersion: 2 })),
  rejectedOpp('a header with two options', oppAck({ option: concat(UOA, UOA) })),
  rejectedOpp('a header without option', oppAck({ option: EMPTY })),
  {
    name: 'a matching option before any UOA was sent is rejected',
    plan: { service: { maxTrials: 0 } },
    steps: [
      { wan: fromClient(), verdict: 'forward', sent: [toRealServer()] },
      { lan: ipoAck(), verdict: 'consumed', changed: REJECTED },
    ],
  },
  {
    name: 'a matching option when the only UOA could not be sent is rejected',
    steps: [
      { wan: fromClient(), verdict: 'forward', refuse: (packet) => dissect(packet).options !== '' },
      { lan: ipoAck(), verdict: 'consumed', changed: REJECTED },
      STILL_IPO,
    ],
  },
  {
    name: 'a rejected UOA does not make a session normal',
    steps: [
      FIRST_IPO,
      { lan: ipoAck({ options: addressOption(CIP, 1) }), verdict: 'consumed', changed: REJECTED },
      {
        lan: fromRealServer(),
        verdict: 'forward',
        sent: [toClient()],
        changed: { sessionsOneway: -1, sessionsNormal: 1 },
      },
    ],
  },
]);

const NORMAL = { sessionsOneway: -1, sessionsNormal: 1 };
const STRIPPED = { uoaStripped: 1 };

rows('UOA from a real server with payload', [
  {
    name: 'a matching option is removed, the payload goes to the client, the trials go on',
    steps: [
      FIRST_IPO,
      {
        lan: ipoAck({ payload: REPLY }),
        verdict: 'forward',
        sent: [toClient()],
        changed: { ...STRIPPED, ...NORMAL },
      },
      STILL_IPO,
    ],
  },
  {
    name: 'an option that does not match is removed too',
    steps: [
      FIRST_IPO,
      {
        lan: ipoAck({ payload: REPLY, options: addressOption('8.8.8.8', 53) }),
        verdict: 'forward',
        sent: [toClient()],
        changed: { ...STRIPPED, ...NORMAL },
      },
    ],
  },
  {
    name: 'an opp header is removed, whatever the dialect of the session',
    steps: [
      FIRST_IPO,
      {
        lan: oppAck({ payload: REPLY }),
        verdict: 'forward',
        sent: [toClient()],
        changed: { ...STRIPPED, ...NORMAL },
      },
    ],
  },
  {
    name: 'an opp header is removed in a session of dialect opp, and checksum 0 stays 0',
    plan: OPP,
    steps: [
      FIRST_OPP,
      {
        lan: oppAck({ payload: REPLY, checksum: 'zero' }),
        verdict: 'forward',
        sent: [toClient({ checksum: 'zero' })],
      },
      STILL_OPP,
    ],
  },
  {
    name: 'types 29 and 30 are removed, other options stay in their order',
    steps: [
      FIRST_IPO,
      {
        lan: ipoAck({ payload: REPLY, options: unhex('94040000 1e04ffff 0101 1d02 0706 0400 0000') }),
        verdict: 'forward',
        sent: [toClient({ options: unhex('94040000 0101 0706 0400 0000') })],
        changed: { ...STRIPPED, ...NORMAL },
      },
    ],
  },
  {
    name: 'an option and a header in one packet are both removed and counted once',
    steps: [
      FIRST_IPO,
      {
        lan: oppAck({ payload: REPLY, options: UOA }),
        verdict: 'forward',
        sent: [toClient()],
        changed: { ...STRIPPED, ...NORMAL },
      },
    ],
  },
  {
    name: 'a DF reply that fits the client side without its option is not too big',
    plan: { wanMtu: 1400 },
    steps: [
      FIRST_IPO,
      {
        lan: ipoAck({ payload: pattern(1372), df: true }),
        verdict: 'forward',
        sent: [toClient({ payload: pattern(1372), df: true })],
      },
    ],
  },
]);

const FULL = pattern(1472);
const CARRIER_FIRST = {
  wan: fromClient({ payload: FULL }),
  verdict: 'forward',
  sent: [ipoCarrier(), toRealServer({ payload: FULL })],
};
const emptyReply = fromRealServer({ payload: EMPTY });
const swallowed = (at: number) => ({
  at,
  lan: emptyReply,
  verdict: 'consumed',
  changed: { emptyRepliesSwallowed: 1 },
});
const passedOn = (at: number) => ({
  at,
  lan: emptyReply,
  verdict: 'forward',
  sent: [toClient({ payload: EMPTY })],
});

rows('empty replies', [
  { name: 'an empty reply without any carrier belongs to the client', steps: [FIRST_IPO, passedOn(1)] },
  {
    name: 'an empty reply to an empty datagram of the client goes to the client, behind that to its carrier',
    steps: [
      {
        wan: fromClient({ payload: EMPTY }),
        verdict: 'forward',
        sent: [ipoCarrier(), toRealServer({ payload: EMPTY })],
      },
      swallowed(1),
      passedOn(1),
    ],
  },
  {
    name: 'a carrier swallows one empty reply, the second belongs to the client',
    steps: [
      CARRIER_FIRST,
      swallowed(5),
      passedOn(6),
      { lan: fromRealServer(), verdict: 'forward', sent: [toClient()] },
    ],
  },
  {
    name: 'a carrier of dialect opp swallows one empty reply too',
    plan: OPP,
    steps: [
      {
        wan: fromClient({ payload: FULL }),
        verdict: 'forward',
        sent: [oppCarrier(), toRealServer({ payload: FULL })],
      },
      swallowed(5),
      passedOn(6),
    ],
  },
  {
    name: 'a carrier swallows an empty reply up to a second after it',
    steps: [CARRIER_FIRST, swallowed(990)],
  },
  {
    name: 'more than a second after the carrier an empty reply belongs to the client',
    steps: [CARRIER_FIRST, passedOn(1_010)],
  },
  {
    name: 'a carrier swallows no reply with payload',
    steps: [
      CARRIER_FIRST,
      {
        at: 1,
        lan: fromRealServer({ payload: pattern(1) }),
        verdict: 'forward',
        sent: [toClient({ payload: pattern(1) })],
      },
      swallowed(5),
    ],
  },
  {
    name: 'three carriers swallow three empty replies',
    steps: [
      CARRIER_FIRST,
      { ...CARRIER_FIRST, at: 10 },
      { ...CARRIER_FIRST, at: 20 },
      swallowed(30),
      swallowed(31),
      swallowed(32),
      passedOn(33),
    ],
  },
  {
    name: 'each carrier has its own second',
    steps: [CARRIER_FIRST, { ...CARRIER_FIRST, at: 900 }, swallowed(1_100), passedOn(1_200)],
  },
  {
    name: 'an earlier carrier swallows first, the later one keeps its second',
    steps: [CARRIER_FIRST, { ...CARRIER_FIRST, at: 900 }, swallowed(950), swallowed(1_800), passedOn(1_850)],
  },
  {
    name: 'a carrier that was not sent swallows nothing',
    steps: [
      {
        wan: fromClient({ payload: FULL }),
        verdict: 'forward',
        refuse: (packet) => dissect(packet).payload === '',
        sent: [toRealServer({ payload: FULL })],
      },
      passedOn(5),
    ],
  },
  {
    name: 'a carrier of one session swallows nothing of another',
    steps: [
      CARRIER_FIRST,
      { wan: fromClient({ sport: 5001 }), verdict: 'forward' },
      {
        lan: fromRealServer({ payload: EMPTY, dport: 20006 }),
        verdict: 'forward',
        sent: [toClient({ payload: EMPTY, dport: 5001 })],
      },
    ],
  },
  {
    name: 'an echo ACK does not use up the empty reply of its carrier',
    steps: [CARRIER_FIRST, { lan: ipoAck(), verdict: 'consumed', changed: ACKED }, swallowed(5), passedOn(6)],
  },
]);
