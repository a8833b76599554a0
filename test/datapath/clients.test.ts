// Who may be a client: not whose answer would be answered in turn, so that one forged datagram would keep two
// servers busy for ever. Real servers that call a service by themselves are served, by another one than
// themselves.
import { WEIGHT_DOWN } from '../../src/datapath/server-cells.ts';
import { pattern } from '../packets/bytes.ts';
import { NO_LIMITS } from './admission-rig.ts';
import { pair } from './pair.ts';
import { type PlanChange, PORT, realServer, type ServiceChange, SIDE } from './rig.ts';
import { fromClient, fromRealServer, toClient, toRealServer } from './roles.ts';
import { type Row, rows, type Step } from './rows.ts';
import { cutUp } from './walks.ts';

const [A, B, C] = ['10.2.0.10', '10.2.0.11', '10.2.0.12'] as const;
const GAME: ServiceChange = { name: 'game', maxTrials: 0, realServers: [realServer(A)] };
/** Of another port, LIP and family too. */
const CHAT: ServiceChange = {
  name: 'chat',
  vips: ['10.1.0.101', 'fd00:1::101'],
  vport: 7000,
  lips: ['10.2.0.201', 'fd00:2::201'],
  lports: { first: 30_000, last: 30_009 },
  realServers: [
    realServer('10.2.0.20', { port: 7001 }),
    realServer('fd00:2::20', { port: 7001 }),
    realServer('10.2.0.30', { port: 7002, isFallback: true }),
    realServer('10.2.0.40', { port: 7003, isLeaving: true }),
  ],
};
const V6: ServiceChange = { ...pair(6, 6).service, name: 'six', maxTrials: 0 };
const BOTH: PlanChange = { services: [GAME, CHAT, V6] };
const ONE_ARM: PlanChange = { ...BOTH, ports: [{ side: SIDE.both, loopback: false }] };
const LOOPBACK: PlanChange = { ...BOTH, ports: [{ side: SIDE.both, loopback: true }] };

interface Source {
  what: string;
  src: string;
  sport: number;
}

const inFamily = ({ src, sport }: Source) =>
  src.includes(':') ? pair(6, 6).fromClient({ src, sport }) : fromClient({ src, sport });

/** Each answers what it is sent, or sends it on to who answers. */
const SERVING: Source[] = [
  { what: 'a real server of the service', src: A, sport: 6000 },
  { what: 'a real server of another service', src: '10.2.0.20', sport: 7001 },
  { what: 'a real server over IPv6 of another service', src: 'fd00:2::20', sport: 7001 },
  { what: 'the fallback of another service', src: '10.2.0.30', sport: 7002 },
  { what: 'a real server that is leaving', src: '10.2.0.40', sport: 7003 },
];
const OURS: Source[] = [
  { what: 'the VIP:vport of another service', src: '10.1.0.101', sport: 7000 },
  { what: 'the VIP:vport of another service over IPv6', src: 'fd00:1::101', sport: 7000 },
  { what: 'a LIP:lport of another service', src: '10.2.0.201', sport: 30_005 },
  { what: 'a LIP:lport of another service over IPv6', src: 'fd00:2::201', sport: 30_005 },
];
const OTHER_PORT = [...SERVING, ...OURS].map(({ what, src }) => ({
  what: `${what}, port 53`,
  src,
  sport: 53,
}));

const refused = (source: Source, from: 'wan' | 'lan' = 'wan'): Step => ({
  [from]: inFamily(source),
  verdict: 'drop:bad_source',
  sent: [],
  sessions: 0,
});
const served = (source: Source, from: 'wan' | 'lan'): Step => ({
  [from]: inFamily(source),
  verdict: 'forward',
  sessions: 1,
});
const each = (sources: Source[], plan: PlanChange, step: (source: Source) => Step): Row[] =>
  sources.map((source) => ({ name: source.what, plan, steps: [step(source)] }));

rows('from the client side nobody of ours is a client', [
  ...each([...SERVING, ...OURS, ...OTHER_PORT], BOTH, (source) => refused(source)),
  {
    name: 'and not in pieces either',
    plan: BOTH,
    steps: [
      {
        wan: cutUp(fromClient({ src: '10.2.0.20', sport: 7001, payload: pattern(100) }), [64]),
        verdict: 'drop:bad_source',
        sent: [],
        sessions: 0,
      },
    ],
  },
]);

