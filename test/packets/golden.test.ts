// The builder and the dissector against packets that real receivers accepted: the tests' own measure is measured first.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { GOLDEN_V4, type Golden } from '../vectors/golden.ts';
import { icmp4, ipoOption, opp4, udp4, withId } from './builder.ts';
import { hex, pattern } from './bytes.ts';
import { dissect } from './dissect.ts';

const CLIENT_OPTION = ipoOption('10.1.0.2', 5000);

function rebuild(golden: Golden): Uint8Array {
  const payload = golden.carriage === 'carrier' ? new Uint8Array(0) : pattern(32);
  const tuple = { src: '10.2.0.200', sport: golden.lport, dst: '10.2.0.10', dport: 6000, payload };
  if (golden.dialect === 'opp') return opp4({ ...tuple, option: CLIENT_OPTION });
  return udp4({ ...tuple, options: CLIENT_OPTION });
}

describe('packet builder', () => {
  test('there are four golden packets for an IPv4 client and the dialects ipo and opp', () => {
    assert.equal(GOLDEN_V4.length, 4);
  });

  for (const golden of GOLDEN_V4) {
    test(`builds "${golden.name}" byte for byte`, () => {
      assert.equal(hex(rebuild(golden)), hex(golden.bytes));
    });

    test(`dissects "${golden.name}"`, () => {
      const seen = dissect(golden.bytes);
      const carrier = golden.carriage === 'carrier';
      assert.deepEqual(seen, {
        src: '10.2.0.200',
        dst: '10.2.0.10',
        tos: 0,
        id: 0x1234,
        df: false,
        ttl: 64,
        ipChecksumOk: true,
        options: golden.dialect === 'ipo' ? '1f0813880a010002' : '',
        proto: golden.dialect === 'ipo' ? 17 : 248,
        ...(golden.dialect === 'opp' && {
          opp: { version: 1, inner: 17, length: 12, option: '1f0813880a010002' },
        }),
        sport: golden.lport,
        dport: 6000,
        udpLength: carrier ? 8 : 40,
        udpChecksum: seen.udpChecksum,
        udpChecksumOk: true,
        payload: carrier ? '' : hex(pattern(32)),
        surplus: '',
      });
    });
  }

  const base = { src: '192.0.2.1', sport: 1, dst: '192.0.2.2', dport: 2, payload: pattern(5) };

  test('an overridden checksum is seen as wrong, an absent one as fine', () => {
    assert.equal(dissect(udp4(base)).udpChecksumOk, true);
    assert.equal(dissect(udp4({ ...base, checksum: 'zero' })).udpChecksumOk, true);
    assert.equal(dissect(udp4({ ...base, checksum: 'zero' })).udpChecksum, 0);
    assert.equal(dissect(udp4({ ...base, checksum: 'bad' })).udpChecksumOk, false);
    assert.equal(dissect(udp4({ ...base, checksum: 'partial' })).udpChecksumOk, false);
    assert.equal(dissect(udp4({ ...base, ipChecksum: 'bad' })).ipChecksumOk, false);
  });

  test('a partial checksum is the pseudo-header sum that the kernel leaves', () => {
    // 192.0.2.1 -> 192.0.2.2, protocol 17, length 13: c000 + 0201 + c000 + 0202 + 0011 + 000d, carry folded
    assert.equal(dissect(udp4({ ...base, checksum: 'partial' })).udpChecksum, 0x8422);
  });

  test('another identification leaves a right header checksum', () => {
    const seen = dissect(withId(udp4(base), 7));
    assert.equal(seen.id, 7);
    assert.equal(seen.ipChecksumOk, true);
  });

  test('an ICMP message carries its rest and body with a right checksum', () => {
    const seen = dissect(
      icmp4({ src: '192.0.2.1', dst: '192.0.2.2', type: 3, code: 4, rest: 1400, body: pattern(9) }),
    );
    assert.deepEqual(seen.icmp, { type: 3, code: 4, rest: 1400, body: hex(pattern(9)), checksumOk: true });
  });

  const malformed: [string, Uint8Array][] = [
    ['a UDP length beyond the datagram', udp4({ ...base, udpLength: 14 })],
    ['a UDP length below 8', udp4({ ...base, udpLength: 7 })],
    ['a total length beyond the bytes', udp4({ ...base, totalLength: 34 })],
    ['a header length below 20', udp4({ ...base, ihl: 4 })],
    ['an option beyond the header', udp4({ ...base, options: Uint8Array.of(7, 5, 0, 0) })],
    ['an opp length beyond the datagram', opp4({ ...base, option: CLIENT_OPTION, oppLength: 99 })],
    ['a fragment', udp4({ ...base, mf: true })],
  ];
  for (const [what, packet] of malformed) {
    test(`the dissector throws on ${what}`, () => {
      assert.throws(() => dissect(packet));
    });
  }
});
