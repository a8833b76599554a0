// What config, operator and checks make of a real server: its state in words, and the weight that the
// datapaths read.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { pino } from 'pino';
import { ServerStates } from '../../src/control/server-states.ts';
import { Announcements } from '../../src/datapath/announcements.ts';
import { allocateMemory, CONTROL } from '../../src/datapath/memory.ts';
import { WEIGHT_DOWN } from '../../src/datapath/server-cells.ts';
import { numberServices } from '../../src/service/numbering.ts';
import type { ServicePlan } from '../../src/service/plan.ts';
import { makePlan, type RealServerDraft, realServer, type ServiceChange } from '../datapath/rig.ts';

const [A, B, C] = ['10.2.0.10', '10.2.0.11', '10.2.0.12'] as const;
const CAPACITY = { services: 8, realServers: 8, legs: 16 };

const services = (...changes: ServiceChange[]): ServicePlan[] => [
  ...makePlan({ services: changes }).services,
];
const game = (...realServers: RealServerDraft[]): ServiceChange => ({ realServers });

function start(...changes: ServiceChange[]) {
  const { common } = allocateMemory(makePlan({ services: changes, capacity: CAPACITY }));
  common.weights.fill(0);
  const logged: { level: string; msg: string; service?: string; rs?: string }[] = [];
  const formatters = { level: (level: string) => ({ level }) };
  const log = pino(
    { base: null, timestamp: false, formatters },
    { write: (line) => void logged.push(JSON.parse(line)) },
  );
  const serverStates = new ServerStates(common, log);
  let plans = services(...changes);
  serverStates.update(plans);
  return {
    serverStates,
    /** Numbers of what was announced to each real server, as its sessions compare them. */
    announced: () => [0, 1, 2].map((index) => new Announcements(common.announcements).lastTo(index, 0)),
    version: () => common.control[CONTROL.weightsVersion],
    weights: () => [...common.weights.subarray(0, 4)],
    weight: () => common.weights[0],
    words: (index = 0) => {
      const { state, reason } = serverStates.stateOf(index);
      return reason === '' ? state : `${state}: ${reason}`;
    },
    /** 'warn: ...' for each line since the last time. */
    logged: () => logged.splice(0).map(({ level, msg }) => `${level}: ${msg}`),
    update: (...next: ServiceChange[]) => {
      plans = numberServices(services(...next), plans);
      serverStates.update(plans);
    },
  };
}

type Act = (serverStates: ServerStates) => void;
const down: Act = (serverStates) => serverStates.setHealth(0, 'down', 'no answer');
const up: Act = (serverStates) => serverStates.setHealth(0, 'up', 'answers');
const drain: Act = (serverStates) => serverStates.drain(0);
const enable: Act = (serverStates) => serverStates.enable(0);
const weigh =
  (weight: number): Act =>
  (serverStates) =>
    serverStates.setWeight(0, weight);

interface Transition {
  name: string;
  acts: Act[];
  weight: number;
  words: string;
  weightSetTo?: number;
}

const DRAINED = 'drained: drained by an operator';

const TRANSITIONS: Transition[] = [
  { name: 'nothing was said: up, with the weight of the config', acts: [], weight: 7, words: 'up' },
  { name: 'its check fails', acts: [down], weight: WEIGHT_DOWN, words: 'down: no answer' },
  { name: 'its check succeeds again', acts: [down, up], weight: 7, words: 'up: answers' },
  { name: 'its check succeeds for the first time', acts: [up], weight: 7, words: 'up: answers' },
  { name: 'it is drained', acts: [drain], weight: 0, words: DRAINED },
  { name: 'it is drained and enabled', acts: [drain, enable], weight: 7, words: 'up' },
  { name: 'it is drained twice and enabled once', acts: [drain, drain, enable], weight: 7, words: 'up' },
  {
    name: 'it is drained while it is down',
    acts: [down, drain],
    weight: WEIGHT_DOWN,
    words: 'down: no answer',
  },
  {
    name: 'it goes down while it is drained',
    acts: [drain, down],
    weight: WEIGHT_DOWN,
    words: 'down: no answer',
  },
  { name: 'it comes back drained, as it was', acts: [drain, down, up], weight: 0, words: DRAINED },
  {
    name: 'it is enabled while it is down',
    acts: [down, enable],
    weight: WEIGHT_DOWN,
    words: 'down: no answer',
  },
  { name: 'an operator sets its weight', acts: [weigh(3)], weight: 3, words: 'up', weightSetTo: 3 },
  { name: 'an operator sets its weight to 0', acts: [weigh(0)], weight: 0, words: 'up', weightSetTo: 0 },
  {
    name: 'its weight is set while it is drained',
    acts: [drain, weigh(3)],
    weight: 0,
    words: DRAINED,
    weightSetTo: 3,
  },
  {
    name: 'its weight is set while it is down',
    acts: [down, weigh(3)],
    weight: WEIGHT_DOWN,
    words: 'down: no answer',
    weightSetTo: 3,
  },
  {
    name: 'it comes back with the weight that was set',
    acts: [down, weigh(3), up],
    weight: 3,
    words: 'up: answers',
    weightSetTo: 3,
  },
  { name: 'enabling forgets the weight that was set', acts: [weigh(3), enable], weight: 7, words: 'up' },
];

