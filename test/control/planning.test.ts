// Real servers that the config names no more and that keep their sessions for a while, and the room for plans
// to come.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { pino } from 'pino';
import {
  draftServices,
  neededAddresses,
  spaciousCapacity,
  withLeaving,
  withoutServicesThatAreOut,
  workerPlans,
} from '../../src/control/planning.ts';
import type { HostFacts } from '../../src/host/host.ts';
import { numberServices } from '../../src/service/numbering.ts';
import type { ServiceDraft } from '../../src/service/plan.ts';
import { parse, sampleService } from '../config/sample.ts';
import { makePlan, realServer, type ServiceChange } from '../datapath/rig.ts';

const [A, B, C6] = ['10.2.0.10', '10.2.0.11', 'fd00:2::10'];
const LIPS = ['10.2.0.200', 'fd00:2::200'];
const CHAT = { name: 'chat', vport: 7000 };

const draft = (servers: readonly string[], change: ServiceChange = {}): ServiceDraft =>
  makePlan({ service: { lips: LIPS, realServers: servers.map((ip) => realServer(ip)), ...change } })
    .services[0];

/** Real servers by service; of those that are leaving the name in brackets. */
const shown = (drafts: readonly ServiceDraft[]): string[] =>
  drafts.map(
    ({ name, realServers }) =>
      `${name}: ${realServers.map(({ ip, isLeaving }) => (isLeaving ? `(${ip})` : ip)).join(' ')}`,
  );

interface Case {
  name: string;
  before: ServiceDraft[];
  after: ServiceDraft[];
  stays?: (service: string, index: number) => boolean;
  expected: string[];
}

const CASES: Case[] = [
  {
    name: 'one that the config names no more leaves, behind those that it names',
    before: [draft([A, B])],
    after: [draft([B])],
    expected: [`game: ${B} (${A})`],
  },
  {
    name: 'one that has no sessions, or had its time, is gone',
    before: [draft([A, B])],
    after: [draft([B])],
    stays: (service, index) => service === 'game' && index !== 0,
    expected: [`game: ${B}`],
  },
  {
    name: 'one that was leaving goes on leaving',
    before: [draft([], { realServers: [realServer(B), realServer(A, { isLeaving: true })] })],
    after: [draft([B])],
    expected: [`game: ${B} (${A})`],
  },
  {
    name: 'one that was leaving and is named again is back',
    before: [draft([], { realServers: [realServer(B), realServer(A, { isLeaving: true })] })],
    after: [draft([A, B])],
    expected: [`game: ${A} ${B}`],
  },
  {
    name: 'a fallback leaves too, and is none any more',
    before: [draft([], { realServers: [realServer(A), realServer(B, { isFallback: true })] })],
    after: [draft([A])],
    expected: [`game: ${A} (${B})`],
  },
  {
    name: 'those of a service that is gone, or is at another address, are gone with it',
    before: [draft([A]), draft([A], CHAT)],
    after: [draft([B], { vport: 6001 })],
    expected: [`game: ${B}`],
  },
  {
    name: 'one that only lacks in one service leaves that one',
    before: [draft([A, B]), draft([A, B], CHAT)],
    after: [draft([A]), draft([A, B], CHAT)],
    expected: [`game: ${A} (${B})`, `chat: ${A} ${B}`],
  },
  {
    name: 'one without a LIP of its family is gone: nothing could be sent to it',
    before: [draft([A, C6])],
    after: [draft([A], { lips: ['10.2.0.200'] })],
    expected: [`game: ${A}`],
  },
  {
    name: 'one whose LIP:lports another service now uses in part is gone: two sessions could have one tuple',
    before: [draft([A, B])],
    after: [draft([A]), draft([B], { ...CHAT, lports: { first: 20100, last: 20200 } })],
    expected: [`game: ${A}`, `chat: ${B}`],
  },
  {
    name: "the same LIP:lports, others, or those of another LIP are in nobody's way",
    before: [draft([A, B])],
    after: [
      draft([A]),
      draft([B], CHAT),
      draft([B], { name: 'voice', vport: 8000, lports: { first: 20105, last: 20200 } }),
      draft([B], { name: 'video', vport: 9000, lports: { first: 20100, last: 20200 }, lips: ['10.2.0.201'] }),
    ],
    expected: [`game: ${A} (${B})`, `chat: ${B}`, `voice: ${B}`, `video: ${B}`],
  },
  {
    name: "of two that leave two services and would be in each other's way, one is gone",
    before: [draft([A, B]), draft([A, B], CHAT)],
    after: [draft([A]), draft([A], { ...CHAT, lips: ['10.2.0.200'], lports: { first: 20100, last: 20200 } })],
    expected: [`game: ${A} (${B})`, `chat: ${A}`],
  },
];

