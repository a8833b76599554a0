// Properties of the parts that read and change bytes, each alone: parse, insert, find and remove a UOA,
// translate ICMP.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { UOA_DIALECTS, uoaForms } from '../../src/uoa/dialect.ts';
import { hasRoom, insertUoa, matchesUoa, removeUoa } from '../../src/uoa/form.ts';
import { Origin } from '../../src/uoa/origin.ts';
import { stripUoa } from '../../src/uoa/strip.ts';
import { formatAddress, parseAddressInto } from '../../src/wire/address.ts';
import { fold, sumBytes } from '../../src/wire/checksum.ts';
import { Frame } from '../../src/wire/frame.ts';
import { translateIcmp } from '../../src/wire/icmp-translation.ts';
import * as ipv4 from '../../src/wire/ipv4.ts';
import { PARSE_FRAGMENT, PARSE_OK, Packet, parse } from '../../src/wire/packet.ts';
import { concat, type Family, familyOf, hex, ip6Text, onesSum, unhex } from '../packets/bytes.ts';
import { dissect, options } from '../packets/dissect.ts';
import { udp } from '../packets/uoa-builder.ts';
import { GOLDEN } from '../vectors/golden.ts';
import { golden, mutated } from './mutation.ts';
import { datagram, type Side } from './packets.ts';
import { AT } from './plan.ts';
import { read } from './reader.ts';

const SEED = 11;
const HEADROOM = 64;
const RUNS = 3000;

const side = fc.constantFrom<Side>('wan', 'lan');
const packets = side.chain((of) =>
  fc.oneof(
    datagram(of),
    mutated(datagram(of)),
    golden(of),
    mutated(golden(of)),
    fc.uint8Array({ maxLength: 90 }),
  ),
);

/** The packet in a buffer that ends with it; what stands before it is headroom. */
function framed(bytes: Uint8Array): { frame: Frame; packet: Packet; fault: number } {
  const frame = new Frame(concat(new Uint8Array(HEADROOM).fill(0xa5), bytes));
  const packet = new Packet();
  return { frame, packet, fault: parse(packet, frame, HEADROOM, frame.bytes.length) };
}

function check<T>(drawn: fc.Arbitrary<T>, holds: (value: T) => void, numRuns = RUNS): void {
  fc.assert(fc.property(drawn, holds), { seed: SEED, numRuns });
}

