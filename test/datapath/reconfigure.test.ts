// Plans that follow one another while sessions are there: what stays keeps its sessions with their LIP:lport,
// what is gone ends them.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { SCHEDULERS } from '../../src/service/scheduler/schedulers.ts';
import { Combination, INSERTED } from './combination.ts';
import { pair } from './pair.ts';
import { checkGauges, recordedSessions } from './recount.ts';
import { type PlanChange, PORT, Rig, realServer, type ServiceChange } from './rig.ts';
import { fromClient, fromRealServer, LIP, toClient, toRealServer, withIpo, withOpp } from './roles.ts';
import { rows, type Step } from './rows.ts';

const [A, B, C] = ['10.2.0.10', '10.2.0.11', '10.2.0.12'] as const;
const LIP2 = '10.2.0.201';
const REMOVED = { sessionsRemoved: 1, sessionsOneway: -1 };
const CAPACITY = { services: 4, realServers: 8, legs: 16 };

const game = (change: ServiceChange = {}, servers: readonly string[] = [A, B]): ServiceChange => ({
  maxTrials: 0,
  realServers: servers.map((ip) => realServer(ip)),
  ...change,
});
const plan = (change: ServiceChange = {}, servers?: readonly string[]): PlanChange => ({
  service: game(change, servers),
});
/** Takes turns A A B A. */
const weighted = (change: ServiceChange): PlanChange =>
  plan({
    scheduler: 'wrr',
    realServers: [realServer(A, { weight: 3 }), realServer(B, { weight: 1 })],
    ...change,
  });
/** Told once. */
const told = (
  dialect: 'ipo' | 'opp',
  change: ServiceChange = {},
  servers: readonly string[] = [A],
): PlanChange => plan({ maxTrials: 1, dialect, ...change }, servers);
const EXHAUSTED: readonly Step[] = [
  { wan: fromClient(), verdict: 'forward', sent: [withIpo()] },
  { wan: fromClient(), verdict: 'forward', sent: [toRealServer()], changed: { uoaExhausted: 1 } },
];
/** Two services on one LIP towards one real server. */
const both = (lports: { first: number; last: number }): PlanChange => ({
  services: [game({ lports }, [A]), game({ lports, name: 'chat', vport: 7000 }, [A])],
});
const CHAT = { name: 'chat', vport: 7000, lips: [LIP2] };

const goes = (sport: number, dst: string, lport: number, change: Partial<Step> = {}): Step => ({
  wan: fromClient({ sport }),
  verdict: 'forward',
  sent: [toRealServer({ dst, sport: lport })],
  ...change,
});
const chats = (sport: number, dst: string, lport: number): Step => ({
  wan: fromClient({ sport, dport: 7000 }),
  verdict: 'forward',
  sent: [toRealServer({ src: LIP2, dst, sport: lport })],
});
const answers = (src: string, lport: number, cport: number): Step => ({
  lan: fromRealServer({ src, dport: lport }),
  verdict: 'forward',
  sent: [toClient({ dport: cport })],
});
const late = (verdict: string, change: Parameters<typeof fromRealServer>[0] = {}): Step => ({
  lan: fromRealServer(change),
  verdict,
  changed: {},
});

