// Real servers that go down, come back, take no new sessions or leave: what becomes of the sessions that they
// have, and where new ones go.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { WEIGHT_DOWN } from '../../src/datapath/server-cells.ts';
import { type Family, hex, pattern } from '../packets/bytes.ts';
import { dissect } from '../packets/dissect.ts';
import { Combination, FIRST } from './combination.ts';
import { errorAbout, ROUTER } from './errors.ts';
import { icmpError } from './expected.ts';
import { type Pair, pair } from './pair.ts';
import { type PlanChange, PORT, Rig, realServer, type ServiceChange, serverCounts } from './rig.ts';
import { fromClient, fromRealServer, toClient, toRealServer } from './roles.ts';
import { type Row, rows, type Step } from './rows.ts';

const DOWN = WEIGHT_DOWN;
const [A, B, C] = ['10.2.0.10', '10.2.0.11', '10.2.0.12'] as const;
/** A real server that is not the one of `pair`, in its network. */
const OTHER = { 4: B, 6: 'fd00:2::11' };
const NORMAL = { sessionsOneway: -1, sessionsNormal: 1 };
const GONE = { sessionsOneway: -1 };

const plan = (change: ServiceChange = {}, servers: readonly string[] = [A, B]): PlanChange => ({
  service: { maxTrials: 0, realServers: servers.map((ip) => realServer(ip)), ...change },
});

/**
 * A client's packet, from port 1 on, that opens a session or goes on with it, and the lport that it leaves
 * from.
 */
const goes = (sport: number, dst: string, lport: number, change: Partial<Step> = {}): Step => ({
  wan: fromClient({ sport }),
  verdict: 'forward',
  sent: [toRealServer({ dst, sport: lport })],
  ...change,
});

const answers = (src: string, lport: number, cport: number): Step => ({
  lan: fromRealServer({ src, dport: lport }),
  verdict: 'forward',
  sent: [toClient({ dport: cport })],
});

const refused = (sport: number, verdict: string, change: Partial<Step> = {}): Step => ({
  wan: fromClient({ sport }),
  verdict,
  changed: {},
  ...change,
});

rows('onDown: keep', [
  {
    name: 'sessions of a real server that is down go on both ways; new ones go elsewhere until it is up again',
    plan: plan(),
    steps: [
      goes(1, A, 20005),
      answers(A, 20005, 1),
      goes(1, A, 20005, { weights: { 0: DOWN }, changed: {} }),
      answers(A, 20005, 1),
      goes(2, B, 20005),
      goes(3, B, 20006),
      goes(4, B, 20007, { chosen: [1, 3] }),
      goes(5, A, 20006, { weights: { 0: 100 } }),
      goes(6, B, 20008),
      goes(1, A, 20005, { chosen: [2, 4] }),
    ],
  },
]);

interface Move {
  name: string;
  from: Pair;
  to: Pair;
  /** Of the real server that it moves to. */
  ip: string;
}

const MOVES: readonly Move[] = ([4, 6] as const).flatMap((client) =>
  ([4, 6] as const).flatMap((before) =>
    ([4, 6] as const).map((after: Family): Move => {
      const to = pair(client, after);
      return {
        name: `IPv${client} client, from an IPv${before} to an IPv${after} real server`,
        from: pair(client, before),
        to,
        ip: before === after ? OTHER[after] : to.rip,
      };
    }),
  ),
);

/**
 * The first real server has a session of the client, acknowledged and answered; the second that of another
 * client.
 */
