// The fast path's programs against a model that builds each packet anew: random sessions of both families,
// many of them hot at once, and random packets of them, right ones and such as are left to the slow path.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { FastPathKind } from '../../src/fast/attachment.ts';
import type { FastPathReason } from '../../src/fast/layout.ts';
import {
  DIRECTIONS,
  frameOf,
  KINDS,
  leavingFrame,
  MTU,
  openRig,
  sessionOf,
  type TestSession,
  withEnds,
} from '../fast/rig.ts';
import { hex } from '../packets/bytes.ts';
import { type EitherFields, udp } from '../packets/uoa-builder.ts';

const SESSIONS = 600;
const PACKETS = 3000;
const seed = 12;

const ip4 = fc.tuple(fc.integer({ min: 1, max: 223 }), fc.nat(255), fc.nat(255), fc.nat(255));
const address4 = ip4.map((parts) => parts.join('.'));
const groups = fc.array(fc.oneof(fc.constant(0), fc.constant(0xffff), fc.nat(0xffff)), {
  minLength: 7,
  maxLength: 7,
});
const address6 = groups.map((parts) => ['2001', ...parts.map((part) => part.toString(16))].join(':'));
const port = fc.oneof(fc.constant(0xffff), fc.integer({ min: 1, max: 0xffff }));
const endpoints = (address: fc.Arbitrary<string>) => {
  const endpoint = fc.tuple(address, port);
  return fc.tuple(endpoint, endpoint, endpoint, endpoint);
};
const session = fc
  .oneof(endpoints(address4), endpoints(address6))
  .map(([client, vip, lip, rip]) => sessionOf(client, vip, lip, rip));

const payload = fc.oneof(
  fc.uint8Array({ maxLength: 64 }),
  fc.uint8Array({ minLength: 1300, maxLength: MTU - 20 }),
  fc.integer({ min: 1, max: 64 }).map((length) => new Uint8Array(length)),
  fc.integer({ min: 1, max: 64 }).map((length) => new Uint8Array(length).fill(0xff)),
);
const packet = fc.record({
  index: fc.nat(SESSIONS - 1),
  direction: fc.constantFrom(...DIRECTIONS),
  ttl: fc.oneof(fc.nat(3), fc.nat(255)),
  tos: fc.nat(255),
  id: fc.nat(0xffff),
  df: fc.boolean(),
  flowLabel: fc.nat(0xfffff),
  payload,
  checksum: fc.constantFrom('valid', 'valid', 'valid', 'zero', 'partial'),
});
type Fields = typeof packet extends fc.Arbitrary<infer T> ? T : never;

/** What becomes of it: why it is left, or the fields that it leaves with. */
function model(kind: FastPathKind, isIpv6: boolean, fields: Fields): FastPathReason | Partial<EitherFields> {
  const length = (isIpv6 ? 48 : 28) + fields.payload.length;
  if (isIpv6 && fields.checksum === 'zero') return 'bad_checksum';
  if (kind === 'xdp' && fields.checksum === 'partial') return 'unfinished';
  if (fields.ttl <= 1) return 'ttl';
  if (fields.direction === 1 && fields.payload.length === 0) return 'empty';
  if (length > MTU) return 'too_long';
  return { ...fields, ttl: fields.ttl - 1 } as Partial<EitherFields>;
}

test('random packets of random sessions leave as if they were built anew, or are left for the right reason', (t) => {
  const sessions = uniqueSessions();
  const rig = openRig(t, SESSIONS);
  for (const [slot, one] of sessions.entries()) rig.add(one, slot);
  const seen = new Set<string>();
  for (const fields of fc.sample(packet, { seed, numRuns: PACKETS })) {
    const { from, to } = sessions[fields.index];
    const isIpv6 = from[0].src.includes(':');
    const build = (some: Partial<EitherFields>, ends: TestSession['from'][0]) => udp(withEnds(ends, some));
    const came = frameOf(build(fields as Partial<EitherFields>, from[fields.direction]));
    for (const kind of KINDS) {
      // A test run has no sums that are left to the card: tc then takes this one for a finished one that is
      // wrong.
      if (kind === 'tc' && fields.checksum === 'partial') continue;
      const wanted = model(kind, isIpv6, fields);
      const { did, frame } = rig.run(kind, came);
      const about = `${kind}: ${hex(came)}`;
      if (typeof wanted === 'string') {
        // Of right sums one in 65,536 looks like an unfinished one.
        assert.equal(did, wanted, about);
        assert.equal(hex(frame), hex(came), about);
        seen.add(`${kind} ${wanted}`);
        continue;
      }
      assert.equal(did, 'redirect', about);
      assert.equal(
        hex(frame),
        hex(leavingFrame(fields.direction, build(wanted, to[fields.direction]))),
        about,
      );
      seen.add(`${kind} ${isIpv6 ? 6 : 4} ${fields.checksum} ${fields.direction}`);
    }
  }
  assert.equal(seen.size, 2 * 6 + 9, [...seen].sort().join(', '));

  // None is taken for another: those with odd numbers go, the others stay.
  for (let slot = 1; slot < sessions.length; slot += 2) rig.hot.remove(slot);
  for (const [slot, { from }] of sessions.entries()) {
    for (const direction of DIRECTIONS) {
      const { did } = rig.run('tc', frameOf(udp(withEnds(from[direction], { payload: Uint8Array.of(1) }))));
      assert.equal(did, slot % 2 === 1 ? 'not_hot' : 'redirect');
    }
  }
});

/** Each tuple belongs to one session, as the datapath sees to. */
function uniqueSessions(): TestSession[] {
  const taken = new Set<string>();
  return fc
    .sample(session, { seed, numRuns: SESSIONS + 50 })
    .filter(({ from }) => {
      const keys = from.map((ends) => JSON.stringify(ends));
      const isFree = keys.every((key) => !taken.has(key));
      for (const key of keys) taken.add(key);
      return isFree;
    })
    .slice(0, SESSIONS);
}
