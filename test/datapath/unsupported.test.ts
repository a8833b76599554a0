// What a real server is told that said it cannot read our UOA: plain datagrams or the fallback for a minute,
// then carriers until it confirms one or keeps silent for 10 s. Each dialect by itself. Which errors say so:
// refusals.test.ts.
import { uoaOf } from '../packets/uoa-builder.ts';
import { CARRIED, COMBINATIONS, Combination, FIRST } from './combination.ts';
import { errorAbout, refusalsOf } from './errors.ts';
import { pair } from './pair.ts';
import { realServer } from './rig.ts';
import { type PacketStep, type Row, rows } from './rows.ts';

const REFUSED = { uoaUnsupported: 1 };
const LONG = { onewayMs: 3_600_000, normalMs: 3_600_000, idleRefreshMs: 0 };
/** Sends again in every round, however many trials a row looks at. */
const MANY = { ...LONG, maxTrials: 100 };

/** The real server's error about the packet with the UOA of `it`. */
function refusal(it: Combination, at: number, change: Partial<PacketStep> = {}): PacketStep {
  const about = it.pair.toRealServer({}, it.uoa);
  const lan = errorAbout(about, refusalsOf(it)[0], { src: it.pair.rip });
  return { at, lan, verdict: 'consumed', changed: REFUSED, ...change };
}

const first = (it: Combination) => it.trial({ at: 0, changed: { ...FIRST, ...it.counted } });
const carrier = (it: Combination, at: number) => it.trial({ at, sent: it.carried(), changed: CARRIED });
const ack = (it: Combination, at: number): PacketStep => ({
  at,
  lan: it.pair.echoAck(it.sent),
  verdict: 'consumed',
  changed: { uoaAcked: 1 },
});

/** The same between the ports of the second session of a row. */
const next = ({ sent, pair: { client, server, lport } }: Combination) =>
  new Combination(sent, pair(client, server, { lport: lport + 1 }));

const each = (row: (it: Combination) => Omit<Row, 'name'>): Row[] =>
  COMBINATIONS.map((it) => ({ name: it.name, ...row(it) }));

rows(
  'after a minute the dialect is tried with carriers only, and an echo ACK ends that',
  each((it) => ({
    plan: it.plan(LONG),
    steps: [
      first(it),
      refusal(it, 0, { refusals: [1] }),
      it.plain({ at: 59_999 }),
      carrier(it, 60_000),
      carrier(it, 60_001),
      ack(it, 60_002),
      it.plain({ at: 60_003 }),
      { wan: it.pair.fromClient({ sport: 7777 }), verdict: 'forward', changed: { ...FIRST, ...it.counted } },
    ],
  })),
);

rows(
  'a session that was refused its last trial has all of them again after a minute',
  each((it) => ({
    plan: it.plan(LONG),
    steps: [
      first(it),
      it.trial(),
      it.trial(),
      it.plain({ changed: { uoaExhausted: 1 } }),
      refusal(it, 10),
      it.plain({ at: 60_009 }),
      carrier(it, 60_010),
      carrier(it, 60_010),
      carrier(it, 60_010),
      it.plain({ changed: { uoaExhausted: 1 } }),
    ],
  })),
);

rows(
  'without an echo ACK carriers end when the first was not refused for 10 s',
  each((it) => ({
    plan: it.plan(MANY),
    steps: [
      first(it),
      refusal(it, 0),
      carrier(it, 75_000),
      carrier(it, 84_999),
      { wan: it.pair.fromClient({ sport: 7777 }), verdict: 'forward', changed: { ...FIRST, ...CARRIED } },
      it.trial({ at: 85_000 }),
    ],
  })),
);

rows(
  'a refusal of the carrier is another minute without, and carriers again',
  each((it) => ({
    plan: it.plan(MANY),
    steps: [
      first(it),
      refusal(it, 0),
      carrier(it, 60_000),
      refusal(it, 60_001, { refusals: [2] }),
      it.plain({ at: 60_002 }),
      it.plain({ at: 120_000 }),
      carrier(it, 120_001),
      carrier(it, 130_000),
      it.trial({ at: 130_001 }),
    ],
  })),
);

const DAY = 86_400_000;

rows(
  'a refusal works 26 days after the last one, when int32 milliseconds seem to run backwards',
  each((it) => {
    const again = next(it);
    const at = 26 * DAY;
    return {
      plan: it.plan({ ...LONG, maxTrials: 100 }),
      steps: [
        first(it),
        refusal(it, 0, { refusals: [1] }),
        { at: 3_600_000, tick: true, sessions: 0 },
        { ...carrier(again, at), changed: { ...FIRST, ...CARRIED } },
        refusal(again, at + 1, { refusals: [2] }),
        again.plain({ at: at + 2 }),
        again.plain({ at: at + 60_000 }),
        carrier(again, at + 60_001),
        again.trial({ at: at + 70_001 }),
      ],
    };
  }),
);

rows(
  'the clock may wrap between a refusal and the end of its minute, and while carriers are tried',
  each((it) => ({
    plan: it.plan(MANY),
    startMs: 2 ** 31 - 30_000,
    steps: [
      first(it),
      refusal(it, 0),
      it.plain({ at: 59_999 }),
      carrier(it, 60_000),
      it.trial({ at: 70_000 }),
    ],
  })),
);

const FALLBACK = { ipo: 'opp', opp: 'unified', elb: 'opp', unified: 'elb', type30: 'opp' } as const;

const withFallback = (row: (it: Combination, other: Combination) => Omit<Row, 'name'>): Row[] =>
  COMBINATIONS.map((it) => {
    const other = new Combination(FALLBACK[it.sent], it.pair);
    return { name: `${it.name}, then ${other.sent}`, ...row(it, other) };
  });

