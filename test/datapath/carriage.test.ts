// Where the UOA goes: with carriage carrier never into a client's datagram, with auto only when the real
// server has shown that such come through: by an echo ACK, or by its answer to one of which a copy was kept.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pattern } from '../packets/bytes.ts';
import { addressOption } from '../packets/uoa-builder.ts';
import { CARRIED, FIRST, INSERTED } from './combination.ts';
import { PORT, Rig, serverCounts } from './rig.ts';
import { CIP, fromClient, fromRealServer, ipoAck, toRealServer } from './roles.ts';
import { type PacketStep, rows } from './rows.ts';
import { each, LONG } from './told.ts';

rows(
  'carrier: a carrier goes ahead, also when the real server acknowledges',
  each(({ it }) => ({
    plan: it.plan({ ...LONG, carriage: 'carrier' }),
    steps: [
      it.trial({ sent: it.carried(), changed: { ...FIRST, ...CARRIED } }),
      { lan: it.pair.echoAck(it.sent), verdict: 'consumed', changed: { uoaAcked: 1 } },
      it.plain(),
      {
        wan: it.pair.fromClient({ sport: 7777 }),
        verdict: 'forward',
        changed: { ...FIRST, ...CARRIED },
      },
    ],
  })),
);

rows(
  'auto: carriers until an echo ACK of any session, then inserted, also over a reload',
  each(({ it }) => ({
    plan: it.plan({ ...LONG, carriage: 'auto' }),
    steps: [
      it.trial({ sent: it.carried(), changed: { ...FIRST, ...CARRIED } }),
      it.trial({ sent: it.carried(), changed: CARRIED }),
      { lan: it.pair.echoAck(it.sent), verdict: 'consumed', changed: { uoaAcked: 1 } },
      it.plain(),
      { wan: it.pair.fromClient({ sport: 7777 }), verdict: 'forward', changed: { ...FIRST, ...it.counted } },
      { replan: it.plan({ ...LONG, carriage: 'auto', idleRefreshMs: 60_000 }) },
      { wan: it.pair.fromClient({ sport: 7778 }), verdict: 'forward', changed: { ...FIRST, ...it.counted } },
    ],
  })),
);

const AUTO = { service: { ...LONG, carriage: 'auto' as const } };
const LPORT = 20_005;

/** The n-th client's first datagram. */
const opens = (n: number, at: number, changed: object): PacketStep => ({
  at,
  wan: fromClient({ sport: 7000 + n }),
  verdict: 'forward',
  changed: { ...FIRST, ...changed } as Record<string, number>,
});
const answers = (n: number, at: number): PacketStep => ({
  at,
  lan: fromRealServer({ dport: LPORT + n }),
  verdict: 'forward',
  changed: { sessionsOneway: -1, sessionsNormal: 1 },
});
/** So many sessions that are answered at once. */
const prompt = (from: number, count: number, at: number): PacketStep[] =>
  Array.from({ length: count }, (_, i) => [
    opens(from + i, at + i, CARRIED),
    answers(from + i, at + i),
  ]).flat();

rows('auto, of a real server that acknowledges nothing', [
  {
    name: 'when three sessions in a row were answered at once, one datagram has the UOA inside; answered, all have',
    plan: AUTO,
    steps: [
      ...prompt(0, 3, 0),
      opens(3, 100, INSERTED),
      opens(4, 101, CARRIED),
      answers(3, 120),
      opens(5, 130, INSERTED),
      { tick: true, at: 2_000, changed: {} },
      opens(6, 2_001, INSERTED),
    ],
  },
  {
    name: 'an echo ACK of it is an answer',
    plan: AUTO,
    steps: [
      ...prompt(0, 3, 0),
      opens(3, 100, INSERTED),
      {
        lan: ipoAck({ dport: LPORT + 3, options: addressOption(CIP, 7003) }),
        verdict: 'consumed',
        changed: { uoaAcked: 1 },
      },
      { tick: true, at: 2_000, changed: {} },
    ],
  },
  {
    name: 'not answered it goes once more without half a second later, and the next one is tried after a second',
    plan: AUTO,
    steps: [
      ...prompt(0, 3, 0),
      opens(3, 100, INSERTED),
      { tick: true, at: 599, changed: {} },
      { tick: true, at: 600, changed: { uoaRepeated: 1 } },
      { tick: true, at: 700, changed: {} },
      answers(3, 701),
      ...prompt(4, 3, 702),
      opens(7, 1_000, CARRIED),
      opens(8, 1_100, INSERTED),
    ],
  },
  {
    name: 'the copy goes before the next packet of its session',
    plan: AUTO,
    steps: [
      ...prompt(0, 3, 0),
      opens(3, 100, INSERTED),
      {
        at: 120,
        wan: fromClient({ sport: 7003, payload: pattern(9) }),
        verdict: 'forward',
        sent: [
          toRealServer({ sport: LPORT + 3 }),
          (sent) => assert.equal(sent.length, 36),
          toRealServer({ sport: LPORT + 3, payload: pattern(9) }),
        ],
        changed: { uoaRepeated: 1, ...CARRIED },
      },
      { tick: true, at: 2_000, changed: {} },
    ],
  },
  {
    name: 'the copy goes when its session ends',
    plan: { ...AUTO, maxSessions: 4 },
    steps: [
      ...prompt(0, 2, 0),
      opens(2, 10, CARRIED),
      answers(2, 10),
      opens(3, 100, INSERTED),
      {
        at: 120,
        wan: fromClient({ sport: 7009 }),
        verdict: 'forward',
        changed: { sessionsCreated: 1, sessionsEvicted: 1, uoaRepeated: 1, ...CARRIED },
      },
    ],
  },
  {
    name: 'none is tried of one that answers late, or only the second packet, or not at all',
    plan: AUTO,
    steps: [
      ...prompt(0, 2, 0),
      opens(2, 10, CARRIED),
      answers(2, 111),
      opens(3, 112, CARRIED),
      ...prompt(4, 2, 120),
      opens(6, 130, CARRIED),
      { at: 131, wan: fromClient({ sport: 7006 }), verdict: 'forward', changed: CARRIED },
      answers(6, 132),
      opens(7, 140, CARRIED),
    ],
  },
  {
    name: 'a datagram without room for it, or an empty one, is none to try',
    plan: AUTO,
    steps: [
      ...prompt(0, 3, 0),
      { ...opens(3, 10, CARRIED), wan: fromClient({ sport: 7003, payload: pattern(1472) }) },
      { ...opens(4, 10, CARRIED), wan: fromClient({ sport: 7004, payload: new Uint8Array(0) }) },
      opens(5, 10, INSERTED),
    ],
  },
]);