describe('a real server', () => {
  for (const { name, acts, weight, words, weightSetTo } of TRANSITIONS) {
    test(name, () => {
      const it = start(game(realServer(A, { weight: 7 })));
      for (const act of acts) {
        const before = it.version();
        act(it.serverStates);
        assert.ok(act === up || it.version() > before, 'the datapaths are told that weights changed');
      }
      assert.equal(it.weight(), weight);
      assert.equal(it.words(), words);
      assert.equal(it.serverStates.stateOf(0).weightSetTo, weightSetTo);
    });
  }

  test('what nobody knows is removed, and changing it does nothing', () => {
    const it = start(game(realServer(A)));
    for (const act of [(n: number) => it.serverStates.drain(n), (n: number) => it.serverStates.enable(n)])
      act(5);
    it.serverStates.setWeight(5, 1);
    it.serverStates.setHealth(5, 'down', 'no answer');
    assert.equal(it.words(5), 'removed: not in the config');
    assert.deepEqual(it.weights(), [100, 0, 0, 0]);
    assert.deepEqual(it.logged(), []);
  });

  test('stays since when it is down, whatever an operator does, who sees both', (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: 1000 });
    const it = start(game(realServer(A), realServer(B)));
    const says = (expected: string, atMs: number) => {
      const { state, isDown, isDrained, isRemoved, since } = it.serverStates.stateOf(0);
      const flags = [isDown && 'isDown', isDrained && 'isDrained', isRemoved && 'isRemoved'];
      assert.equal([state, ...flags.filter(Boolean)].join(' '), expected);
      assert.equal(since.getTime(), atMs);
      t.mock.timers.tick(1000);
    };
    says('up', 1000);
    weigh(3)(it.serverStates);
    enable(it.serverStates);
    says('up', 1000);
    down(it.serverStates);
    says('down isDown', 3000);
    drain(it.serverStates);
    says('down isDown isDrained', 3000);
    enable(it.serverStates);
    says('down isDown', 3000);
    drain(it.serverStates);
    up(it.serverStates);
    says('drained isDrained', 6000);
    drain(it.serverStates);
    says('drained isDrained', 6000);
    down(it.serverStates);
    it.update(game(realServer(B), realServer(A, { isLeaving: true })));
    says('down isDown isDrained isRemoved', 8000);
    up(it.serverStates);
    says('removed isDrained isRemoved', 9000);
    it.update(game(realServer(B), realServer(A)));
    says('drained isDrained', 10_000);
  });

  test('that is down is not enabled by words alone', () => {
    const it = start(game(realServer(A), realServer(B)));
    down(it.serverStates);
    it.logged();
    enable(it.serverStates);
    assert.deepEqual(it.logged(), ['info: real server 10.2.0.10:6000 of game enabled, but it is down']);
  });

  test('has no weight to set as a fallback, but can be drained', () => {
    const it = start(game(realServer(B), realServer(A, { isFallback: true, weight: 1 })));
    const version = it.version();
    const refused = {
      status: 409,
      message: '10.2.0.10:6000 is the fallback of game: a fallback has no weight',
    };
    for (const weight of [0, 5]) assert.throws(() => it.serverStates.setWeight(1, weight), refused);
    assert.deepEqual([it.weights()[1], it.version(), it.logged()], [1, version, []]);
    it.serverStates.drain(1);
    assert.equal(it.weights()[1], 0);
    it.serverStates.enable(1);
    assert.equal(it.weights()[1], 1);
  });

  test('forgets the weight that was set when it becomes the fallback', () => {
    const it = start(game(realServer(A, { weight: 1 }), realServer(B)));
    weigh(0)(it.serverStates);
    it.update(game(realServer(B), realServer(A, { isFallback: true, weight: 1 })));
    assert.deepEqual(it.weights(), [1, 100, 0, 0]);
  });

  test('says since when it is as it is: a check that says the same again changes nothing but the reason', () => {
    const it = start(game(realServer(A)));
    const { since } = it.serverStates.stateOf(0);
    it.serverStates.setHealth(0, 'up', 'answers in 1 ms');
    assert.equal(it.serverStates.stateOf(0).since, since);
    it.serverStates.setHealth(0, 'down', 'no answer');
    const downSince = it.serverStates.stateOf(0).since;
    assert.notEqual(downSince, since);
    const version = it.version();
    it.serverStates.setHealth(0, 'down', 'refused');
    assert.equal(it.serverStates.stateOf(0).since, downSince);
    assert.equal(it.words(), 'down: refused');
    assert.equal(it.version(), version);
  });
});

