// The fast path's programs, packet by packet, as their head comment says what they do
// (src/bpf/fast-path.bpf.c): by BPF_PROG_TEST_RUN, both kinds, both families, both directions. What leaves is
// compared with a packet that is built anew. What needs interfaces is in test/fast/live.test.ts.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { INBOUND, OUTBOUND } from '../../src/fast/activity.ts';
import type { FastPathKind } from '../../src/fast/attachment.ts';
import { FAST_PATH_REASONS, type FastPathReason, nowTick } from '../../src/fast/layout.ts';
import { mapSharedMemory } from '../../src/sys/shared-memory.ts';
import {
  DIRECTIONS,
  frameOf,
  KINDS,
  leavingFrame,
  MTU,
  openRig,
  PORT,
  type Rig,
  ROW,
  SESSION4,
  SESSION6,
  type TestSession,
  withEnds,
} from '../fast/rig.ts';
import { icmp4, withHeaderChecksum } from '../packets/builder.ts';
import { destOptions, fragmentHeader, hopByHop, icmp6, routing } from '../packets/builder6.ts';
import { concat, hex, onesSum, pattern, u16, unhex } from '../packets/bytes.ts';
import { fragments4, fragments6 } from '../packets/fragments.ts';
import { pseudoHeaderSum } from '../packets/udp.ts';
import { addressOption, type EitherFields, udp } from '../packets/uoa-builder.ts';

const SESSIONS = [SESSION4, SESSION6];
const PAYLOAD = pattern(40);

const familyOf = (session: TestSession): 4 | 6 => (session === SESSION4 ? 4 : 6);
const headersOf = (session: TestSession): number => (session === SESSION4 ? 28 : 48);
const came = (session: TestSession, direction: number, fields: Partial<EitherFields> = {}) =>
  udp(withEnds(session.from[direction], { payload: PAYLOAD, ...fields }));
/** The packet anew, with the ends that it leaves with. */
const left = (session: TestSession, direction: number, fields: Partial<EitherFields> = {}) =>
  udp(withEnds(session.to[direction], { payload: PAYLOAD, ...fields, ttl: (fields.ttl ?? 64) - 1 }));

const slotOf = (session: TestSession): number => SESSIONS.indexOf(session);

/** Each session, direction and kind of program over a rig where the sessions are hot. */
function each(
  t: { after(fn: () => void): void },
  body: (rig: Rig, kind: FastPathKind, session: TestSession, direction: 0 | 1, about: string) => void,
): void {
  const rig = openRig(t);
  for (const session of SESSIONS) rig.add(session, slotOf(session));
  for (const kind of KINDS) {
    for (const session of SESSIONS) {
      for (const direction of DIRECTIONS) {
        body(rig, kind, session, direction, `${kind}, IPv${familyOf(session)}, direction ${direction}`);
      }
    }
  }
}

function assertForwards(
  rig: Rig,
  kind: FastPathKind,
  direction: number,
  packet: Uint8Array,
  wanted: Uint8Array,
) {
  const { did, frame } = rig.run(kind, frameOf(packet));
  assert.equal(did, 'redirect');
  assert.equal(hex(frame), hex(leavingFrame(direction, wanted)));
}