/** What is known of the real server's first answers, to packets with UOA and to those without. */
const firstAnswers = (rig: Rig) => [
  serverCounts(rig.memory, 'uoaAnswered')[0],
  serverCounts(rig.memory, 'uoaUnanswered')[0],
];

test('inserted: what is answered only when a packet has no UOA is counted, and what is answered before', () => {
  const rig = new Rig({ service: { ...LONG, carriage: 'inserted' } });
  let lport = LPORT;
  /** The server answers the n-th packet of a session, and nothing before. */
  const session = (n: number) => {
    const sport = 7000 + lport++;
    for (let i = 0; i < n; i++) rig.receive(fromClient({ sport }), PORT.wan);
    rig.receive(fromRealServer({ dport: lport - 1 }), PORT.lan);
    rig.receive(fromRealServer({ dport: lport - 1 }), PORT.lan);
  };
  session(4);
  assert.deepEqual(firstAnswers(rig), [0, 1]);
  session(1);
  session(3);
  assert.deepEqual(firstAnswers(rig), [2, 1]);
  session(5);
  assert.deepEqual(firstAnswers(rig), [2, 1], 'it may be slow');
});

test('auto: an attempt that is answered as a copy tells of a path that drops; one that nobody answers of nothing', () => {
  const rig = new Rig(AUTO);
  let lport = LPORT;
  const open = () => rig.receive(fromClient({ sport: 7000 + lport }), PORT.wan).changed;
  const answer = () => rig.receive(fromRealServer({ dport: lport++ }), PORT.lan);
  for (let i = 0; i < 3; i++) {
    open();
    answer();
  }
  assert.equal(open().uoaInserted, 1);
  rig.at += 500;
  assert.deepEqual(rig.tick(), { uoaRepeated: 1 });
  answer();
  assert.deepEqual(firstAnswers(rig), [0, 1]);
  rig.at += 1_000;
  assert.equal(open().uoaInserted, 1);
  rig.at += 500;
  assert.deepEqual(rig.tick(), { uoaRepeated: 1 });
  rig.at += 5_000;
  answer();
  assert.deepEqual(firstAnswers(rig), [0, 1]);
  assert.equal(open().uoaInserted, 1);
  answer();
  assert.deepEqual(firstAnswers(rig), [1, 1]);
});

test('auto: a real server that was proven gets carriers again when three sessions in a row are answered only without UOA', () => {
  const rig = new Rig({ service: { ...LONG, carriage: 'auto', maxTrials: 1 } });
  assert.equal(rig.receive(fromClient(), PORT.wan).changed.uoaCarrier, 1);
  rig.receive(ipoAck(), PORT.lan);
  let opened = 0;
  /** A session whose first answer is to its n-th packet. */
  const session = (n: number) => {
    const sport = 7001 + opened++;
    assert.equal(rig.receive(fromClient({ sport }), PORT.wan).changed.uoaInserted, 1);
    for (let i = 1; i < n; i++) rig.receive(fromClient({ sport }), PORT.wan);
    rig.receive(fromRealServer({ dport: LPORT + opened }), PORT.lan);
  };
  session(2);
  session(2);
  session(1);
  session(2);
  session(2);
  assert.deepEqual(firstAnswers(rig), [1, 4]);
  session(2);
  assert.equal(rig.receive(fromClient({ sport: 7777 }), PORT.wan).changed.uoaCarrier, 1);
});

test('auto: what a datapath keeps back it sends before it ends', () => {
  const rig = new Rig(AUTO);
  for (let n = 0; n < 4; n++) {
    rig.receive(fromClient({ sport: 7000 + n }), PORT.wan);
    if (n < 3) rig.receive(fromRealServer({ dport: LPORT + n }), PORT.lan);
  }
  const before = rig.counter('uoaRepeated');
  rig.datapath.sendKept();
  rig.datapath.sendKept();
  assert.deepEqual([before, rig.counter('uoaRepeated')], [0, 1]);
});
