// Carrier or echo ACK: they look alike, and what tells them apart is which way their UOA went before.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Observer } from '../../src/sniff/sighting.ts';
import { pattern } from '../packets/bytes.ts';
import { addressOption, udp } from '../packets/uoa-builder.ts';

const OUT = { src: '10.2.0.200', sport: 1024, dst: '10.2.0.10', dport: 6000 };
const BACK = { src: OUT.dst, sport: OUT.dport, dst: OUT.src, dport: OUT.sport };
const uoa = (cport = 5000) => ({ options: addressOption('10.1.0.2', cport) });

const inserted = udp({ ...OUT, payload: pattern(9) }, uoa());
const out = udp({ ...OUT, payload: pattern(0) }, uoa());
const back = udp({ ...BACK, payload: pattern(0) }, uoa());
const backWithPayload = udp({ ...BACK, payload: pattern(9) }, uoa());
const backOther = udp({ ...BACK, payload: pattern(0) }, uoa(5001));

const rows: [name: string, packets: Uint8Array[], kinds: string[], lips?: string[]][] = [
  ['an empty packet is a carrier', [out, out], ['carrier', 'carrier']],
  ['one that comes back after a carrier is an echo ACK', [out, back], ['carrier', 'ack']],
  ['one that comes back after an inserted UOA is an echo ACK', [inserted, back], ['inserted', 'ack']],
  ['a carrier after the echo ACK is still one', [out, back, out, back], ['carrier', 'ack', 'carrier', 'ack']],
  ['one with another UOA answers nothing', [out, backOther], ['carrier', 'carrier']],
  [
    'payload tells the sides, also when the echo ACK came first',
    [back, inserted, back, out],
    ['carrier', 'inserted', 'ack', 'carrier'],
  ],
  [
    'a real server that echoes its options with payload changes no sides',
    [inserted, backWithPayload, back],
    ['inserted', 'inserted', 'ack'],
  ],
  ["addresses that are said to be the proxy's decide", [back, out], ['ack', 'carrier'], ['10.2.0.200']],
];
for (const [name, packets, kinds, lips] of rows) {
  test(name, () => {
    const observer = new Observer(lips);
    const seen = packets.map((bytes) =>
      observer.observe({ device: '', timeUs: 0, wireLen: bytes.length, bytes }),
    );
    assert.deepEqual(
      seen.map((sighting) => sighting?.kind),
      kinds,
    );
  });
}

test('memory is bounded: a hundred thousand sessions later the first is forgotten', () => {
  const observer = new Observer();
  const observe = (bytes: Uint8Array) =>
    observer.observe({ device: '', timeUs: 0, wireLen: bytes.length, bytes });
  assert.equal(observe(out)?.kind, 'carrier');
  const other = out.slice();
  const view = new DataView(other.buffer);
  for (let index = 0; index < 100_000; index++) {
    view.setUint16(22, index & 0xffff); // cport
    view.setUint16(28, 1025 + (index >>> 16)); // lport
    observe(other);
  }
  assert.equal(observe(back)?.kind, 'carrier');
});
