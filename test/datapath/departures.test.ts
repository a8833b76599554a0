// A packet I/O that gathers packets and says later what became of them: until then nothing counts as sent,
// what is refused is a drop of its service, and a UOA that was refused is no trial.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { COUNTER, type CounterName, counterRow, dropColumn } from '../../src/datapath/counters.ts';
import { Datapath } from '../../src/datapath/datapath.ts';
import { allocateMemory } from '../../src/datapath/memory.ts';
import { SERVER_COUNTER, type ServerCounterName, serverRow } from '../../src/datapath/server-cells.ts';
import { DROP, type DropReason, verdictName } from '../../src/datapath/verdict.ts';
import { Frame, GATHERED_MAX, HEADROOM } from '../../src/wire/frame.ts';
import { accountsOf, checkAccounts } from './accounts.ts';
import { makePlan, type PlanChange, PORT } from './rig.ts';
import { fromClient, fromRealServer } from './roles.ts';

class Gathering {
  readonly memory;
  readonly datapath: Datapath;
  gathered = 0;
  sent = 0;
  /** Settles all as soon as so many are gathered, before `send` returns. */
  batch = Number.POSITIVE_INFINITY;
  wasSent = true;

  constructor(change: PlanChange = {}) {
    const plan = makePlan(change);
    this.memory = allocateMemory(plan);
    this.datapath = new Datapath(plan, this.memory, () => {
      this.sent++;
      this.gathered++;
      if (this.gathered >= this.batch) this.settle(this.wasSent);
      return 'gathered';
    });
  }

  receive(packet: Uint8Array, port: number, nowMs = 5_000): string {
    const frame = new Frame(new Uint8Array(HEADROOM + packet.length + 64));
    frame.bytes.set(packet, HEADROOM);
    const verdict = this.datapath.receive(frame, HEADROOM, HEADROOM + packet.length, port, nowMs);
    checkAccounts(this.memory, this.gathered);
    return verdictName(verdict);
  }

  settle(wasSent: boolean, count = this.gathered): void {
    for (let n = 0; n < count; n++) {
      this.gathered--;
      this.datapath.settled(wasSent);
    }
  }

  counter(name: CounterName, service = 0): number {
    return this.memory.counters[counterRow(service) + COUNTER[name]];
  }

  drops(reason: DropReason, service = 0): number {
    return this.memory.counters[counterRow(service) + dropColumn(DROP[reason])];
  }

  server(name: ServerCounterName): number {
    return this.memory.servers[serverRow(0) + SERVER_COUNTER[name]];
  }
}

const PLAIN: PlanChange = { service: { maxTrials: 0 } };

test('what was gathered counts as forwarded when it was sent, of its service and its real server', () => {
  const io = new Gathering(PLAIN);
  const packet = fromClient({ payload: new Uint8Array(100) });
  for (let n = 0; n < 3; n++) assert.equal(io.receive(packet, PORT.wan), 'forward');
  assert.deepEqual([io.counter('inboundPackets'), io.counter('inboundForwarded')], [3, 0]);
  assert.deepEqual([io.server('inboundPackets'), io.server('inboundBytes')], [0, 0]);
  io.settle(true);
  assert.equal(io.counter('inboundForwarded'), 3);
  assert.deepEqual([io.server('inboundPackets'), io.server('inboundBytes')], [3, 3 * packet.length]);
  assert.equal(io.receive(fromRealServer(), PORT.lan), 'forward');
  io.settle(true);
  assert.deepEqual([io.counter('outboundForwarded'), io.server('outboundPackets')], [1, 1]);
  checkAccounts(io.memory);
});

test('what was gathered and refused is a drop, and nothing was sent to the real server', () => {
  const io = new Gathering(PLAIN);
  for (let n = 0; n < 5; n++) io.receive(fromClient(), PORT.wan);
  io.settle(true, 2);
  io.settle(false);
  assert.deepEqual([io.counter('inboundForwarded'), io.drops('send_failed')], [2, 3]);
  assert.deepEqual([io.server('inboundPackets'), io.counter('inboundPackets')], [2, 5]);
  checkAccounts(io.memory);
});