rows('by one interface for both sides nobody is a client by the port that it serves', [
  ...each([...SERVING, ...OURS], ONE_ARM, (source) => refused(source)),
  ...each(
    SERVING.map((source) => ({ ...source, sport: 53 })),
    ONE_ARM,
    (source) => served(source, 'wan'),
  ),
]);

rows('over loopback a VIP:vport and a LIP:lport are no clients', [
  ...each(OURS, LOOPBACK, (source) => refused(source)),
  ...each(
    OURS.map((source) => ({ ...source, sport: 53 })),
    LOOPBACK,
    (source) => served(source, 'wan'),
  ),
]);

rows('by an interface that only real servers are behind they are clients by any port', [
  ...each(SERVING.slice(1), BOTH, (source) => served(source, 'lan')),
  ...each(
    SERVING.map((source) => ({ ...source, sport: 53 })),
    BOTH,
    (source) => served(source, 'lan'),
  ),
  ...each(OURS, BOTH, (source) => refused(source, 'lan')),
]);

/** Hosts that are nobody's here, and by which port packets to them leave: 1 is that of the real servers. */
const NEIGHBOR = { 4: '10.2.0.99', 6: 'fd00:2::99' };
const BY_LAN = { leavesBy: { [NEIGHBOR[4]]: PORT.lan, [NEIGHBOR[6]]: PORT.lan } };
const BY_WAN = { leavesBy: { [NEIGHBOR[4]]: PORT.wan, [NEIGHBOR[6]]: PORT.wan } };
const NEIGHBORS = Object.values(NEIGHBOR).map((src) => ({ what: src, src, sport: 53 }));

rows('the way to the source', [
  ...NEIGHBORS.flatMap((source): Row[] => [
    {
      name: `${source.src} from the client side is no client when it leads to the real servers' side`,
      plan: BOTH,
      ...BY_LAN,
      steps: [refused(source)],
    },
    {
      name: `${source.src} from the client side is a client when it leads there`,
      plan: BOTH,
      ...BY_WAN,
      steps: [served(source, 'wan')],
    },
    {
      name: `${source.src} from the client side is a client when it leads elsewhere`,
      plan: BOTH,
      leavesBy: {},
      steps: [served(source, 'wan')],
    },
    {
      name: `${source.src} from the real servers' side is a client wherever it leads`,
      plan: BOTH,
      ...BY_LAN,
      steps: [served(source, 'lan')],
    },
    {
      name: `${source.src} by an interface for both sides is a client`,
      plan: { ...BOTH, ports: [...ONE_ARM.ports!, { side: SIDE.lan, loopback: false }] },
      ...BY_LAN,
      steps: [served(source, 'wan')],
    },
    {
      name: `${source.src} by one interface of two is a client when the other is for both sides`,
      plan: {
        ...BOTH,
        ports: [{ side: SIDE.wan, loopback: false }, ...ONE_ARM.ports!],
      },
      ...BY_LAN,
      steps: [served(source, 'wan')],
    },
  ]),
  {
    name: 'costs no client what its service takes in a second',
    plan: { service: { ...GAME, limits: { ...NO_LIMITS, newSessions: 1 } } },
    ...BY_LAN,
    steps: [
      ...Array.from({ length: 5 }, () => refused(NEIGHBORS[0])),
      { wan: fromClient(), verdict: 'forward' },
    ],
  },
]);

const SAME = { changed: {}, sessions: 1 };

rows('an open session', [
  {
    name: 'of a real server takes nothing from the client side, where its datagrams are forged',
    plan: BOTH,
    steps: [
      { lan: fromClient({ src: '10.2.0.20', sport: 7001 }), verdict: 'forward', sent: [toRealServer()] },
      { wan: fromClient({ src: '10.2.0.20', sport: 7001 }), verdict: 'drop:bad_source', ...SAME },
      {
        lan: fromRealServer(),
        verdict: 'forward',
        sent: [toClient({ dst: '10.2.0.20', dport: 7001 })],
      },
      { lan: fromClient({ src: '10.2.0.20', sport: 7001 }), verdict: 'forward', sent: [toRealServer()] },
    ],
  },
  {
    name: 'takes nothing more once another plan makes its client a real server',
    plan: { services: [GAME] },
    steps: [
      { wan: fromClient({ src: '10.2.0.20', sport: 7001 }), verdict: 'forward', sent: [toRealServer()] },
      { replan: BOTH, sessions: 1 },
      { wan: fromClient({ src: '10.2.0.20', sport: 7001 }), verdict: 'drop:bad_source', ...SAME },
      { replan: { services: [GAME] }, sessions: 1 },
      { wan: fromClient({ src: '10.2.0.20', sport: 7001 }), verdict: 'forward', sent: [toRealServer()] },
    ],
  },
  {
    name: 'takes nothing more once another plan makes its client a VIP',
    plan: { services: [GAME] },
    steps: [
      { wan: fromClient({ src: '10.1.0.101', sport: 7000 }), verdict: 'forward', sent: [toRealServer()] },
      { replan: BOTH, sessions: 1 },
      { wan: fromClient({ src: '10.1.0.101', sport: 7000 }), verdict: 'drop:bad_source', ...SAME },
    ],
  },
]);

