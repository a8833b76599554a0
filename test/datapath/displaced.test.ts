// Where no lport is free: a new session gets that of the one which waits longest for an answer, an answered
// one loses none.
import { type Counts, realServer, type ServiceChange } from './rig.ts';
import { fromClient, fromRealServer, toClient, toRealServer } from './roles.ts';
import { type Row, rows, type Step } from './rows.ts';

const OPENED = { sessionsCreated: 1, sessionsOneway: 1 };
/** One ends, another one begins. */
const DISPLACED = { sessionsCreated: 1, sessionsEvicted: 1, sessionsDisplaced: 1 };
const NORMAL = { sessionsOneway: -1, sessionsNormal: 1 };
const THREE = { first: 20005, last: 20007 };
const CHAT = { name: 'chat', vport: 7000 };

const game = (change: ServiceChange = {}): ServiceChange => ({ maxTrials: 0, lports: THREE, ...change });

const goes = (sport: number, lport: number, changed: Counts = OPENED, at?: number): Step => ({
  ...(at === undefined ? {} : { at }),
  wan: fromClient({ sport }),
  verdict: 'forward',
  sent: [toRealServer({ sport: lport })],
  changed,
});
const answers = (lport: number, sport: number, changed: Counts = NORMAL): Step => ({
  lan: fromRealServer({ dport: lport }),
  verdict: 'forward',
  sent: [toClient({ dport: sport })],
  changed,
});
const FULL = [goes(1, 20005), goes(2, 20006), goes(3, 20007)];

/** A client that was answered, from another address. */
const known = (sport: number, lport: number, changed: Counts = OPENED): Step => ({
  wan: fromClient({ src: '10.1.0.3', sport }),
  verdict: 'forward',
  sent: [toRealServer({ sport: lport })],
  changed,
});