function moveRow({ name, from, to, ip }: Move, dialect: 'ipo' | 'opp' | 'elb' | 'unified'): Row {
  const first = new Combination(dialect, from);
  const second = new Combination(dialect, to);
  const there = { dst: ip, sport: 20006 };
  const another = from.fromClient({ sport: 7777 });
  return {
    name: `${dialect}, ${name}: it goes on from another LIP:lport, which is told the client again`,
    plan: {
      service: {
        ...from.service,
        dialect,
        lips: [...new Set([from.lip, to.lip])],
        onDown: 'move',
        realServers: [realServer(from.rip), realServer(ip)],
      },
    },
    steps: [
      first.trial({ changed: { ...FIRST, ...first.counted } }),
      { wan: another, verdict: 'forward' },
      { lan: from.echoAck(dialect), verdict: 'consumed', changed: { uoaAcked: 1 } },
      first.plain(),
      { lan: from.fromRealServer(), verdict: 'forward', changed: NORMAL },
      {
        weights: { 0: DOWN },
        wan: from.fromClient(),
        verdict: 'forward',
        sent: second.brought(there),
        changed: { sessionsMoved: 1, ...second.counted },
        sessions: 2,
        chosen: [1, 2],
      },
      { lan: from.fromRealServer(), verdict: 'drop:no_session', changed: {} },
      { lan: from.echoAck(dialect), verdict: 'drop:no_session', changed: {} },
      { lan: to.echoAck(dialect, { src: ip, dport: 20006 }), verdict: 'consumed', changed: { uoaAcked: 1 } },
      {
        lan: to.fromRealServer({ src: ip, dport: 20006 }),
        verdict: 'forward',
        sent: [to.atClient()],
        changed: {},
      },
      { successor: true, changed: {}, sessions: 2 },
      second.plain({ sent: [to.atRealServer(there)] }),
      { lan: to.fromRealServer({ src: ip, dport: 20006 }), verdict: 'forward', sent: [to.atClient()] },
      second.plain({ weights: { 0: 100 }, sent: [to.atRealServer(there)] }),
    ],
  };
}

const needsV4 = (dialect: string, { from, to }: Move) =>
  dialect === 'ipo' && (from.server === 6 || to.server === 6);

rows(
  'onDown: move',
  (['ipo', 'opp', 'elb', 'unified'] as const).flatMap((dialect) =>
    MOVES.filter((move) => !needsV4(dialect, move)).map((move) => moveRow(move, dialect)),
  ),
);

const TWO_LPORTS = { lports: { first: 20005, last: 20006 } };
const LARGE = pattern(1400);
const KNOWN = { packet: (sport: number) => fromClient({ src: '10.1.0.3', sport }) };
const TOO_BIG = { type: 3, code: 4, rest: 1000 };

