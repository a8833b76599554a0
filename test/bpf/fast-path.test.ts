// The fast path's programs, packet by packet, as their head comment says what they do
// (src/bpf/fast-path.bpf.c): by BPF_PROG_TEST_RUN, both kinds, both families, both directions. What leaves is
// compared with a packet that is built anew. What they leave to the slow path is in fast-path-passed.test.ts,
// what needs interfaces in test/fast/live.test.ts.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, test } from 'node:test';
import type { FastPathKind } from '../../src/fast/attachment.ts';
import { INBOUND, OUTBOUND } from '../../src/fast/hot-records.ts';
import { HOT_LEN, nowTick } from '../../src/fast/layout.ts';
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
  SESSION4,
  withEnds,
} from '../fast/rig.ts';
import { concat, hex, onesSum, pattern, u16, unhex } from '../packets/bytes.ts';
import { pseudoHeaderSum } from '../packets/udp.ts';
import { type EitherFields, udp } from '../packets/uoa-builder.ts';
import { came, each, headersOf, left, SESSIONS, slotOf } from './two-sessions.ts';

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
      const length = (slot + 1) * HOT_LEN;
      const counts = new BigUint64Array(mapSharedMemory(maps.fds.hot, length), 0, length / 8);
      const at = (slot * HOT_LEN) / 8 + direction;
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
