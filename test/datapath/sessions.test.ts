// Sessions: one lookup from either side, two states with their own timeouts, bound and eviction, lports.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PORT, Rig, realServer, serverCounts } from './rig.ts';
import { fromClient, fromRealServer, ipoAck, toClient, toRealServer } from './roles.ts';
import { type Row, rows } from './rows.ts';

const PLAIN = { service: { maxTrials: 0 } };
const OPEN = { wan: fromClient(), verdict: 'forward', changed: { sessionsCreated: 1, sessionsOneway: 1 } };
const REOPENED = { sessionsCreated: 1, sessionsExpired: 1 };

rows('session timeouts', [
  {
    name: 'a oneway session lives up to its timeout',
    plan: { service: { maxTrials: 0, onewayMs: 10_000, normalMs: 60_000 } },
    steps: [
      OPEN,
      { at: 9_000, wan: fromClient(), verdict: 'forward', sent: [toRealServer()], changed: {} },
      { at: 18_500, tick: true, changed: {}, sessions: 1 },
      { at: 20_500, tick: true, changed: { sessionsExpired: 1, sessionsOneway: -1 }, sessions: 0 },
      { lan: fromRealServer(), verdict: 'drop:no_session' },
    ],
  },
  {
    name: 'a session that saw a reply has the normal timeout',
    plan: { service: { maxTrials: 0, onewayMs: 10_000, normalMs: 60_000 } },
    steps: [
      OPEN,
      {
        at: 1_000,
        lan: fromRealServer(),
        verdict: 'forward',
        sent: [toClient()],
        changed: { sessionsOneway: -1, sessionsNormal: 1 },
      },
      { at: 58_000, tick: true, changed: {}, sessions: 1 },
      { at: 62_500, tick: true, changed: { sessionsExpired: 1, sessionsNormal: -1 }, sessions: 0 },
    ],
  },
  {
    name: 'the normal timeout may be the shorter one',
    plan: { service: { maxTrials: 0, onewayMs: 60_000, normalMs: 10_000 } },
    steps: [
      OPEN,
      { at: 1_000, lan: fromRealServer(), verdict: 'forward' },
      { at: 12_500, tick: true, changed: { sessionsExpired: 1, sessionsNormal: -1 }, sessions: 0 },
    ],
  },
  {
    name: 'replies keep a session alive',
    plan: PLAIN,
    steps: [
      OPEN,
      { at: 200_000, lan: fromRealServer(), verdict: 'forward' },
      { at: 400_000, lan: fromRealServer(), verdict: 'forward', sent: [toClient()] },
      { at: 600_000, wan: fromClient(), verdict: 'forward', sent: [toRealServer()], changed: {} },
    ],
  },
  {
    name: 'an expired session is not used by a reply even before the sweep',
    plan: PLAIN,
    steps: [OPEN, { at: 301_500, lan: fromRealServer(), verdict: 'drop:no_session' }],
  },
  {
    name: 'an expired session is not used by a request even before the sweep: a new one with the next lport begins',
    plan: PLAIN,
    steps: [
      OPEN,
      {
        at: 301_500,
        wan: fromClient(),
        verdict: 'forward',
        sent: [toRealServer({ sport: 20006 })],
        changed: REOPENED,
        sessions: 1,
      },
      { lan: fromRealServer({ dport: 20006 }), verdict: 'forward', sent: [toClient()] },
      { lan: fromRealServer(), verdict: 'drop:no_session' },
    ],
  },
  {
    name: 'an expired session gives its only lport back to the request that finds it',
    plan: { service: { maxTrials: 0, lports: { first: 20005, last: 20005 } } },
    steps: [
      OPEN,
      { at: 301_500, wan: fromClient(), verdict: 'forward', sent: [toRealServer()], changed: REOPENED },
    ],
  },
  {
    name: 'services have their own timeouts',
    plan: {
      services: [
        { maxTrials: 0, onewayMs: 10_000 },
        { maxTrials: 0, vport: 7000, onewayMs: 100_000, lips: ['10.2.0.201'] },
      ],
    },
    steps: [
      OPEN,
      { wan: fromClient({ dport: 7000 }), verdict: 'forward' },
      { at: 12_000, tick: true, changed: { sessionsExpired: 1, sessionsOneway: -1 }, sessions: 1 },
      { at: 101_500, tick: true, changed: { sessionsExpired: 1, sessionsOneway: -1 }, sessions: 0 },
    ],
  },
  ...[0x7fffffff - 5_000, -5_000].map(
    (startMs): Row => ({
      name: `a session outlives the wrap of the 32-bit clock that started at ${startMs}`,
      plan: { service: { maxTrials: 3, onewayMs: 10_000, normalMs: 10_000, idleRefreshMs: 0 } },
      startMs,
      steps: [
        { wan: fromClient(), verdict: 'forward' },
        { at: 9_000, tick: true, changed: {}, sessions: 1 },
        { at: 9_000, lan: fromRealServer(), verdict: 'forward', sent: [toClient()] },
        { at: 17_000, wan: fromClient(), verdict: 'forward', changed: { uoaInserted: 1 } },
        { at: 28_500, tick: true, changed: { sessionsExpired: 1, sessionsNormal: -1 }, sessions: 0 },
      ],
    }),
  ),
  {
    name: 'a dropped packet does not keep a session alive',
    plan: PLAIN,
    steps: [
      OPEN,
      { at: 200_000, wan: fromClient({ checksum: 'bad' }), verdict: 'drop:bad_udp_checksum' },
      { at: 301_500, tick: true, changed: { sessionsExpired: 1, sessionsOneway: -1 }, sessions: 0 },
    ],
  },
  {
    name: 'an echo ACK neither keeps a session alive nor makes it normal',
    plan: { service: { onewayMs: 10_000, normalMs: 60_000 } },
    steps: [
      { wan: fromClient(), verdict: 'forward' },
      { at: 5_000, lan: ipoAck(), verdict: 'consumed', changed: { uoaAcked: 1 } },
      { at: 11_500, tick: true, changed: { sessionsExpired: 1, sessionsOneway: -1 }, sessions: 0 },
    ],
  },
]);

