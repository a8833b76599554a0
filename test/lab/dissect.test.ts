// What the lab reads from packets, held against packets that real receivers accepted.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encapsulateAck } from '../../src/lab/opp-datagram.ts';
import { dissect } from '../../src/sniff/dissect.ts';
import { GOLDEN } from '../vectors/golden.ts';

const WORDS = {
  ipo: /^IP option 31$/,
  opp: /^protocol 248$/,
  elb: /^(IP|destination) option 31$/,
  unified: /^(IP|destination) option 31$/,
  type30: /^(IP|destination) option 30$/,
};

for (const { name, form, client, virtual, lport, carriage, bytes } of GOLDEN) {
  if (form === 'type29') continue;
  test(`the lab reads the client from "${name}"`, () => {
    const datagram = dissect(bytes);
    assert.ok(datagram?.uoa);
    assert.match(datagram.uoa.form, WORDS[form]);
    assert.deepEqual(datagram.uoa.client, client);
    assert.deepEqual(datagram.uoa.virtual, virtual);
    assert.deepEqual([datagram.sport, datagram.dport, datagram.isFragment], [lport, 6000, false]);
    assert.equal(datagram.payload.length > 0, carriage === 'inserted');
    assert.equal(datagram.isSumRight, true);
  });

  if (form !== 'opp') continue;
  test(`the echo ACK to "${name}" repeats its header and has a right checksum`, () => {
    const datagram = dissect(bytes)!;
    const ack = encapsulateAck({ ...datagram, uoa: datagram.uoa! });
    // Back in a packet: the header of the one that it answers, addresses exchanged.
    const isIpv6 = bytes[0] >>> 4 === 6;
    const [src, dst, len] = isIpv6 ? [8, 24, 16] : [12, 16, 4];
    const packet = Uint8Array.from([...bytes.subarray(0, isIpv6 ? 40 : 20), ...ack]);
    packet.copyWithin(dst, src, src + len);
    packet.set(bytes.subarray(dst, dst + len), src);
    new DataView(packet.buffer).setUint16(isIpv6 ? 4 : 2, isIpv6 ? ack.length : packet.length);
    const answer = dissect(packet)!;
    assert.deepEqual(answer.uoa?.bytes, datagram.uoa?.bytes);
    assert.deepEqual(
      [answer.sport, answer.dport, answer.payload.length, answer.isSumRight],
      [datagram.dport, datagram.sport, 0, true],
    );
  });
}
