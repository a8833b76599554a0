// The counts of clients over plans and processes that follow one another: whatever a datapath counted is
// taken off again, also when it is its successor that does it, by another plan.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Datapath } from '../../src/datapath/datapath.ts';
import type { DatapathMemory } from '../../src/datapath/memory.ts';
import { WEIGHT_DOWN } from '../../src/datapath/server-cells.ts';
import { checkGauges, clientSessions, countedSessions } from './recount.ts';
import { type PlanChange, PORT, Rig, realServer, type ServiceChange } from './rig.ts';
import { fromClient, fromRealServer } from './roles.ts';

const LIMIT = 3;
const CAPACITY = { services: 4, realServers: 8, legs: 16 };
const TIMEOUT_MS = 300_000;
const LIMITS = {
  sessions: 0,
  sessionsPerClient: LIMIT,
  newSessions: 0,
  newSessionsPerClient: 0,
  prefixV4: 32,
  prefixV6: 64,
};

const service = (name: string, vport: number, change: ServiceChange = {}): ServiceChange => ({
  name,
  vport,
  lips: [name === 'game' ? '10.2.0.200' : '10.2.0.201'],
  onDown: 'move',
  realServers: ['10.2.0.10', '10.2.0.11'].map((ip) => realServer(ip)),
  limits: LIMITS,
  ...change,
});
const GAME = service('game', 6000);
const CHAT = service('chat', 7000);
const VOICE = service('voice', 8000);
const plan = (services: ServiceChange[], change: PlanChange = {}): PlanChange => ({
  capacity: CAPACITY,
  maxSessions: 20,
  services,
  ...change,
});
const BEFORE = plan([GAME, CHAT]);

class World {
  readonly rig = new Rig(BEFORE);

  /**
   * Game: a client with an answered session and another one, and a second client. Chat: one that fills its
   * limit.
   */
  constructor() {
    this.open(1, 6000);
    this.rig.receive(fromRealServer({ dport: 20005 }), PORT.lan);
    this.open(2, 6000);
    this.open(1, 6000, '10.1.0.3');
    for (let sport = 1; sport <= LIMIT; sport++) this.open(sport, 7000);
    assert.equal(this.open(9, 7000), 'drop:client_session_limit');
    assert.equal(clientSessions(this.rig.memory), 6);
  }

  open(sport: number, dport: number, src = '10.1.0.2'): string {
    return this.rig.receive(fromClient({ src, sport, dport }), PORT.wan).verdict;
  }

  check(where: string): void {
    checkGauges(this.rig.memory, this.rig.plan, where);
  }

  /** When all sessions are over, none is counted, and each client may have as many as the limit says. */
  checkEmpty(where: string): void {
    for (let n = 0; n < 3; n++) {
      this.rig.at += TIMEOUT_MS;
      this.rig.tick();
    }
    assert.equal(this.rig.datapath.sessionCount, 0, where);
    assert.equal(clientSessions(this.rig.memory), 0, `${where}: sessions that are nobody's`);
    this.rig.replan(plan([GAME, VOICE]), false);
    this.rig.succeed();
    for (const { vport } of this.rig.plan.services) {
      const verdicts = Array.from({ length: LIMIT + 1 }, (_, n) => this.open(100 + n, vport));
      const expected = [...new Array<string>(LIMIT).fill('forward'), 'drop:client_session_limit'];
      assert.deepEqual(verdicts, expected, `${where}: service ${vport}`);
    }
  }
}

const wider = { limits: { ...LIMITS, prefixV4: 24 } };
/** What a reload may change, first what changes how clients are counted. */
const PLANS: [what: string, after: PlanChange][] = [
  ['a service is gone', plan([GAME])],
  ['a service is gone and another one is new', plan([GAME, VOICE])],
  ['another prefix makes a client', plan([service('game', 6000, wider), service('chat', 7000, wider)])],
  ['a service is gone and another prefix makes a client of the other', plan([service('game', 6000, wider)])],
  [
    'clients have no limit',
    plan([GAME, CHAT].map((one) => ({ ...one, limits: { ...LIMITS, sessionsPerClient: 0 } }))),
  ],
  ['a real server is gone', plan([GAME, { ...CHAT, realServers: [realServer('10.2.0.11')] }])],
  ['lports are others', plan([GAME, { ...CHAT, lports: { first: 20050, last: 20104 } }])],
  ['a service has another address', plan([GAME, { ...CHAT, vport: 7001 }])],
  ['sessions without an answer have less room', plan([GAME, CHAT], { onewayShare: 10 })],
];

