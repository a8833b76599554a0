// What a listener of the session table is told: each event once, in order, for each way in which it comes
// about. That it is told nothing else every rig shows (event-witness.ts).
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Datapath } from '../../src/datapath/datapath.ts';
import { allocateMemory } from '../../src/datapath/memory.ts';
import { WEIGHT_DOWN } from '../../src/datapath/server-cells.ts';
import { Frame, HEADROOM } from '../../src/wire/frame.ts';
import { errorAbout } from './errors.ts';
import { EventWitness } from './event-witness.ts';
import { makePlan, type PlanChange, PORT, Rig, realServer, type ServiceChange } from './rig.ts';
import { EMPTY, fromClient, fromRealServer, ipoAck, RIP, withIpo } from './roles.ts';

const THREE = { first: 20005, last: 20007 };
/** For plans that follow one another. */
const ROOM = { services: 4, realServers: 4, legs: 8 };
const PARAMETER_PROBLEM = { type: 12, code: 0, rest: 20 << 24 };

/** A rig in short words; `told` is what the listener heard since it was asked last. */
function begin(service: ServiceChange = {}, change: PlanChange = {}) {
  const rig = new Rig({ capacity: ROOM, ...change, service });
  const client = (sport = 5000) => rig.receive(fromClient({ sport }), PORT.wan).verdict;
  const server = (dport = 20005) => rig.receive(fromRealServer({ dport }), PORT.lan).verdict;
  const ack = () => assert.equal(rig.receive(ipoAck(), PORT.lan).verdict, 'consumed');
  return { rig, client, server, ack, told: () => rig.events.take() };
}

describe('answered', () => {
  test('is told with the first answer and no other', () => {
    const { client, server, told } = begin();
    client();
    assert.deepEqual(told(), []);
    server();
    server();
    client();
    assert.deepEqual(told(), ['answered 5000']);
  });

  test('comes after the end of the session that it pushes out', () => {
    const { client, server, told } = begin({ maxTrials: 0 }, { maxSessions: 2 });
    client(1);
    server(20005);
    client(2);
    told();
    server(20006);
    assert.deepEqual(told(), ['ended 1 20005', 'answered 2']);
  });
});

describe('the handshake is over', () => {
  test('with the first ACK, not with its repetition', () => {
    const { client, ack, told } = begin();
    client();
    ack();
    ack();
    assert.deepEqual(told(), ['over 5000']);
  });

  test('with the packet that finds the trials used up, and not with an ACK after that', () => {
    const { client, ack, told } = begin();
    for (let n = 0; n < 3; n++) client();
    assert.deepEqual(told(), []);
    client();
    client();
    ack();
    client();
    assert.deepEqual(told(), ['over 5000']);
  });

  test('with the opening where nothing is told', () => {
    for (const service of [{ maxTrials: 0 }, { dialect: 'none' }] as const) {
      const { client, told } = begin(service);
      client();
      client();
      assert.deepEqual(told(), ['over 5000']);
    }
  });

  test('until refresh or a gap begins it again', () => {
    const { rig, client, ack, told } = begin({ refreshMs: 10_000, idleRefreshMs: 120_000 });
    client();
    ack();
    told();
    rig.at = 10_000;
    client();
    client();
    assert.deepEqual(told(), ['again 5000']);
    ack();
    rig.at = 130_001;
    client();
    assert.deepEqual(told(), ['over 5000', 'again 5000']);
  });

  test('until the real server says that it cannot read it', () => {
    const { rig, client, ack, told } = begin({ idleRefreshMs: 0 });
    client();
    ack();
    told();
    const error = errorAbout(withIpo(), PARAMETER_PROBLEM, { src: RIP });
    assert.equal(rig.receive(error, PORT.lan).verdict, 'consumed');
    assert.deepEqual(told(), ['again 5000']);
    client();
    assert.deepEqual(told(), [], 'for a minute nothing is told, and it is not over');
  });

  test('until another plan allows more trials', () => {
    const { rig, client, told } = begin({ maxTrials: 1 });
    client();
    client();
    assert.deepEqual(told(), ['over 5000']);
    rig.replan({ service: { maxTrials: 2 } });
    assert.deepEqual(told(), ['again 5000']);
    client();
    client();
    assert.deepEqual(told(), ['over 5000']);
  });

  test('until a trial is refused after all', () => {
    const plan = makePlan({ service: { maxTrials: 1 } });
    const memory = allocateMemory(plan);
    const events = new EventWitness(memory);
    const gather = () => 'gathered' as const;
    const datapath = new Datapath(plan, memory, gather, { seed: [1, 2], events });
    const client = () => {
      const packet = fromClient();
      const frame = new Frame(new Uint8Array(HEADROOM + packet.length));
      frame.bytes.set(packet, HEADROOM);
      datapath.receive(frame, HEADROOM, HEADROOM + packet.length, PORT.wan, 0);
    };
    client();
    client();
    assert.deepEqual(events.take(), ['over 5000']);
    datapath.settled(false);
    client();
    events.check(plan);
    assert.deepEqual(events.take(), ['again 5000']);
    client();
    events.check(plan);
    assert.deepEqual(events.take(), ['over 5000']);
  });

  test('from the reload on that ends it, until the one that begins it', () => {
    const { rig, client, told } = begin();
    client();
    rig.replan({ service: { maxTrials: 0 } });
    assert.deepEqual(told(), ['over 5000']);
    rig.replan({ service: { maxTrials: 3 } });
    assert.deepEqual(told(), ['again 5000']);
    rig.replan({ service: { maxTrials: 3, dialect: 'none' } });
    assert.deepEqual(told(), ['over 5000']);
    rig.replan({ service: { maxTrials: 3, dialect: 'opp' } });
    assert.deepEqual(told(), ['again 5000']);
  });
});