rows('another plan', [
  {
    name: 'the same one changes nothing',
    plan: plan(),
    steps: [
      goes(1, A, 20005),
      { replan: plan(), changed: {}, sessions: 1 },
      goes(1, A, 20005, { changed: {} }),
      answers(A, 20005, 1),
      goes(2, B, 20005),
    ],
  },
  {
    name: 'with other timeouts goes on with the turns of rr where they were',
    plan: plan({}, [A, B, C]),
    steps: [
      goes(1, A, 20005),
      { replan: plan({ onewayMs: 10_000 }, [A, B, C]), changed: {} },
      goes(2, B, 20005),
      { replan: plan({}, [A, B, C]), changed: {} },
      goes(3, C, 20005),
      goes(4, A, 20006),
    ],
  },
  {
    name: 'with other timeouts goes on with the credits of wrr, in the weights that it finds and that come later',
    plan: weighted({}),
    steps: [
      goes(1, A, 20005),
      { replan: weighted({ onewayMs: 10_000 }), changed: {} },
      goes(2, A, 20006),
      { replan: weighted({}), changed: {} },
      goes(3, B, 20005),
      { weights: { 0: 0 }, replan: weighted({}), changed: {} },
      goes(4, B, 20006),
      goes(5, B, 20007),
      goes(6, A, 20007, { weights: { 0: 1, 1: 0 } }),
      goes(7, A, 20008),
    ],
  },
  {
    name: 'with other timeouts: mh chooses by the weights that it finds and that come later',
    plan: plan({ scheduler: 'mh' }),
    steps: [
      { weights: { 1: 0 }, replan: plan({ scheduler: 'mh', onewayMs: 10_000 }), changed: {} },
      ...[1, 2, 3, 4, 5].map((sport) => goes(sport, A, 20004 + sport)),
      { weights: { 0: 0, 1: 100 }, replan: plan({ scheduler: 'mh' }), changed: {} },
      goes(6, B, 20005),
      goes(7, A, 20010, { weights: { 0: 100, 1: 0 } }),
    ],
  },
  {
    name: 'with a real server more goes on with the turns of rr',
    plan: plan({}, [A, B]),
    steps: [goes(1, A, 20005), { replan: plan({}, [A, B, C]), changed: {} }, goes(2, B, 20005)],
  },
  {
    name: 'without a real server ends its sessions; those of others go on; its clients go to others',
    plan: plan(),
    steps: [
      goes(1, A, 20005),
      goes(2, B, 20005),
      answers(B, 20005, 2),
      { replan: plan({}, [B]), changed: REMOVED, sessions: 1 },
      late('drop:no_session'),
      answers(B, 20005, 2),
      goes(2, B, 20005, { changed: {} }),
      goes(1, B, 20006),
    ],
  },
  {
    name: 'with another real server gives it new sessions, and counts it from 0',
    plan: plan({}, [A]),
    steps: [
      goes(1, A, 20005, { chosen: [1] }),
      { replan: plan({}, [B, A]), changed: {} },
      goes(2, B, 20005, { chosen: [1, 1] }),
      goes(1, A, 20005),
    ],
  },
  {
    name: 'with another order of real servers changes no session',
    plan: plan(),
    steps: [
      goes(1, A, 20005),
      goes(2, B, 20005),
      { replan: plan({}, [B, A]), changed: {} },
      goes(1, A, 20005),
      answers(B, 20005, 2),
    ],
  },
  {
    name: "without a service ends its sessions: what still comes for them is the host's own business",
    plan: { services: [game(), game({ ...CHAT }, [A])] },
    steps: [
      goes(1, A, 20005),
      chats(1, A, 20005),
      { replan: { services: [game({ ...CHAT }, [A])] }, changed: REMOVED, sessions: 1 },
      late('pass'),
      { wan: fromClient({ sport: 1 }), verdict: 'pass' },
      chats(1, A, 20005),
    ],
  },
  {
    name: 'without a service whose LIP:lports another one shares: late answers have no session',
    plan: { services: [game({}, [A]), game({ ...CHAT, lips: [LIP] }, [A])] },
    steps: [
      goes(1, A, 20005),
      { replan: { services: [game({ ...CHAT, lips: [LIP] }, [A])] }, changed: REMOVED, sessions: 0 },
      late('drop:no_session'),
      {
        wan: fromClient({ dport: 7000 }),
        verdict: 'forward',
        sent: [toRealServer({ sport: 20006 })],
      },
    ],
  },
  {
    name: 'with another service leaves the sessions of the first alone',
    plan: plan({}, [A]),
    steps: [
      goes(1, A, 20005),
      { replan: { services: [game({ ...CHAT }, [A]), game({}, [A])] }, changed: {} },
      chats(1, A, 20005),
      goes(1, A, 20005),
      answers(A, 20005, 1),
    ],
  },
  {
    name: 'in which the service has another port is one with another service',
    plan: plan({}, [A]),
    steps: [
      goes(1, A, 20005),
      { replan: plan({ vport: 6001 }, [A]), changed: REMOVED, sessions: 0 },
      late('drop:no_session'),
      { wan: fromClient(), verdict: 'pass' },
      { wan: fromClient({ dport: 6001 }), verdict: 'forward', sent: [toRealServer({ sport: 20006 })] },
    ],
  },
  {
    name: 'without a LIP ends the sessions that go over it, and no other',
    plan: plan({ lips: [LIP, LIP2] }, [A]),
    steps: [
      goes(1, A, 20005),
      { wan: fromClient({ sport: 2 }), verdict: 'forward', sent: [toRealServer({ src: LIP2 })] },
      { replan: plan({ lips: [LIP2] }, [A]), changed: REMOVED },
      late('pass'),
      { wan: fromClient({ sport: 2 }), verdict: 'forward', sent: [toRealServer({ src: LIP2 })] },
      {
        wan: fromClient({ sport: 1 }),
        verdict: 'forward',
        sent: [toRealServer({ src: LIP2, sport: 20006 })],
      },
    ],
  },
  {
    name: 'with another LIP uses both in turn',
    plan: plan({}, [A]),
    steps: [
      goes(1, A, 20005),
      { replan: plan({ lips: [LIP2, LIP] }, [A]), changed: {} },
      { wan: fromClient({ sport: 2 }), verdict: 'forward', sent: [toRealServer({ src: LIP2 })] },
      goes(3, A, 20006),
      answers(A, 20005, 1),
    ],
  },
  {
    name: 'with fewer lports ends the sessions on those that are gone, and no others',
    plan: plan({}, [A]),
    steps: [
      goes(1, A, 20005),
      goes(2, A, 20006),
      goes(3, A, 20007),
      { replan: plan({ lports: { first: 20006, last: 20007 } }, [A]), changed: REMOVED, sessions: 2 },
      late('pass', { dport: 20005 }),
      answers(A, 20006, 2),
      goes(2, A, 20006, { changed: {} }),
      goes(3, A, 20007, { changed: {} }),
      answers(A, 20007, 3),
      { wan: fromClient({ sport: 1 }), verdict: 'drop:lports_exhausted' },
    ],
  },
  {
    name: 'with more lports hands out none that is in use',
    plan: plan({ lports: { first: 20006, last: 20007 } }, [A]),
    steps: [
      goes(1, A, 20006),
      goes(2, A, 20007),
      { replan: plan({ lports: { first: 20005, last: 20008 } }, [A]), changed: {}, sessions: 2 },
      answers(A, 20006, 1),
      goes(3, A, 20005),
      answers(A, 20005, 3),
      goes(4, A, 20008),
      answers(A, 20008, 4),
      answers(A, 20007, 2),
      { wan: fromClient({ sport: 5 }), verdict: 'drop:lports_exhausted' },
    ],
  },
  {
    name: 'with other lports for two services that share LIP and real server: neither gets one of the other',
    plan: both({ first: 20005, last: 20006 }),
    steps: [
      goes(1, A, 20005),
      {
        wan: fromClient({ sport: 2, dport: 7000 }),
        verdict: 'forward',
        sent: [toRealServer({ dst: A, sport: 20006 })],
      },
      { replan: both({ first: 20005, last: 20007 }), changed: {}, sessions: 2 },
      goes(3, A, 20007),
      answers(A, 20005, 1),
      answers(A, 20007, 3),
      { lan: fromRealServer({ src: A, dport: 20006 }), verdict: 'forward' },
      {
        wan: fromClient({ sport: 4, dport: 7000 }),
        verdict: 'drop:lports_exhausted',
      },
    ],
  },
  {
    name: 'with one VIP more keeps all sessions and counters',
    plan: plan({}, [A]),
    steps: [
      goes(1, A, 20005),
      { replan: plan({ vips: ['10.1.0.100', 'fd00:1::100'] }, [A]), changed: {}, sessions: 1 },
      answers(A, 20005, 1),
      goes(1, A, 20005, { changed: {} }),
      { replan: plan({}, [A]), changed: {}, sessions: 1 },
      goes(1, A, 20005, { changed: {} }),
    ],
  },
  {
    name: 'without the VIP that a session was opened for ends it, though the service stays',
    plan: plan({ vips: ['10.1.0.100', 'fd00:1::100'] }, [A]),
    steps: [
      goes(1, A, 20005),
      { replan: plan({ vips: ['10.1.0.101', 'fd00:1::100'] }, [A]), changed: REMOVED, sessions: 0 },
      late('drop:no_session'),
      { wan: fromClient({ sport: 1 }), verdict: 'pass', changed: {} },
      {
        wan: fromClient({ sport: 1, dst: '10.1.0.101' }),
        verdict: 'forward',
        sent: [toRealServer({ dst: A, sport: 20006 })],
      },
    ],
  },
  {
    name: 'with another dialect: what is not confirmed yet is sent in it, in new sessions everything',
    plan: plan({ maxTrials: 3 }, [A]),
    steps: [
      { wan: fromClient(), verdict: 'forward', sent: [withIpo()] },
      { replan: plan({ maxTrials: 3, dialect: 'opp' }, [A]), changed: {} },
      { wan: fromClient(), verdict: 'forward', sent: [withOpp()], changed: INSERTED },
      { replan: plan({ maxTrials: 3, dialect: 'none' }, [A]), changed: {} },
      { wan: fromClient(), verdict: 'forward', sent: [toRealServer()], changed: {} },
    ],
  },
  {
    name: 'with another dialect: a session whose trials are used up is told in it, and only then',
    plan: told('ipo'),
    steps: [
      ...EXHAUSTED,
      { replan: told('ipo', { onewayMs: 10_000, refreshMs: 0 }), changed: {} },
      { wan: fromClient(), verdict: 'forward', sent: [toRealServer()], changed: {} },
      { replan: told('opp'), changed: {} },
      { wan: fromClient(), verdict: 'forward', sent: [withOpp()], changed: INSERTED },
      { wan: fromClient(), verdict: 'forward', sent: [toRealServer()], changed: { uoaExhausted: 1 } },
      { wan: fromClient(), verdict: 'forward', sent: [toRealServer()], changed: {} },
    ],
  },
  {
    name: 'with another dialect: a session whose real server confirmed the old one is told in it',
    plan: told('ipo'),
    steps: [
      { wan: fromClient(), verdict: 'forward', sent: [withIpo()] },
      { lan: pair(4, 4).echoAck('ipo'), verdict: 'consumed', changed: { uoaAcked: 1 } },
      { wan: fromClient(), verdict: 'forward', sent: [toRealServer()], changed: {} },
      { replan: told('opp'), changed: {} },
      { wan: fromClient(), verdict: 'forward', sent: [withOpp()], changed: INSERTED },
    ],
  },
  {
    name: 'with another fallback: what was told is told again',
    plan: told('ipo'),
    steps: [
      ...EXHAUSTED,
      { replan: told('ipo', { onUnsupported: 'opp' }), changed: {} },
      { wan: fromClient(), verdict: 'forward', sent: [withIpo()], changed: INSERTED },
    ],
  },
  {
    name: "with another dialect of one real server: another's sessions are not told again",
    plan: told('ipo', {}, [A, B]),
    steps: [
      ...EXHAUSTED,
      {
        replan: told('ipo', { realServers: [realServer(A), realServer(B, { dialect: 'opp' })] }),
        changed: {},
      },
      { wan: fromClient(), verdict: 'forward', sent: [toRealServer()], changed: {} },
    ],
  },
  {
    name: 'with other timeouts: they are those of sessions that are there, too',
    plan: plan({ onewayMs: 10_000 }, [A]),
    steps: [
      goes(1, A, 20005),
      { replan: plan({ onewayMs: 1000 }, [A]), changed: {} },
      { at: 999, ...answers(A, 20005, 1) },
      goes(2, A, 20006),
      { at: 1999, lan: fromRealServer({ dport: 20006 }), verdict: 'drop:no_session' },
      answers(A, 20005, 1),
    ],
  },
  {
    name: 'with another scheduler and persistence moves no session',
    plan: plan(),
    steps: [
      goes(1, A, 20005),
      goes(2, B, 20005),
      { replan: plan({ scheduler: 'lc', persistenceMs: 5000 }), changed: {} },
      goes(1, A, 20005),
      goes(2, B, 20005),
      { replan: plan({ scheduler: 'mh' }), changed: {} },
      answers(A, 20005, 1),
      answers(B, 20005, 2),
    ],
  },
  {
    name: 'with a smaller MTU towards a real server holds for its sessions at once',
    plan: plan({}, [A]),
    steps: [
      { wan: fromClient({ payload: new Uint8Array(1400), df: true }), verdict: 'forward' },
      { replan: plan({ realServers: [realServer(A, { mtu: 1000 })] }), changed: {} },
      {
        wan: fromClient({ payload: new Uint8Array(1400), df: true }),
        verdict: 'drop:too_big',
        sent: [() => {}],
      },
    ],
  },
  {
    name: 'with a real server that is leaving keeps its sessions; without it they end',
    plan: plan(),
    steps: [
      goes(1, A, 20005),
      { replan: plan({ realServers: [realServer(B), realServer(A, { isLeaving: true })] }), changed: {} },
      goes(1, A, 20005, { changed: {} }),
      goes(2, B, 20005),
      goes(3, B, 20006),
      answers(A, 20005, 1),
      { replan: plan({}, [B]), changed: { sessionsRemoved: 1, sessionsNormal: -1 } },
      goes(1, B, 20007),
    ],
  },
  {
    name: 'with limits by client counts the sessions that are there',
    plan: plan({}, [A]),
    steps: [
      goes(1, A, 20005),
      { replan: plan({ limits: limits({ sessionsPerClient: 1 }) }, [A]), changed: {} },
      { wan: fromClient({ sport: 2 }), verdict: 'drop:client_session_limit' },
      goes(1, A, 20005),
      { replan: plan({}, [A]), changed: {} },
      goes(2, A, 20006),
    ],
  },
  {
    name: 'with both VIPs in another order keeps the sessions of both families',
    plan: {
      service: { ...pair(6, 4).service, ...plan({}, [A]).service, vips: ['10.1.0.100', 'fd00:1::100'] },
    },
    steps: [
      goes(1, A, 20005),
      { wan: pair(6, 4).fromClient(), verdict: 'forward' },
      { replan: plan({ vips: ['fd00:1::100', '10.1.0.100'] }, [A]), changed: {}, sessions: 2 },
      goes(1, A, 20005),
      {
        lan: fromRealServer({ dport: 20006 }),
        verdict: 'forward',
        sent: [pair(6, 4).atClient()],
      },
    ],
  },
  {
    name: 'that turns the UOA on starts with it in sessions that are there',
    plan: plan({ dialect: 'none', maxTrials: 3 }, [A]),
    steps: [
      goes(1, A, 20005),
      { replan: new Combination('ipo', pair(4, 4)).plan(), changed: {} },
      { wan: fromClient({ sport: 1 }), verdict: 'forward', changed: INSERTED },
    ],
  },
]);

