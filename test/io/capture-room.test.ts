// What there is no capture filter for, and how that is said. What net.core.optmem_max bounds is in
// test/e2e/many-services.test.ts.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { captureFilters, refusalBy } from '../../src/io/capture-program.ts';
import type { CaptureSpec } from '../../src/io/io-mode.ts';
import { NoRoomError } from '../../src/io/no-room.ts';
import { SIDE } from '../../src/io/packet-io.ts';

const REMEDY = { because: '; there is one for want of a better way', instead: 'get one' };
const PORTS = ['wan0', 'lan0'].map((name) => ({
  name,
  side: SIDE.both,
  mtu: 1500,
  mac: '02:00:00:00:00:01',
  loopback: false,
}));
const numbers = (count: number) => Array.from({ length: count }, (_, n) => n);
const lipsOf = (count: number) =>
  numbers(count).map((n) => ({ ip: `10.2.${n >> 7}.${n & 127}`, first: 1024, last: 65_535 }));
/** Each with a VIP, a vport and a LIP of its own. */
const capture = (services: number): CaptureSpec => ({
  services,
  ports: PORTS,
  vips: numbers(services).map((n) => ({ ip: `198.18.${n >> 8}.${n & 255}`, port: 20_000 + n })),
  lips: lipsOf(services),
});
const refusal = (spec: CaptureSpec) => refusalBy(() => captureFilters(spec, REMEDY));

test('a few services have a filter per port', () => {
  assert.equal(refusal(capture(20)), undefined);
  assert.equal(captureFilters(capture(20), REMEDY).length, PORTS.length);
});

test('1,000 services are refused with what they have, what there is room for, and what to do', () => {
  const { message, hint } = refusal(capture(1000))!;
  const [, room] =
    /^1000 services with 1000 VIPs and 1000 LIPs are too many for a capture filter: it is \d+ characters long, and at most 32768 can be compiled; for some (\d+) such services there is room; there is one for want of a better way$/.exec(
      message,
    )!;
  assert.equal(hint, 'get one, or have fewer services, VIPs and LIPs');
  assert.equal(refusal(capture(Number(room))), undefined, 'there is');
  // On Debian 12, where net.core.optmem_max is 20,480, 42 are the most, and never more than 310.
  assert.ok(Number(room) >= 35, room);
});

test('one service with too many LIPs is refused, too', () => {
  const { message } = refusal({ ...capture(1), lips: lipsOf(1180) })!;
  assert.match(
    message,
    /^1 service with 1 VIP and 1180 LIPs are too many for a capture filter: it has \d+ instructions, and the kernel takes 4088; there is one/,
  );
});

test('what else is wrong is no refusal', () => {
  const other = new Error('something else');
  assert.throws(
    () =>
      refusalBy(() => {
        throw other;
      }),
    other,
  );
  const mine = new NoRoomError('no room', 'make some');
  assert.equal(
    refusalBy(() => {
      throw mine;
    }),
    mine,
  );
});