const list: Row[] = [
  {
    name: 'goes by the order of use, whose packets come first by the second',
    plan: { service: game() },
    steps: [
      ...FULL,
      goes(1, 20005, {}, 2_000),
      goes(4, 20006, DISPLACED),
      answers(20006, 4),
      goes(2, 20007, DISPLACED),
      goes(5, 20005, DISPLACED, 4_000),
      { tick: true, changed: {}, sessions: 3 },
    ],
  },
  {
    name: 'passes over sessions that were answered, and refuses when all are',
    plan: { service: game() },
    steps: [
      ...FULL,
      answers(20005, 1),
      answers(20006, 2),
      goes(4, 20007, DISPLACED),
      goes(5, 20007, DISPLACED),
      answers(20007, 5),
      { wan: fromClient({ sport: 6 }), verdict: 'drop:lports_exhausted', changed: {}, sessions: 3 },
      answers(20005, 1, {}),
    ],
  },
  {
    name: 'lets lports rest in turn where some are kept back, so that a late answer finds nobody',
    plan: { service: game(), lportReserve: 40 },
    steps: [
      goes(1, 20005),
      goes(2, 20006),
      goes(3, 20007, DISPLACED),
      { lan: fromRealServer({ dport: 20005 }), verdict: 'drop:no_session' },
      goes(4, 20005, DISPLACED),
      goes(5, 20006, DISPLACED),
      goes(6, 20007, DISPLACED),
      { tick: true, changed: {}, sessions: 2 },
    ],
  },
  {
    name: 'keeps what is kept back for clients that were answered, whose sessions give way after those of others',
    plan: { service: game(), lportReserve: 40 },
    steps: [
      known(1, 20005),
      { lan: fromRealServer({ dport: 20005 }), verdict: 'forward', changed: NORMAL },
      goes(2, 20006),
      known(3, 20007),
      goes(4, 20006, DISPLACED),
      known(5, 20006, DISPLACED),
      goes(6, 20007, DISPLACED), // there are only those of known clients
      goes(7, 20007, DISPLACED),
      { at: 2_000, ...known(5, 20006, {}) },
      goes(8, 20007, DISPLACED),
      { lan: fromRealServer({ dport: 20006 }), verdict: 'forward', changed: NORMAL },
      answers(20007, 8),
      { wan: fromClient({ sport: 9 }), verdict: 'drop:lports_exhausted', changed: {} },
    ],
  },
  {
    name: 'of a known client goes on giving way last with more lports',
    plan: { service: game(), lportReserve: 40 },
    steps: [
      known(1, 20005),
      { lan: fromRealServer({ dport: 20005 }), verdict: 'forward', changed: NORMAL },
      goes(2, 20006),
      known(3, 20007),
      {
        replan: { service: game({ lports: { first: 20005, last: 20008 } }), lportReserve: 40 },
        changed: {},
        sessions: 3,
      },
      goes(4, 20008, DISPLACED),
      goes(5, 20006, DISPLACED),
      known(3, 20007, {}),
    ],
  },
  {
    name: 'leaves what is kept back when no session waits for an answer',
    plan: { service: game(), lportReserve: 40 },
    steps: [
      goes(1, 20005),
      goes(2, 20006),
      answers(20005, 1),
      answers(20006, 2),
      { wan: fromClient({ src: '10.1.0.9' }), verdict: 'drop:lports_reserved', changed: {} },
      goes(3, 20007),
    ],
  },
  {
    name: 'displaces nobody for a session that is not opened',
    plan: { service: game() },
    steps: [
      ...FULL,
      { draining: true, wan: fromClient({ sport: 4 }), verdict: 'drop:draining', changed: {}, sessions: 3 },
    ],
  },
  {
    name: 'takes turns among the LIPs, and passes over one that has answered sessions only',
    plan: { service: game({ lips: ['10.2.0.200', '10.2.0.201'], lports: { first: 20005, last: 20006 } }) },
    steps: [
      ...[1, 2, 3, 4].map((sport): Step => ({ wan: fromClient({ sport }), verdict: 'forward' })),
      answers(20005, 1),
      goes(5, 20006, DISPLACED),
      {
        wan: fromClient({ sport: 6 }),
        verdict: 'forward',
        sent: [toRealServer({ src: '10.2.0.201', sport: 20005 })],
        changed: DISPLACED,
      },
      answers(20006, 5),
      ...[7, 8].map(
        (sport, i): Step => ({
          wan: fromClient({ sport }),
          verdict: 'forward',
          sent: [toRealServer({ src: '10.2.0.201', sport: 20006 - i })],
          changed: DISPLACED,
        }),
      ),
    ],
  },
  {
    name: 'is for all services that share LIP and real server',
    plan: { services: [game(), game(CHAT)] },
    steps: [
      ...FULL,
      {
        wan: fromClient({ sport: 4, dport: 7000 }),
        verdict: 'forward',
        sent: [toRealServer({ sport: 20005 })],
        changed: DISPLACED,
      },
      { lan: fromRealServer({ dport: 20005 }), verdict: 'forward', changed: NORMAL },
      goes(1, 20006, DISPLACED),
    ],
  },
  {
    name: 'finds the sessions of a predecessor, too',
    plan: { service: game() },
    steps: [
      ...FULL,
      answers(20005, 1),
      { successor: true, changed: {}, sessions: 3 },
      goes(4, 20006, DISPLACED),
      goes(5, 20007, DISPLACED),
      goes(6, 20006, DISPLACED),
    ],
  },
  {
    name: 'finds those of a predecessor in the order of their use, and of known clients last',
    plan: { service: game({ lports: { first: 20005, last: 20009 } }), lportReserve: 40 },
    steps: [
      known(1, 20005),
      { lan: fromRealServer({ dport: 20005 }), verdict: 'forward', changed: NORMAL },
      goes(2, 20006),
      goes(3, 20007),
      known(4, 20008),
      known(5, 20009),
      goes(2, 20006, {}, 2_000),
      known(4, 20008, {}),
      { successor: true, changed: {}, sessions: 5 },
      goes(6, 20007, DISPLACED),
      goes(7, 20006, DISPLACED),
      { lan: fromRealServer({ dport: 20007 }), verdict: 'forward', changed: NORMAL },
      { lan: fromRealServer({ dport: 20006 }), verdict: 'forward', changed: NORMAL },
      goes(8, 20009, DISPLACED),
      { lan: fromRealServer({ dport: 20009 }), verdict: 'forward', changed: NORMAL },
      goes(9, 20008, DISPLACED),
    ],
  },
  {
    name: 'goes on by the order of use with more lports',
    plan: { service: game() },
    steps: [
      ...FULL,
      goes(1, 20005, {}, 2_000),
      {
        replan: { service: game({ lports: { first: 20005, last: 20008 } }) },
        changed: {},
        sessions: 3,
      },
      goes(4, 20008),
      goes(5, 20006, DISPLACED),
      goes(6, 20007, DISPLACED),
      goes(7, 20005, DISPLACED),
    ],
  },
  {
    name: 'goes on where a service gets lports of its own, and one keeps those that they shared',
    plan: { services: [game(), game(CHAT)] },
    steps: [
      goes(1, 20005),
      { wan: fromClient({ sport: 2, dport: 7000 }), verdict: 'forward' },
      goes(3, 20007),
      {
        replan: { services: [game(), game({ ...CHAT, lports: { first: 20008, last: 20008 } })] },
        changed: { sessionsRemoved: 1, sessionsOneway: -1 },
        sessions: 2,
      },
      goes(4, 20006),
      goes(5, 20005, DISPLACED),
      { wan: fromClient({ sport: 6, dport: 7000 }), verdict: 'forward', changed: OPENED },
      {
        wan: fromClient({ sport: 7, dport: 7000 }),
        verdict: 'forward',
        sent: [toRealServer({ sport: 20008 })],
        changed: DISPLACED,
      },
      goes(8, 20007, DISPLACED),
    ],
  },
  {
    name: 'displaces at the real server that was chosen only',
    plan: {
      service: game({
        lports: { first: 20005, last: 20005 },
        realServers: [realServer('10.2.0.10'), realServer('10.2.0.11')],
      }),
    },
    steps: [
      goes(1, 20005),
      { wan: fromClient({ sport: 2 }), verdict: 'forward', sent: [toRealServer({ dst: '10.2.0.11' })] },
      goes(3, 20005, DISPLACED),
      { lan: fromRealServer({ src: '10.2.0.11' }), verdict: 'forward', sent: [toClient({ dport: 2 })] },
    ],
  },
];

rows('no lport is free: a new session', list);
