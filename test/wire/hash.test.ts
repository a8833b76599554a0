// How evenly hashes spread what real tables hold: neighboring addresses, prefixes, ports.
import assert from 'node:assert/strict';
import test from 'node:test';
import { parseAddressInto } from '../../src/wire/address.ts';
import { hashAddress, mix } from '../../src/wire/hash.ts';

const BITS = 12;
const SLOTS = 1 << BITS;

/** Of as many keys as there are slots, chance puts no more than this into one. */
const MOST = 12;

test('a word is mixed as by the finalizer of MurmurHash3', () => {
  // Hashes of the empty string with these seeds.
  assert.deepEqual(
    [0, 1, -1].map((seed) => mix(seed) >>> 0),
    [0, 0x514e28b7, 0x81f16f39],
  );
});

const ROWS: [string, (n: number) => [string, number]][] = [
  ['addresses of an IPv4 subnet', (n) => [`10.2.${n >>> 8}.${n & 0xff}`, 6000]],
  ['the first addresses of IPv4 subnets', (n) => [`10.${n >>> 4}.${(n & 15) << 4}.1`, 6000]],
  ['ports of an IPv4 address', (n) => ['10.2.0.11', n]],
  ['addresses and ports that rise together', (n) => [`10.2.${n >>> 8}.${n & 0xff}`, 6000 + n]],
  ['ports and second bytes that are the same', (n) => [`10.${n & 0xff}.${n >>> 8}.1`, n & 0xff]],
  ['an IPv4 address at each interface', (n) => ['169.254.0.1', n + 1]],
  ['addresses of an IPv6 subnet', (n) => [`fd00:2::${n.toString(16)}`, 6000]],
  ['IPv6 subnets', (n) => [`2001:db8:0:${n.toString(16)}::1`, 6000]],
  ['IPv6 sites', (n) => [`2001:db8:${n.toString(16)}::1`, 6000]],
  ['IPv6 providers', (n) => [`2001:${n.toString(16)}::1`, 6000]],
  ['hosts that repeat their subnet', (n) => [`fd00:${n.toString(16)}::${n.toString(16)}`, 6000]],
];

for (const [name, keyOf] of ROWS) {
  test(`${name} are spread over upper and lower bits`, () => {
    const words = new Int32Array(6);
    const upper = new Uint16Array(SLOTS);
    const lower = new Uint16Array(SLOTS);
    for (let n = 0; n < SLOTS; n++) {
      const [ip, number] = keyOf(n);
      parseAddressInto(words, 1, ip);
      const hash = hashAddress(words, 1, number);
      assert.equal(hash, hash | 0);
      upper[hash >>> (32 - BITS)]++;
      lower[hash & (SLOTS - 1)]++;
    }
    assert.ok(Math.max(...upper) <= MOST, `upper bits: ${Math.max(...upper)} in one slot`);
    assert.ok(Math.max(...lower) <= MOST, `lower bits: ${Math.max(...lower)} in one slot`);
  });
}
