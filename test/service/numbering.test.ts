// Numbers of services, real servers and legs over plans that follow one another.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type Capacity, CapacityError, isSameService, numberServices } from '../../src/service/numbering.ts';
import type { ServiceDraft, ServicePlan } from '../../src/service/plan.ts';
import { makePlan, realServer, type ServiceChange } from '../datapath/rig.ts';

const [A, B, C] = ['10.2.0.10', '10.2.0.11', 'fd00:2::10'];
const [LIP1, LIP2, LIP6] = ['10.2.0.200', '10.2.0.201', 'fd00:2::200'];

const draft = (servers: readonly string[], change: ServiceChange = {}): ServiceDraft =>
  makePlan({ service: { lips: [LIP1], realServers: servers.map((ip) => realServer(ip)), ...change } })
    .services[0];

/** 'game 0: 10.2.0.10 0 (10.2.0.200 0)': each name with its number. */
const shown = (services: readonly ServicePlan[]): string[] =>
  services.map(
    ({ name, index, realServers }) =>
      `${name} ${index}: ${realServers
        .map(
          (server) =>
            `${server.ip} ${server.index} (${server.legs.map((leg) => `${leg.lip} ${leg.index}`).join(', ')})`,
        )
        .join(', ')}`,
  );

interface Case {
  name: string;
  /** The plans one after the other, and what the last is numbered. */
  plans: ServiceDraft[][];
  expected: string[];
}

const CASES: Case[] = [
  {
    name: 'count up from 0 over all services, a leg for each LIP of the family of the real server',
    plans: [[draft([A, C], { lips: [LIP1, LIP6, LIP2] }), draft([A], { name: 'chat', vport: 7000 })]],
    expected: [`game 0: ${A} 0 (${LIP1} 0, ${LIP2} 1), ${C} 1 (${LIP6} 2)`, `chat 1: ${A} 2 (${LIP1} 3)`],
  },
  {
    name: 'stay whatever the order of services, real servers, VIPs and LIPs becomes',
    plans: [
      [
        draft([A, B], { lips: [LIP1, LIP2], vips: ['10.1.0.100', 'fd00:1::100'] }),
        draft([A], { name: 'chat', vport: 7000 }),
      ],
      [
        draft([A], { name: 'chat', vport: 7000 }),
        draft([B, A], { lips: [LIP2, LIP1], vips: ['fd00:1::100', '10.1.0.100'] }),
      ],
    ],
    expected: [
      `chat 1: ${A} 2 (${LIP1} 4)`,
      `game 0: ${B} 1 (${LIP2} 3, ${LIP1} 2), ${A} 0 (${LIP2} 1, ${LIP1} 0)`,
    ],
  },
  {
    name: 'stay when policies change',
    plans: [
      [draft([A])],
      [
        draft([A], {
          scheduler: 'mh',
          onDown: 'reset',
          dialect: 'opp',
          onewayMs: 1,
          realServers: [realServer(A, { weight: 7, mtu: 1300, isLeaving: true })],
        }),
      ],
    ],
    expected: [`game 0: ${A} 0 (${LIP1} 0)`],
  },
  {
    name: 'of what leaves are not given to what comes in the same plan',
    plans: [[draft([A])], [draft([B])]],
    expected: [`game 0: ${B} 1 (${LIP1} 1)`],
  },
  {
    name: 'of what left are given out by the plan after',
    plans: [[draft([A, B])], [draft([B])], [draft([B, A])]],
    expected: [`game 0: ${B} 1 (${LIP1} 1), ${A} 0 (${LIP1} 0)`],
  },
  {
    name: 'are new for a service at another port, and for all that it has',
    plans: [[draft([A])], [draft([A], { vport: 6001 })]],
    expected: [`game 1: ${A} 1 (${LIP1} 1)`],
  },
  {
    name: 'stay for a service with one VIP more, and one less then',
    plans: [
      [draft([A])],
      [draft([A], { vips: ['10.1.0.100', 'fd00:1::100'] })],
      [draft([A], { vips: ['fd00:1::100'] })],
    ],
    expected: [`game 0: ${A} 0 (${LIP1} 0)`],
  },
  {
    name: 'are new for a service with no VIP of before',
    plans: [[draft([A])], [draft([A], { vips: ['10.1.0.101'] })]],
    expected: [`game 1: ${A} 1 (${LIP1} 1)`],
  },
  {
    name: 'are new for a service with another name',
    plans: [[draft([A])], [draft([A], { name: 'chat' })]],
    expected: [`chat 1: ${A} 1 (${LIP1} 1)`],
  },
  {
    name: 'stay when the lports change',
    plans: [[draft([A])], [draft([A], { lports: { first: 20005, last: 20105 } })]],
    expected: [`game 0: ${A} 0 (${LIP1} 0)`],
  },
  {
    name: 'are new for a real server at another port',
    plans: [[draft([A])], [draft([], { realServers: [realServer(A, { port: 6001 })] })]],
    expected: [`game 0: ${A} 1 (${LIP1} 1)`],
  },
  {
    name: 'of one real server in two services are two',
    plans: [
      [draft([A])],
      [draft([A]), draft([A], { name: 'chat', vport: 7000 })],
      [draft([A], { name: 'chat', vport: 7000 })],
    ],
    expected: [`chat 1: ${A} 1 (${LIP1} 1)`],
  },
];

