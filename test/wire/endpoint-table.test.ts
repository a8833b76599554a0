// Look-ups of endpoints and of ports by address, compared with a map and with every range.
import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { formatAddress, parseAddressInto } from '../../src/wire/address.ts';
import { ANY_PORT, EndpointTable } from '../../src/wire/endpoint-table.ts';
import { PortsByAddress } from '../../src/wire/ports-by-address.ts';

/** Few values, so that endpoints differ in one word, or only in the port. */
const word = fc.constantFrom(0, 1, -1, 0xffff, 0x0a000001, 0x20010db8, 0x80000000 | 0);
const endpoint = fc.record({
  words: fc.tuple(word, word, word, word).map((words) => Int32Array.from(words)),
  port: fc.constantFrom(ANY_PORT, 0, 1, 53, 0xffff),
});
const keyOf = (words: Int32Array, port: number) => `${formatAddress(words, 0)} ${port}`;

test('an endpoint has the number that was set last, and others have none', () => {
  const change = fc.record({ endpoint, value: fc.nat(0x7ffffffe) });
  fc.assert(
    fc.property(fc.array(change, { maxLength: 400 }), fc.array(endpoint), (changes, asked) => {
      const table = new EndpointTable();
      const model = new Map<string, number>();
      for (const { endpoint, value } of changes) {
        table.set(endpoint.words, 0, endpoint.port, value);
        model.set(keyOf(endpoint.words, endpoint.port), value);
      }
      for (const { words, port } of [...asked, ...changes.map(({ endpoint }) => endpoint)])
        assert.equal(table.get(words, 0, port), model.get(keyOf(words, port)) ?? -1);
    }),
  );
});

test('thousands of ports of one host, and of hosts with the same end, are all told apart', () => {
  const table = new EndpointTable();
  const words = new Int32Array(5);
  for (let i = 0; i < 4096; i++) {
    parseAddressInto(words, 1, '10.2.0.10');
    table.set(words, 1, i, i);
    parseAddressInto(words, 1, `fd00:${i.toString(16)}::10`);
    table.set(words, 1, 6000, 10_000 + i);
  }
  for (let i = 0; i < 4096; i++) {
    parseAddressInto(words, 1, '10.2.0.10');
    assert.equal(table.get(words, 1, i), i);
    assert.equal(table.get(words, 1, 10_000 + i), -1);
    parseAddressInto(words, 1, `fd00:${i.toString(16)}::10`);
    assert.equal(table.get(words, 1, 6000), 10_000 + i);
    assert.equal(table.get(words, 1, 6001), -1);
  }
});

test('an address has the ports of all its ranges, and no others', () => {
  const port = fc.nat(0xffff);
  const range = fc.record({
    ip: fc.constantFrom('10.2.0.200', '10.2.0.201', 'fd00:2::200'),
    ends: fc.tuple(port, port).map(([a, b]) => ({ first: Math.min(a, b), last: Math.max(a, b) })),
  });
  fc.assert(
    fc.property(fc.array(range, { maxLength: 12 }), (drawn) => {
      const ranges = drawn.map(({ ip, ends }) => ({ ip, ...ends }));
      const ports = new PortsByAddress(ranges);
      const words = new Int32Array(4);
      for (const ip of ['10.2.0.200', '10.2.0.201', 'fd00:2::200', '10.2.0.202']) {
        parseAddressInto(words, 0, ip);
        for (const edge of [0, 0xffff, ...ranges.flatMap(({ first, last }) => [first, last])])
          for (const asked of [edge - 1, edge, edge + 1]) {
            if (asked < 0 || asked > 0xffff) continue;
            const isIn = ranges.some((one) => one.ip === ip && asked >= one.first && asked <= one.last);
            assert.equal(ports.has(words, 0, asked), isIn, `${ip} ${asked}`);
          }
      }
    }),
  );
});
