// Fragments for links that are narrower than any may be.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Departures } from '../../src/datapath/departures.ts';
import { sendFragments } from '../../src/datapath/fragment.ts';
import { allocateMemory } from '../../src/datapath/memory.ts';
import { Frame, HEADROOM } from '../../src/wire/frame.ts';
import { PARSE_OK, Packet, parse } from '../../src/wire/packet.ts';
import { udp4 } from '../packets/builder.ts';
import { udp6 } from '../packets/builder6.ts';
import { pattern } from '../packets/bytes.ts';
import { makePlan } from './rig.ts';

const SPORTS = { sport: 5000, dport: 6000, payload: pattern(200) };
const ENOUGH = 100;

/**
 * Of each fragment the bytes behind its IP header, which has `headerLen`; undefined when none could be made.
 */
function cut(bytes: Uint8Array, mtu: number, headerLen: number): number[] | undefined {
  const frame = new Frame(Buffer.alloc(HEADROOM + 2_000));
  frame.bytes.set(bytes, HEADROOM);
  const packet = new Packet();
  assert.equal(parse(packet, frame, HEADROOM, HEADROOM + bytes.length), PARSE_OK);
  const lengths: number[] = [];
  const send = (_frame: Frame, _off: number, len: number) => {
    assert.ok(lengths.length < ENOUGH, 'it does not end');
    lengths.push(len - headerLen);
    return true;
  };
  const departures = new Departures(send, allocateMemory(makePlan()));
  return sendFragments(departures, frame, packet, mtu, 1, 0) ? lengths : undefined;
}

const FAMILIES = [
  { name: 'IPv4', headerLen: 20, bytes: udp4({ src: '10.1.0.2', dst: '10.1.0.1', ...SPORTS }) },
  { name: 'IPv6', headerLen: 48, bytes: udp6({ src: 'fd00:1::2', dst: 'fd00:1::1', ...SPORTS }) },
];

for (const { name, headerLen, bytes } of FAMILIES) {
  test(`where the MTU leaves no room for 8 bytes an ${name} datagram is not sent, and that ends`, () => {
    for (let mtu = 0; mtu < headerLen + 8; mtu++) assert.equal(cut(bytes, mtu, headerLen), undefined);
    const lengths = cut(bytes, headerLen + 8, headerLen);
    assert.deepEqual(lengths, new Array(26).fill(8));
  });
}

test('options count: with 40 bytes of them an MTU of 68, the least of any link, is enough', () => {
  const options = new Uint8Array(40).fill(1);
  const bytes = udp4({ src: '10.1.0.2', dst: '10.1.0.1', options, ...SPORTS });
  assert.equal(cut(bytes, 67, 60), undefined);
  assert.equal(cut(bytes, 68, 60)![0], 8);
});
