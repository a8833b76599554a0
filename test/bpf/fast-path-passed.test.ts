// Which packets the fast path's programs leave to the slow path, by reason, as they came: by
// BPF_PROG_TEST_RUN, both kinds, both families, both directions.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import type { FastPathKind } from '../../src/fast/attachment.ts';
import { INBOUND, OUTBOUND } from '../../src/fast/hot-records.ts';
import { FAST_PATH_REASONS, type FastPathReason, nowTick } from '../../src/fast/layout.ts';
import {
  DIRECTIONS,
  frameOf,
  KINDS,
  MTU,
  openRig,
  type Rig,
  ROW,
  SESSION4,
  type TestSession,
  withEnds,
} from '../fast/rig.ts';
import { icmp4, withHeaderChecksum } from '../packets/builder.ts';
import { destOptions, fragmentHeader, hopByHop, icmp6, routing } from '../packets/builder6.ts';
import { concat, hex, pattern, unhex } from '../packets/bytes.ts';
import { fragments4, fragments6 } from '../packets/fragments.ts';
import { addressOption, type EitherFields, udp } from '../packets/uoa-builder.ts';
import { came, each, familyOf, headersOf, PAYLOAD, SESSIONS, slotOf } from './two-sessions.ts';

describe('a packet is left to the slow path as it came', () => {
  /**
   * Packets of a session's direction that are left for this reason; kinds, directions and families may be
   * few.
   */
  interface Row {
    reason: FastPathReason;
    kinds?: readonly FastPathKind[];
    families?: readonly number[];
    directions?: readonly number[];
    frame(session: TestSession, direction: number): Uint8Array;
    prepare?(rig: Rig, direction: number): void;
    restore?(rig: Rig, direction: number): void;
  }
  const packetRow = (
    reason: FastPathReason,
    packet: (session: TestSession, direction: number) => Uint8Array,
    row: Partial<Row> = {},
  ): Row => ({ reason, frame: (session, direction) => frameOf(packet(session, direction)), ...row });
  const settingRow = (
    reason: FastPathReason,
    prepare: (rig: Rig, direction: number) => void,
    restore: (rig: Rig, direction: number) => void,
  ): Row => ({
    reason,
    frame: (session, direction) => frameOf(came(session, direction)),
    prepare,
    restore,
  });
  const v4 = { families: [4] };
  const v6 = { families: [6] };
  const tagged = (type: string) => (session: TestSession, direction: number) => {
    const frame = frameOf(came(session, direction));
    return concat(frame.subarray(0, 12), unhex(`${type} 0005`), frame.subarray(12));
  };
  const setTo = (at: number, bytes: Uint8Array) => (session: TestSession, direction: number) => {
    const packet = Uint8Array.from(came(session, direction));
    packet.set(bytes, at);
    return session === SESSION4 ? withHeaderChecksum(packet, 20) : packet;
  };
  const withoutSum = (session: TestSession, direction: number) => {
    const packet = Uint8Array.from(came(session, direction));
    packet.set([0, 0], 46);
    return packet;
  };
  const big = { payload: pattern(MTU - 27) };
  const option = addressOption('192.0.2.7', 4000);
  const otherEnds =
    (change: (ends: EitherFields) => Partial<EitherFields>) => (session: TestSession, direction: number) => {
      const ends = withEnds(session.from[direction], { payload: PAYLOAD });
      return udp({ ...ends, ...change(ends) });
    };

  const rows: Record<string, Row> = {
    'while it is switched off': settingRow(
      'off',
      (rig) => rig.ports.switchOff(ROW),
      (rig) => rig.ports.switchOn(ROW, nowTick() + 10_000),
    ),
    'when nobody has said for long that he lives': settingRow(
      'dead',
      (rig) => rig.ports.switchOn(ROW, nowTick() - 1),
      (rig) => rig.ports.switchOn(ROW, nowTick() + 10_000),
    ),
    'with a tag of a VLAN': { reason: 'vlan', frame: tagged('8100') },
    'with an outer tag': { reason: 'vlan', frame: tagged('88a8') },
    'of ARP': {
      reason: 'not_ip',
      frame: (session, direction) => frameOf(came(session, direction), undefined, '0806'),
    },
    'of TCP': packetRow('not_udp', setTo(9, Uint8Array.of(6)), v4),
    'of TCP over IPv6': packetRow('not_udp', setTo(6, Uint8Array.of(6)), v6),
    'of ICMP': packetRow(
      'not_udp',
      ({ from }, direction) =>
        icmp4({ src: from[direction].src, dst: from[direction].dst, type: 3, code: 3, body: PAYLOAD }),
      v4,
    ),
    'of ICMPv6': packetRow(
      'not_udp',
      ({ from }, direction) =>
        icmp6({ src: from[direction].src, dst: from[direction].dst, type: 1, code: 4, body: PAYLOAD }),
      v6,
    ),
    'of protocol 248': packetRow('not_udp', ({ from }, direction) =>
      udp(withEnds(from[direction], {}), { option }),
    ),
    'a first fragment': packetRow('fragment', (session, direction) => {
      const whole = came(session, direction, { payload: pattern(2000) });
      return session === SESSION4 ? fragments4(whole, MTU)[0] : fragments6(whole, MTU)[0];
    }),
    'a later fragment': packetRow('fragment', (session, direction) => {
      const whole = came(session, direction, { payload: pattern(2000) });
      return session === SESSION4 ? fragments4(whole, MTU)[1] : fragments6(whole, MTU)[1];
    }),
    'with an IPv4 option': packetRow(
      'options',
      (session, direction) => came(session, direction, { options: unhex('01010100') }),
      v4,
    ),
    ...Object.fromEntries(
      [hopByHop(new Uint8Array(6)), destOptions(new Uint8Array(6)), routing()].map((extension) => [
        `with extension header ${extension.header}`,
        packetRow(
          'extension',
          (session, direction) => came(session, direction, { extensions: [extension] }),
          v6,
        ),
      ]),
    ),
    'that is whole behind a fragment header': packetRow(
      'fragment',
      (session, direction) => came(session, direction, { extensions: [fragmentHeader()] }),
      v6,
    ),
    'that ends in its UDP header': packetRow('truncated', (session, direction) =>
      came(session, direction).subarray(0, headersOf(session) - 1),
    ),
    'with an IHL below 5': packetRow(
      'truncated',
      (session, direction) => came(session, direction, { ihl: 4 }),
      v4,
    ),
    'of another version than its ethertype says': {
      reason: 'truncated',
      frame: (session, direction) => {
        const packet = Uint8Array.from(came(session, direction));
        packet[0] ^= 0x10;
        return frameOf(packet, undefined, session === SESSION4 ? '0800' : '86dd');
      },
    },
    'from another port': packetRow(
      'not_hot',
      otherEnds(({ sport }) => ({ sport: sport + 1 })),
    ),
    'to another port': packetRow(
      'not_hot',
      otherEnds(({ dport }) => ({ dport: dport + 1 })),
    ),
    'from another address': packetRow(
      'not_hot',
      otherEnds(({ src }) => ({ src: src.replace(/\d$/, '9') })),
    ),
    'to another address': packetRow(
      'not_hot',
      otherEnds(({ dst }) => ({ dst: dst.replace(/\d$/, '9') })),
    ),
    'when its session was ended': settingRow(
      'ended',
      (rig) => {
        for (const session of SESSIONS) rig.records.end(slotOf(session));
      },
      (rig) => {
        for (const session of SESSIONS) rig.add(session, slotOf(session));
      },
    ),
    'from the wrong side': settingRow(
      'wrong_side',
      (rig, direction) => rig.face(direction === OUTBOUND, direction === INBOUND),
      (rig) => rig.face(true, true),
    ),
    'to another Ethernet address': {
      reason: 'not_ours',
      frame: (session, direction) => frameOf(came(session, direction), '02:00:00:00:00:05'),
    },
    'to the first four bytes of ours': {
      reason: 'not_ours',
      frame: (session, direction) => frameOf(came(session, direction), '02:00:00:00:01:01'),
    },
    'to everybody': {
      reason: 'not_ours',
      frame: (session, direction) => frameOf(came(session, direction), 'ff:ff:ff:ff:ff:ff'),
    },
    'with its last hop': packetRow('ttl', (session, direction) => came(session, direction, { ttl: 1 })),
    'with no hop': packetRow('ttl', (session, direction) => came(session, direction, { ttl: 0 })),
    'with a UDP length below the IP length': packetRow('bad_length', (session, direction) =>
      came(session, direction, { surplus: unhex('0102') }),
    ),
    'with a UDP length beyond the IP length': packetRow('bad_length', (session, direction) =>
      came(session, direction, { udpLength: PAYLOAD.length + 9 }),
    ),
    'with a UDP length below a header': packetRow('bad_length', (session, direction) =>
      came(session, direction, { udpLength: 7 }),
    ),
    'with less than its IP length says': packetRow('bad_length', (session, direction) =>
      came(session, direction).subarray(0, -1),
    ),
    'with a wrong IPv4 header checksum': packetRow(
      'bad_checksum',
      (session, direction) => came(session, direction, { ipChecksum: 'bad' }),
      v4,
    ),
    'without a UDP checksum over IPv6': packetRow('bad_checksum', withoutSum, v6),
    'with an unfinished checksum': packetRow(
      'unfinished',
      (session, direction) => came(session, direction, { checksum: 'partial' }),
      { kinds: ['xdp'] },
    ),
    'without payload from a real server': packetRow(
      'empty',
      (session, direction) => came(session, direction, { payload: new Uint8Array(0) }),
      { directions: [OUTBOUND] },
    ),
    'when its hop is not known': settingRow(
      'no_hop',
      (rig, direction) => rig.hops.clear(direction),
      (rig, direction) => rig.hops.set(direction, rig.way(direction)),
    ),
    'when XDP cannot send there': {
      ...settingRow(
        'no_hop',
        (rig, direction) => rig.hops.set(direction, rig.way(direction, { interfaceIndex: 2 })),
        (rig, direction) => rig.hops.set(direction, rig.way(direction)),
      ),
      kinds: ['xdp'],
    },
    'longer than the MTU': packetRow('too_long', (session, direction) => came(session, direction, big)),
    'once when its neighbor is to be confirmed': settingRow(
      'confirm',
      (rig, direction) => rig.hops.confirmAt(direction, nowTick() - 1),
      () => {},
    ),
  };

  for (const [name, row] of Object.entries(rows)) {
    test(`${name}: ${row.reason}`, (t) =>
      each(t, (rig, kind, session, direction, about) => {
        const { kinds = KINDS, families = [4, 6], directions = DIRECTIONS } = row;
        if (!kinds.includes(kind) || !families.includes(familyOf(session)) || !directions.includes(direction))
          return;
        const frame = row.frame(session, direction);
        row.prepare?.(rig, direction);
        const ran = rig.run(kind, frame);
        assert.equal(ran.did, row.reason, about);
        assert.equal(hex(ran.frame), hex(frame), about);
        assert.ok(!rig.activity.fold(slotOf(session), direction), `${about}: it does not count`);
        row.restore?.(rig, direction);
        assert.equal(rig.run(kind, frameOf(came(session, direction))).did, 'redirect', about);
        rig.activity.fold(slotOf(session), direction);
      }));
  }

  test('after a silence of its client: idle', (t) => {
    for (const session of SESSIONS) {
      const rig = openRig(t);
      for (const kind of KINDS) {
        const run = (direction: number) => rig.run(kind, frameOf(came(session, direction))).did;
        rig.add(session, 0, { idleMs: 60_000, silence: 400 }); // 54 s
        assert.deepEqual([run(INBOUND), run(OUTBOUND)], ['redirect', 'redirect']);
        rig.add(session, 0, { idleMs: 60_000, silence: -1 }); // the kernel's clock is behind ours
        assert.deepEqual([run(INBOUND), run(OUTBOUND)], ['redirect', 'redirect']);
        rig.add(session, 0, { idleMs: 60_000, silence: 450 }); // 60 s
        assert.deepEqual([run(OUTBOUND), run(INBOUND), run(INBOUND)], ['redirect', 'idle', 'idle']);
      }
    }
  });

  test('reasons have the names of reason.h, in its order', () => {
    const header = readFileSync(new URL('../../src/bpf/reason.h', import.meta.url), 'utf8');
    const members = [...header.matchAll(/^\t([A-Z_]+),/gm)].map(([, name]) => name!.toLowerCase());
    assert.deepEqual(members, ['forwarded', ...FAST_PATH_REASONS]);
    assert.match(header, /^\tREASONS\n\};/m);
  });

  test('every reason has a row', () => {
    const tested = new Set([...Object.values(rows).map(({ reason }) => reason), 'idle']);
    assert.deepEqual([...tested].sort(), [...FAST_PATH_REASONS].sort());
  });
});