describe('a datapath ends during a reload, and its successor starts with the new plan', () => {
  for (const [what, after] of PLANS) {
    test(`${what}: no session stays counted`, () => {
      const world = new World();
      world.rig.replan(after, false);
      world.rig.succeed();
      world.check('the successor');
      world.rig.replan(plan([GAME]));
      // Has the number that chat had.
      world.rig.replan(plan([GAME, VOICE]));
      world.check('a new service');
      world.checkEmpty('at the end');
    });
  }

  test('clients of a service that gets the number of one that is gone meet no counts of that one', () => {
    const world = new World();
    world.rig.replan(plan([GAME]), false);
    world.rig.succeed();
    world.rig.replan(plan([GAME, VOICE]));
    assert.deepEqual(
      [1, 2, 3, 4].map((sport) => world.open(sport, 8000)),
      ['forward', 'forward', 'forward', 'drop:client_session_limit'],
    );
  });

  test('sessions that go on are counted by the new prefix', () => {
    const world = new World();
    world.rig.replan(plan([service('game', 6000, wider)]), false);
    world.rig.succeed();
    assert.equal(world.open(7, 6000, '10.1.0.77'), 'drop:client_session_limit');
    assert.equal(countedSessions(world.rig.memory), 3);
  });
});

describe('a datapath ends at any write to its memory', () => {
  const works: [what: string, after: PlanChange, work: (world: World) => void][] = [
    ['a session begins', BEFORE, (world) => world.open(3, 6000)],
    [
      'a session is answered',
      BEFORE,
      ({ rig }) => rig.receive(fromRealServer({ src: '10.2.0.11', dport: 20005 }), PORT.lan),
    ],
    [
      'a session moves to another real server',
      BEFORE,
      (world) => {
        for (const { index } of world.rig.plan.services[0].realServers.slice(0, 1))
          world.rig.setWeight(index, WEIGHT_DOWN);
        world.open(1, 6000);
      },
    ],
    [
      'sessions expire',
      BEFORE,
      ({ rig }) => {
        rig.at += TIMEOUT_MS;
        rig.tick();
      },
    ],
    ...PLANS.slice(0, 5).map(([what, after]): (typeof works)[number] => [
      what,
      after,
      ({ rig }) => rig.datapath.reconfigure(rig.plan),
    ]),
  ];
  for (const [what, after, work] of works) {
    test(`while ${what}: no session stays counted`, () => {
      let isWhole = false;
      for (let last = 0; !isWhole; last++) {
        assert.ok(last < 1000);
        const world = new World();
        const { rig } = world;
        const dying = watch(rig.memory);
        rig.datapath = new Datapath(rig.plan, dying.memory, () => true, { seed: [5, 7] });
        rig.replan(after, false);
        dying.dieAfter(last);
        isWhole = dying.survives(() => work(world));
        rig.succeed();
        const where = `write ${last}`;
        assert.ok(clientSessions(rig.memory) <= countedSessions(rig.memory), where);
        if (isWhole) world.check(where);
        world.checkEmpty(where);
      }
    });
  }
});

class Death extends Error {}

/** The memory of a datapath that ends before it writes another word of its own than it was given. */
function watch(memory: DatapathMemory) {
  let left = Number.POSITIVE_INFINITY;
  const watched = <T extends object>(array: T): T =>
    new Proxy(array, {
      get: (target, key) => {
        const value = Reflect.get(target, key, target) as unknown;
        return typeof value === 'function' ? value.bind(target) : value;
      },
      set: (target, key, value) => {
        if (left-- <= 0) throw new Death();
        return Reflect.set(target, key, value, target);
      },
    });
  const { counters, legsInUse, legsUnanswered, records, servers, table } = memory;
  return {
    memory: {
      ...memory,
      counters: watched(counters),
      legsInUse: watched(legsInUse),
      legsUnanswered: watched(legsUnanswered),
      records: watched(records),
      servers: watched(servers),
      table: watched(table),
    },
    dieAfter: (writes: number) => {
      left = writes;
    },
    survives: (work: () => void): boolean => {
      try {
        work();
        return true;
      } catch (error) {
        if (error instanceof Death) return false;
        throw error;
      }
    },
  };
}
