// What the datapaths count, by name: numbers of services and real servers are used anew, names come back, and
// no counter of a name ever goes back or inherits another's.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { COUNTER, type CounterName, counterRow } from '../../src/datapath/counters.ts';
import { SERVER_COUNTER, type ServerCounterName, serverRow } from '../../src/datapath/server-cells.ts';
import { Totals } from '../../src/datapath/totals.ts';
import { serverName } from '../../src/service/plan.ts';
import { type PlanChange, PORT, Rig, realServer, type ServiceChange } from './rig.ts';
import { fromClient } from './roles.ts';

const CAPACITY = { services: 4, realServers: 6, legs: 6 };

const service = (name: string, vport: number, ...servers: string[]): ServiceChange => ({
  name,
  vport,
  realServers: servers.map((ip) => realServer(ip)),
});
const GAME = service('game', 6000, '10.2.0.10');
const CHAT = service('chat', 7000, '10.2.0.11');
const VOICE = service('voice', 8000, '10.2.0.12');
const plan = (...services: ServiceChange[]): PlanChange => ({ services, capacity: CAPACITY });

/** A datapath whose control plane counts by names. */
class Counted {
  readonly rig: Rig;
  readonly totals: Totals;
  #sport = 1;

  constructor(change: PlanChange) {
    this.rig = new Rig(change);
    this.totals = new Totals([this.rig.memory], this.rig.plan.services);
  }

  /** `between`: while some datapaths have the new plan and the control plane does not yet go by it. */
  replan(change: PlanChange, between = () => {}): void {
    this.rig.replan(change, false);
    this.totals.expect(this.rig.plan.services);
    this.rig.datapath.reconfigure(this.rig.plan);
    between();
    this.totals.follow(this.rig.plan.services);
  }

  /** So many new clients send one datagram each. */
  send(dport: number, count: number): void {
    for (let n = 0; n < count; n++) this.rig.receive(fromClient({ sport: this.#sport++, dport }), PORT.wan);
  }

  of(name: string, counter: CounterName = 'inboundForwarded'): number {
    this.totals.refresh();
    const { index } = this.rig.plan.services.find((one) => one.name === name)!;
    return this.totals.counters[counterRow(index) + COUNTER[counter]];
  }

  ofServer(name: string, rs: string, counter: ServerCounterName = 'inboundPackets'): number {
    this.totals.refresh();
    const { realServers } = this.rig.plan.services.find((one) => one.name === name)!;
    const { index } = realServers.find((one) => serverName(one) === `${rs}:6000`)!;
    return this.totals.servers[serverRow(index) + SERVER_COUNTER[counter]];
  }

  get all(): number {
    this.totals.refresh();
    return this.totals.columns[COUNTER.inboundForwarded];
  }

  /** The number of a service, and of its only real server. */
  numbers(name: string): number[] {
    const { index, realServers } = this.rig.plan.services.find((one) => one.name === name)!;
    return [index, realServers[0].index];
  }
}

test('a service that gets the number of one that is gone counts from 0, also while plans change', () => {
  const counted = new Counted(plan(GAME, CHAT));
  counted.send(7000, 5);
  const numbers = counted.numbers('chat');
  counted.replan(plan(GAME));
  counted.replan(plan(GAME, VOICE), () => counted.send(8000, 2));
  assert.deepEqual(counted.numbers('voice'), numbers, 'the test is about numbers used anew');
  assert.deepEqual([counted.of('voice'), counted.ofServer('voice', '10.2.0.12')], [2, 2]);
  counted.send(8000, 1);
  assert.deepEqual([counted.of('voice'), counted.ofServer('voice', '10.2.0.12')], [3, 3]);
  assert.equal(counted.all, 8, 'the sum over all goes on');
});

test('a name that comes back goes on with what it had counted, whatever its number', () => {
  const counted = new Counted(plan(GAME, CHAT));
  counted.send(7000, 5);
  counted.replan(plan(GAME));
  counted.replan(plan(GAME, VOICE));
  counted.send(8000, 7);
  counted.replan(plan(GAME, VOICE, CHAT));
  counted.send(7000, 1);
  assert.deepEqual([counted.of('chat'), counted.ofServer('chat', '10.2.0.11')], [6, 6]);
  assert.deepEqual([counted.of('voice'), counted.ofServer('voice', '10.2.0.12')], [7, 7]);
  assert.equal(counted.of('chat', 'sessionsOneway'), 1, 'gauges say what is');
  assert.equal(counted.of('chat', 'sessionsRemoved'), 5);
});

test('a service that gets another number in one reload loses no count, not even of the reload itself', () => {
  const counted = new Counted(plan(GAME, CHAT));
  counted.send(7000, 5);
  const numbers = counted.numbers('chat');
  counted.replan(plan(GAME, { ...CHAT, vport: 7001 }), () => counted.send(7001, 2));
  assert.notDeepEqual(counted.numbers('chat'), numbers);
  assert.deepEqual([counted.of('chat'), counted.ofServer('chat', '10.2.0.11')], [7, 7]);
  assert.equal(counted.of('chat', 'sessionsRemoved'), 5);
  assert.equal(counted.of('chat', 'sessionsOneway'), 2);
});

test('a reload that fails half way changes no count, and the next one that succeeds does not either', () => {
  const counted = new Counted(plan(GAME, CHAT));
  counted.send(7000, 5);
  counted.replan(plan(GAME));
  const before = counted.rig.plan;
  counted.rig.replan(plan(GAME, VOICE));
  counted.totals.expect(counted.rig.plan.services);
  counted.send(8000, 4); // some datapath had the plan already
  counted.rig.plan = before;
  counted.rig.datapath.reconfigure(before);
  counted.replan(plan(GAME, VOICE));
  assert.equal(counted.of('voice'), 0);
  counted.replan(plan(GAME, VOICE, CHAT));
  assert.equal(counted.of('chat'), 5);
});

test('of names that are gone the last 4,096 are remembered', () => {
  const counted = new Counted(plan(GAME, CHAT));
  counted.send(7000, 5);
  for (let n = 0; n < 4096; n++) counted.replan(plan(GAME, service(`s${n}`, 9000, '10.2.0.12')));
  counted.replan(plan(GAME, CHAT));
  assert.equal(counted.of('chat'), 5, '4,096 with this one, one of them at work until now');
  counted.replan(plan(GAME));
  for (let n = 0; n < 4098; n++) counted.replan(plan(GAME, service(`t${n}`, 9000, '10.2.0.12')));
  counted.replan(plan(GAME, CHAT));
  assert.equal(counted.of('chat'), 0);
});

test('sessions of a name that comes back are those that it has then', () => {
  const counted = new Counted(plan(GAME, CHAT));
  const { rig } = counted;
  const { index } = rig.plan.services.find(({ name }) => name === 'chat')!;
  rig.memory.counters[counterRow(index) + COUNTER.sessionsHot] = 5;
  assert.equal(counted.of('chat', 'sessionsHot'), 5);
  counted.replan(plan(GAME));
  rig.memory.counters[counterRow(index) + COUNTER.sessionsHot] = 0;
  counted.replan(plan(GAME, VOICE));
  counted.replan(plan(GAME, VOICE, CHAT));
  assert.equal(counted.of('voice', 'sessionsHot'), 0);
  assert.equal(counted.of('chat', 'sessionsHot'), 0);
});