describe('a packet of a hot session leaves with other ends', () => {
  const rows: Record<string, Partial<EitherFields>> = {
    'as it is usual': {},
    'with TOS or traffic class, flow label, identification and DF': {
      tos: 0xb8,
      flowLabel: 0xabcde,
      id: 0xfedc,
      df: true,
    },
    'with the last hop but one': { ttl: 2 },
    'with all hops': { ttl: 255 },
    'with a payload of odd length': { payload: pattern(33) },
    'as long as the MTU': { payload: pattern(MTU - 48) },
  };
  for (const [name, fields] of Object.entries(rows)) {
    test(name, (t) =>
      each(t, (rig, kind, session, direction) => {
        assertForwards(
          rig,
          kind,
          direction,
          came(session, direction, fields),
          left(session, direction, fields),
        );
      }),
    );
  }

  test('with a wrong UDP checksum, which stays as wrong as it was', (t) =>
    each(t, (rig, kind, session, direction) => {
      const sumOf = (packet: Uint8Array, { src, dst }: EitherFields) => {
        const datagram = packet.subarray(headersOf(session) - 8);
        return onesSum(concat(u16(pseudoHeaderSum(src, dst, datagram.length)), datagram));
      };
      const packet = came(session, direction, { checksum: 'bad' });
      const { did, frame } = rig.run(kind, frameOf(packet));
      const wanted = leavingFrame(direction, left(session, direction));
      const checksumAt = 14 + headersOf(session) - 2;
      assert.equal(did, 'redirect');
      assert.notEqual(hex(frame), hex(wanted));
      assert.equal(
        sumOf(frame.subarray(14), withEnds(session.to[direction], {})),
        sumOf(packet, withEnds(session.from[direction], {})),
      );
      for (const at of [checksumAt, checksumAt + 1]) frame[at] = wanted[at]!;
      assert.equal(hex(frame), hex(wanted), 'all else is right');
    }));

  test('without a checksum over IPv4, which stays without', (t) => {
    const rig = openRig(t);
    rig.add(SESSION4);
    for (const kind of KINDS) {
      for (const direction of DIRECTIONS) {
        const fields = { checksum: 'zero' } as const;
        assertForwards(
          rig,
          kind,
          direction,
          came(SESSION4, direction, fields),
          left(SESSION4, direction, fields),
        );
      }
    }
  });

  test('with a checksum of 0xffff where the sum is 0, on the way in and on the way out', (t) =>
    each(t, (rig, kind, session, direction) => {
      for (const ends of [session.from, session.to]) {
        // Two bytes of payload that make the rest up to 0xffff.
        const rest = udp(withEnds(ends[direction], { payload: new Uint8Array(2) }));
        const payload = rest.subarray(-4, -2);
        const fields = { payload: Uint8Array.from(payload) };
        const [packet, wanted] = [came(session, direction, fields), left(session, direction, fields)];
        assert.equal(hex((ends === session.from ? packet : wanted).subarray(-4, -2)), 'ffff');
        assertForwards(rig, kind, direction, packet, wanted);
      }
    }));

  test('with bytes behind the IP packet, which stay', (t) =>
    each(t, (rig, kind, session, direction) => {
      const padding = unhex('aabbccddeeff');
      const { did, frame } = rig.run(kind, frameOf(concat(came(session, direction), padding)));
      assert.equal(did, 'redirect');
      assert.equal(hex(frame), hex(leavingFrame(direction, concat(left(session, direction), padding))));
    }));

  test('without payload from a client', (t) =>
    each(t, (rig, kind, session, direction) => {
      if (direction === OUTBOUND) return;
      const fields = { payload: new Uint8Array(0) };
      assertForwards(
        rig,
        kind,
        direction,
        came(session, direction, fields),
        left(session, direction, fields),
      );
    }));

  test('by the interface that it came in by', (t) =>
    each(t, (rig, kind, session, direction) => {
      rig.hops.set(direction, rig.way(direction, { interfaceIndex: PORT }));
      const { did, frame } = rig.run(kind, frameOf(came(session, direction)));
      assert.equal(did, kind === 'xdp' ? 'transmit' : 'redirect');
      assert.equal(hex(frame), hex(leavingFrame(direction, left(session, direction))));
    }));

  test('by the hop as it is changed', (t) =>
    each(t, (rig, kind, session, direction) => {
      for (let change = 0; change < 5; change++) {
        const destination = Uint8Array.of(2, 0, 0, 0, 7, change);
        rig.hops.set(direction, rig.way(direction, { destination }));
        const { frame } = rig.run(kind, frameOf(came(session, direction)));
        assert.equal(hex(frame.subarray(0, 6)), hex(destination));
        assert.deepEqual(rig.hops.get(direction), rig.way(direction, { destination }));
      }
    }));

  test('a checksum that tc knows as the sum of the whole packet stays that', (t) => {
    const rig = openRig(t);
    const flags = 1 << 2; // BPF_F_TEST_SKB_CHECKSUM_COMPLETE
    for (const session of SESSIONS) rig.add(session, slotOf(session));
    for (const session of SESSIONS) {
      for (const direction of DIRECTIONS) {
        for (const checksum of session === SESSION4 ? (['valid', 'zero'] as const) : (['valid'] as const)) {
          const packet = came(session, direction, { checksum });
          try {
            const { frame } = rig.run('tc', frameOf(packet), { flags });
            assert.equal(hex(frame), hex(leavingFrame(direction, left(session, direction, { checksum }))));
          } catch (error) {
            if ((error as { code?: string }).code !== 'EINVAL') throw error;
            return t.skip('this kernel makes no such packets for a test run (Linux 6.17)');
          }
        }
      }
    }
  });
});

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
        for (const session of SESSIONS) rig.activity.end(slotOf(session));
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