const SCHEDULERS = ['rr', 'wrr', 'lc', 'wlc', 'sh', 'mh', 'random'] as const;

const cluster = (change: ServiceChange, ips: readonly string[] = [A, B]): PlanChange => ({
  service: { ...GAME, realServers: ips.map((ip) => realServer(ip)), ...change },
});
/** A real server calls the service by the port that it serves, and who is sent to. */
const calls = (src: string, dst: string, lport: number, change: Partial<Step> = {}): Step => ({
  lan: fromClient({ src, sport: 6000 }),
  verdict: 'forward',
  sent: [toRealServer({ dst, sport: lport })],
  ...change,
});

rows('a real server that calls its own service by the port that it serves', [
  ...SCHEDULERS.flatMap((scheduler): Row[] => [
    {
      name: `is served by the other one, scheduler ${scheduler}`,
      plan: cluster({ scheduler }),
      steps: [
        calls(A, B, 20005, { sessions: 1 }),
        calls(B, A, 20005, { sessions: 2, chosen: [1, 1] }),
        {
          lan: fromRealServer({ src: B }),
          verdict: 'forward',
          sent: [toClient({ dst: A, dport: 6000 })],
        },
        calls(A, B, 20005, { sessions: 2 }),
      ],
    },
    {
      name: `is no client where it is the only one, scheduler ${scheduler}`,
      plan: cluster({ scheduler }),
      steps: [
        {
          weights: { 1: WEIGHT_DOWN },
          lan: fromClient({ src: A, sport: 6000 }),
          verdict: 'drop:bad_source',
          sessions: 0,
        },
        { weights: { 0: 0 }, lan: fromClient({ src: A, sport: 6000 }), verdict: 'drop:no_real_server' },
        calls(B, A, 20005, { weights: { 0: 100 } }),
      ],
    },
  ]),
  {
    name: 'is served by its host, where that serves by another port too',
    plan: {
      service: { ...GAME, realServers: [realServer(A), realServer(A, { port: 6001 })] },
    },
    steps: [calls(A, A, 20005, { sent: [toRealServer({ dport: 6001 })] })],
  },
  {
    name: 'is not sent to itself where its address went there last',
    plan: cluster({ persistenceMs: 60_000 }),
    steps: [
      {
        lan: fromClient({ src: A, sport: 5000 }),
        verdict: 'forward',
        sent: [toRealServer({ dst: A })],
      },
      calls(A, B, 20005),
    ],
  },
  {
    name: 'is not moved to itself when its real server is down, but to a third',
    plan: cluster({ onDown: 'move' }, [A, B, C]),
    steps: [
      calls(A, B, 20005),
      calls(A, C, 20005, { weights: { 1: WEIGHT_DOWN }, changed: { sessionsMoved: 1 } }),
      calls(A, C, 20005, { weights: { 2: WEIGHT_DOWN }, changed: {} }),
    ],
  },
  {
    name: 'is not sent to itself as the fallback',
    plan: {
      service: { ...GAME, realServers: [realServer(A), realServer(B, { isFallback: true })] },
    },
    steps: [
      calls(B, A, 20005),
      {
        weights: { 0: WEIGHT_DOWN },
        lan: fromClient({ src: B, sport: 6000 }),
        verdict: 'forward',
        sent: [toRealServer()],
      },
      {
        lan: fromClient({ src: B, sport: 6000 }),
        at: 400_000,
        verdict: 'drop:bad_source',
      },
    ],
  },
]);