function limits(change: Partial<NonNullable<ServiceChange['limits']>>) {
  const none = { sessions: 0, sessionsPerClient: 0, newSessions: 0, newSessionsPerClient: 0 };
  return { ...none, prefixV4: 32, prefixV6: 64, ...change };
}

describe('numbers', () => {
  const two = { services: [game(), game({ ...CHAT }, [A])], capacity: CAPACITY };
  const one = { services: [game()] };
  const other = { services: [game(), game({ ...CHAT, name: 'voice', vport: 8000 }, [B])] };

  const numbersOf = ({ plan }: Rig) =>
    plan.services.map(({ index, realServers }) => [index, ...realServers.map((server) => server.index)]);

  function chatted(): Rig {
    const rig = new Rig(two);
    rig.receive(fromClient({ dport: 7000 }), PORT.wan);
    rig.receive(fromRealServer({ dst: LIP2 }), PORT.lan);
    rig.receive(fromClient({ dport: 7000, ttl: 1 }), PORT.wan);
    return rig;
  }

  test('that are free again are given to something else later', () => {
    const rig = chatted();
    rig.replan(one);
    rig.replan(other);
    assert.deepEqual(numbersOf(rig), [
      [0, 0, 1],
      [1, 2],
    ]);
    checkGauges(rig.memory, rig.plan, 'the other plan');
  });

  test('of what leaves and what comes in the same plan differ', () => {
    const rig = chatted();
    rig.replan(other);
    assert.deepEqual(numbersOf(rig), [
      [0, 0, 1],
      [2, 3],
    ]);
    assert.equal(rig.datapath.sessionCount, 0);
    assert.equal(rig.counter('sessionsRemoved', 1), 1, 'the old one still counts what it ended');
  });

  test('that real servers of the same names have now are those that it counts the sessions by', () => {
    const lc = (name: string, servers: readonly string[]) => ({
      services: [game(), game({ ...CHAT, name, scheduler: 'lc' as const }, servers)],
    });
    const rig = new Rig({ ...lc('chat', [A, B]), capacity: CAPACITY });
    rig.replan(one, false);
    rig.replan(lc('voice', [B]), false);
    rig.replan(lc('voice', [A, B]));
    assert.deepEqual(numbersOf(rig)[1], [1, 3, 2]);
    const sent = (sport: number) =>
      rig.receive(fromClient({ sport, dport: 7000 }), PORT.wan).sent.map((packet) => packet.at(19));
    rig.setWeight(2, 0);
    assert.deepEqual([1, 2, 3].flatMap(sent), [10, 10, 10]);
    rig.setWeight(2, 100);
    assert.deepEqual([4, 5, 6].flatMap(sent), [11, 11, 11]);
  });

  test('given to something else while a datapath got no plan in between bring it no old sessions', () => {
    const rig = chatted();
    rig.replan(one, false);
    rig.replan(other);
    assert.deepEqual(numbersOf(rig)[1], [1, 2]);
    assert.deepEqual(recordedSessions(rig.memory, rig.plan), []);
    assert.equal(rig.datapath.sessionCount, 0);
    checkGauges(rig.memory, rig.plan, 'the other plan');
    assert.equal(rig.receive(fromRealServer({ dst: LIP2 }), PORT.lan).verdict, 'drop:no_session');
  });
});

