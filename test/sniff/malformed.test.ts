// What is malformed is shown as that, with the reason; no bytes bring sniff or the Lua script down.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { inspect } from '../../src/sniff/dissect.ts';
import { changed, changes } from '../fuzz/mutation.ts';
import { ipv4, udp4 } from '../packets/builder.ts';
import { destOptions } from '../packets/builder6.ts';
import { concat, pattern, unhex } from '../packets/bytes.ts';
import { addressOption, udp, unifiedOption, vniOption } from '../packets/uoa-builder.ts';
import { GOLDEN } from '../vectors/golden.ts';
import { pcap, save } from './capture-writer.ts';
import { dissected, sniffed } from './sniffed.ts';

const LAN4 = { src: '10.2.0.200', dst: '10.2.0.10', sport: 20000, dport: 6000, payload: pattern(20) };
const LAN6 = { ...LAN4, src: 'fd00:2::200', dst: 'fd00:2::10' };
const CIP = '10.1.0.2';
const NAMED = { cip: CIP, cport: 5000, vip: '10.1.0.100', vport: 53 };
const OPTION = addressOption(CIP, 5000);

const v4 = (options: Uint8Array) => udp4({ ...LAN4, options });
const v6 = (options: Uint8Array) => udp({ ...LAN6, extensions: [destOptions(options)] });
const opp = (fields: object, option = OPTION) => udp(LAN4, { option, ...fields });
const changedAt = (packet: Uint8Array, at: number, ...bytes: number[]) => {
  const copy = packet.slice();
  copy.set(bytes, at);
  return copy;
};

interface Row {
  name: string;
  packet: Uint8Array;
  wireLen?: number;
  reason: RegExp;
  /** Where the client can be told all the same. */
  client?: string;
}

const rows: Row[] = [
  {
    name: 'an IP option 31 of a wrong length',
    packet: v4(unhex('1f0913880a0100020000 0000')),
    reason: /^IP option 31 of length 9, which no UOA has$/,
  },
  {
    name: 'an IP option 31 that goes beyond the header',
    packet: v4(unhex('1f1413880a010002')),
    reason: /^IP option 31 of length 20 where 8 bytes are left$/,
  },
  {
    name: 'an IP option 31 of length 0',
    packet: v4(unhex('1f000000')),
    reason: /^IP option 31 of length 0 where 4/,
  },
  {
    name: 'a type 30 in the layout of ipo',
    packet: v4(addressOption(CIP, 5000, 30)),
    reason: /^IP option 30 of length 8/,
  },
  {
    name: 'a unified option with the operation of IPv6',
    packet: v4(changedAt(unifiedOption(NAMED), 2, 1)),
    reason: /with operation 0x01 0x00$/,
  },
  { name: 'two UOAs', packet: v4(concat(OPTION, OPTION)), reason: /^more than one UOA$/, client: CIP },
  {
    name: 'a destination option of a wrong length',
    packet: v6(unhex('1f0513880a0100')),
    reason: /^destination option 31 of length 5/,
  },
  {
    name: 'a destination option that goes beyond its header',
    packet: v6(unhex('1f2013880a01')),
    reason: /^destination option 31 of length 32 where/,
  },
  {
    name: 'an opp header with TCP inside',
    packet: opp({ inner: 6 }),
    reason: /^protocol 248: protocol 6 inside, not UDP$/,
  },
  {
    name: 'an opp header of another length',
    packet: opp({ oppLength: 16 }),
    reason: /^protocol 248: length 16, not 12 or 24$/,
  },
  {
    name: 'an opp header beyond the packet',
    packet: opp({ oppLength: 6000 }),
    reason: /^a header up to byte 6020 of a packet/,
  },
  {
    name: 'an opp header with the version of IPv6',
    packet: opp({ oppVersion: 2 }),
    reason: /^protocol 248: version byte 0x20 at length 12$/,
  },
  {
    name: 'an opp header with another option',
    packet: opp({}, changedAt(OPTION, 0, 30)),
    reason: /^protocol 248: option type 30, not 31$/,
  },
  {
    name: 'an opp header with a wrong option length',
    packet: opp({}, changedAt(OPTION, 1, 20)),
    reason: /^protocol 248: option of length 20 in 8 bytes$/,
  },
  {
    name: 'protocol 248 and nothing behind it',
    packet: ipv4(LAN4, 248, new Uint8Array(2)),
    reason: /^a header up to byte 24 of a packet of 22 bytes$/,
  },
  {
    name: 'an option 31 before TCP',
    packet: ipv4({ ...LAN4, options: OPTION }, 6, pattern(20)),
    reason: /^protocol 6 behind the UOA, not UDP$/,
    client: CIP,
  },
  {
    name: 'a UDP length beyond the packet',
    packet: changedAt(v4(OPTION), 32, 0xff, 0xff),
    reason: /^UDP length 65535 where the IP packet has 28 bytes/,
    client: CIP,
  },
  {
    name: 'a UDP length below 8',
    packet: changedAt(v4(OPTION), 32, 0, 7),
    reason: /^UDP length 7 where/,
    client: CIP,
  },
  {
    name: 'an IP length beyond what came',
    packet: v4(OPTION).subarray(0, 48),
    reason: /^IP length 56 where 48 bytes came$/,
    client: CIP,
  },
  {
    name: 'a capture that ends in the option',
    packet: v4(OPTION).subarray(0, 24),
    wireLen: 56,
    reason: /^only its first 24 bytes were captured$/,
  },
  {
    name: 'a capture that ends in the UDP header',
    packet: v4(OPTION).subarray(0, 30),
    wireLen: 56,
    reason: /^only its first 30 bytes were captured$/,
    client: CIP,
  },
];