describe('ended', () => {
  test('is told when it expires, by the sweep or by a packet', () => {
    const { rig, client, server, told } = begin({ onewayMs: 1000, normalMs: 1000 });
    client();
    rig.at = 1000;
    rig.tick();
    assert.deepEqual(told(), ['ended 5000 20005']);
    client();
    rig.at = 2000;
    assert.equal(server(20006), 'drop:no_session');
    assert.deepEqual(told(), ['ended 5000 20006']);
    client();
    rig.at = 3000;
    client();
    assert.deepEqual(told(), ['ended 5000 20007']);
  });

  test('is told when it makes room, in the table or at its leg', () => {
    const full = begin({}, { maxSessions: 1 });
    full.client(1);
    full.client(2);
    assert.deepEqual(full.told(), ['ended 1 20005']);
    const leg = begin({ lports: THREE });
    for (const sport of [1, 2, 3, 4]) leg.client(sport);
    assert.deepEqual(leg.told(), ['ended 1 20005']);
  });

  test('is told when its real server is gone, not when it is leaving', () => {
    const ip = '10.2.0.10';
    const { rig, client, told } = begin();
    client();
    const other = realServer('10.2.0.11');
    rig.replan({ service: { realServers: [realServer(ip, { isLeaving: true, weight: 0 }), other] } });
    assert.deepEqual(told(), []);
    rig.replan({ service: { realServers: [other] } });
    assert.deepEqual(told(), ['ended 5000 20005']);
  });

  test('is told when its VIP, LIP, lport or service is gone', () => {
    const changes: ServiceChange[] = [
      { vips: ['10.1.0.101'] },
      { lips: ['10.2.0.201'] },
      { lports: { first: 20006, last: 20104 } },
      { name: 'chat', vport: 7000 },
    ];
    for (const service of changes) {
      const { rig, client, told } = begin();
      client();
      rig.replan({ service });
      assert.deepEqual(told(), ['ended 5000 20005'], JSON.stringify(service));
    }
  });

  test('is told when its real server is down and sessions are reset', () => {
    const { rig, client, told } = begin({ onDown: 'reset' });
    client();
    rig.setWeight(0, WEIGHT_DOWN);
    assert.equal(client(), 'drop:server_down');
    assert.deepEqual(told(), ['ended 5000 20005']);
  });
});

describe('moved', () => {
  const TWO = { realServers: [realServer('10.2.0.10'), realServer('10.2.0.11')] };

  test('is told with the lport that the session leaves, and its handshake begins anew', () => {
    const { rig, client, server, ack, told } = begin({ onDown: 'move', ...TWO });
    client();
    server();
    ack();
    assert.deepEqual(told(), ['answered 5000', 'over 5000']);
    rig.setWeight(0, WEIGHT_DOWN);
    for (let n = 0; n < 4; n++) client();
    assert.deepEqual(told(), ['moved 5000 20005', 'over 5000']);
  });

  test('to a real server that is told nothing, its handshake is over at once', () => {
    const [first, second] = TWO.realServers;
    const { rig, client, told } = begin({
      onDown: 'move',
      realServers: [first, { ...second, dialect: 'none' }],
    });
    client();
    rig.setWeight(0, WEIGHT_DOWN);
    client();
    assert.deepEqual(told(), ['moved 5000 20005', 'over 5000']);
  });

  test('ends whose lport it takes before', () => {
    const { rig, client, told } = begin({ onDown: 'move', ...TWO, lports: { first: 20005, last: 20005 } });
    client(1);
    client(2);
    rig.setWeight(0, WEIGHT_DOWN);
    client(1);
    assert.deepEqual(told(), ['ended 2 20005', 'moved 1 20005']);
  });
});

describe('restored', () => {
  test('is told of each session that a successor goes on with, with what it has behind it', () => {
    const { rig, client, server, ack, told } = begin();
    client(5000);
    server(20005);
    ack();
    client(5001);
    server(20006);
    client(5002);
    told();
    rig.succeed();
    assert.deepEqual(told().sort(), [
      'answered 5000',
      'answered 5001',
      'over 5000',
      'restored 5000',
      'restored 5001',
      'restored 5002',
    ]);
  });

  test('comes before what the session has behind it', () => {
    const { rig, client, server, ack, told } = begin();
    client();
    server();
    ack();
    told();
    rig.succeed();
    assert.deepEqual(told(), ['restored 5000', 'answered 5000', 'over 5000']);
    client();
    server();
    assert.deepEqual(told(), []);
  });

  test('is not told of one that is given up', () => {
    const { rig, client, told } = begin();
    client();
    told();
    rig.replan({ service: { lips: ['10.2.0.201'] } }, false);
    rig.succeed();
    assert.deepEqual(told(), []);
  });
});

test('an empty answer and an error of others are no event', () => {
  const { rig, client, told } = begin();
  client();
  rig.receive(fromRealServer({ payload: EMPTY, ttl: 1 }), PORT.lan);
  rig.receive(errorAbout(withIpo(), { type: 3, code: 3, rest: 0 }, { src: RIP }), PORT.lan);
  assert.deepEqual(told(), []);
});