const client = (sport: number) => fromClient({ sport });
const server = (lport: number) => toRealServer({ sport: lport });
const opened = (sport: number, lport: number, at = 0) => ({
  at,
  wan: client(sport),
  verdict: 'forward',
  sent: [server(lport)],
  changed: { sessionsCreated: 1, sessionsOneway: 1 },
});
const again = (sport: number, lport: number, at: number) => ({ ...opened(sport, lport, at), changed: {} });

rows('session bound', [
  {
    name: 'the least recently used session makes room',
    plan: { ...PLAIN, maxSessions: 2 },
    steps: [
      opened(1, 20005),
      opened(2, 20006, 2_000),
      again(1, 20005, 4_000),
      {
        at: 6_000,
        wan: client(3),
        verdict: 'forward',
        sent: [server(20007)],
        changed: { sessionsCreated: 1, sessionsEvicted: 1 },
        sessions: 2,
      },
      { lan: fromRealServer({ dport: 20006 }), verdict: 'drop:no_session' },
      { lan: fromRealServer({ dport: 20005 }), verdict: 'forward', sent: [toClient({ dport: 1 })] },
      { lan: fromRealServer({ dport: 20007 }), verdict: 'forward', sent: [toClient({ dport: 3 })] },
    ],
  },
  {
    name: 'replies count as use',
    plan: { ...PLAIN, maxSessions: 2 },
    steps: [
      opened(1, 20005),
      opened(2, 20006, 2_000),
      { at: 4_000, lan: fromRealServer(), verdict: 'forward' },
      { at: 6_000, wan: client(3), verdict: 'forward', sent: [server(20007)] },
      { lan: fromRealServer({ dport: 20006 }), verdict: 'drop:no_session' },
    ],
  },
  {
    name: 'an evicted normal session leaves the gauge of normal sessions',
    plan: { ...PLAIN, maxSessions: 1 },
    steps: [
      opened(1, 20005),
      { lan: fromRealServer(), verdict: 'forward' },
      {
        at: 2_000,
        wan: client(2),
        verdict: 'forward',
        changed: { sessionsCreated: 1, sessionsEvicted: 1, sessionsNormal: -1, sessionsOneway: 1 },
        sessions: 1,
      },
    ],
  },
  {
    name: 'an evicted lport returns to the end of the pool',
    plan: { service: { maxTrials: 0, lports: { first: 20005, last: 20007 } }, maxSessions: 2 },
    steps: [
      opened(1, 20005),
      opened(2, 20006, 2_000),
      { at: 4_000, wan: client(3), verdict: 'forward', sent: [server(20007)] },
      { at: 6_000, wan: client(4), verdict: 'forward', sent: [server(20005)] },
      { at: 8_000, wan: client(1), verdict: 'forward', sent: [server(20006)], sessions: 2 },
    ],
  },
]);

const THREE_PORTS = { service: { maxTrials: 0, lports: { first: 20005, last: 20007 } } };
const TWO_LIPS = { maxTrials: 0, lips: ['10.2.0.200', '10.2.0.201'] };
const answered = (sport: number, lport: number) => ({
  lan: fromRealServer({ dport: lport }),
  verdict: 'forward',
  sent: [toClient({ dport: sport })],
});
const expires = (at: number) => ({
  at,
  tick: true as const,
  changed: { sessionsExpired: 1, sessionsOneway: -1 },
});

