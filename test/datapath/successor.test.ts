// A datapath that goes on with the memory of one that ended.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { COUNTER, counterRow } from '../../src/datapath/counters.ts';
import { Datapath } from '../../src/datapath/datapath.ts';
import { allocateMemory } from '../../src/datapath/memory.ts';
import { verdictName } from '../../src/datapath/verdict.ts';
import { Frame, HEADROOM } from '../../src/wire/frame.ts';
import { hex } from '../packets/bytes.ts';
import { makePlan, PORT, realServer, serverCounts } from './rig.ts';
import { fromClient, fromRealServer, ipoAck, toClient, toRealServer, withIpo } from './roles.ts';

/** Datapaths one after the other over one memory; each process hashes with a key of its own. */
function startLine() {
  const plan = makePlan({ maxSessions: 10 });
  const memory = allocateMemory(plan);
  const sent: string[] = [];
  const next = (seed: number) => {
    const datapath = new Datapath(
      plan,
      memory,
      (frame, off, len) => {
        sent.push(hex(frame.bytes.subarray(off, off + len)));
        return true;
      },
      { seed: [seed, ~seed] },
    );
    return (packet: Uint8Array, port: number, nowMs = 0) => {
      const frame = new Frame(new Uint8Array(HEADROOM + packet.length + 64));
      frame.bytes.set(packet, HEADROOM);
      return verdictName(datapath.receive(frame, HEADROOM, HEADROOM + packet.length, port, nowMs));
    };
  };
  const counter = (name: keyof typeof COUNTER) => memory.counters[counterRow(0) + COUNTER[name]];
  const gauges = () => [counter('sessionsOneway'), counter('sessionsNormal'), memory.legsInUse[0]];
  return { memory, sent, next, counter, gauges };
}

test('its sessions go on with their lport, their handshake and their state, and counters go on counting', () => {
  const { sent, next, counter, gauges } = startLine();
  const first = next(1);
  first(fromClient(), PORT.wan);
  first(fromClient({ sport: 5001 }), PORT.wan);
  first(fromRealServer(), PORT.lan);
  assert.deepEqual(gauges(), [1, 1, 2]);

  const second = next(2);
  assert.deepEqual(gauges(), [1, 1, 2]);
  sent.length = 0;
  second(fromClient(), PORT.wan);
  second(fromRealServer(), PORT.lan);
  assert.equal(second(ipoAck(), PORT.lan), 'consumed');
  second(fromClient(), PORT.wan);
  second(fromClient({ sport: 5002 }), PORT.wan);
  assert.deepEqual(sent.slice(0, 3), [withIpo(), toClient(), toRealServer()].map(hex));
  assert.equal(sent.at(-1)!.slice(56, 60), (20_007).toString(16), 'a fresh lport, behind the UOA');
  assert.deepEqual(gauges(), [2, 1, 3]);
  assert.deepEqual([counter('sessionsCreated'), counter('inboundPackets'), counter('uoaAcked')], [3, 5, 1]);
});

test('what its predecessor counted wrong when it ended is right again', () => {
  const { memory, next, gauges } = startLine();
  next(1)(fromClient(), PORT.wan);
  memory.legsInUse[0] = 7;
  memory.counters[counterRow(0) + COUNTER.sessionsOneway] = 9;
  memory.counters[counterRow(0) + COUNTER.sessionsNormal] = 4;
  next(2);
  assert.deepEqual(gauges(), [1, 0, 1]);
});

test('what siblings and the control plane read of its sessions stands while they are taken over', () => {
  const plan = makePlan({
    services: [{}, { name: 'chat', vport: 7000, realServers: [realServer('10.2.0.11')] }],
  });
  const memory = allocateMemory(plan);
  const read = () => [
    ...[0, 1].map((service) => memory.counters[counterRow(service) + COUNTER.sessionsOneway]),
    ...serverCounts(memory, 'sessionsOneway'),
    ...serverCounts(memory, 'sessionsNormal'),
    ...memory.legsInUse,
  ];
  const seen: number[][] = [];
  const start = () =>
    new Datapath(plan, memory, () => true, {
      seed: [1, 2],
      siblings: {
        self: 0,
        memories: [memory],
        // Asked of each session that goes on.
        ownerOf: () => {
          seen.push(read());
          return 0;
        },
        handOver: () => false,
      },
    });
  const first = start();
  for (const [sport, dport] of [
    [1, 6000],
    [2, 6000],
    [3, 7000],
    [4, 7000],
  ]) {
    const packet = fromClient({ sport: sport, dport: dport });
    const frame = new Frame(new Uint8Array(HEADROOM + packet.length + 64));
    frame.bytes.set(packet, HEADROOM);
    first.receive(frame, HEADROOM, HEADROOM + packet.length, PORT.wan, 0);
  }
  assert.deepEqual(read(), [2, 2, 2, 2, 0, 0, 2, 2]);
  seen.length = 0;
  start();
  assert.deepEqual(seen, Array(4).fill([2, 2, 2, 2, 0, 0, 2, 2]));
  assert.deepEqual(read(), [2, 2, 2, 2, 0, 0, 2, 2]);
});

test('sessions that expired meanwhile end, also when nobody was there', () => {
  const { next, counter, gauges } = startLine();
  next(1)(fromClient(), PORT.wan, 0);
  const second = next(2);
  assert.equal(second(fromRealServer(), PORT.lan, 300_000), 'drop:no_session');
  assert.deepEqual(gauges(), [0, 0, 0]);
  assert.equal(counter('sessionsExpired'), 1);
});
