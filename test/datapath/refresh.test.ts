// When the UOA is sent again: after `refresh`, or with the first packet behind an idle gap.
import { pattern } from '../packets/bytes.ts';
import {
  fromClient,
  fromRealServer,
  ipoAck,
  ipoCarrier,
  oppAck,
  toClient,
  toRealServer,
  withIpo,
  withOpp,
} from './roles.ts';
import { rows } from './rows.ts';

const uoa = (at: number) => ({ at, wan: fromClient(), verdict: 'forward', sent: [withIpo()] });
const plain = (at: number) => ({ at, wan: fromClient(), verdict: 'forward', sent: [toRealServer()] });
const acked = (at: number) => ({ at, lan: ipoAck(), verdict: 'consumed', changed: { uoaAcked: 1 } });
const exhausted = (at: number) => ({ ...plain(at), changed: { uoaExhausted: 1 } });
const reply = (at: number) => ({ at, lan: fromRealServer(), verdict: 'forward', sent: [toClient()] });

/** Long sessions, so that only the rounds of trials are at stake. */
const LONG = { onewayMs: 3_600_000, normalMs: 3_600_000 };

rows('refresh after an idle gap', [
  {
    name: 'a packet after the gap starts a new round of trials',
    plan: { service: LONG },
    steps: [
      uoa(0),
      uoa(1),
      uoa(2),
      exhausted(3),
      plain(100_000),
      uoa(221_000),
      uoa(221_001),
      uoa(221_002),
      exhausted(221_003),
      { ...plain(221_004), changed: {} },
    ],
  },
  {
    name: 'a shorter gap changes nothing',
    plan: { service: LONG },
    steps: [uoa(0), uoa(1), uoa(2), exhausted(3), plain(118_000), plain(237_000), plain(356_000)],
  },
  {
    name: 'the gap starts a new round after an echo ACK too, which can be acked again',
    plan: { service: LONG },
    steps: [uoa(0), acked(5), plain(10), uoa(121_000), acked(121_005), plain(121_010)],
  },
  {
    name: 'replies do not shorten the gap',
    plan: { service: LONG },
    steps: [uoa(0), acked(5), reply(60_000), reply(119_000), uoa(121_000)],
  },
  {
    name: 'an unfinished round starts again with all its trials',
    plan: { service: LONG },
    steps: [uoa(0), uoa(1), uoa(121_100), uoa(121_101), uoa(121_102), plain(121_103)],
  },
  {
    name: 'idleRefresh 0 is off',
    plan: { service: { ...LONG, idleRefreshMs: 0 } },
    steps: [uoa(0), acked(5), plain(10), plain(1_000_000)],
  },
  {
    name: 'the gap is the configured one',
    plan: { service: { ...LONG, idleRefreshMs: 10_000 } },
    steps: [uoa(0), acked(5), plain(8_000), uoa(20_000)],
  },
  {
    name: 'maxTrials 0 stays off behind a gap',
    plan: { service: { ...LONG, maxTrials: 0 } },
    steps: [plain(0), plain(500_000)],
  },
  {
    name: 'a new round of dialect opp sends the header again',
    plan: { service: { ...LONG, dialect: 'opp' } },
    steps: [
      { wan: fromClient(), verdict: 'forward', sent: [withOpp()] },
      { lan: oppAck(), verdict: 'consumed', changed: { uoaAcked: 1 } },
      plain(10),
      { at: 121_000, wan: fromClient(), verdict: 'forward', sent: [withOpp()] },
    ],
  },
  {
    name: 'a new round may begin with a carrier',
    plan: { service: LONG },
    steps: [
      uoa(0),
      acked(5),
      {
        at: 121_000,
        wan: fromClient({ payload: pattern(1472) }),
        verdict: 'forward',
        sent: [ipoCarrier(), toRealServer({ payload: pattern(1472) })],
        changed: { uoaCarrier: 1 },
      },
    ],
  },
]);

const REFRESH = { ...LONG, idleRefreshMs: 0, refreshMs: 60_000 };

rows('refresh after a time', [
  {
    name: 'an acked round is repeated after refresh, measured from the last UOA',
    plan: { service: REFRESH },
    steps: [
      uoa(0),
      uoa(20_000),
      acked(20_005),
      plain(40_000),
      plain(79_000),
      uoa(80_500),
      acked(80_600),
      plain(81_000),
    ],
  },
  {
    name: 'an exhausted round is repeated after refresh with all its trials, and counts once',
    plan: { service: REFRESH },
    steps: [
      uoa(0),
      uoa(1_000),
      uoa(2_000),
      exhausted(3_000),
      plain(61_000),
      uoa(62_500),
      uoa(63_000),
      uoa(63_500),
      { ...plain(64_000), changed: {} },
      uoa(124_001),
      acked(124_002),
    ],
  },
  {
    name: 'an unfinished round is not touched: its trials go on',
    plan: { service: REFRESH },
    steps: [uoa(0), uoa(70_000), uoa(140_000), plain(140_001)],
  },
  {
    name: 'refresh 0 is off',
    plan: { service: { ...REFRESH, refreshMs: 0 } },
    steps: [uoa(0), acked(5), plain(1_800_000)],
  },
  {
    name: 'busy sessions are refreshed as well',
    plan: { service: { ...REFRESH, maxTrials: 1 } },
    steps: [uoa(0), plain(15_000), plain(30_000), plain(45_000), plain(59_500), uoa(60_500), plain(61_000)],
  },
]);
