// Which pieces are of one datagram, and what identification the datagrams that leave bear: clients choose
// theirs, so two may choose the same, and both go from one LIP to one real server.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Identifications } from '../../src/datapath/fragment.ts';
import { withId } from '../packets/builder.ts';
import { hex, pattern } from '../packets/bytes.ts';
import { dissect } from '../packets/dissect.ts';
import { reassemble } from '../packets/fragments.ts';
import { pair } from './pair.ts';
import { PORT, Rig } from './rig.ts';
import { cutUp, WALKS } from './walks.ts';

const PAYLOAD = pattern(1000);

describe('identification', () => {
  for (const walk of WALKS.filter(({ before }) => before.length === 0)) {
    const { over } = walk;
    test(`datagrams of two clients with the same one do not mix, and leave with another, ${over.name}`, () => {
      const rig = new Rig(walk.plan());
      const otherClient = walk.from === 4 ? '10.1.0.3' : 'fd00:1::3';
      const mine = cutUp(over.fromClient({ payload: PAYLOAD }), [504], 9);
      const theirs = cutUp(over.fromClient({ payload: PAYLOAD.toReversed(), src: otherClient }), [504], 9);
      const outcomes = [mine[0], theirs[0], theirs[1], mine[1]].map((one) => rig.receive(one, PORT.wan));
      assert.deepEqual(
        outcomes.map(({ verdict }) => verdict),
        ['held', 'held', 'forward', 'forward'],
      );
      const left = [outcomes[3].sent, outcomes[2].sent];
      assert.deepEqual(
        left.map((sent) => dissect(reassemble(sent)).payload),
        [hex(PAYLOAD), hex(PAYLOAD.toReversed())],
      );
      const ids = left.map((sent) => new Set(sent.map((one) => dissect(one, { fragment: true }).id)));
      assert.deepEqual(
        ids.map(({ size }) => size),
        [1, 1],
      );
      assert.notEqual([...ids[0]][0], [...ids[1]][0]);
    });

    test(`a thousand datagrams have one each, none of them zero, ${over.name}`, () => {
      const rig = new Rig(walk.plan());
      const ids = new Set<number>();
      for (let count = 0; count < 1000; count++) {
        const pieces = cutUp(over.fromClient({ payload: PAYLOAD }), [504], 9);
        const { sent } = pieces.map((one) => rig.receive(one, PORT.wan)).at(-1)!;
        ids.add(dissect(sent[0], { fragment: true }).id);
      }
      assert.equal(ids.size, 1000);
      assert.ok(!ids.has(0));
    });
  }

  test('of IPv4 all 65,535 are used before one comes again, but never zero', () => {
    const identifications = new Identifications([1, 2]);
    const addresses = new Int32Array(8);
    const ids = Array.from({ length: 0x10000 }, () => identifications.take(4, addresses));
    assert.equal(new Set(ids).size, 0xffff);
    assert.ok(!ids.includes(0));
  });

  test('whole packets that come to IPv4 from IPv6 have one each', () => {
    const over = pair(6, 4);
    const rig = new Rig({ service: { ...over.service, dialect: 'none' } });
    const ids = Array.from(
      { length: 100 },
      () => dissect(rig.receive(over.fromClient(), PORT.wan).sent[0]).id,
    );
    assert.equal(new Set(ids).size, 100);
  });

  test('a piece of another protocol, family or identification is of another datagram', () => {
    for (const walk of WALKS.filter(({ from, to, before }) => from === to && before.length === 0)) {
      const rig = new Rig(walk.plan());
      const [one, two] = cutUp(walk.packet({ payload: PAYLOAD }), [504], 9);
      const others = [cutUp(walk.packet({ payload: PAYLOAD }), [504], 10)[1], asOpp(two)];
      for (const each of [one, ...others]) assert.equal(rig.receive(each, PORT.wan).verdict, 'held');
      assert.equal(rig.receive(two, PORT.wan).verdict, 'forward');
    }
  });
});

/** A piece of protocol 248. */
function asOpp(packet: Uint8Array): Uint8Array {
  const copy = packet.slice();
  if (copy[0] >> 4 === 6) return copy.fill(248, 40, 41);
  return withId(copy.fill(248, 9, 10), 9);
}
