// Headers of PROXY protocol v2 as `uoa-proxy sniff` reads them: of any family over any, and what is none.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { dissect, inspect } from '../../src/sniff/dissect.ts';
import { Observer } from '../../src/sniff/sighting.ts';
import { changed, changes } from '../fuzz/mutation.ts';
import { withId } from '../packets/builder.ts';
import { concat, hex, pattern, u16 } from '../packets/bytes.ts';
import { fragments4 } from '../packets/fragments.ts';
import { addressOption, proxyHeader, udp } from '../packets/uoa-builder.ts';
import { ETHERNET, framed, pcap, save } from './capture-writer.ts';
import { sniffed } from './sniffed.ts';

const NAMED = {
  4: { cip: '10.1.0.2', cport: 5000, vip: '10.1.0.100', vport: 53 },
  6: { cip: 'fd00:1::2', cport: 5001, vip: 'fd00:1::100', vport: 53 },
};
const LAN = {
  4: { src: '10.2.0.200', sport: 20005, dst: '10.2.0.10', dport: 6000 },
  6: { src: 'fd00:2::200', sport: 20005, dst: 'fd00:2::10', dport: 6000 },
};
const FAMILIES = [4, 6] as const;

const packet = (header: Uint8Array, payload = pattern(9)) =>
  udp({ ...LAN[4], payload: concat(header, payload) });
const at = (bytes: Uint8Array, off: number, ...values: number[]) => {
  const copy = bytes.slice();
  copy.set(values, off);
  return copy;
};
const HEADER = proxyHeader(NAMED[4]);

test('sniff shows client, VIP and the payload behind the header, over either family', () => {
  const pairs = FAMILIES.flatMap((client) => FAMILIES.map((over) => ({ client, over })));
  const packets = pairs.flatMap(({ client, over }) =>
    [9, 0].map((length) =>
      udp({ ...LAN[over], payload: concat(proxyHeader(NAMED[client]), pattern(length)) }),
    ),
  );
  const path = save(
    pcap(
      packets.map((bytes) => framed(ETHERNET, bytes)),
      { linkType: ETHERNET },
    ),
  );
  const { code, lines, stderr } = sniffed(path, 'proxy-v2', 'inserted');
  assert.equal(code, 0, stderr);
  assert.match(stderr, /proxy-v2 8/);
  assert.deepEqual(
    lines.map(({ kind, dialect, optionType, client, clientPort, vip, vport, payloadLength, malformed }) => [
      ...[kind, dialect, optionType, client, clientPort, vip, vport, payloadLength, malformed],
    ]),
    pairs.flatMap(({ client }) => {
      const { cip, cport, vip, vport } = NAMED[client];
      return [9, 0].map((length) => ['inserted', 'proxy-v2', null, cip, cport, vip, vport, length, null]);
    }),
  );
});

test('what is taken apart is the payload without the header', () => {
  const seen = dissect(packet(HEADER))!;
  assert.equal(hex(seen.payload), hex(pattern(9)));
  assert.ok(seen.isSumRight);
  assert.equal(seen.uoa?.client.port, 5000);
});

test('what follows the addresses in the header belongs to it', () => {
  const tlv = Uint8Array.of(0xe0, 0, 1, 7);
  const seen = inspect(packet(concat(at(HEADER, 14, 0, 16), tlv)))!;
  assert.equal(seen.fault, undefined);
  assert.equal(seen.ports?.payloadLen, 9);
});

test('the first fragment of a datagram is shown as that', () => {
  const [first, second] = fragments4(withId(packet(HEADER, pattern(100)), 7), [64]);
  const seen = inspect(first)!;
  assert.deepEqual([seen.uoa?.client.ip, seen.isFragment, seen.fault], ['10.1.0.2', true, undefined]);
  assert.equal(inspect(second), undefined);
});

test('a packet with an option and a header is malformed', () => {
  const both = udp({ ...LAN[4], payload: HEADER }, { options: addressOption(NAMED[4].cip, NAMED[4].cport) });
  assert.equal(inspect(both)?.fault, 'more than one UOA');
});

describe('is none', () => {
  const rows: [string, Uint8Array][] = [
    ['a header that tells of no client (LOCAL)', at(HEADER.subarray(0, 16), 12, 0x20, 0, 0, 0)],
    ['a signature that is cut off', HEADER.subarray(0, 11)],
    ['another signature', at(HEADER, 11, 0x0b)],
  ];
  for (const [name, header] of rows)
    test(name, () => assert.equal(inspect(packet(header, new Uint8Array(0))), undefined));
});

describe('is malformed', () => {
  const rows: [string, Uint8Array, RegExp][] = [
    ['another version', at(HEADER, 12, 0x11), /^PROXY protocol: version and command 0x11$/],
    ['another command', at(HEADER, 12, 0x22), /^PROXY protocol: version and command 0x22$/],
    ['TCP', at(HEADER, 13, 0x11), /^PROXY protocol: family 0x11, not UDP over IPv4 or IPv6$/],
    ['a header of 12 bytes', HEADER.subarray(0, 12), /^PROXY protocol: a header of 12 bytes$/],
    ['a length beyond the datagram', at(HEADER, 14, 1, 0), /^PROXY protocol: length 256 where 12 bytes/],
    ['a length that is too short', at(HEADER, 14, ...u16(11)), /^PROXY protocol: length 11 for family 0x12$/],
  ];
  for (const [name, header, reason] of rows) {
    test(name, () => {
      const bytes = packet(header, new Uint8Array(0));
      const seen = new Observer().observe({ device: '', timeUs: 0, wireLen: bytes.length, bytes });
      assert.equal(seen?.kind, 'malformed');
      assert.match(seen.fault!, reason);
    });
  }

  test('what was not captured whole', () => {
    const bytes = packet(HEADER);
    const seen = inspect(bytes.subarray(0, 50), bytes.length);
    assert.match(seen?.fault ?? '', /^only its first 50 bytes were captured$/);
  });
});

test('no bytes bring it down', () => {
  fc.assert(
    fc.property(changes, (list) => {
      const bytes = changed(packet(HEADER), list);
      inspect(bytes);
      dissect(bytes);
    }),
    { numRuns: 2000 },
  );
});