describe('another config', () => {
  test('leaves what checks and operators said of a real server that stays', () => {
    const it = start(game(realServer(A), realServer(B), realServer(C)));
    it.serverStates.setHealth(0, 'down', 'no answer');
    it.serverStates.drain(1);
    it.serverStates.setWeight(2, 5);
    it.update(game(realServer(C), realServer(B, { mtu: 1300 }), realServer(A)));
    assert.deepEqual(it.weights(), [WEIGHT_DOWN, 0, 5, 0]);
    assert.deepEqual([it.words(0), it.words(1), it.words(2)], ['down: no answer', DRAINED, 'up']);
  });

  test('with another weight takes the place of one that an operator set', () => {
    const it = start(game(realServer(A, { weight: 7 })));
    it.serverStates.setWeight(0, 3);
    it.update(game(realServer(A, { weight: 7 })));
    assert.equal(it.weight(), 3);
    it.update(game(realServer(A, { weight: 9 })));
    assert.equal(it.weight(), 9);
    assert.equal(it.serverStates.stateOf(0).weightSetTo, undefined);
  });

  test('with another weight gives a real server that is drained or down none before it is back', () => {
    const it = start(game(realServer(A, { weight: 7 })));
    drain(it.serverStates);
    it.update(game(realServer(A, { weight: 9 })));
    assert.equal(it.weight(), 0);
    down(it.serverStates);
    enable(it.serverStates);
    assert.equal(it.weight(), WEIGHT_DOWN);
    up(it.serverStates);
    assert.equal(it.weight(), 9);
  });

  test('that names a real server no more: it takes no new sessions, and goes down all the same', () => {
    const it = start(game(realServer(A), realServer(B)));
    const since = it.serverStates.stateOf(0).since;
    it.update(game(realServer(B), realServer(A, { isLeaving: true })));
    assert.deepEqual(it.weights(), [0, 100, 0, 0]);
    assert.equal(it.words(), 'removed: the config names it no more');
    assert.notEqual(it.serverStates.stateOf(0).since, since);
    const removed = {
      status: 409,
      message: '10.2.0.10:6000 was removed from game: only the config can bring it back',
    };
    for (const act of [weigh(50), enable, drain]) assert.throws(() => act(it.serverStates), removed);
    assert.equal(it.weight(), 0);
    down(it.serverStates);
    assert.equal(it.weight(), WEIGHT_DOWN);
    assert.equal(it.words(), 'down: no answer');
    up(it.serverStates);
    it.update(game(realServer(B), realServer(A)));
    assert.deepEqual(it.weights(), [100, 100, 0, 0]);
    assert.equal(it.words(), 'up: answers');
  });

  test('gives a real server that is new its weight, whoever had its number before', () => {
    const it = start(game(realServer(A), realServer(B)));
    down(it.serverStates);
    it.update(game(realServer(B)));
    assert.equal(it.words(), 'removed: not in the config');
    it.update(game(realServer(B), realServer(C, { weight: 4 })));
    assert.deepEqual(it.weights(), [4, 100, 0, 0]);
    assert.equal(it.words(), 'up');
  });
});

