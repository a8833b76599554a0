// Messages to and from netlink, written down by hand from the kernel's headers, whole and damaged.
import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import {
  eachMessage,
  FLAG,
  failureIn,
  findAttribute,
  findWithin,
  HEADER_LEN,
  lengthAt,
  message,
  textAt,
} from '../../src/sys/netlink-messages.ts';

const bytes = (...hex: string[]): Uint8Array =>
  Uint8Array.from(Buffer.from(hex.join('').replaceAll(' ', ''), 'hex'));
const viewOf = ({ buffer, byteOffset, byteLength }: Uint8Array) =>
  new DataView(buffer, byteOffset, byteLength);

function read(datagram: Uint8Array): [type: number, body: string][] {
  const found: [number, string][] = [];
  eachMessage(viewOf(datagram), datagram.length, (type, _view, off, end) => {
    found.push([type, Buffer.from(datagram.subarray(off, end)).toString('hex')]);
    return true;
  });
  return found;
}

// Type 24, flags and sequence, a body of five bytes and its padding; then type 3 without a body.
const TWO = bytes(
  '1500 0000 1800 0500 07000000 00000000',
  '0102030405 000000',
  '10000000 0300 0000 00000000 00000000',
);
// EPERM for a request that is not repeated, with attributes: a cookie (3), and (1) "no way".
const REFUSED = bytes(
  '3000 0000 0200 0003 07000000 00000000',
  'ffffffff 14000000 1400 0506 07000000 00000000',
  '0500 0300 01 000000 0b00 0100 6e6f2077617900 00',
);

test('a message is written with its length, flags and padded attributes', () => {
  const attributes = [
    { type: 3, value: Buffer.from('lo\0') },
    { type: 29, value: Uint8Array.of(8, 0, 0, 0) },
  ];
  assert.deepEqual(
    new Uint8Array(message(18, FLAG.dump, Uint8Array.of(1, 2, 3, 4), attributes)),
    bytes('24000000 1200 0103 00000000 00000000', '01020304', '0700 0300 6c6f00 00', '0800 1d00 08000000'),
  );
});

test('the messages of a datagram are handed over until one is not wanted', () => {
  assert.deepEqual(read(TWO), [
    [24, '0102030405'],
    [3, ''],
  ]);
  let count = 0;
  eachMessage(viewOf(TWO), TWO.length, () => ++count > 1);
  assert.equal(count, 1);
});

test('attributes are found by type, also within another, with their length and text', () => {
  // Type 18, nested: (1) "vrf", (4) "bridge".
  const nested = bytes('1800 1280', '0800 0100 76726600', '0b00 0400 62726964676500 00');
  const view = viewOf(nested);
  const info = findAttribute(view, 0, nested.length, 18);
  assert.deepEqual([info, lengthAt(view, info)], [4, 20]);
  const [kind, slave, none] = [1, 4, 5].map((type) => findWithin(view, info, type));
  assert.deepEqual([textAt(view, kind), textAt(view, slave), textAt(view, none)], ['vrf', 'bridge', '']);
  assert.equal(findAttribute(view, 0, nested.length, 18, 21), -1, 'too short');
});

test('a refusal is read with its reason in words, an acknowledgement and the end of a dump as none', () => {
  const view = viewOf(REFUSED);
  const { code, words } = failureIn(2, view, HEADER_LEN, REFUSED.length)!;
  assert.deepEqual([code, words], ['EPERM', 'no way']);
  const done = viewOf(bytes('00000000'));
  assert.equal(failureIn(3, done, 0, 4), undefined);
  const ended = viewOf(bytes('10000000 0300 0000 00000000 00000000 f4ffffff'));
  assert.equal(failureIn(3, ended, HEADER_LEN, HEADER_LEN + 4)?.code, 'ENOMEM');
});

test('no bytes make a fault or an endless loop', () => {
  const damage = fc.record({
    of: fc.constantFrom(TWO, REFUSED),
    at: fc.array(fc.tuple(fc.nat(200), fc.nat(255)), { maxLength: 6 }),
    length: fc.nat(80),
  });
  fc.assert(
    fc.property(damage, ({ of, at, length }) => {
      const damaged = of.slice(0, length);
      for (const [index, byte] of at) if (damaged.length > 0) damaged[index % damaged.length] = byte;
      eachMessage(viewOf(damaged), damaged.length, (type, view, off, end) => {
        failureIn(type, view, off, end);
        return true;
      });
    }),
    { numRuns: 20_000 },
  );
});