/** A plan in which the fallback of `it` follows. */
const falling = (it: Combination, change = {}) =>
  it.plan({ ...MANY, onUnsupported: FALLBACK[it.sent], ...change });

rows(
  'with a fallback that follows at once, and errors about the dialect never end it',
  withFallback((it, other) => ({
    plan: falling(it),
    steps: [
      first(it),
      refusal(it, 100, { refusals: [1] }),
      other.trial({ at: 101 }),
      refusal(it, 102, { refusals: [2] }),
      other.trial({ at: 103 }),
      refusal(it, 5_000, { refusals: [3] }),
      refusal(it, 30_000, { refusals: [4] }),
      other.trial({ at: 30_001 }),
      other.trial({ at: 89_999 }),
      carrier(it, 90_000),
      refusal(it, 90_001, { refusals: [5] }),
      other.trial({ at: 90_002 }),
    ],
  })),
);

rows(
  'dialect and fallback are refused each for its own minute, and both are then tried with carriers only',
  withFallback((it, other) => ({
    plan: falling(it),
    steps: [
      first(it),
      refusal(it, 0),
      other.trial({ at: 10 }),
      refusal(other, 5_000, { refusals: [2] }),
      it.plain({ at: 5_001 }),
      it.plain({ at: 59_999 }),
      carrier(it, 60_000),
      refusal(it, 60_001, { refusals: [3] }),
      it.plain({ at: 60_002 }),
      it.plain({ at: 64_999 }),
      carrier(other, 65_000),
      carrier(other, 74_999),
      other.trial({ at: 75_000 }),
      other.trial({ at: 120_000 }),
      carrier(it, 120_001),
      it.trial({ at: 130_001 }),
    ],
  })),
);

rows(
  'an echo ACK of the fallback ends its carriers, not those of the dialect',
  withFallback((it, other) => ({
    plan: falling(it),
    steps: [
      first(it),
      refusal(it, 0),
      other.trial({ at: 10 }),
      refusal(other, 20),
      carrier(it, 60_000),
      refusal(it, 60_010),
      carrier(other, 60_020),
      ack(other, 60_030),
      it.plain({ at: 60_040 }),
      {
        wan: it.pair.fromClient({ sport: 7777 }),
        verdict: 'forward',
        changed: { ...FIRST, ...other.counted },
      },
      carrier(it, 120_010),
    ],
  })),
);

rows(
  'an echo ACK of the dialect ends its carriers, not those of the fallback',
  withFallback((it, other) => ({
    plan: falling(it),
    steps: [
      first(it),
      refusal(it, 0),
      other.trial({ at: 10 }),
      refusal(other, 20),
      refusal(it, 5_000),
      carrier(other, 60_020),
      carrier(it, 65_000),
      ack(it, 65_001),
      refusal(it, 65_010),
      carrier(other, 65_020),
      other.trial({ at: 70_020 }),
    ],
  })),
);

rows(
  'the fallback lasts a minute, and only its own echo ACK counts meanwhile',
  withFallback((it, other) => ({
    plan: falling(it),
    steps: [
      first(it),
      refusal(it, 0),
      other.trial({ at: 10 }),
      { at: 11, lan: it.pair.echoAck(it.sent), verdict: 'consumed', changed: { uoaAckRejected: 1 } },
      other.trial({ at: 12 }),
      ack(other, 13),
      it.plain({ at: 59_999 }),
      carrier(it, 60_000),
    ],
  })),
);

rows(
  'a refusal begins the trials of its session anew',
  withFallback((it, other) => ({
    plan: falling(it, { maxTrials: 3 }),
    steps: [
      first(it),
      it.trial(),
      it.trial(),
      it.plain({ changed: { uoaExhausted: 1 } }),
      refusal(it, 100),
      other.trial({ at: 101 }),
      other.trial(),
      other.trial(),
      it.plain({ changed: { uoaExhausted: 1 } }),
    ],
  })),
);

rows(
  'sessions that spent their trials on what another session finds refused are told in the fallback with their next packet',
  withFallback((it, other) => {
    const { pair } = it;
    const uoa = uoaOf(it.sent, pair.server, { ...pair.named, cport: 7777 })!;
    const about = pair.toRealServer({ sport: pair.lport + 1 }, uoa);
    return {
      plan: falling(it, { maxTrials: 3 }),
      steps: [
        first(it),
        it.trial(),
        it.trial(),
        it.plain({ changed: { uoaExhausted: 1 } }),
        { wan: pair.fromClient({ sport: 7777 }), verdict: 'forward', changed: { ...FIRST, ...it.counted } },
        refusal(it, 10, { lan: errorAbout(about, refusalsOf(it)[0], { src: pair.rip }), refusals: [1] }),
        other.trial({ at: 20 }),
        other.trial({ at: 20 }),
        other.trial({ at: 20 }),
        it.plain({ at: 20, changed: { uoaExhausted: 1 } }),
        carrier(it, 60_010),
      ],
    };
  }),
);

rows(
  'only the real server that refuses is spared',
  each((it) => {
    const { pair } = it;
    const other = pair.server === 4 ? '10.2.0.11' : 'fd00:2::11';
    const second = { sport: 7777 };
    return {
      plan: it.plan({ ...LONG, realServers: [realServer(pair.rip), realServer(other)] }),
      steps: [
        first(it),
        { wan: pair.fromClient(second), verdict: 'forward' },
        refusal(it, 10, { refusals: [1, 0] }),
        it.plain({ at: 20 }),
        { wan: pair.fromClient(second), verdict: 'forward', changed: it.counted },
      ],
    };
  }),
);