test('a batch that is full is settled before send returns, with the packet under way', () => {
  const io = new Gathering(PLAIN);
  io.batch = GATHERED_MAX;
  for (let n = 0; n < 2 * GATHERED_MAX; n++) {
    io.wasSent = n < GATHERED_MAX;
    io.receive(fromClient(), PORT.wan);
  }
  assert.deepEqual(
    [io.counter('inboundForwarded'), io.drops('send_failed'), io.gathered],
    [GATHERED_MAX, GATHERED_MAX, 0],
  );
  checkAccounts(io.memory);
});

test('a UOA that was gathered is a trial at once, and none when it is refused', () => {
  const io = new Gathering();
  for (let n = 0; n < 5; n++) io.receive(fromClient(), PORT.wan);
  assert.equal(io.sent, 5);
  assert.equal(io.counter('uoaInserted'), 0);
  io.settle(true, 1);
  io.settle(false, 2);
  io.settle(true, 2);
  assert.deepEqual(
    [io.counter('uoaInserted'), io.counter('uoaFailed'), io.counter('inboundForwarded')],
    [1, 2, 3],
    'three trials, of which two were refused',
  );
  assert.equal(io.drops('send_failed'), 2);
  for (let n = 0; n < 5; n++) io.receive(fromClient(), PORT.wan, 5_001);
  io.settle(true);
  assert.equal(io.counter('uoaInserted'), 3, 'the two are tried again');
  assert.equal(io.counter('uoaExhausted'), 1);
  checkAccounts(io.memory);
});

test('a refused trial of a session that is gone takes none from the one that has its place', () => {
  const io = new Gathering({ maxSessions: 1 });
  io.receive(fromClient({ sport: 1 }), PORT.wan);
  io.receive(fromClient({ sport: 2 }), PORT.wan, 5_001);
  assert.equal(io.counter('sessionsEvicted'), 1);
  io.settle(false, 1);
  io.settle(true);
  for (let n = 0; n < 5; n++) io.receive(fromClient({ sport: 2 }), PORT.wan, 5_002);
  io.settle(true);
  assert.equal(io.counter('uoaInserted'), 3);
});

test("a carrier that was refused is no trial, and an empty answer is the client's", () => {
  const io = new Gathering();
  const large = fromClient({ payload: new Uint8Array(1472) });
  io.receive(large, PORT.wan);
  assert.equal(io.sent, 2, 'a carrier and the packet');
  io.settle(false, 1);
  io.settle(true, 1);
  assert.deepEqual(
    [
      io.counter('uoaCarrier'),
      io.counter('uoaFailed'),
      io.drops('send_failed'),
      io.counter('inboundForwarded'),
    ],
    [0, 1, 0, 1],
  );
  assert.equal(io.receive(fromRealServer({ payload: new Uint8Array(0) }), PORT.lan, 5_010), 'forward');
  assert.equal(io.counter('emptyRepliesSwallowed'), 0);
});

test('an ICMP error of ours that is refused was not sent', () => {
  const io = new Gathering(PLAIN);
  for (let n = 0; n < 2; n++) assert.equal(io.receive(fromClient({ ttl: 1 }), PORT.wan), 'drop:ttl_exceeded');
  io.settle(true, 1);
  io.settle(false, 1);
  assert.deepEqual([io.counter('icmpSent'), io.drops('ttl_exceeded'), io.drops('send_failed')], [1, 2, 0]);
});

test('what a process had begun when it ended its successor counts as lost, once', () => {
  const plan = makePlan(PLAIN);
  const io = new Gathering(PLAIN);
  for (let n = 0; n < 4; n++) io.receive(fromClient(), PORT.wan);
  io.settle(true, 1);
  io.memory.begun[0]++; // one that it had only begun
  const succeed = () => new Datapath(plan, io.memory, () => true);
  succeed();
  assert.deepEqual([io.counter('inboundForwarded'), io.drops('worker_ended')], [1, 3]);
  assert.equal(io.drops('worker_ended', -1), 1);
  checkAccounts(io.memory);
  const before = accountsOf(io.memory);
  succeed();
  assert.deepEqual(accountsOf(io.memory), before);
});
