// Several datapaths that share the services: what the kernel gave to one and belongs to another is passed on,
// once.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { COUNTER, dropColumn } from '../../src/datapath/counters.ts';
import { Datapath } from '../../src/datapath/datapath.ts';
import { allocateMemory } from '../../src/datapath/memory.ts';
import { DROP, verdictName } from '../../src/datapath/verdict.ts';
import { Frame, HEADROOM } from '../../src/wire/frame.ts';
import { icmp4 } from '../packets/builder.ts';
import { hex, pattern } from '../packets/bytes.ts';
import { dissect } from '../packets/dissect.ts';
import { fragments4, fragments6, reassemble } from '../packets/fragments.ts';
import { type Fields, pair } from './pair.ts';
import { makePlan, PORT } from './rig.ts';
import { CIP, fromClient, fromRealServer, LIP, RIP, toRealServer, VIP } from './roles.ts';
import { type HandedOver, PLAIN, Siblings } from './sibling-rig.ts';

const ODD: Fields = { sport: 5001 };

test('a packet of a session to come is passed on to the one whose it is, which opens the session', () => {
  const siblings = new Siblings();
  assert.equal(siblings.receive(0, fromClient(ODD), PORT.wan), 'handedOver');
  assert.deepEqual(siblings.handedOver, [
    { to: 1, portIndex: PORT.wan, largestFragment: 0, packet: hex(fromClient(ODD)) },
  ]);
  assert.deepEqual(siblings.created, [0, 0]);
  assert.deepEqual(siblings.deliver(), ['forward']);
  assert.deepEqual(siblings.created, [0, 1]);
  assert.deepEqual(siblings.sent, [[], [hex(toRealServer({ sport: 20_005 }))]]);
  assert.equal(siblings.counted(0, COUNTER.handedOver), 1);
  assert.equal(siblings.counted(1, COUNTER.handedOver), 0);
});

test("a packet of one's own is not passed on, first or later", () => {
  const siblings = new Siblings();
  for (let n = 0; n < 2; n++) assert.equal(siblings.receive(0, fromClient(), PORT.wan), 'forward');
  assert.deepEqual([siblings.handedOver, siblings.created], [[], [1, 0]]);
  assert.deepEqual(siblings.sent[0], Array(2).fill(hex(toRealServer({ sport: 20_006 }))));
});

test('an answer is passed on to the one whose lport it names, and reaches the client from there', () => {
  const siblings = new Siblings();
  siblings.receive(1, fromClient(ODD), PORT.wan);
  const answer = fromRealServer({ dport: 20_005 });
  assert.equal(siblings.receive(0, answer, PORT.lan), 'handedOver');
  assert.deepEqual(siblings.deliver(), ['forward']);
  const { src, dst, dport } = dissect(Buffer.from(siblings.sent[1][1], 'hex'));
  assert.deepEqual({ src, dst, dport }, { src: VIP, dst: CIP, dport: 5001 });
});

test('what was passed on is judged where it is: not passed on again, and dropped when it belongs to nobody', () => {
  const siblings = new Siblings();
  siblings.receive(0, fromRealServer({ dport: 20_005 }), PORT.lan);
  assert.deepEqual(siblings.deliver(), ['drop:no_session']);
  assert.deepEqual(siblings.handedOver, []);
  // The port that it came from goes with it.
  siblings.receive(0, fromRealServer({ dport: 20_005 }), PORT.wan);
  assert.deepEqual(siblings.deliver(), ['drop:wrong_interface']);
  assert.deepEqual([siblings.handedOver, siblings.created], [[], [0, 0]]);
});

test('a session keeps its packets, also those that would belong to another', () => {
  const siblings = new Siblings();
  siblings.receive(1, fromClient(ODD), PORT.wan);
  const error = icmp4({ src: RIP, dst: LIP, type: 3, code: 3, body: toRealServer({ sport: 20_005 }) });
  for (const packet of [fromClient(ODD), fromRealServer({ dport: 20_005 }), error])
    assert.equal(siblings.receive(1, packet, PORT.lan), 'forward');
  assert.deepEqual(siblings.handedOver, []);
});

