// What the builders promise beside the golden packets: overrides, ICMP, IPv6 headers, fragments; and that the
// dissector throws on what is malformed.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { icmp4, ipv4, udp4, withId } from './builder.ts';
import {
  destOptions,
  fragmentHeader,
  hopByHop,
  icmp6,
  ipv6,
  NO_NEXT_HEADER,
  option6,
  routing,
  udp6,
} from './builder6.ts';
import { concat, hex, ip6, ip6Text, pattern, unhex } from './bytes.ts';
import { dissect } from './dissect.ts';
import { fragments4, fragments6, reassemble } from './fragments.ts';
import { addressOption, opp4, opp6 } from './uoa-builder.ts';

const base = { src: '192.0.2.1', sport: 1, dst: '192.0.2.2', dport: 2, payload: pattern(5) };
const base6 = { ...base, src: '2001:db8::1', dst: '2001:db8::2' };

describe('addresses', () => {
  // RFC 5952, section 4
  for (const [text, canonical] of [
    ['2001:0DB8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['2001:db8:0:0:0:0:0:1', '2001:db8::1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['::', '::'],
    ['::1', '::1'],
    ['1::', '1::'],
  ] as const) {
    test(`${text} is ${canonical}`, () => assert.equal(ip6Text(ip6(text)), canonical));
  }

  for (const text of ['1::2::3', '1:2:3', '1:2:3:4:5:6:7:8:9', 'g::', '12345::']) {
    test(`${text} is refused`, () => assert.throws(() => ip6(text)));
  }
});

describe('packet builder', () => {
  test('an overridden checksum is seen as wrong, an absent one as fine over IPv4 only', () => {
    for (const build of [
      (checksum: 'zero' | 'bad' | 'partial' | 'valid') => udp4({ ...base, checksum }),
      (checksum: 'zero' | 'bad' | 'partial' | 'valid') => udp6({ ...base6, checksum }),
    ]) {
      assert.equal(dissect(build('valid')).udpChecksumOk, true);
      assert.equal(dissect(build('bad')).udpChecksumOk, false);
      assert.equal(dissect(build('partial')).udpChecksumOk, false);
      assert.equal(dissect(build('zero')).udpChecksum, 0);
    }
    assert.equal(dissect(udp4({ ...base, checksum: 'zero' })).udpChecksumOk, true);
    assert.equal(dissect(udp6({ ...base6, checksum: 'zero' })).udpChecksumOk, false);
    assert.equal(dissect(udp4({ ...base, ipChecksum: 'bad' })).ipChecksumOk, false);
  });

  test('a partial checksum is the pseudo-header sum that the kernel leaves', () => {
    // 192.0.2.1 -> 192.0.2.2, protocol 17, length 13: c000 + 0201 + c000 + 0202 + 0011 + 000d, carry folded
    assert.equal(dissect(udp4({ ...base, checksum: 'partial' })).udpChecksum, 0x8422);
    // 2001:db8::1 -> ::2: 2 * (2001 + 0db8) + 1 + 2 + 0011 + 000d
    assert.equal(dissect(udp6({ ...base6, checksum: 'partial' })).udpChecksum, 0x5b93);
  });

  test('another identification leaves a right header checksum', () => {
    const seen = dissect(withId(udp4(base), 7));
    assert.equal(seen.id, 7);
    assert.equal(seen.ipChecksumOk, true);
  });

  test('an ICMP message carries its rest and body with a right checksum', () => {
    const message = { type: 3, code: 4, rest: 1400, body: pattern(9) };
    const expected = { ...message, body: hex(message.body), checksumOk: true };
    assert.deepEqual(dissect(icmp4({ ...base, ...message })).icmp, expected);
    assert.deepEqual(dissect(icmp6({ ...base6, ...message })).icmp, expected);
    assert.equal(dissect(icmp6({ ...base6, ...message, icmpChecksum: 'bad' })).icmp?.checksumOk, false);
  });

  test('the fields of an IPv6 header stand where RFC 8200 has them', () => {
    const packet = udp6({ ...base6, trafficClass: 0xab, flowLabel: 0xcdef1, hopLimit: 3 });
    assert.equal(hex(packet.subarray(0, 8)), '6abcdef1000d1103');
    const { tos, ttl, flowLabel } = dissect(packet);
    assert.deepEqual({ tos, ttl, flowLabel }, { tos: 0xab, ttl: 3, flowLabel: 0xcdef1 });
  });

  test('extension headers are chained in the order given and padded to 8 bytes', () => {
    const seen = dissect(
      udp6({
        ...base6,
        extensions: [
          hopByHop(option6(5, unhex('0000'))),
          routing({ type: 0, segmentsLeft: 1, via: '::7' }),
          fragmentHeader({ id: 9 }),
          destOptions(concat(option6(0x1f, unhex('01020304')), option6(0x1e, unhex('0506')))),
        ],
      }),
    );
    assert.deepEqual(seen.extensions, [
      { header: 0, bytes: '2b00050200000100' },
      { header: 43, bytes: '2c02000100000000 00000000000000000000000000000007'.replace(' ', '') },
      { header: 44, bytes: '3c00000000000009' },
      { header: 60, bytes: '11011f04010203041e02050601020000' },
    ]);
    assert.deepEqual(seen.destOptions, ['1f0401020304', '1e020506']);
    assert.equal(seen.proto, 17);
    assert.equal(seen.udpChecksumOk, true);
    assert.equal(seen.id, 9);
    assert.equal(seen.fragment, undefined);
  });
});

describe('fragments', () => {
  const large = { ...base, payload: pattern(3000), df: false };

  test('the fragments of an IPv4 packet fit the MTU and make the packet again in any order', () => {
    const packet = udp4(large);
    const cut = fragments4(packet, 1500);
    assert.deepEqual(
      cut.map((part) => dissect(part, { fragment: true }).fragment),
      [
        { offset: 0, more: true },
        { offset: 1480, more: true },
        { offset: 2960, more: false },
      ],
    );
    assert.ok(cut.every((part) => dissect(part, { fragment: true }).ipChecksumOk));
    assert.equal(hex(reassemble([...cut].reverse())), hex(packet));
  });

  test('later IPv4 fragments have the copied options and no others', () => {
    const packet = udp4({ ...large, options: unhex('1f08 1388 0a010002 94040000') });
    const areas = fragments4(packet, [8, 16]).map((part) => dissect(part, { fragment: true }).options);
    assert.deepEqual(areas, [
      '1f0813880a01000294040000',
      '010101010101010194040000',
      '010101010101010194040000',
    ]);
  });

  test('the fragments of an IPv6 packet fit the MTU, repeat its routing headers and make the packet again', () => {
    const packet = udp6({
      ...base6,
      payload: pattern(3000),
      extensions: [hopByHop(new Uint8Array(0)), routing(), destOptions(new Uint8Array(0))],
    });
    const cut = fragments6(packet, 1400, 77);
    const seen = cut.map((part) => dissect(part, { fragment: true }));
    assert.ok(cut.every((part) => part.length <= 1400));
    assert.deepEqual(
      seen.map(({ id, extensions }) => [id, extensions.map(({ header }) => header).join(' ')]),
      [
        [77, '0 43 44 60'],
        [77, '0 43 44'],
        [77, '0 43 44'],
      ],
    );
    assert.equal(seen[0]?.sport, 1);
    assert.equal(hex(reassemble([...cut].reverse())), hex(packet));
  });

  test('a packet that fits is one fragment: itself in IPv4, an atomic fragment in IPv6', () => {
    assert.deepEqual(fragments4(udp4(base), 1500).map(hex), [hex(udp4(base))]);
    assert.deepEqual(fragments6(udp6(base6), 1500, 5).map(hex), [
      hex(udp6({ ...base6, extensions: [fragmentHeader({ id: 5 })] })),
    ]);
  });

  test('fragments with a hole between them or above each other make no packet', () => {
    const [first, second, third] = fragments4(udp4(large), 1500);
    assert.throws(() => reassemble([first, third]));
    assert.throws(() => reassemble([first, second]));
    assert.throws(() => reassemble([first, first, second, third]));
  });
});

describe('dissector', () => {
  const option = addressOption('10.1.0.2', 5000);
  const malformed: [string, Uint8Array][] = [
    ['a UDP length beyond the datagram', udp4({ ...base, udpLength: 14 })],
    ['a UDP length below 8', udp4({ ...base, udpLength: 7 })],
    ['a total length beyond the bytes', udp4({ ...base, totalLength: 34 })],
    ['a header length below 20', udp4({ ...base, ihl: 4 })],
    ['an option beyond the header', udp4({ ...base, options: Uint8Array.of(7, 5, 0, 0) })],
    ['an opp length beyond the datagram', opp4({ ...base, option, oppLength: 99 })],
    ['a fragment', udp4({ ...base, mf: true })],
    ['another IP version', udp4({ ...base, version: 5 })],
    ['a later fragment', ipv4({ ...base, fragOffset: 1 }, 17, pattern(8))],
    ['an IPv6 UDP length beyond the datagram', udp6({ ...base6, udpLength: 14 })],
    ['an IPv6 payload length beyond the bytes', udp6({ ...base6, payloadLength: 14 })],
    ['an IPv6 payload length below the bytes', udp6({ ...base6, payloadLength: 12 })],
    ['an IPv6 opp length beyond the datagram', opp6({ ...base6, option, oppLength: 99 })],
    ['an IPv6 fragment', udp6({ ...base6, extensions: [fragmentHeader({ more: true })] })],
    ['an extension header beyond the packet', udp6({ ...base6, extensions: [destOptions(option, 200)] })],
    ['an IPv6 option beyond its header', udp6({ ...base6, extensions: [destOptions(unhex('1f09 0000'))] })],
    ['padding that is not zero', udp6({ ...base6, extensions: [destOptions(unhex('0104 0000 0100'))] })],
  ];
  for (const [what, packet] of malformed) {
    test(`throws on ${what}`, () => {
      assert.throws(() => dissect(packet));
    });
  }

  test('leaves a packet without next header without datagram', () => {
    const seen = dissect(ipv6(base6, NO_NEXT_HEADER, pattern(4)));
    assert.equal(seen.proto, 59);
    assert.equal(seen.sport, -1);
  });
});