describe('a malformed UOA', () => {
  for (const { name, packet, wireLen, reason, client } of rows) {
    test(`is shown for ${name}`, () => {
      const seen = inspect(packet, wireLen);
      assert.match(seen?.fault ?? '', reason);
      assert.equal(seen?.uoa?.client.ip, client);
    });
  }

  test('stands in the line in the place of the payload, and in the JSON', () => {
    const path = save(pcap(rows.filter(({ wireLen }) => wireLen === undefined).map(({ packet }) => packet)));
    const { code, lines } = sniffed(path);
    assert.equal(code, 0);
    assert.deepEqual(new Set(lines.map(({ kind }) => kind)), new Set(['malformed']));
    for (const line of lines) assert.equal(typeof line.malformed, 'string');
  });

  test('is found by tshark wherever the option or the opp header itself is malformed', () => {
    const own = rows.filter(({ reason }) => /option|protocol 248|more than one/.test(reason.source));
    const path = save(pcap(own.map(({ packet }) => packet)));
    const reasons = dissected(path, ['uoa.malformed']);
    for (const [index, { name }] of own.entries()) assert.notEqual(reasons[index][0], '', name);
  });
});

describe('no UOA', () => {
  const others: [name: string, packet: Uint8Array][] = [
    ['a plain datagram', udp4(LAN4)],
    ['other options', v4(unhex('0707040000000000'))],
    ['an option 31 behind End-of-Options', v4(concat(new Uint8Array(4), OPTION))],
    ['option 0x9f', v4(changedAt(OPTION, 0, 0x9f))],
    ['a fragment but the first', changedAt(v4(OPTION), 6, 0x00, 0x10)],
    ['no bytes at all', new Uint8Array(0)],
  ];
  for (const [name, packet] of others) {
    test(`is in ${name}`, () => assert.equal(inspect(packet), undefined));
  }

  test('of type 29 is taken for one that is of length 8', () => {
    assert.equal(inspect(v4(vniOption(CIP, 5000)))?.fault, undefined);
    assert.match(inspect(v4(addressOption(CIP, 5000, 29)))?.fault ?? '', /^IP option 29 of length 8/);
  });
});

test('a datagram that a capture has the head of only is no less right', () => {
  const seen = inspect(v4(OPTION).subarray(0, 40), 56);
  assert.deepEqual([seen?.fault, seen?.ports?.payloadLen], [undefined, 20]);
});

test('thousands of damaged packets are read without an exception, and tshark reads them to the end', () => {
  const arbitrary = fc.tuple(fc.constantFrom(...GOLDEN), changes, fc.boolean());
  const packets = fc.sample(arbitrary, { numRuns: 5000, seed: 20_260_731 }).map(([{ bytes }, how, isCut]) => {
    const packet = changed(bytes, { ...how, isRepaired: how.isRepaired && !isCut });
    return isCut ? packet.subarray(0, (packet.length * 2) / 3) : packet;
  });
  let found = 0;
  for (const packet of packets) {
    const seen = inspect(packet, packet.length);
    if (seen !== undefined) found++;
  }
  assert.ok(found > 1000, `${found} had a UOA`);
  const path = save(pcap(packets));
  const { code, lines } = sniffed(path);
  assert.equal(code, 0);
  assert.equal(lines.length, found);
  const clients = dissected(path, ['frame.number', 'uoa.client', 'uoa.malformed']);
  assert.equal(clients.length, packets.length);
  assert.ok(clients.filter(([, client]) => client !== '').length > 1000);
});
