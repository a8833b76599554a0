import { CARRIED, COMBINATIONS, Combination, FIRST } from './combination.ts';
import { errorAbout, toSender } from './errors.ts';
import type { Message } from './rfc7915.ts';
import { realServer } from './rig.ts';
import { type PacketStep, type Row, rows } from './rows.ts';
import { WALKS } from './walks.ts';

/** What a host says that does not know a protocol, an option or an extension header. */
const REFUSALS: Record<4 | 6, Message[]> = {
  4: [
    { type: 3, code: 2, rest: 0 },
    { type: 12, code: 0, rest: 0x14000000 },
    { type: 12, code: 1, rest: 0 },
    { type: 12, code: 2, rest: 0 },
  ],
  6: [
    { type: 4, code: 1, rest: 6 },
    { type: 4, code: 2, rest: 42 },
  ],
};
const REFUSED = { uoaUnsupported: 1 };
const LONG = { onewayMs: 3_600_000, normalMs: 3_600_000, idleRefreshMs: 0 };
/** Sends again in every round, however many trials a row looks at. */
const MANY = { ...LONG, maxTrials: 100 };

/** The real server's error about the packet with the UOA of `it`. */
function refusal(it: Combination, at: number, change: Partial<PacketStep> = {}): PacketStep {
  const { pair } = it;
  const [message] = REFUSALS[pair.server];
  const about = pair.toRealServer({}, it.uoa);
  return { at, lan: errorAbout(about, message!), verdict: 'consumed', changed: REFUSED, ...change };
}

const first = (it: Combination) => it.trial({ at: 0, changed: { ...FIRST, ...it.counted } });
const carrier = (it: Combination, at: number) => it.trial({ at, sent: it.carried(), changed: CARRIED });

rows(
  'a refusal of any kind makes what follows plain, in this session and in the next',
  COMBINATIONS.flatMap((it): Row[] =>
    REFUSALS[it.pair.server].map((message) => ({
      name: `${message.type}/${message.code}, ${it.name}`,
      plan: it.plan({ ...LONG, onUnsupported: 'plain' }),
      steps: [
        first(it),
        refusal(it, 0, { lan: errorAbout(it.pair.toRealServer({}, it.uoa), message), refusals: [1] }),
        it.plain({ at: 10 }),
        it.plain({
          wan: it.pair.fromClient({ sport: 7777 }),
          sent: [it.pair.atRealServer({ sport: it.pair.lport + 1 })],
          changed: FIRST,
        }),
        it.plain({ at: 59_999 }),
      ],
    })),
  ),
);

rows(
  'after a minute the dialect is tried with carriers only, and an echo ACK ends that',
  COMBINATIONS.map(
    (it): Row => ({
      name: it.name,
      plan: it.plan(LONG),
      steps: [
        first(it),
        refusal(it, 0, { refusals: [1] }),
        it.plain({ at: 59_999 }),
        carrier(it, 60_000),
        carrier(it, 60_001),
        { at: 60_002, lan: it.pair.echoAck(it.sent), verdict: 'consumed', changed: { uoaAcked: 1 } },
        it.plain({ at: 60_003 }),
      ],
    }),
  ),
);

rows(
  'a refusal of the carrier is another minute without',
  COMBINATIONS.map(
    (it): Row => ({
      name: it.name,
      plan: it.plan(MANY),
      steps: [
        first(it),
        refusal(it, 0),
        carrier(it, 60_000),
        refusal(it, 60_001, { refusals: [2] }),
        it.plain({ at: 60_002 }),
        it.plain({ at: 120_000 }),
        carrier(it, 120_001),
      ],
    }),
  ),
);

const FALLBACK = { ipo: 'opp', opp: 'unified', elb: 'opp', unified: 'elb', type30: 'opp' } as const;

const withFallback = COMBINATIONS.map((it) => ({ it, other: new Combination(FALLBACK[it.sent], it.pair) }));