test('the kernel takes the programs from who has CAP_BPF and CAP_NET_ADMIN only', () => {
  const script = `
    import { loadFastPath } from '${new URL('../../src/fast/attachment.ts', import.meta.url)}';
    import { openMaps } from '${new URL('../../src/fast/maps.ts', import.meta.url)}';
    loadFastPath(openMaps({ sessions: 1, hops: 1, ports: 1 }), 0);`;
  const node = [process.execPath, '--import', 'tsx', '--input-type=module', '-e', script];
  const argv = ['--bounding-set=-all,+bpf,+net_admin', ...node];
  const { status, stderr } = spawnSync('setpriv', argv, { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
});

describe('what is forwarded counts for its session and direction', () => {
  test('packets, IP bytes and when', (t) =>
    each(t, (rig, kind, session, direction) => {
      const { activity } = rig;
      const slot = slotOf(session);
      const lens = [1, 40, 1400];
      const other = direction === INBOUND ? OUTBOUND : INBOUND;
      rig.add(session, slot, { silence: 1000 });
      for (const length of lens) {
        assert.equal(
          rig.run(kind, frameOf(came(session, direction, { payload: pattern(length) }))).did,
          'redirect',
        );
      }
      assert.ok(activity.fold(slot, direction));
      const bytes = lens.reduce((sum, length) => sum + length + headersOf(session), 0);
      assert.deepEqual([activity.packets, activity.bytes], [3, bytes]);
      assert.ok(activity.silenceMs(slot, direction, nowTick()) < 60_000);
      assert.ok(activity.silenceMs(slot, other, nowTick()) > 60_000);
      assert.ok(!activity.fold(slot, direction), 'once');
      assert.ok(!activity.fold(slot, other), 'not for the other direction');
    }));

  test('as long as there is room, else by itself', (t) =>
    each(t, (rig, kind, session, direction) => {
      const slot = slotOf(session);
      const { activity, maps } = rig;
      const counts = new BigUint64Array(mapSharedMemory(maps.fds.activity, (slot + 1) * 32));
      const at = 4 * slot + 2 * direction;
      const packet = came(session, direction);
      const [packetsFull, bytesFull] = [0b1111n << 60n, 0b1111n << 34n];
      for (const [before, isFull] of [
        [packetsFull - (1n << 38n), false],
        [packetsFull, true],
        [(1n << 38n) + bytesFull - BigInt(packet.length) - 1n, false],
        [(1n << 38n) + bytesFull, true],
      ] as const) {
        const uncounted = rig.uncounted();
        counts[at] = before;
        assert.equal(rig.run(kind, frameOf(packet)).did, 'redirect');
        const more = isFull ? 0n : (1n << 38n) + BigInt(packet.length);
        assert.equal(counts[at], before + more);
        assert.equal(rig.uncounted(), uncounted + (isFull ? 1 : 0));
      }
      activity.fold(slot, direction);
    }));

  test('a super packet, which passes whole at tc, as its segments', (t) =>
    each(t, (rig, kind, session, direction) => {
      if (kind === 'xdp') return;
      const { activity } = rig;
      const slot = slotOf(session);
      const headersLen = headersOf(session);
      // A test run takes no more than a page.
      for (const [length, gsoSize, segments] of [
        [16 * 200, 200, 16],
        [3 * 200 + 1, 200, 4],
        [100, 200, 1],
        [2000, MTU - headersLen, 2],
        [3 * MTU - 1500, MTU - headersLen, 3],
      ]) {
        const fields = { payload: pattern(length) };
        const { did, frame } = rig.run(kind, frameOf(came(session, direction, fields)), { gsoSize });
        assert.equal(did, 'redirect');
        assert.equal(hex(frame), hex(leavingFrame(direction, left(session, direction, fields))));
        assert.ok(activity.fold(slot, direction));
        assert.deepEqual([activity.packets, activity.bytes], [segments, length + segments * headersLen]);
      }
      const tooLarge = frameOf(came(session, direction, { payload: pattern(3000) }));
      assert.equal(rig.run(kind, tooLarge, { gsoSize: MTU - headersLen + 1 }).did, 'too_long');
    }));
});
