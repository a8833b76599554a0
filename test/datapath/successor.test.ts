// A datapath that goes on with the memory of one that ended.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { COUNTER, counterRow } from '../../src/datapath/counters.ts';
import { Datapath } from '../../src/datapath/datapath.ts';
import { allocateMemory } from '../../src/datapath/memory.ts';
import { verdictName } from '../../src/datapath/verdict.ts';
import { Frame, HEADROOM } from '../../src/wire/frame.ts';
import { hex } from '../packets/bytes.ts';
import { makePlan, PORT } from './rig.ts';
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
      [seed, ~seed],
    );
    return (packet: Uint8Array, port: number, nowMs = 0) => {
      const frame = new Frame(new Uint8Array(HEADROOM + packet.length + 64));
      frame.bytes.set(packet, HEADROOM);
      return verdictName(datapath.receive(frame, HEADROOM, HEADROOM + packet.length, port, nowMs));
    };
  };
  const counter = (name: keyof typeof COUNTER) => memory.counters[counterRow(0) + COUNTER[name]]!;
  const gauges = () => [counter('sessionsOneway'), counter('sessionsNormal'), memory.legsInUse[0]!];
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

test('sessions that expired meanwhile end, also when nobody was there', () => {
  const { next, counter, gauges } = startLine();
  next(1)(fromClient(), PORT.wan, 0);
  const second = next(2);
  assert.equal(second(fromRealServer(), PORT.lan, 300_000), 'drop:no_session');
  assert.deepEqual(gauges(), [0, 0, 0]);
  assert.equal(counter('sessionsExpired'), 1);
});