rows(
  'with a fallback that dialect follows, errors about what went before do not disturb it, and later ones end it',
  withFallback.map(
    ({ it, other }): Row => ({
      name: `${it.name}, then ${other.sent}`,
      plan: it.plan({ ...MANY, onUnsupported: FALLBACK[it.sent] }),
      steps: [
        first(it),
        refusal(it, 100, { refusals: [1] }),
        other.trial({ at: 101 }),
        refusal(it, 102, { refusals: [2] }),
        refusal(it, 1_099, { refusals: [3] }),
        other.trial({ at: 1_100 }),
        refusal(other, 1_100, { refusals: [4] }),
        it.plain({ at: 1_101 }),
        it.plain({ at: 61_099 }),
        carrier(it, 61_100),
        refusal(it, 61_101, { refusals: [5] }),
        other.trial({ at: 61_102 }),
      ],
    }),
  ),
);

rows(
  'the fallback lasts a minute, and its echo ACK counts',
  withFallback.map(
    ({ it, other }): Row => ({
      name: `${it.name}, then ${other.sent}`,
      plan: it.plan({ ...MANY, onUnsupported: FALLBACK[it.sent] }),
      steps: [
        first(it),
        refusal(it, 0),
        other.trial({ at: 10 }),
        { at: 11, lan: it.pair.echoAck(it.sent), verdict: 'consumed', changed: { uoaAckRejected: 1 } },
        other.trial({ at: 59_999 }),
        carrier(it, 60_000),
      ],
    }),
  ),
);

rows(
  'the fallback takes its echo ACK',
  withFallback.map(
    ({ it, other }): Row => ({
      name: `${it.name}, then ${other.sent}`,
      plan: it.plan({ ...MANY, onUnsupported: FALLBACK[it.sent] }),
      steps: [
        first(it),
        refusal(it, 0),
        other.trial({ at: 10 }),
        { at: 11, lan: it.pair.echoAck(other.sent), verdict: 'consumed', changed: { uoaAcked: 1 } },
        it.plain({ at: 12 }),
      ],
    }),
  ),
);

rows(
  'only the real server that refuses is spared',
  COMBINATIONS.map((it): Row => {
    const { pair } = it;
    const other = pair.server === 4 ? '10.2.0.11' : 'fd00:2::11';
    const second = { sport: 7777 };
    return {
      name: it.name,
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

/** What an opp receiver leaves of the header in the packet that its kernel then complains about. */
rows(
  'an error about a packet whose UOA the receiver took out is a refusal while trials last',
  COMBINATIONS.map((it): Row => {
    const { pair } = it;
    const options = pair.server === 4 ? { options: new Uint8Array(12).fill(1) } : {};
    const about = pair.toRealServer(options);
    return {
      name: it.name,
      plan: it.plan(LONG),
      steps: [
        first(it),
        refusal(it, 0, { lan: errorAbout(about, REFUSALS[pair.server][0]!) }),
        it.plain({ at: 1 }),
      ],
    };
  }),
);

const INBOUND = WALKS.filter(({ before }) => before.length === 0);

rows(
  "without UOA the same errors are the client's, where its family has them",
  INBOUND.filter(({ from, to }) => from === to).flatMap((walk): Row[] =>
    REFUSALS[walk.to].map((message) => ({
      name: `${message.type}/${message.code}, ${walk.name}`,
      plan: walk.plan(),
      steps: [
        { wan: walk.packet(), verdict: 'forward' },
        {
          lan: errorAbout(walk.result(), message),
          verdict: 'forward',
          sent: [toSender(walk, message)],
          refusals: [0],
        },
      ],
    })),
  ),
);

rows(
  'a client that says so changes nothing for its real server',
  COMBINATIONS.map((it): Row => {
    const { pair } = it;
    const walk = WALKS.find(({ over, before }) => over === pair && before.length > 0)!;
    const message = REFUSALS[pair.client][0]!;
    return {
      name: it.name,
      plan: it.plan(LONG),
      steps: [
        first(it),
        { lan: walk.packet(), verdict: 'forward' },
        { wan: errorAbout(walk.result(), message), verdict: 'forward', refusals: [0] },
        it.trial(),
      ],
    };
  }),
);