describe('real servers that the config names no more', () => {
  for (const { name, before, after, stays = () => true, expected } of CASES) {
    test(name, () => {
      const plan = numberServices(before);
      const drafts = withLeaving(after, plan, (service, index) => stays(service.name, index));
      assert.deepEqual(shown(drafts), expected);
      for (const { realServers } of drafts)
        assert.ok(realServers.every(({ isLeaving, isFallback }) => !isLeaving || !isFallback));
      for (const { realServers } of numberServices(drafts, plan))
        assert.ok(
          realServers.every(({ legs }) => legs.length > 0),
          'each has a leg',
        );
    });
  }

  test('keep their numbers, and so their sessions', () => {
    const before = numberServices([draft([A, B])]);
    const [after] = numberServices(
      withLeaving([draft([B])], before, () => true),
      before,
    );
    assert.deepEqual(
      after.realServers.map(({ ip, index, legs }) => [ip, index, legs[0].index]),
      [
        [B, 1, 1],
        [A, 0, 0],
      ],
    );
  });
});

describe('the room for plans to come', () => {
  test('is twice what the first one needs, and some at least', () => {
    assert.deepEqual(spaciousCapacity([draft([A])]), { services: 64, realServers: 256, legs: 1024 });
    const many = Array.from({ length: 100 }, (_, n) =>
      draft(
        Array.from({ length: 10 }, () => A),
        { name: `s${n}` },
      ),
    );
    assert.deepEqual(spaciousCapacity(many), { services: 200, realServers: 2000, legs: 4000 });
  });

  test('is never more than session records can tell', () => {
    const servers = Array.from({ length: 400 }, () => A);
    const many = Array.from({ length: 100 }, () => draft(servers));
    assert.deepEqual(spaciousCapacity(many), { services: 200, realServers: 0xffff, legs: 0xffff });
  });
});

test('no client has an address of this host or a broadcast of its subnets', () => {
  const host = {
    ports: [],
    reach: [],
    own: ['10.1.0.1'],
    broadcasts: ['10.1.0.255'],
    missing: [],
    troubles: [],
    warnings: [],
  };
  const layout = { capacity: spaciousCapacity([]), workers: 1, sharedSeed: [1, 2] as const };
  const [plan] = workerPlans(parse({ services: [sampleService({})] }), host, [], layout);
  assert.deepEqual(plan.ownAddresses, ['10.1.0.1', '10.1.0.255']);
});