rows('lports', [
  {
    name: 'returned lports are handed out in the order of their return',
    plan: THREE_PORTS,
    steps: [
      opened(1, 20005),
      opened(2, 20006, 10_000),
      opened(3, 20007, 20_000),
      again(1, 20005, 100_000),
      again(3, 20007, 200_000),
      expires(320_000),
      expires(410_000),
      expires(510_000),
      opened(4, 20006, 510_000),
      opened(5, 20005, 510_000),
      opened(6, 20007, 510_000),
    ],
  },
  {
    name: 'a fresh lport goes before a returned one',
    plan: THREE_PORTS,
    steps: [
      opened(1, 20005),
      expires(302_000),
      opened(1, 20006, 302_000),
      opened(2, 20007, 302_000),
      opened(3, 20005, 302_000),
    ],
  },
  {
    name: 'a pool whose sessions are all answered drops new sessions only, until an lport returns',
    plan: THREE_PORTS,
    steps: [
      opened(1, 20005),
      answered(1, 20005),
      opened(2, 20006, 100_000),
      answered(2, 20006),
      opened(3, 20007, 100_000),
      answered(3, 20007),
      { wan: client(4), verdict: 'drop:lports_exhausted', changed: {}, sessions: 3 },
      again(2, 20006, 200_000),
      { lan: fromRealServer({ dport: 20007 }), verdict: 'forward', sent: [toClient({ dport: 3 })] },
      { at: 302_000, tick: true, changed: { sessionsExpired: 1, sessionsNormal: -1 } },
      opened(4, 20005, 302_000),
    ],
  },
  {
    name: 'the same lport serves two real servers at once',
    plan: { service: { maxTrials: 0, realServers: [realServer('10.2.0.10'), realServer('10.2.0.11')] } },
    steps: [
      opened(1, 20005),
      { wan: client(2), verdict: 'forward', sent: [toRealServer({ dst: '10.2.0.11' })] },
      { lan: fromRealServer(), verdict: 'forward', sent: [toClient({ dport: 1 })] },
      { lan: fromRealServer({ src: '10.2.0.11' }), verdict: 'forward', sent: [toClient({ dport: 2 })] },
    ],
  },
  {
    name: 'two real servers on one address and two ports are two real servers',
    plan: {
      service: {
        maxTrials: 0,
        realServers: [realServer('10.2.0.10'), realServer('10.2.0.10', { port: 6001 })],
      },
    },
    steps: [
      opened(1, 20005),
      { wan: client(2), verdict: 'forward', sent: [toRealServer({ dport: 6001 })] },
      { lan: fromRealServer({ sport: 6001 }), verdict: 'forward', sent: [toClient({ dport: 2 })] },
      { lan: fromRealServer(), verdict: 'forward', sent: [toClient({ dport: 1 })] },
    ],
  },
  {
    name: 'several LIPs take turns',
    plan: { service: TWO_LIPS },
    steps: [
      opened(1, 20005),
      { wan: client(2), verdict: 'forward', sent: [toRealServer({ src: '10.2.0.201', sport: 20005 })] },
      opened(3, 20006),
      { wan: client(4), verdict: 'forward', sent: [toRealServer({ src: '10.2.0.201', sport: 20006 })] },
      { lan: fromRealServer({ dst: '10.2.0.201' }), verdict: 'forward', sent: [toClient({ dport: 2 })] },
    ],
  },
  {
    name: 'an exhausted LIP is passed over',
    plan: { service: { ...TWO_LIPS, lports: { first: 20005, last: 20005 } } },
    steps: [
      opened(1, 20005),
      { at: 0, wan: client(2), verdict: 'forward', sent: [toRealServer({ src: '10.2.0.201' })] },
      again(1, 20005, 200_000),
      answered(1, 20005),
      expires(302_000),
      { wan: client(3), verdict: 'forward', sent: [toRealServer({ src: '10.2.0.201' })] },
      { lan: fromRealServer({ dst: '10.2.0.201' }), verdict: 'forward' },
      { wan: client(4), verdict: 'drop:lports_exhausted' },
    ],
  },
  {
    name: 'an exhausted pool of one real server leaves the other one reachable',
    plan: {
      service: {
        maxTrials: 0,
        scheduler: 'wrr',
        lports: { first: 20005, last: 20005 },
        realServers: [realServer('10.2.0.10', { weight: 3 }), realServer('10.2.0.11', { weight: 1 })],
      },
    },
    steps: [
      opened(1, 20005),
      answered(1, 20005),
      { wan: client(2), verdict: 'drop:lports_exhausted' },
      { wan: client(2), verdict: 'forward', sent: [toRealServer({ dst: '10.2.0.11' })] },
    ],
  },
]);

test('a real server is told apart from a flood: sessions that expired unanswered, not those that made room', () => {
  const rig = new Rig({ ...PLAIN, maxSessions: 2 });
  const counts = () => [
    serverCounts(rig.memory, 'onewayEnded')[0],
    serverCounts(rig.memory, 'sessionsAnswered')[0],
  ];
  const request = (sport: number) => assert.equal(rig.receive(client(sport), PORT.wan).verdict, 'forward');
  request(1);
  for (let n = 0; n < 2; n++) rig.receive(fromRealServer(), PORT.lan);
  assert.deepEqual(counts(), [0, 1], 'one session is answered, twice');
  request(2);
  request(3);
  request(4);
  assert.deepEqual(counts(), [0, 1], 'two were evicted');
  rig.at = 400_000;
  rig.tick();
  assert.equal(rig.datapath.sessionCount, 0);
  assert.deepEqual(counts(), [1, 1], 'one of the two that expired was never answered');
});
