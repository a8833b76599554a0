// The session table against a plain Map, and its order of eviction above the size of one recency cache.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { LportPool } from '../../src/session/lport-pool.ts';
import { SESSION_WORDS } from '../../src/session/session.ts';
import { baseOf, isInbound, type SessionEnd, SessionTable } from '../../src/session/table.ts';
import { Packet } from '../../src/wire/packet.ts';

const VIP = 0x0a010064;
const LIP = 0x0a0200c8;
const RIP = 0x0a02000a;

interface Tuple {
  src: number;
  sport: number;
  dst: number;
  dport: number;
}

function packetOf({ src, sport, dst, dport }: Tuple): Packet {
  const packet = new Packet();
  packet.addresses[3] = src;
  packet.addresses[7] = dst;
  packet.sport = sport;
  packet.dport = dport;
  return packet;
}

/** Client number n asks VIP:6000; there are more of them than one address has ports. */
const request = (n: number): Tuple => ({
  src: (0xc0000200 + Math.floor(n / 50_000)) | 0,
  sport: n % 50_000,
  dst: VIP,
  dport: 6000,
});
const reply = (n: number, lport: number): Tuple => ({ src: RIP, sport: 6000, dst: LIP + n, dport: lport });

function makeTable(max: number, onEnd: (base: number, end: SessionEnd) => void = () => {}) {
  const pool = () => new LportPool(0, 65_535);
  const legs = [0, 1].map((index) => ({
    index,
    lip: LIP + index,
    rip: RIP,
    rport: 6000,
    mtu: 1500,
    pool: pool(),
  }));
  const service = { vip: VIP, vport: 6000, onewayMs: 300_000, normalMs: 300_000 };
  const table = new SessionTable(new Int32Array(max * SESSION_WORDS), [service], legs, [11, 22], onEnd);
  let turn = 0;
  const open = (n: number, nowMs = 0): { base: number; leg: number; lport: number } => {
    const leg = legs[turn++ % 2]!;
    const lport = leg.pool.take();
    assert.ok(lport >= 0);
    return { base: table.open(packetOf(request(n)), 0, leg, lport, nowMs), leg: leg.index, lport };
  };
  const has = (n: number) => table.find(packetOf(request(n))) >= 0;
  return { table, open, has };
}

describe('session table', () => {
  test('both tuples of every session find it, through 100,000 random opens and ends', () => {
    const { table, open } = makeTable(5_000);
    const alive = new Map<number, { base: number; leg: number; lport: number }>();
    let random = 1;
    for (let step = 0; step < 100_000; step++) {
      random = (Math.imul(random, 1103515245) + 12345) & 0x7fffffff;
      const n = (random >> 8) % 6_000;
      const session = alive.get(n);
      const entry = table.find(packetOf(request(n)));
      if (session === undefined) {
        assert.equal(entry, -1);
        if (alive.size < 5_000) alive.set(n, open(n));
      } else {
        assert.equal(baseOf(entry), session.base);
        assert.ok(isInbound(entry));
        const answer = packetOf(reply(session.leg, session.lport));
        assert.equal(baseOf(table.find(answer)), session.base);
        assert.ok(!isInbound(table.find(answer)));
        if (random & 0x40) {
          table.end(session.base, 'expired');
          alive.delete(n);
          assert.equal(table.find(answer), -1);
        }
      }
      assert.equal(table.count, alive.size);
    }
  });

  for (const max of [65_537, 100_000]) {
    test(`of ${max} sessions the newest are not the first to go`, () => {
      const { table, open, has } = makeTable(max);
      for (let n = 0; n < max; n++) open(n);
      for (let n = max; n < max + 2_000; n++) open(n);
      assert.equal(table.count, max);
      const gone = Array.from({ length: max + 2_000 }, (_, n) => n).filter((n) => !has(n));
      assert.equal(gone.length, 2_000);
      assert.deepEqual(
        gone.filter((n) => n >= max),
        [],
        'newcomers stay',
      );
    });
  }

  test('an evicted session is named before its record is gone', () => {
    const ended: [number, SessionEnd][] = [];
    const { open } = makeTable(2, (base, end) => ended.push([base, end]));
    const first = open(1);
    open(2);
    open(3);
    assert.deepEqual(ended, [[first.base, 'evicted']]);
  });
});