rows('onDown: move, what it needs and what it leaves behind', [
  {
    name: 'the lport that a session moved away from is free again',
    plan: plan({ onDown: 'move', ...TWO_LPORTS }),
    steps: [
      goes(1, A, 20005),
      goes(1, B, 20005, { weights: { 0: DOWN }, changed: { sessionsMoved: 1 }, chosen: [1, 1] }),
      goes(2, A, 20006, { weights: { 0: 100, 1: 0 } }),
      answers(A, 20006, 2),
      goes(3, A, 20005, { sessions: 3 }),
      answers(A, 20005, 3),
      refused(4, 'drop:lports_exhausted'),
    ],
  },
  {
    name: 'a path MTU that was learned of the old way is forgotten',
    plan: plan({ onDown: 'move' }),
    steps: [
      { wan: fromClient({ payload: LARGE, df: true }), verdict: 'forward' },
      { lan: errorAbout(toRealServer({ payload: LARGE, df: true }), TOO_BIG), verdict: 'forward' },
      { wan: fromClient({ payload: LARGE, df: true }), verdict: 'drop:too_big', sent: [() => {}] },
      {
        weights: { 0: DOWN },
        wan: fromClient({ payload: LARGE, df: true }),
        verdict: 'forward',
        sent: [toRealServer({ dst: B, payload: LARGE, df: true })],
        changed: { sessionsMoved: 1 },
      },
    ],
  },
  {
    name: 'a session without an answer moves as one without an answer',
    plan: plan({ onDown: 'move' }),
    steps: [
      goes(1, A, 20005),
      goes(1, B, 20005, { weights: { 0: DOWN }, changed: { sessionsMoved: 1 } }),
      { lan: fromRealServer({ src: B }), verdict: 'forward', changed: NORMAL },
    ],
  },
  {
    name: 'with nobody to move to it stays, both ways, and moves when there is somebody',
    plan: plan({ onDown: 'move' }),
    steps: [
      goes(1, A, 20005, { weights: { 1: 0 } }),
      goes(1, A, 20005, { weights: { 0: DOWN }, changed: {} }),
      answers(A, 20005, 1),
      goes(1, B, 20005, { weights: { 1: 1 }, changed: { sessionsMoved: 1 } }),
    ],
  },
  {
    name: 'where no lport is left it stays, until one is free',
    plan: plan({ onDown: 'move', lports: { first: 20005, last: 20005 }, normalMs: 1000 }),
    steps: [
      goes(1, A, 20005),
      goes(2, B, 20005),
      answers(A, 20005, 1),
      answers(B, 20005, 2),
      goes(1, A, 20005, { at: 500, weights: { 0: DOWN }, changed: {} }),
      { at: 1000, tick: true, changed: { sessionsNormal: -1, sessionsExpired: 1 } },
      goes(1, B, 20005, { changed: { sessionsMoved: 1 } }),
    ],
  },
  {
    name: 'it gets the lport of one without an answer, answered or not itself, and never one of an answered session',
    plan: plan({ onDown: 'move', ...TWO_LPORTS }),
    steps: [
      goes(1, A, 20005),
      goes(2, B, 20005),
      goes(3, A, 20006),
      goes(4, B, 20006),
      answers(A, 20005, 1),
      answers(B, 20005, 2),
      goes(1, B, 20006, {
        weights: { 0: DOWN },
        changed: { ...GONE, sessionsMoved: 1, sessionsEvicted: 1, sessionsDisplaced: 1 },
        sessions: 3,
      }),
      goes(3, A, 20006, { changed: {} }),
      refused(4, 'drop:lports_exhausted'),
    ],
  },
  {
    name: 'lports that are kept for clients that were answered go to no other, though its real server is down',
    plan: { ...plan({ onDown: 'move', ...TWO_LPORTS }), lportReserve: 50 },
    steps: [
      goes(1, A, 20005),
      { wan: KNOWN.packet(1), verdict: 'forward', sent: [toRealServer({ dst: B, sport: 20005 })] },
      { lan: fromRealServer({ src: B }), verdict: 'forward', changed: NORMAL },
      { wan: KNOWN.packet(2), verdict: 'forward', sent: [toRealServer({ dst: A, sport: 20006 })] },
      goes(1, A, 20005, { weights: { 0: DOWN }, changed: {} }),
      {
        wan: KNOWN.packet(2),
        verdict: 'forward',
        sent: [toRealServer({ dst: B, sport: 20006 })],
        changed: { sessionsMoved: 1 },
      },
    ],
  },
  {
    name: 'it may move to the fallback, and stays there when its real server is up again',
    plan: plan({ onDown: 'move', realServers: [realServer(A), realServer(B, { isFallback: true })] }),
    steps: [
      goes(1, A, 20005),
      goes(1, B, 20005, { weights: { 0: DOWN }, changed: { sessionsMoved: 1 } }),
      goes(1, B, 20005, { weights: { 0: 100 }, changed: {} }),
      goes(2, A, 20006),
    ],
  },
  {
    name: 'weight 0 is not down: nothing moves',
    plan: plan({ onDown: 'move' }),
    steps: [goes(1, A, 20005), goes(1, A, 20005, { weights: { 0: 0 }, changed: {} })],
  },
  {
    name: 'a packet that does not fit towards the new real server is answered with its MTU, and the session has moved',
    plan: plan({ onDown: 'move', realServers: [realServer(A), realServer(B, { mtu: 1000 })] }),
    steps: [
      goes(1, A, 20005),
      {
        weights: { 0: DOWN },
        wan: fromClient({ sport: 1, payload: LARGE, df: true }),
        verdict: 'drop:too_big',
        sent: [
          icmpError('10.1.0.100', '10.1.0.2', {
            ...TOO_BIG,
            about: fromClient({ sport: 1, payload: LARGE, df: true }),
          }),
        ],
        changed: { sessionsMoved: 1, icmpSent: 1 },
      },
      goes(1, B, 20005, { changed: {} }),
    ],
  },
  {
    name: 'while no new session is taken, sessions still move',
    plan: plan({ onDown: 'move' }),
    steps: [
      goes(1, A, 20005),
      goes(1, B, 20005, { draining: true, weights: { 0: DOWN }, changed: { sessionsMoved: 1 } }),
      refused(2, 'drop:draining'),
    ],
  },
]);

const UNREACHABLE = { 4: { type: 3, code: 3 }, 6: { type: 1, code: 4 } };

