// Which clients a service serves.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { ClientRules } from '../../src/service/client-rules.ts';
import { parseAddressInto } from '../../src/wire/address.ts';

function allows(rules: ClientRules, address: string): boolean {
  const addresses = new Int32Array(8).fill(-1);
  parseAddressInto(addresses, 4, address);
  return rules.allows(addresses, 4);
}

interface Row {
  name: string;
  allow?: string[];
  deny?: string[];
  served: string[];
  refused: string[];
}

const rows: Row[] = [
  { name: 'without lists everybody is served', served: ['192.0.2.1', '2001:db8::1'], refused: [] },
  {
    name: 'with a list of the denied all others are served, also of the other family',
    deny: ['192.0.2.0/24', '198.51.100.7/32'],
    served: ['192.0.3.0', '192.0.1.255', '198.51.100.6', '198.51.100.8', '2001:db8::1', '::c000:201'],
    refused: ['192.0.2.0', '192.0.2.255', '198.51.100.7'],
  },
  {
    name: 'with a list of the allowed nobody else is served, also not of the other family',
    allow: ['2001:db8::/32'],
    served: ['2001:db8::', '2001:db8:ffff:ffff:ffff:ffff:ffff:ffff'],
    refused: ['2001:db7:ffff::1', '2001:db9::', '192.0.2.1'],
  },
  {
    name: 'the longest prefix decides, whichever list it is in',
    allow: ['10.0.0.0/8', '10.1.2.0/24', '10.1.2.4/32'],
    deny: ['10.1.0.0/16', '10.1.2.4/31'],
    served: ['10.0.0.1', '10.2.0.0', '10.1.2.3', '10.1.2.4', '10.1.2.6'],
    refused: ['10.1.0.0', '10.1.3.0', '10.1.2.5', '11.0.0.0'],
  },
  {
    name: 'a family is denied as a whole',
    deny: ['::/0'],
    served: ['192.0.2.1', '0.0.0.0'],
    refused: ['2001:db8::1', '::', '::1'],
  },
  {
    name: 'a family is allowed as a whole, but for one address',
    allow: ['0.0.0.0/0'],
    deny: ['192.0.2.1/32'],
    served: ['192.0.2.0', '192.0.2.2', '255.255.255.255'],
    refused: ['192.0.2.1', '2001:db8::1'],
  },
  {
    name: 'a prefix of IPv6 says nothing about IPv4 addresses in their mapped form',
    deny: ['::/64'],
    served: ['192.0.2.1'],
    refused: ['::1'],
  },
];

describe('the lists of clients', () => {
  for (const { name, allow = [], deny = [], served, refused } of rows) {
    test(name, () => {
      const rules = new ClientRules(allow, deny);
      for (const address of served) assert.ok(allows(rules, address), `${address} is served`);
      for (const address of refused) assert.ok(!allows(rules, address), `${address} is refused`);
    });
  }

  test('decide as looking at every prefix would, for thousands of them', () => {
    const prefix = fc.tuple(fc.integer({ min: 0, max: 0xffff }), fc.integer({ min: 16, max: 32 }));
    const property = fc.property(
      fc.array(fc.tuple(prefix, fc.boolean()), { maxLength: 60 }),
      fc.array(fc.nat(0xffff), { minLength: 1, maxLength: 60 }),
      fc.boolean(),
      (listed, probes, isMany) => {
        const verdicts = new Map<string, boolean>();
        const text = (low: number, length: number) => {
          const masked = length === 16 ? 0 : low & (-1 << (32 - length)) & 0xffff;
          return `10.1.${masked >>> 8}.${masked & 0xff}/${length}`;
        };
        for (const [[low, length], isAllowed] of listed) verdicts.set(text(low, length), isAllowed);
        const many = isMany ? Array.from({ length: 5_000 }, (_, n) => `10.2.${n >> 8}.${n & 0xff}/32`) : [];
        const of = (wanted: boolean) =>
          [...verdicts].filter(([, isAllowed]) => isAllowed === wanted).map(([one]) => one);
        const rules = new ClientRules(of(true), [...of(false), ...many]);
        for (const low of probes) {
          let expected = of(true).length === 0;
          for (let length = 16; length <= 32; length++)
            expected = verdicts.get(text(low, length)) ?? expected;
          assert.equal(allows(rules, `10.1.${low >>> 8}.${low & 0xff}`), expected);
        }
        if (isMany) assert.ok(!allows(rules, '10.2.19.1'));
      },
    );
    fc.assert(property, { numRuns: 200 });
  });

  const LISTED = 50_000;
  const listed = (n: number) => `2001:db8:${(n >>> 8).toString(16)}:${(n & 0xff).toString(16)}00::`;

  test('decide about an address in few steps, also when 50,000 prefixes are listed', () => {
    const v6 = Array.from({ length: LISTED }, (_, n) => `${listed(n)}/56`);
    const v4 = Array.from(
      { length: LISTED },
      (_, n) => `10.${n >>> 14}.${(n >>> 6) & 0xff}.${(n & 63) << 2}/30`,
    );
    const rules = new ClientRules([], [...v4, ...v6]);
    let mostReads = 0;
    for (let n = 0; n < LISTED; n += 7) {
      const ip = `10.${n >>> 14}.${(n >>> 6) & 0xff}.${((n & 63) << 2) + 3}`;
      assert.ok(!allows(rules, ip), ip);
      const words = new Int32Array(4);
      parseAddressInto(words, 0, listed(n));
      words[3] = n;
      let reads = 0;
      const counted = new Proxy(words, {
        get: (target, key) => {
          reads++;
          return target[key as unknown as number];
        },
      });
      assert.ok(!rules.allows(counted, 0), listed(n));
      mostReads = Math.max(mostReads, reads);
    }
    for (const ip of ['11.0.0.1', '10.3.13.64', '2001:db8:c3:5000::', '2001:db9::'])
      assert.ok(allows(rules, ip), ip);
    // Each step reads three words at most, the way down has one step per bit that tells prefixes apart: 16
    // here.
    assert.ok(mostReads <= 3 * 17, `${mostReads} words of the address were read`);
  });
});
