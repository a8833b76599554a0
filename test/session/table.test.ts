// The session table against a plain Map, and its order of eviction above the size of one recency cache.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { LportPool } from '../../src/session/lport-pool.ts';
import { SESSION_WORDS } from '../../src/session/session.ts';
import { baseOf, isInbound, type SessionEnd, SessionTable } from '../../src/session/table.ts';
import { UoaReceiver } from '../../src/uoa/receiver.ts';
import { familyOf, parseAddressInto } from '../../src/wire/address.ts';
import { Packet } from '../../src/wire/packet.ts';

const VIPS = ['10.1.0.100', 'fd00:1::100'];
const LEGS = [
  { lip: '10.2.0.200', rip: '10.2.0.10' },
  { lip: 'fd00:2::200', rip: 'fd00:2::10' },
] as const;

/** Source and destination as eight words. */
function pairOf(src: string, dst: string): Int32Array {
  const addresses = new Int32Array(8);
  parseAddressInto(addresses, 0, src);
  parseAddressInto(addresses, 4, dst);
  return addresses;
}

function packetOf(src: string, sport: number, dst: string, dport: number): Packet {
  const packet = new Packet();
  packet.family = familyOf(dst);
  packet.addresses.set(pairOf(src, dst));
  packet.sport = sport;
  packet.dport = dport;
  return packet;
}

/** Client number n asks VIP:6000, every other one over IPv6; there are more of them than one address has ports. */
function request(n: number): Packet {
  const host = 2 + Math.floor(n / 50_000);
  const client = n % 2 === 0 ? `192.0.2.${host}` : `fd00:1::${host.toString(16)}`;
  return packetOf(client, n % 50_000, VIPS[n % 2]!, 6000);
}

const reply = (leg: number, lport: number): Packet => packetOf(LEGS[leg]!.rip, 6000, LEGS[leg]!.lip, lport);

function makeTable(max: number, onEnd: (base: number, end: SessionEnd) => void = () => {}) {
  const legs = LEGS.map(({ lip, rip }, index) => ({
    index,
    family: familyOf(rip),
    towards: pairOf(lip, rip),
    from: pairOf(rip, lip),
    rport: 6000,
    mtu: 1500,
    pool: new LportPool(0, 65_535),
    receiver: new UoaReceiver(undefined, undefined),
    realServerIndex: index,
  }));
  const vips = pairOf(VIPS[0]!, VIPS[1]!);
  const service = { vips, vport: 6000, onewayMs: 300_000, normalMs: 300_000 };
  const table = new SessionTable(new Int32Array(max * SESSION_WORDS), [service], legs, [11, 22], onEnd);
  let turn = 0;
  const open = (n: number, nowMs = 0): { base: number; leg: number; lport: number } => {
    const leg = legs[turn++ % 2]!;
    const lport = leg.pool.take();
    assert.ok(lport >= 0);
    return { base: table.open(request(n), 0, leg, lport, nowMs), leg: leg.index, lport };
  };
  const has = (n: number) => table.find(request(n)) >= 0;
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
      const entry = table.find(request(n));
      if (session === undefined) {
        assert.equal(entry, -1);
        if (alive.size < 5_000) alive.set(n, open(n));
      } else {
        assert.equal(baseOf(entry), session.base);
        assert.ok(isInbound(entry));
        const answer = reply(session.leg, session.lport);
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
