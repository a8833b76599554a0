// Packets whose UDP checksum somebody verified before (a network card, the kernel): it is adjusted, and their
// payload is not summed. What goes out is the same, built by the tests' own builder.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { pattern, u16 } from '../packets/bytes.ts';
import { PAIRS, type Pair } from './pair.ts';
import { PORT, Rig } from './rig.ts';

const rigOf = ({ service }: Pair, maxTrials = 0): Rig =>
  new Rig({ service: { ...service, maxTrials, dialect: 'unified' } });
const send = (rig: Rig, packet: Uint8Array, port: number) => rig.receive(packet, port, {}, false, true);

/** A packet with other bytes in the middle of its payload. */
function corrupt(packet: Uint8Array): Uint8Array {
  const other = Uint8Array.from(packet);
  other.set(u16(0x1234), other.length - 10);
  return other;
}

const withoutId = (packet: Uint8Array): string => {
  const copy = Buffer.from(packet);
  if (copy[0] >>> 4 === 4) copy.fill(0, 4, 6).fill(0, 10, 12);
  return copy.toString('hex');
};

for (const pair of PAIRS) {
  describe(`${pair.name}: a packet whose checksum was verified`, () => {
    const both = (rig: Rig, fields: { payload: Uint8Array; checksum?: 'zero' }) => [
      { what: 'request', of: send(rig, pair.fromClient(fields), PORT.wan), go: pair.toRealServer },
      { what: 'answer', of: send(rig, pair.fromRealServer(fields), PORT.lan), go: pair.toClient },
    ];

    test('goes on with the right one, whatever its payload', () => {
      const rig = rigOf(pair);
      for (let len = 0; len < 64; len++) {
        const payload = pattern(len).map((byte) => (byte * (len + 1)) & 0xff);
        for (const { what, of, go } of both(rig, { payload }))
          assert.deepEqual(of.sent.map(withoutId), [withoutId(go({ payload }))], `${what} of ${len}`);
      }
    });

    test('stays wrong where its payload is another after all', () => {
      const rig = rigOf(pair);
      send(rig, pair.fromClient(), PORT.wan);
      for (const [come, port, go] of [
        [pair.fromClient(), PORT.wan, pair.toRealServer()],
        [pair.fromRealServer(), PORT.lan, pair.toClient()],
      ] as const) {
        const { verdict, sent } = send(rig, corrupt(come), port);
        assert.equal(verdict, 'forward');
        assert.deepEqual(sent.map(withoutId), [withoutId(corrupt(go))]);
        assert.equal(rig.receive(corrupt(come), port).verdict, 'drop:bad_udp_checksum', 'nobody verified it');
      }
    });

    test('carries the UOA that another would', () => {
      const said = rigOf(pair, 3);
      const unsaid = rigOf(pair, 3);
      for (let n = 0; n < 5; n++) {
        const packet = pair.fromClient({ payload: pattern(100 + n) });
        assert.deepEqual(
          send(said, packet, PORT.wan).sent.map(withoutId),
          unsaid.receive(packet, PORT.wan).sent.map(withoutId),
        );
      }
    });
  });
}

for (const pair of PAIRS.filter(({ client }) => client === 4)) {
  test(`${pair.name}: no checksum is none that was verified`, () => {
    const fields = { payload: pattern(33), checksum: 'zero' } as const;
    const { sent } = send(rigOf(pair), pair.fromClient(fields), PORT.wan);
    const expected = pair.toRealServer(pair.server === 4 ? fields : { payload: fields.payload });
    assert.deepEqual(sent.map(withoutId), [withoutId(expected)]);
  });
}
