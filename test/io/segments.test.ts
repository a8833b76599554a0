// Super packets taken apart: what goes in and each datagram that comes out are built by the tests' own
// builder.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { forEachSegment, takeApart } from '../../src/io/segments.ts';
import { Frame, HEADROOM } from '../../src/wire/frame.ts';
import { ipv4, udp4 } from '../packets/builder.ts';
import { fragmentHeader, hopByHop, udp6 } from '../packets/builder6.ts';
import { hex, pattern, unhex } from '../packets/bytes.ts';
import { UDP } from '../packets/udp.ts';

const PORTS = { sport: 5000, dport: 6000 };
const V4 = { src: '10.1.0.2', dst: '10.1.0.100', ...PORTS };
const V6 = { src: 'fd00:1::2', dst: 'fd00:1::100', ...PORTS };

/** The segments of `packet`, or undefined when it cannot be taken apart. */
function segmentsOf(packet: Uint8Array, payloadLen: number): Uint8Array[] | undefined {
  const frame = new Frame(new Uint8Array(HEADROOM + packet.length + 32));
  frame.bytes.set(packet, HEADROOM);
  const segments: Uint8Array[] = [];
  const isTaken = forEachSegment(frame, HEADROOM, HEADROOM + packet.length, payloadLen, (made, off, end) => {
    assert.ok(off >= HEADROOM);
    segments.push(Uint8Array.from(made.bytes.subarray(off, end)));
    // The one who gets it may write to it and to the headroom before it.
    made.bytes.fill(0xa5, off - HEADROOM, end);
  });
  if (!isTaken) assert.deepEqual(segments, []);
  return isTaken ? segments : undefined;
}

/** Payloads of the datagrams. */
const cut = (payload: Uint8Array, len: number) =>
  Array.from({ length: Math.ceil(payload.length / len) }, (_, n) => payload.subarray(n * len, (n + 1) * len));

for (const [len, total] of [
  [100, 500],
  [100, 501],
  [1, 3],
  [1472, 60_000],
  [500, 500],
] as const) {
  test(`${total} bytes become datagrams of ${len}, each as its sender would have left it`, () => {
    const payload = pattern(total);
    const four = segmentsOf(udp4({ ...V4, id: 0xfffe, checksum: 'partial', payload }), len);
    const expected4 = cut(payload, len).map((part, n) =>
      udp4({ ...V4, id: (0xfffe + n) & 0xffff, checksum: 'partial', payload: part }),
    );
    assert.deepEqual(four?.map(hex), expected4.map(hex));
    const six = segmentsOf(udp6({ ...V6, checksum: 'partial', payload }), len);
    const expected6 = cut(payload, len).map((part) => udp6({ ...V6, checksum: 'partial', payload: part }));
    assert.deepEqual(six?.map(hex), expected6.map(hex));
  });
}

test('a datagram without payload is none that can be taken apart', () => {
  for (const packet of [udp4({ ...V4, payload: pattern(0) }), udp6({ ...V6, payload: pattern(0) })])
    assert.equal(segmentsOf(packet, 100), undefined);
});

/**
 * Payload lengths of what comes of a packet of 300 bytes of payload with this virtio header, and whether it
 * is merged still.
 */
function partsOf(gsoType: number, gsoSize: number): [payloadLen: number, isMerged: boolean][] {
  const packet = udp4({ ...V4, checksum: 'partial', payload: pattern(300) });
  const frame = new Frame(new Uint8Array(HEADROOM + packet.length));
  frame.bytes.set(packet, HEADROOM);
  const vnet = HEADROOM - 24;
  frame.bytes[vnet + 1] = gsoType;
  frame.view.setUint16(vnet + 4, gsoSize, true);
  const parts: [number, boolean][] = [];
  takeApart(frame, vnet, HEADROOM, HEADROOM + packet.length, (_frame, off, end, isMerged) => {
    parts.push([end - off - 28, isMerged]);
  });
  return parts;
}

test('the virtio header says what is merged, and what of it can be taken apart', () => {
  const [none, tcp4, tcp6, udp, withEcn] = [0, 1, 4, 5, 0x80];
  assert.deepEqual(partsOf(none, 0), [[300, false]]);
  assert.deepEqual(partsOf(none | withEcn, 0), [[300, false]]);
  assert.deepEqual(partsOf(udp, 120), [
    [120, false],
    [120, false],
    [60, false],
  ]);
  assert.deepEqual(partsOf(udp, 0), [[300, true]], 'a size that is none');
  assert.deepEqual(partsOf(tcp4, 100), [[300, true]], 'TCP in a tunnel over UDP');
  assert.deepEqual(partsOf(tcp6 | withEcn, 100), [[300, true]]);
});

test('TTL, TOS, DF and options are those of the super packet', () => {
  const fields = {
    ...V4,
    ttl: 3,
    tos: 0xb8,
    df: true,
    options: unhex('94040000'),
    checksum: 'partial',
  } as const;
  const payload = pattern(20);
  const expected = cut(payload, 8).map((part, n) => udp4({ ...fields, id: 0x1234 + n, payload: part }));
  assert.deepEqual(segmentsOf(udp4({ ...fields, payload }), 8)?.map(hex), expected.map(hex));
});

test('extension headers of IPv6 stand before each datagram', () => {
  const fields = { ...V6, extensions: [hopByHop(unhex('010400000000'))], checksum: 'partial' } as const;
  const payload = pattern(20);
  const expected = cut(payload, 8).map((part) => udp6({ ...fields, payload: part }));
  assert.deepEqual(segmentsOf(udp6({ ...fields, payload }), 8)?.map(hex), expected.map(hex));
});

test('without a checksum the datagrams have none', () => {
  const payload = pattern(20);
  const expected = cut(payload, 8).map((part, n) =>
    udp4({ ...V4, id: 0x1234 + n, checksum: 'zero', payload: part }),
  );
  assert.deepEqual(segmentsOf(udp4({ ...V4, checksum: 'zero', payload }), 8)?.map(hex), expected.map(hex));
});

test('what is no whole UDP packet, or has no segment length, is left as it is', () => {
  const payload = pattern(100);
  const whole = udp4({ ...V4, payload });
  assert.equal(segmentsOf(whole, 0), undefined);
  assert.equal(segmentsOf(whole.subarray(0, -1), 10), undefined);
  assert.equal(segmentsOf(udp4({ ...V4, payload, mf: true }), 10), undefined);
  assert.equal(
    segmentsOf(udp6({ ...V6, payload, extensions: [fragmentHeader({ offset: 0, more: true })] }), 10),
    undefined,
  );
  assert.equal(segmentsOf(ipv4(V4, 6, whole.subarray(20)), 10), undefined);
  assert.equal(segmentsOf(ipv4(V4, UDP, new Uint8Array(4)), 10), undefined);
});