test('what is for no address of ours stays where it is', () => {
  const siblings = new Siblings();
  const foreign = fromClient({ ...ODD, dst: '10.1.0.101' });
  assert.equal(siblings.receive(0, foreign, PORT.wan), 'pass');
  assert.deepEqual(siblings.handedOver, []);
});

test("when the other's queue is full the packet is dropped with its reason", () => {
  const siblings = new Siblings();
  siblings.isQueueFull = true;
  assert.equal(siblings.receive(0, fromClient(ODD), PORT.wan), 'drop:handover_failed');
  assert.equal(siblings.counted(0, dropColumn(DROP.handover_failed)), 1);
  assert.equal(siblings.counted(0, COUNTER.handedOver), 0);
  assert.equal(siblings.receive(0, fromClient(), PORT.wan), 'forward', 'its own pass');
});

test('an ICMP error is passed on to the one whose session it is about, in either direction', () => {
  const siblings = new Siblings();
  siblings.receive(1, fromClient(ODD), PORT.wan);
  siblings.receive(1, fromRealServer({ dport: 20_005 }), PORT.lan);
  const [toServer, toClient] = siblings.sent[1].splice(0).map((packet) => Buffer.from(packet, 'hex'));
  const errors = [
    {
      packet: icmp4({ src: RIP, dst: LIP, type: 3, code: 3, body: toServer }),
      port: PORT.lan,
      reaches: CIP,
    },
    {
      packet: icmp4({ src: CIP, dst: VIP, type: 3, code: 3, body: toClient }),
      port: PORT.wan,
      reaches: RIP,
    },
  ];
  for (const { packet, port, reaches } of errors) {
    assert.equal(siblings.receive(0, packet, port), 'handedOver');
    assert.deepEqual(siblings.deliver(), ['forward']);
    assert.equal(dissect(Buffer.from(siblings.sent[1].pop()!, 'hex')).dst, reaches);
  }
});

test('an ICMP error about no session is left to the host, after it was passed on', () => {
  const siblings = new Siblings();
  const error = icmp4({ src: RIP, dst: LIP, type: 3, code: 3, body: toRealServer({ sport: 20_005 }) });
  assert.equal(siblings.receive(0, error, PORT.lan), 'handedOver');
  assert.deepEqual(siblings.deliver(), ['pass']);
  assert.deepEqual(siblings.handedOver, []);
});

for (const family of [4, 6] as const) {
  test(`IPv${family}: a datagram put together from fragments is passed on whole, and leaves in fragments no larger than they came`, () => {
    const { service, named, fromClient: request, toRealServer: forwarded } = pair(family, family);
    const siblings = new Siblings({ service: { ...service, maxTrials: 0 } });
    const payload = pattern(4000);
    const whole = request({ sport: 5003, payload });
    const pieces = family === 4 ? fragments4(whole, 1300) : fragments6(whole, 1300);
    const verdicts = pieces.map((piece) => siblings.receive(0, piece, PORT.wan));
    assert.deepEqual(verdicts, [...Array(pieces.length - 1).fill('held'), 'handedOver']);
    const [{ packet, largestFragment, to }] = siblings.handedOver as [HandedOver];
    assert.equal(packet.length / 2, whole.length);
    assert.deepEqual([to, largestFragment > 0], [1, true]);
    assert.deepEqual(siblings.deliver(), ['forward']);
    const left = siblings.sent[1].map((sent) => Buffer.from(sent, 'hex'));
    assert.ok(left.length > 1 && left.every(({ length }) => length <= 1300));
    const { src, sport, payload: arrived } = dissect(reassemble(left));
    assert.deepEqual(
      { src, sport, arrived },
      {
        src: dissect(forwarded()).src,
        sport: 20_005,
        arrived: hex(payload),
      },
    );
    assert.equal(named.vport, 6000);
    assert.deepEqual(siblings.created, [0, 1]);
  });
}

test('with one datapath nothing is passed on', () => {
  const plan = makePlan(PLAIN);
  const datapath = new Datapath(plan, allocateMemory(plan), () => true);
  const frame = new Frame(new Uint8Array(200));
  frame.bytes.set(fromClient(ODD), HEADROOM);
  const verdict = datapath.receive(frame, HEADROOM, HEADROOM + fromClient(ODD).length, PORT.wan, 0);
  assert.equal(verdictName(verdict), 'forward');
});
