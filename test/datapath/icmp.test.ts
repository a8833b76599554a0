// ICMP errors that the proxy sends itself: to whom, from which address, with what inside, and how often.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { pattern, unhex } from '../packets/bytes.ts';
import { dissect } from '../packets/dissect.ts';
import { type Expected, icmpError } from './expected.ts';
import { PORT, Rig, realServer } from './rig.ts';
import {
  CIP,
  EMPTY,
  forgedOpp,
  fromClient,
  fromRealServer,
  LIP,
  RIP,
  toClient,
  toRealServer,
  UOA,
  VIP,
  withIpo,
} from './roles.ts';
import { rows } from './rows.ts';

const PLAIN = { service: { maxTrials: 0 } };
const OPEN = { wan: fromClient(), verdict: 'forward' };
const ICMP = { icmpSent: 1 };
const toSender = (about: Uint8Array): Expected => icmpError(VIP, CIP, { type: 11, code: 0, about });
const toServer = (about: Uint8Array): Expected => icmpError(LIP, RIP, { type: 11, code: 0, about });
const expired = fromClient({ ttl: 1 });
const expiredReply = fromRealServer({ ttl: 1 });

rows('time exceeded', [
  {
    name: 'a request with TTL 1 is answered from the VIP and makes no session',
    steps: [
      { wan: expired, verdict: 'drop:ttl_exceeded', sent: [toSender(expired)], changed: ICMP, sessions: 0 },
      { wan: fromClient(), verdict: 'forward', sent: [withIpo()] },
    ],
  },
  {
    name: 'a request with TTL 1 within a session is answered and counts no trial',
    steps: [
      OPEN,
      { wan: expired, verdict: 'drop:ttl_exceeded', sent: [toSender(expired)], changed: ICMP },
      { wan: fromClient(), verdict: 'forward', sent: [withIpo()], changed: { uoaInserted: 1 } },
      { wan: fromClient(), verdict: 'forward', sent: [withIpo()], changed: { uoaInserted: 1 } },
      { wan: fromClient(), verdict: 'forward', sent: [toRealServer()], changed: { uoaExhausted: 1 } },
    ],
  },
  {
    name: 'TTL 0 is answered like TTL 1',
    plan: PLAIN,
    steps: [
      { wan: fromClient({ ttl: 0 }), verdict: 'drop:ttl_exceeded', sent: [toSender(fromClient({ ttl: 0 }))] },
      { wan: fromClient(), verdict: 'forward', sent: [toRealServer()] },
    ],
  },
  {
    name: 'a reply with TTL 1 is answered from the LIP',
    plan: PLAIN,
    steps: [
      OPEN,
      { lan: expiredReply, verdict: 'drop:ttl_exceeded', sent: [toServer(expiredReply)], changed: ICMP },
      { lan: fromRealServer(), verdict: 'forward', sent: [toClient()] },
    ],
  },
  {
    name: 'an error embeds the packet as it came, with its options, and up to 548 bytes of it',
    plan: PLAIN,
    steps: [
      {
        wan: fromClient({ ttl: 1, options: unhex('94040000'), payload: pattern(9), surplus: pattern(3) }),
        verdict: 'drop:ttl_exceeded',
        sent: [
          toSender(
            fromClient({ ttl: 1, options: unhex('94040000'), payload: pattern(9), surplus: pattern(3) }),
          ),
        ],
      },
      {
        wan: fromClient({ ttl: 1, payload: pattern(520) }),
        verdict: 'drop:ttl_exceeded',
        sent: [toSender(fromClient({ ttl: 1, payload: pattern(520) }))],
      },
      {
        wan: fromClient({ ttl: 1, payload: pattern(1400) }),
        verdict: 'drop:ttl_exceeded',
        sent: [toSender(fromClient({ ttl: 1, payload: pattern(1400) }))],
      },
    ],
  },
  {
    name: 'no error is sent to a source that nobody can have',
    plan: PLAIN,
    steps: [
      { wan: fromClient({ ttl: 1, src: '255.255.255.255' }), verdict: 'drop:bad_source' },
      { wan: fromClient({ ttl: 1, src: '224.0.0.5' }), verdict: 'drop:bad_source' },
      { wan: fromClient({ ttl: 1, src: '0.0.0.0' }), verdict: 'drop:bad_source' },
    ],
  },
  {
    name: 'an error that cannot be sent leaves the reason of the drop as it is',
    plan: PLAIN,
    steps: [{ wan: expired, refuse: () => true, verdict: 'drop:ttl_exceeded', changed: {} }],
  },
]);

const big = fromClient({ payload: pattern(1373), df: true });
const needed = (about: Uint8Array): Expected => icmpError(VIP, CIP, { type: 3, code: 4, rest: 1400, about });
const SMALL_RS = { service: { realServers: [realServer(RIP, { mtu: 1400 })] } };

rows('fragmentation needed', [
  {
    name: 'a DF packet that is too big is answered and sends no UOA; the next one has the first trial',
    plan: SMALL_RS,
    steps: [
      { wan: big, verdict: 'drop:too_big', sent: [needed(big)] },
      { wan: fromClient(), verdict: 'forward', sent: [withIpo()] },
    ],
  },
  {
    name: 'within a session it is answered alike',
    plan: SMALL_RS,
    steps: [OPEN, { wan: big, verdict: 'drop:too_big', sent: [needed(big)], changed: ICMP }],
  },
  {
    name: 'a DF packet that fits without its forged option is not too big',
    plan: SMALL_RS,
    steps: [
      {
        wan: fromClient({ payload: pattern(1372), df: true, options: UOA }),
        verdict: 'forward',
        sent: [
          (sent) => assert.equal(dissect(sent).payload, ''),
          toRealServer({ payload: pattern(1372), df: true }),
        ],
      },
    ],
  },
  {
    name: 'a DF packet that fits without its forged header is not too big',
    plan: SMALL_RS,
    steps: [
      {
        wan: forgedOpp({ payload: pattern(1372), df: true }),
        verdict: 'forward',
        sent: [
          (sent) => assert.equal(dissect(sent).payload, ''),
          toRealServer({ payload: pattern(1372), df: true }),
        ],
      },
    ],
  },
]);

describe('ICMP rate', () => {
  test('a flood of expired packets gets a bounded number of errors, and every one is counted', () => {
    const rig = new Rig(PLAIN);
    let sent = 0;
    for (let sport = 1; sport <= 20_000; sport++) {
      const outcome = rig.receive(fromClient({ ttl: 1, sport, payload: EMPTY }), PORT.wan);
      assert.equal(outcome.verdict, 'drop:ttl_exceeded');
      sent += outcome.sent.length;
    }
    const count = (name: 'icmpSent' | 'icmpSuppressed') => rig.counter(name) + rig.counter(name, -1);
    assert.ok(sent >= 1 && sent <= 2_000, `${sent} errors in one millisecond`);
    assert.equal(count('icmpSent'), sent);
    assert.equal(count('icmpSuppressed'), 20_000 - sent);
    rig.at = 10_000;
    assert.equal(rig.receive(expired, PORT.wan).sent.length, 1, 'errors are sent again later');
  });
});