rows('onDown: reset', [
  ...MOVES.map(({ name, from, to, ip }): Row => {
    const packet = from.fromClient();
    const { vip, cip } = from.named;
    return {
      name: `${name}: the client is told that the port is unreachable, and opens a new session with its next packet`,
      plan: {
        service: {
          ...from.service,
          dialect: 'none',
          lips: [...new Set([from.lip, to.lip])],
          onDown: 'reset',
          realServers: [realServer(from.rip), realServer(ip)],
        },
      },
      steps: [
        { wan: packet, verdict: 'forward', sent: [from.atRealServer()] },
        { lan: from.fromRealServer(), verdict: 'forward', changed: NORMAL },
        {
          weights: { 0: DOWN },
          wan: packet,
          verdict: 'drop:server_down',
          sent: [icmpError(vip, cip, { ...UNREACHABLE[from.client], about: packet })],
          changed: { sessionsReset: 1, sessionsNormal: -1, icmpSent: 1 },
          sessions: 0,
        },
        { lan: from.fromRealServer(), verdict: 'drop:no_session' },
        { wan: packet, verdict: 'forward', sent: [to.atRealServer({ dst: ip })], changed: FIRST },
      ],
    };
  }),
  {
    name: 'a session without an answer is reset too, and not counted as one that its real server let expire',
    plan: plan({ onDown: 'reset' }),
    steps: [
      goes(1, A, 20005),
      refused(1, 'drop:server_down', {
        weights: { 0: DOWN },
        sent: [() => {}],
        changed: { sessionsReset: 1, icmpSent: 1, ...GONE },
      }),
    ],
  },
  {
    name: 'what the real server that is down still sends goes to the client until the client sends again',
    plan: plan({ onDown: 'reset' }),
    steps: [
      goes(1, A, 20005),
      { weights: { 0: DOWN }, lan: fromRealServer(), verdict: 'forward', sent: [toClient({ dport: 1 })] },
    ],
  },
  {
    name: 'with all down the next packet finds no real server',
    plan: plan({ onDown: 'reset' }, [A]),
    steps: [
      goes(1, A, 20005),
      refused(1, 'drop:server_down', {
        weights: { 0: DOWN },
        sent: [() => {}],
        changed: { sessionsReset: 1, icmpSent: 1, ...GONE },
      }),
      refused(1, 'drop:no_real_server'),
    ],
  },
]);

test('a weight that is read before the control plane has said that it changed moves no session to where it is', () => {
  const rig = new Rig(plan({ onDown: 'move' }, [A]));
  rig.receive(fromClient(), PORT.wan);
  rig.memory.common.weights[0] = DOWN;
  const { sent, changed } = rig.receive(fromClient(), PORT.wan);
  assert.deepEqual(sent.map(hex), [hex(toRealServer())]);
  assert.deepEqual(changed, {});
});

describe('many sessions of a real server that is down', () => {
  test('are all reset, and the clients told within the rate limit', () => {
    const rig = new Rig(plan({ onDown: 'reset' }, [A]));
    const ports = Array.from({ length: 60 }, (_, index) => 1000 + index);
    for (const sport of ports) rig.receive(fromClient({ sport }), PORT.wan);
    rig.setWeight(0, DOWN);
    const outcomes = ports.map((sport) => rig.receive(fromClient({ sport }), PORT.wan));
    assert.ok(outcomes.every(({ verdict }) => verdict === 'drop:server_down'));
    assert.equal(outcomes.filter(({ sent }) => sent.length === 1).length, 50);
    assert.equal(rig.counter('icmpSent'), 50);
    assert.equal(rig.counter('icmpSuppressed'), 10);
    assert.equal(rig.counter('sessionsReset'), 60);
    assert.equal(rig.datapath.sessionCount, 0);
    assert.equal(rig.legsInUse(), 0);
  });

  test('move evenly to those that are left', () => {
    const rig = new Rig(plan({ onDown: 'move' }, [A, B, C]));
    const ports = Array.from({ length: 60 }, (_, index) => 1000 + index);
    for (const sport of ports) rig.receive(fromClient({ sport }), PORT.wan);
    rig.setWeight(0, DOWN);
    for (const sport of ports) rig.receive(fromClient({ sport }), PORT.wan);
    assert.deepEqual(serverCounts(rig.memory, 'sessionsOneway'), [0, 30, 30]);
    assert.equal(rig.counter('sessionsMoved'), 20);
    assert.equal(rig.datapath.sessionCount, 60);
  });
});

const FALLBACK = [realServer(A), realServer(B), realServer(C, { isFallback: true })];