test('a datapath that ended before it had the new plan: its successor ends what is gone, for the limits too', () => {
  const limited = { limits: limits({ sessionsPerClient: 1 }) };
  const rig = new Rig({ service: game(limited), capacity: CAPACITY });
  rig.receive(fromClient({ sport: 1 }), PORT.wan);
  assert.equal(rig.receive(fromClient({ sport: 2 }), PORT.wan).verdict, 'drop:client_session_limit');
  rig.replan({ service: game(limited, [B]) }, false);
  assert.deepEqual(rig.succeed(), REMOVED);
  checkGauges(rig.memory, rig.plan, 'the successor');
  const { verdict, sent } = rig.receive(fromClient({ sport: 2 }), PORT.wan);
  assert.equal(verdict, 'forward');
  assert.deepEqual(
    sent,
    [Buffer.from(toRealServer({ dst: B }))].map((packet) => Uint8Array.from(packet)),
  );
  assert.equal(rig.receive(fromClient({ sport: 3 }), PORT.wan).verdict, 'drop:client_session_limit');
});

test('a datapath that ended before it had a plan with another VIP: its successor ends the sessions of the one that is gone', () => {
  const rig = new Rig({ ...plan({ vips: ['10.1.0.100', 'fd00:1::100'] }, [A]), capacity: CAPACITY });
  rig.receive(fromClient({ sport: 1 }), PORT.wan);
  rig.replan(plan({ vips: ['10.1.0.101', 'fd00:1::100'] }, [A]), false);
  assert.deepEqual(rig.succeed(), REMOVED);
  checkGauges(rig.memory, rig.plan, 'the successor');
});