describe('the log', () => {
  test('says each change once, in a sentence with service and real server', () => {
    const it = start(game(realServer(A, { weight: 7 }), realServer(B)));
    for (const act of [down, down, up, up, drain, weigh(3), weigh(4), enable]) act(it.serverStates);
    assert.deepEqual(it.logged(), [
      'warn: real server 10.2.0.10:6000 of game is down: no answer',
      'info: real server 10.2.0.10:6000 of game is up again',
      'info: real server 10.2.0.10:6000 of game drained: it takes no new sessions',
      'info: real server 10.2.0.10:6000 of game weight 7 -> 3',
      'info: real server 10.2.0.10:6000 of game weight 3 -> 4',
      'info: real server 10.2.0.10:6000 of game enabled',
    ]);
  });

  const LAST = 'error: service game: no real server is up';
  const errors = (it: ReturnType<typeof start>) => it.logged().filter((line) => line.startsWith('error'));

  test('says once that the last real server of a service is down, and again when it happens again', () => {
    const it = start(game(realServer(A), realServer(B)), { name: 'chat', vport: 7000 });
    it.serverStates.setHealth(0, 'down', '');
    assert.deepEqual(errors(it), []);
    it.serverStates.setHealth(1, 'down', '');
    assert.deepEqual(errors(it), [LAST]);
    it.serverStates.setHealth(1, 'down', 'still');
    assert.deepEqual(errors(it), []);
    it.serverStates.setHealth(0, 'up', '');
    it.serverStates.setHealth(0, 'down', '');
    assert.deepEqual(errors(it), [LAST]);
  });

  test('says when only the fallback is left, and when nothing is', () => {
    const it = start(
      game(realServer(A), realServer(B, { isFallback: true }), realServer(C, { isLeaving: true })),
    );
    const outages = () => it.logged().filter((line) => line.includes(': service game'));
    it.serverStates.setHealth(0, 'down', '');
    assert.deepEqual(outages(), ['warn: service game: only the fallback']);
    it.serverStates.setHealth(1, 'down', '');
    it.serverStates.setHealth(2, 'down', '');
    assert.deepEqual(outages(), [LAST]);
    it.serverStates.setHealth(1, 'up', '');
    assert.deepEqual(outages(), ['warn: service game: only the fallback']);
    it.serverStates.setHealth(0, 'up', '');
    assert.deepEqual(outages(), ['info: service game: a real server takes new sessions again']);
  });

  test('says that an operator took the last real server', () => {
    const it = start(game(realServer(A), realServer(B)));
    drain(it.serverStates);
    it.logged();
    it.serverStates.setWeight(1, 0);
    assert.deepEqual(it.logged(), [
      'info: real server 10.2.0.11:6000 of game weight 100 -> 0',
      'error: service game: no real server takes new sessions',
    ]);
  });
});

describe('a service has no real server for new sessions', () => {
  const outages = ({ serverStates }: ReturnType<typeof start>) =>
    serverStates
      .outages()
      .map(({ service, text, isServed }) => `${service}: ${text}${isServed ? ', served' : ''}`);
  const weight0 = (index: number) => (serverStates: ServerStates) => serverStates.setWeight(index, 0);
  const drained = (index: number) => (serverStates: ServerStates) => serverStates.drain(index);
  const isDown = (index: number) => (serverStates: ServerStates) => serverStates.setHealth(index, 'down', '');
  const NONE = ['game: no real server takes new sessions'];
  const FALLBACK = ['game: only the fallback, served'];
  const rows: [name: string, acts: Act[], hasFallback: boolean, expected: string[]][] = [
    ['not when one of them is up', [isDown(0)], false, []],
    ['not when one of them has a weight', [drained(0)], false, []],
    ['when all are down', [isDown(0), isDown(1)], false, ['game: no real server is up']],
    ['when all are drained', [drained(0), drained(1)], false, NONE],
    ['when all have weight 0', [weight0(0), weight0(1)], false, NONE],
    ['when one is down and the other drained', [isDown(0), drained(1)], false, NONE],
    ['when one is down and the other has weight 0', [isDown(0), weight0(1)], false, NONE],
    ['but the fallback when all are down', [isDown(0), isDown(1)], true, FALLBACK],
    ['but the fallback when all are drained', [drained(0), drained(1)], true, FALLBACK],
    ['when the fallback is down too', [drained(0), isDown(1), isDown(2)], true, NONE],
    ['when the fallback is drained too', [isDown(0), isDown(1), drained(2)], true, NONE],
    ['not when only the fallback is down', [isDown(2)], true, []],
  ];
  for (const [name, acts, hasFallback, expected] of rows) {
    test(name, () => {
      const regular = [realServer(A), realServer(B)];
      const it = start(game(...regular, ...(hasFallback ? [realServer(C, { isFallback: true })] : [])));
      for (const act of acts) act(it.serverStates);
      assert.deepEqual(outages(it), expected);
    });
  }

  test('whoever is leaving, and each service by itself', () => {
    const it = start(game(realServer(A), realServer(B), realServer(C, { isLeaving: true })), {
      name: 'chat',
      vport: 7000,
    });
    it.serverStates.setHealth(0, 'down', '');
    it.serverStates.setHealth(1, 'down', '');
    assert.deepEqual(outages(it), ['game: no real server is up']);
    it.serverStates.setHealth(3, 'down', '');
    assert.deepEqual(outages(it), ['game: no real server is up', 'chat: no real server is up']);
    it.serverStates.setHealth(1, 'up', '');
    assert.deepEqual(outages(it), ['chat: no real server is up']);
  });
});