describe('numbers', () => {
  for (const { name, plans, expected } of CASES) {
    test(name, () => {
      let services: ServicePlan[] = [];
      for (const drafts of plans) services = numberServices(drafts, services);
      assert.deepEqual(shown(services), expected);
    });
  }

  const ENOUGH: Capacity = { services: 2, realServers: 2, legs: 2 };
  const two = [draft([A]), draft([A], { name: 'chat', vport: 7000 })];
  const other = [draft([B]), draft([B], { name: 'chat', vport: 7000 })];
  for (const [what, named] of [
    ['services', 'services'],
    ['realServers', 'real servers'],
    ['legs', 'legs (LIPs times real servers)'],
  ] as const) {
    test(`more ${named} than there is room for are refused, by name`, () => {
      const expected = new RegExp(
        `^more ${named.replace(/[()]/g, '\\$&')} than the 1 that there is room for until a restart$`,
      );
      assert.throws(
        () => numberServices(two, [], { ...ENOUGH, [what]: 1 }),
        (error) => error instanceof CapacityError && expected.test(error.message),
      );
      assert.equal(numberServices(two, [], ENOUGH).length, 2);
    });
  }

  test('what leaves takes up room until the plan after', () => {
    const before = numberServices(two, [], ENOUGH);
    assert.throws(
      () => numberServices(other, before, ENOUGH),
      (error) =>
        error instanceof CapacityError &&
        error.message ===
          'the new legs (LIPs times real servers) do not fit beside those of before, with room for 2: ' +
            'change less at once, or wait until the real servers that leave are gone',
    );
    const without = numberServices([draft([]), draft([], { name: 'chat', vport: 7000 })], before, ENOUGH);
    assert.deepEqual(shown(numberServices(other, without, ENOUGH)), [
      `game 0: ${B} 0 (${LIP1} 0)`,
      `chat 1: ${B} 1 (${LIP1} 1)`,
    ]);
  });

  test('more than there is room for are refused as such also beside a plan before', () => {
    const before = numberServices([draft([A])], [], ENOUGH);
    assert.throws(
      () => numberServices([draft([A, B, C])], before, ENOUGH),
      /^CapacityError: more real servers than the 2 that there is room for until a restart$/,
    );
  });

  test('real servers that leave are no reason for a restart', () => {
    const before = numberServices([draft([A, B])], [], ENOUGH);
    const leaving = [realServer(A, { isLeaving: true }), realServer(B)];
    assert.throws(
      () => numberServices([draft([], { realServers: [...leaving, realServer(C)] })], before, ENOUGH),
      /the new real servers do not fit beside/,
    );
  });

  test('the same service is the one with the same name and port and a VIP in common', () => {
    const one = { name: 'game', vport: 6000, vips: ['10.1.0.100', 'fd00:1::100'] };
    assert.ok(isSameService(one, { ...one, vips: ['fd00:1::100', '10.1.0.100'] }));
    assert.ok(!isSameService(one, { ...one, vport: 6001 }));
    assert.ok(!isSameService(one, { ...one, name: 'chat' }));
    assert.ok(isSameService(one, { ...one, vips: ['10.1.0.100'] }));
    assert.ok(isSameService(one, { ...one, vips: ['10.1.0.101', 'fd00:1::100'] }));
    assert.ok(!isSameService(one, { ...one, vips: ['10.1.0.101'] }));
    assert.deepEqual(one.vips, ['10.1.0.100', 'fd00:1::100'], 'left as they are');
  });
});