describe(`parts, ${RUNS} inputs of seed ${SEED} each`, () => {
  test('parse takes for UDP what the reader of the tests takes for UDP, and finds the same in it', () => {
    let taken = 0;
    check(packets, (bytes) => {
      const { packet, frame, fault } = framed(bytes);
      const seen = read(bytes);
      if (fault === PARSE_FRAGMENT) {
        const { offset, more, dataOff, dataLen } = packet.fragment;
        const data = frame.bytes.subarray(dataOff, dataOff + dataLen);
        assert.ok(seen?.fragment);
        assert.deepEqual(
          [offset, more, hex(data)],
          [seen.fragment.offset, seen.fragment.more, hex(seen.fragment.data)],
        );
      }
      if (fault !== PARSE_OK) return;
      taken++;
      assert.ok(seen?.udp, 'not UDP');
      assert.doesNotMatch(faultOf(seen.packet), /^(option|extension header) /);
      const { payload, sport, dport, opp, surplus } = seen.udp;
      const payloadOff = packet.udpOff + 8;
      assert.deepEqual(
        {
          ports: [packet.sport, packet.dport],
          payload: hex(frame.bytes.subarray(payloadOff, payloadOff + packet.payloadLen)),
          length: packet.totalLen,
          oppLen: packet.oppLen,
          datagramLen: packet.datagramLen,
        },
        {
          ports: [sport, dport],
          payload: hex(payload),
          length: seen.packet.length,
          oppLen: opp.length,
          datagramLen: 8 + payload.length + surplus.length,
        },
      );
    });
    assert.ok(taken > RUNS / 4, `only ${taken} packets are UDP`);
  });

  test('a UOA that is inserted is found, and removed gives back every byte', () => {
    const drawn = fc.record({
      dialect: fc.constantFrom(...UOA_DIALECTS),
      unifiedType: fc.constantFrom<30 | 31>(30, 31),
      over: fc.constantFrom<Family>(4, 6),
      client: fc.constantFrom<Family>(4, 6),
      cport: fc.nat(65_535),
      payload: fc.uint8Array({ maxLength: 64 }),
      // what a client may have put there, and with every UOA still fits into 60 bytes
      options: fc.constantFrom('', '01010101', '94040000', '4408050000000000', '9404000001010100').map(unhex),
    });
    check(drawn, ({ dialect, unifiedType, over, client, cport, payload, options: foreign }) => {
      const form = uoaForms(dialect, over, unifiedType)?.[client];
      if (form === undefined) return;
      const { lip, rip } = AT[over];
      const isAlone = form.alone || form.size > 30;
      const plain = udp({
        src: lip,
        sport: 20_005,
        dst: rip,
        dport: 6000,
        payload,
        options: isAlone ? unhex('') : foreign,
      });
      const { frame, packet } = framed(plain);
      const origin = originOf(client, cport);
      const off = insertUoa(form, frame, packet.off, packet.headerLen, origin);
      if (over === 4) ipv4.fillChecksum(frame.view, off);
      const sent = frame.bytes.slice(off);
      const seen = dissect(sent);
      assert.ok(seen.ipChecksumOk && seen.udpChecksumOk);
      assert.equal(seen.payload, hex(payload));
      const again = framed(sent);
      assert.equal(again.fault, PARSE_OK);
      assert.ok(matchesUoa(form, again.frame, again.packet, origin), 'it is found');
      assert.ok(
        !matchesUoa(form, again.frame, again.packet, originOf(client, cport ^ 1)),
        'it is no other client',
      );
      const back = removeUoa(form, frame, off, packet.headerLen);
      assert.equal(back, HEADROOM);
      if (over === 4) ipv4.fillChecksum(frame.view, back);
      assert.equal(hex(frame.bytes.subarray(back)), hex(plain));
    });
  });

  test('there is room for a UOA only where its receivers find it, within the MTU', () => {
    let inserted = 0;
    const drawn = fc.tuple(
      packets,
      fc.constantFrom(...UOA_DIALECTS),
      fc.constantFrom<Family>(4, 6),
      fc.integer({ min: 68, max: 1500 }),
    );
    check(drawn, ([bytes, dialect, client, mtu]) => {
      const { frame, packet, fault } = framed(bytes);
      if (fault !== PARSE_OK || (packet.family === 6 && packet.headerLen > 40)) return;
      if (packet.hasUoa && packet.family === 4) stripUoa(frame, packet);
      const form = uoaForms(dialect, packet.family, 31)?.[client];
      if (form === undefined || packet.hasUoa || !hasRoom(form, packet, mtu)) return;
      inserted++;
      const off = insertUoa(form, frame, packet.off, packet.headerLen, originOf(client, 5000));
      const seen = dissect(frame.bytes.slice(off, off + packet.totalLen + form.size));
      assert.ok(packet.totalLen + form.size <= mtu, 'larger than the MTU');
      assert.ok(seen.family === 4 || seen.opp === undefined, 'opp over IPv6 with a payload');
      assert.ok(seen.options.length / 2 + (seen.opp?.length ?? 0) <= 40, 'opp behind too many options');
      if (dialect === 'unified' && seen.family === 4)
        assert.equal(seen.options.length / 2, form.size, 'not alone');
    });
    assert.ok(inserted > 100, `only ${inserted} have room`);
  });

  test('stripping takes out every UOA and nothing else', () => {
    let stripped = 0;
    check(packets, (bytes) => {
      const { frame, packet, fault } = framed(bytes);
      if (fault !== PARSE_OK || packet.family === 6 || !packet.hasUoa) return;
      stripped++;
      const before = options(bytes.subarray(20, (bytes[0] & 15) * 4));
      const datagramBefore = hex(frame.bytes.subarray(packet.udpOff, packet.off + packet.totalLen));
      stripUoa(frame, packet);
      const after = dissect(frame.bytes.slice(packet.off, packet.off + packet.totalLen));
      const foreign = before.filter(([type]) => type < 29 || type > 31).map(hex);
      assert.ok(after.ipChecksumOk);
      assert.equal(after.proto, 17);
      assert.deepEqual(options(unhex(after.options)).map(hex), foreign);
      assert.equal(hex(frame.bytes.subarray(packet.udpOff, packet.off + packet.totalLen)), datagramBefore);
    });
    assert.ok(stripped > 100, `only ${stripped} packets had a UOA`);
  });

  test('every golden packet is parsed, and stripped of its UOA over IPv4', () => {
    for (const { bytes, name, realServerFamily } of GOLDEN) {
      const { frame, packet, fault } = framed(bytes);
      assert.equal(fault, PARSE_OK, name);
      assert.ok(packet.hasUoa, name);
      if (realServerFamily === 6) continue;
      stripUoa(frame, packet);
      assert.equal(dissect(frame.bytes.slice(packet.off)).options, '', name);
    }
  });

  test('ICMP of one family becomes what the other knows, or nothing', () => {
    const drawn = fc.record({
      from: fc.constantFrom<Family>(4, 6),
      kind: fc.nat(3),
      code: fc.nat(255),
      rest: fc.oneof(
        fc.nat(0xffff),
        fc.nat(0xff).map((pointer) => pointer * 0x1000000),
        fc.nat(),
      ),
    });
    check(drawn, ({ from, kind, code, rest }) => {
      const type = (from === 4 ? [3, 11, 12] : [1, 2, 3, 4])[kind] ?? 3;
      const message = { type, code, rest };
      if (!translateIcmp(message, from)) return;
      const types = from === 4 ? [1, 2, 3, 4] : [3, 11, 12];
      assert.ok(
        types.includes(message.type) && message.code <= 255,
        `${type}/${code} -> ${message.type}/${message.code}`,
      );
      const tellsMtu = from === 4 ? message.type === 2 : message.type === 3 && message.code === 4;
      if (tellsMtu)
        assert.ok(
          message.rest >= (from === 4 ? 1280 : 68) && message.rest <= 0xffff + 20,
          `MTU ${message.rest}`,
        );
    });
  });

  test('sums are those of RFC 1071, at any offset and length', () => {
    check(fc.tuple(fc.uint8Array({ maxLength: 100 }), fc.nat(7)), ([bytes, shift]) => {
      const { view } = new Frame(concat(new Uint8Array(shift).fill(0xff), bytes, Uint8Array.of(0xff)));
      const sum = fold(sumBytes(view, shift, bytes.length));
      assert.equal(sum % 0xffff, onesSum(bytes) % 0xffff);
      assert.equal(
        sum === 0,
        bytes.every((byte) => byte === 0),
      );
    });
  });

  test('an address becomes words and the same text again', () => {
    const words = new Int32Array(6);
    check(fc.uint8Array({ minLength: 16, maxLength: 16 }), (bytes) => {
      const text = ip6Text(bytes);
      if (text.startsWith('::ffff:')) return;
      parseAddressInto(words, 1, text);
      assert.equal(formatAddress(words, 1), text);
    });
  });
});

/** What the strict dissector finds wrong, if anything. */
function faultOf(bytes: Uint8Array): string {
  try {
    dissect(bytes, { fragment: true });
    return '';
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

function originOf(client: Family, cport: number): Origin {
  const origin = new Origin();
  const { cip, vip } = AT[client];
  origin.family = familyOf(cip);
  origin.cport = cport;
  origin.vport = 6000;
  parseAddressInto(origin.addresses, 0, cip);
  parseAddressInto(origin.addresses, 4, vip);
  return origin;
}