rows('fallback', [
  {
    name: 'all down and no fallback: no session can be opened',
    plan: plan(),
    steps: [
      refused(1, 'drop:no_real_server', { weights: { 0: DOWN, 1: DOWN } }),
      refused(2, 'drop:no_real_server'),
    ],
  },
  {
    name: 'it is not chosen while a real server has a weight',
    plan: plan({ realServers: FALLBACK }),
    steps: [goes(1, A, 20005), goes(2, B, 20005), goes(3, A, 20006), goes(4, B, 20006)],
  },
  {
    name: 'new sessions go to it while all others are down, and no more once one is up',
    plan: plan({ realServers: FALLBACK }),
    steps: [
      goes(1, C, 20005, { weights: { 0: DOWN, 1: DOWN } }),
      goes(2, C, 20006),
      goes(3, B, 20005, { weights: { 1: 5 } }),
      goes(1, C, 20005),
      goes(4, B, 20006, { chosen: [0, 2, 2] }),
    ],
  },
  {
    name: 'it is chosen when the others have weight 0',
    plan: plan({ realServers: FALLBACK }),
    steps: [goes(1, C, 20005, { weights: { 0: 0, 1: DOWN } })],
  },
  {
    name: 'when it is down too, no session can be opened',
    plan: plan({ realServers: FALLBACK }),
    steps: [
      refused(1, 'drop:no_real_server', { weights: { 0: DOWN, 1: DOWN, 2: DOWN } }),
      refused(1, 'drop:no_real_server', { weights: { 2: 0 } }),
    ],
  },
]);

rows('no new sessions', [
  {
    name: 'a real server of weight 0 keeps its sessions and gets no other',
    plan: plan(),
    steps: [
      goes(1, A, 20005),
      goes(2, B, 20005, { weights: { 0: 0 } }),
      goes(3, B, 20006),
      goes(1, A, 20005, { changed: {} }),
      answers(A, 20005, 1),
    ],
  },
  {
    name: 'a real server that is leaving keeps its sessions and gets no other, whatever its weight',
    plan: plan({ realServers: [realServer(A, { isLeaving: true }), realServer(B)] }),
    steps: [goes(1, B, 20005), goes(2, B, 20006), goes(3, B, 20007)],
  },
  {
    name: 'a service whose only real server is leaving has none for new sessions',
    plan: plan(),
    steps: [
      goes(1, A, 20005),
      { replan: plan({ realServers: [realServer(A, { isLeaving: true })] }), changed: {} },
      goes(1, A, 20005),
      answers(A, 20005, 1),
      refused(2, 'drop:no_real_server'),
    ],
  },
  {
    name: 'while the proxy drains, sessions go on and none is opened; afterwards they are again',
    plan: plan(),
    steps: [
      goes(1, A, 20005),
      refused(2, 'drop:draining', { draining: true }),
      goes(1, A, 20005, { changed: {} }),
      answers(A, 20005, 1),
      goes(2, B, 20005, { draining: false }),
    ],
  },
]);

const PERSISTENT: ServiceChange = { persistenceMs: 10_000, onewayMs: 300_000 };
const SECOND_CLIENT = '10.1.0.3';

rows('persistence', [
  {
    name: "a client's other ports go to the same real server, also after a successor started; other clients take turns",
    plan: plan(PERSISTENT),
    steps: [
      goes(1, A, 20005),
      goes(2, A, 20006),
      {
        wan: fromClient({ src: SECOND_CLIENT }),
        verdict: 'forward',
        sent: [toRealServer({ dst: B, sport: 20005 })],
      },
      { successor: true },
      goes(3, A, 20007, { at: 10_000 }),
      goes(4, A, 20008, { at: 20_000 }),
    ],
  },
  {
    name: 'after the time without a new session it need not',
    plan: plan(PERSISTENT),
    steps: [goes(1, A, 20005), goes(2, B, 20005, { at: 10_001 }), goes(3, B, 20006, { at: 20_000 })],
  },
  {
    name: 'not to one that is down, and then it stays with the other',
    plan: plan(PERSISTENT),
    steps: [
      goes(1, A, 20005),
      goes(2, B, 20005, { weights: { 0: DOWN } }),
      goes(3, B, 20006, { weights: { 0: 100 } }),
      goes(1, A, 20005),
    ],
  },
  {
    name: 'not to one of weight 0',
    plan: plan(PERSISTENT),
    steps: [goes(1, A, 20005), goes(2, B, 20005, { weights: { 0: 0 } })],
  },
  {
    name: 'a session that moves goes where its client has others, and takes the client along',
    plan: plan({ ...PERSISTENT, onDown: 'move' }, [A, B, C]),
    steps: [
      goes(1, A, 20005),
      goes(2, A, 20006),
      goes(1, B, 20005, { weights: { 0: DOWN } }),
      goes(2, B, 20006),
      goes(3, B, 20007, { weights: { 0: 100 } }),
    ],
  },
  {
    name: 'the fallback is not remembered',
    plan: plan({ ...PERSISTENT, realServers: FALLBACK }),
    steps: [
      goes(1, A, 20005),
      goes(2, C, 20005, { weights: { 0: DOWN, 1: DOWN } }),
      goes(3, A, 20006, { weights: { 0: 100, 1: 100 } }),
    ],
  },
]);