describe('a real server that the host cannot reach', () => {
  const gone = { unreachable: 'no route to it' };

  test('is down from the start, with the reason, and the others are not', () => {
    const it = start(game(realServer(A, gone), realServer(B)));
    assert.deepEqual([it.words(0), it.words(1)], ['down: no route to it', 'up']);
    assert.deepEqual(it.weights().slice(0, 2), [WEIGHT_DOWN, 100]);
    assert.deepEqual(it.logged(), [`warn: real server ${A}:6000 of game is down: no route to it`]);
    assert.deepEqual(it.serverStates.outages(), []);
  });

  test('goes down when the route vanishes and comes up when there is one, each said once', () => {
    const it = start(game(realServer(A), realServer(B)));
    it.update(game(realServer(A, gone), realServer(B)));
    it.update(game(realServer(A, gone), realServer(B)));
    assert.deepEqual(it.logged(), [`warn: real server ${A}:6000 of game is down: no route to it`]);
    it.update(game(realServer(A), realServer(B)));
    assert.deepEqual(it.logged(), [`info: real server ${A}:6000 of game is up again`]);
    assert.deepEqual([it.words(), it.weight()], ['up', 100]);
  });

  test('does not come up by its check, and is down by it afterwards', () => {
    const it = start(game(realServer(A, gone), realServer(B)));
    it.logged();
    it.serverStates.setHealth(0, 'down', 'no answer');
    it.serverStates.setHealth(0, 'up', 'answers');
    assert.deepEqual([it.words(), it.logged()], ['down: no route to it', []]);
    it.serverStates.setHealth(0, 'down', 'no answer');
    it.update(game(realServer(A), realServer(B)));
    assert.equal(it.words(), 'down: no answer');
    assert.deepEqual(it.logged(), [`warn: real server ${A}:6000 of game is down: no answer`]);
    it.serverStates.setHealth(0, 'up', 'answers');
    assert.equal(it.words(), 'up: answers');
  });

  test('leaves its service without one when it is the last: that says why', () => {
    const it = start(game(realServer(A, gone)));
    const text = `no real server is up (${A}:6000: no route to it)`;
    assert.deepEqual(it.serverStates.outages(), [{ service: 'game', text, isServed: false }]);
    assert.deepEqual(it.logged().slice(1), [`error: service game: ${text}`]);
  });

  test('an unreachable fallback takes nobody along', () => {
    const it = start(game(realServer(A), realServer(B, { isFallback: true, ...gone })));
    assert.deepEqual([it.words(0), it.words(1)], ['up', 'down: no route to it']);
    assert.deepEqual(it.serverStates.outages(), []);
  });
});

describe('a real server is told of its clients again', () => {
  test('when it is up that was down, by its checks or because the host can reach it again; and by an operator', () => {
    const { serverStates, announced, update, logged } = start(game(realServer(A), realServer(B)));
    up(serverStates);
    assert.deepEqual(announced(), [0, 0, 0], 'it was up');
    down(serverStates);
    assert.deepEqual(announced(), [0, 0, 0]);
    up(serverStates);
    up(serverStates);
    assert.deepEqual(announced(), [2, 0, 0]);
    drain(serverStates);
    enable(serverStates);
    update(game(realServer(A), realServer(B, { unreachable: 'no route' })));
    assert.deepEqual(announced(), [2, 0, 0]);
    serverStates.setHealth(1, 'down', 'no answer');
    serverStates.setHealth(1, 'up', 'answers');
    assert.deepEqual(announced(), [2, 0, 0], 'it cannot be reached all the same');
    update(game(realServer(A), realServer(B)));
    assert.deepEqual(announced(), [2, 2, 0]);
    logged();
    serverStates.announceClients(1);
    assert.deepEqual(announced(), [2, 4, 0]);
    assert.deepEqual(logged(), ['info: real server 10.2.0.11:6000 of game is told of its clients again']);
  });
});