describe('what the host says of real servers', () => {
  const lan = { name: 'lan0', side: 2, mtu: 1400, mac: '', loopback: false };
  const nothing = { own: [], broadcasts: [], missing: [], troubles: [], warnings: [] };
  const there = (mtu: number, isOnHost = false) => ({ mtu, unreachable: '', isOnHost });
  const away = { mtu: 0, unreachable: 'no route to it', isOnHost: false };
  const planned = (service: object, ofService: HostFacts['reach'][number]) =>
    draftServices(parse({ services: [{ ...sampleService(), ...service }] }), {
      ports: [lan],
      reach: [ofService],
      ...nothing,
    })[0].realServers.map(({ ip, mtu, unreachable }) => [ip, mtu, unreachable]);

  test('one that cannot be reached has a reason, and the MTU of the interface for the sessions that it has', () => {
    const realServers = [A, B].map((ip) => ({ ip, port: 6000 }));
    const fallback = '10.2.0.19:6000';
    const reach = { [A]: there(1500), [B]: away, '10.2.0.19': away };
    assert.deepEqual(planned({ realServers, fallback }, reach), [
      [A, 1500, ''],
      [B, 1400, 'no route to it'],
      ['10.2.0.19', 1400, 'no route to it'],
    ]);
  });

  test('a loopback LIP is good for real servers on this host, and keeps only those of its own service away', () => {
    const realServers = ['127.0.0.1', A].map((ip) => ({ ip, port: 6000 }));
    const host = { '127.0.0.1': there(65_535, true), [A]: there(1500) };
    const why = 'the LIP 127.0.0.2 cannot reach it: loopback addresses are for real servers on this host';
    assert.deepEqual(planned({ lips: ['127.0.0.2'], realServers }, host), [
      ['127.0.0.1', 65_535, ''],
      [A, 1500, why],
    ]);
    assert.deepEqual(planned({ lips: ['10.2.0.200'], realServers: [{ ip: A, port: 6000 }] }, host), [
      [A, 1500, ''],
    ]);
  });

  test('a LIP of a family that its service has no real server of is not needed', () => {
    const lips = ['10.2.0.200', 'fd00:2::200'];
    const service = { ...sampleService(), lips, uoa: { dialect: 'unified' } };
    const realServers = [{ ip: A, port: 6000 }];
    const config = parse({ services: [{ ...service, realServers }] });
    assert.deepEqual(neededAddresses(config).lips, ['10.2.0.200']);
    const fallback = '[fd00:2::10]:6000';
    const both = parse({ services: [{ ...service, realServers, fallback }] });
    assert.deepEqual(neededAddresses(both).lips, ['10.2.0.200', 'fd00:2::200']);
  });
});

describe('a start on a host that lacks addresses', () => {
  const other = { name: 'chat', vip: '10.1.0.101', lips: ['10.2.0.201'] };
  const config = (assignAddresses = false) =>
    parse({ io: { assignAddresses }, services: [sampleService(), sampleService(other)] });
  const missing = (...ips: string[]) => ips.map((ip) => ({ ip, device: 'wan0', command: `add ${ip}` }));
  const trouble = (ip: string) => ({ ip, text: `${ip} is in use`, hint: 'take it away' });
  const base = { ports: [], reach: [], own: [], broadcasts: [] };

  function start(host: { missing?: object[]; troubles?: object[] }, assignAddresses = false) {
    const logged: string[] = [];
    const write = (line: string) => void logged.push((JSON.parse(line) as { msg: string }).msg);
    const all = { ...base, missing: [], troubles: [], warnings: [], ...host } as Parameters<
      typeof withoutServicesThatAreOut
    >[1];
    const left = withoutServicesThatAreOut(config(assignAddresses), all, pino({}, { write }));
    return { logged, missing: left.missing.map(({ ip }) => ip) };
  }

  test('serves the services that have theirs, and says what the others lack', () => {
    assert.deepEqual(start({ missing: missing('10.2.0.201') }), {
      logged: ['not on this host: 10.2.0.201 (add 10.2.0.201)'],
      missing: [],
    });
    assert.deepEqual(start({ troubles: [trouble('10.1.0.100')] }), {
      logged: ['10.1.0.100 is in use (take it away)'],
      missing: [],
    });
  });

  test('adds those that it is to add', () => {
    const lacking = missing('10.1.0.100', '10.2.0.201');
    assert.deepEqual(start({ missing: lacking }, true), {
      logged: [],
      missing: ['10.1.0.100', '10.2.0.201'],
    });
  });

  test('is refused when no service has all of its addresses', () => {
    const all = missing('10.1.0.100', '10.2.0.201');
    assert.deepEqual(start({ missing: all }), { logged: [], missing: ['10.1.0.100', '10.2.0.201'] });
    assert.throws(
      () => start({ missing: missing('10.2.0.201'), troubles: [trouble('10.1.0.100')] }),
      /10\.1\.0\.100 is in use/,
    );
  });
});