test('persistence leads answered clients to their real server after a flood that none answers, also of a predecessor', () => {
  const rig = new Rig({ ...plan(PERSISTENT), maxSessions: 2000, sharedSeed: [5, 6] });
  const clients = Array.from({ length: 100 }, (_, n) => `10.1.1.${n}`);
  const goesTo = (src: string, sport: number): string => {
    const { sent } = rig.receive(fromClient({ src, sport }), PORT.wan);
    const { dst, sport: dport, src: lip } = dissect(sent[0]);
    if (sport < 3) rig.receive(fromRealServer({ src: dst, dst: lip, dport }), PORT.lan);
    return dst;
  };
  const before = clients.map((src) => goesTo(src, 1));
  rig.succeed();
  for (let n = 0; n < 20_000; n++) {
    rig.at = 1 + (n >> 4);
    rig.receive(fromClient({ src: `10.1.${2 + (n >> 8)}.${n & 255}`, sport: 9 }), PORT.wan);
  }
  assert.deepEqual(
    clients.toReversed().map((src) => goesTo(src, 2)),
    before.toReversed(),
  );
});

describe('what others say of a real server', () => {
  test('ICMP errors about its sessions are counted and take it from nobody: that is for its checks to decide', () => {
    const rig = new Rig(plan({ onDown: 'reset' }, [A]));
    rig.receive(fromClient(), PORT.wan);
    for (let n = 0; n < 30; n++) {
      rig.at += 100;
      rig.receive(errorAbout(toRealServer(), { type: 3, code: 3, rest: 0 }, { src: A }), PORT.lan);
    }
    assert.deepEqual(serverCounts(rig.memory, 'unreachable'), [30]);
    assert.deepEqual([...rig.memory.common.weights], [100]);
    assert.equal(rig.receive(fromClient(), PORT.wan).verdict, 'forward');
    assert.equal(rig.datapath.sessionCount, 1);
  });

  for (const it of [pair(4, 4), pair(6, 6), pair(4, 6), pair(6, 4)]) {
    test(`an ICMP error of another host is passed on but not counted: ${it.client} to ${it.server}`, () => {
      const rig = new Rig({ service: { ...it.service, maxTrials: 0 } });
      const sent = Buffer.concat(rig.receive(it.fromClient(), PORT.wan).sent);
      const unreachable = { ...UNREACHABLE[it.server], rest: 0 };
      const pass = (src: string) => {
        const { verdict, changed } = rig.receive(errorAbout(sent, unreachable, { src }), PORT.lan);
        assert.equal(verdict, 'forward');
        assert.deepEqual(changed, { icmpTranslated: 1 });
        return serverCounts(rig.memory, 'unreachable');
      };
      assert.deepEqual(pass(ROUTER[it.server]), [0]);
      assert.deepEqual(pass(OTHER[it.server]), [0]);
      assert.deepEqual(pass(it.rip), [1]);
    });
  }

  test('ICMP errors that clients send, or about no session, are not even counted', () => {
    const rig = new Rig(plan({}, [A]));
    rig.receive(fromClient(), PORT.wan);
    const unreachable = { type: 3, code: 3, rest: 0 };
    assert.equal(
      rig.receive(errorAbout(toRealServer(), unreachable, { src: A }), PORT.wan).verdict,
      'drop:wrong_interface',
    );
    assert.equal(
      rig.receive(errorAbout(toRealServer({ sport: 20099 }), unreachable, { src: A }), PORT.lan).verdict,
      'pass',
    );
    const damaged = errorAbout(toRealServer(), unreachable, { src: A });
    damaged[23] ^= 1; // the ICMP checksum
    assert.equal(rig.receive(damaged, PORT.lan).verdict, 'drop:bad_icmp');
    assert.deepEqual(serverCounts(rig.memory, 'unreachable'), [0]);
  });
});