test('a service whose VIPs change one after the other is not taken for one of its first name and VIP that comes later', () => {
  const rig = new Rig({ ...plan({}, [A]), capacity: CAPACITY });
  rig.receive(fromClient({ sport: 1 }), PORT.wan);
  rig.replan(plan({ vips: ['10.1.0.100', 'fd00:1::100'] }, [A]));
  rig.replan(plan({ vips: ['fd00:1::100'] }, [A]));
  assert.equal(rig.counter('sessionsRemoved', 0), 1);
  assert.equal(rig.receive(pair(6, 4).fromClient(), PORT.wan).verdict, 'forward');
  rig.replan({ service: game({ ...CHAT }, [A]) }, false);
  rig.replan(plan({}, [A]));
  assert.deepEqual(
    rig.plan.services.map(({ index }) => index),
    [0],
  );
  assert.equal(rig.datapath.sessionCount, 0);
  checkGauges(rig.memory, rig.plan, 'the later one');
});

test('a table of the scheduler is made anew only for another scheduler or other real servers', (context) => {
  const mh = context.mock.method(SCHEDULERS, 'mh');
  const made = () => mh.mock.callCount();
  const rig = new Rig({ ...plan({ scheduler: 'mh' }), capacity: CAPACITY });
  assert.equal(made(), 1);
  for (const change of [{}, { onewayMs: 1000 }, { dialect: 'opp' as const }, { lips: [LIP, LIP2] }])
    rig.replan(plan({ scheduler: 'mh', ...change }));
  assert.equal(made(), 1);
  rig.replan(plan({ scheduler: 'mh' }, [B, A]));
  assert.equal(made(), 2);
  rig.replan(plan({ scheduler: 'mh' }, [B]));
  assert.equal(made(), 3);
  rig.replan(plan({ scheduler: 'rr' }, [B]));
  rig.replan(plan({ scheduler: 'mh' }, [B]));
  assert.equal(made(), 4);
});
