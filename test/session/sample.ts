// A session table, and the packets of its clients and real servers.
import assert from 'node:assert/strict';
import { LportPool } from '../../src/session/lport-pool.ts';
import { SESSION_WORDS } from '../../src/session/session.ts';
import { type SessionEnd, SessionTable } from '../../src/session/table.ts';
import { type IndexMemory, TupleIndex } from '../../src/session/tuple-index.ts';
import { UoaReceiver } from '../../src/uoa/receiver.ts';
import { familyOf, parseAddressInto } from '../../src/wire/address.ts';
import { Packet } from '../../src/wire/packet.ts';

export const VIPS = ['10.1.0.100', 'fd00:1::100'];
export const LEGS = [
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

/** Of few hosts, many packets. */
const known = new Map<string, Int32Array>();

function knownPairOf(src: string, dst: string): Int32Array {
  const hosts = `${src} ${dst}`;
  const pair = known.get(hosts) ?? pairOf(src, dst);
  known.set(hosts, pair);
  return pair;
}

function packetOf(src: string, sport: number, dst: string, dport: number): Packet {
  const packet = new Packet();
  packet.family = familyOf(dst);
  packet.addresses.set(knownPairOf(src, dst));
  packet.sport = sport;
  packet.dport = dport;
  return packet;
}

/**
 * Client number n asks VIP:6000, every other one over IPv6; there are more of them than one address has
 * ports.
 */
export function request(n: number): Packet {
  const host = 2 + Math.floor(n / 50_000);
  const client = n % 2 === 0 ? `192.0.2.${host}` : `fd00:1::${host.toString(16)}`;
  return packetOf(client, n % 50_000, VIPS[n % 2], 6000);
}

export const reply = (leg: number, lport: number): Packet =>
  packetOf(LEGS[leg].rip, 6000, LEGS[leg].lip, lport);

export interface TableOptions {
  onEnd?: (base: number, end: SessionEnd) => void;
  /** Of another table, which has ended. */
  records?: Int32Array;
  lports?: { first: number; last: number };
  worker?: { worker: number; workers: number };
  /** `max` by default. */
  onewayMax?: number;
  seed?: readonly [number, number];
  indexMemory?: IndexMemory;
}

/** A table of one service with two real servers, one per family, that take turns. */
export function makeTable(
  max: number,
  {
    onEnd = () => {},
    records,
    lports: { first, last } = { first: 0, last: 65_535 },
    worker,
    onewayMax = max,
    seed = [11, 22],
    indexMemory,
  }: TableOptions = {},
) {
  const legs = LEGS.map(({ lip, rip }, index) => ({
    index,
    family: familyOf(rip),
    towards: pairOf(lip, rip),
    from: pairOf(rip, lip),
    rport: 6000,
    mtu: 1500,
    pool: new LportPool(first, last, worker),
    receiver: new UoaReceiver(undefined, undefined, 'inserted'),
    proxyV2: undefined,
    dialectNumber: 0,
    realServerIndex: index,
  }));
  const vips = pairOf(VIPS[0], VIPS[1]);
  const service = { vips, vport: 6000, onewayMs: 300_000, normalMs: 300_000 };
  records ??= new Int32Array(max * SESSION_WORDS);
  const index = new TupleIndex(records, [service], legs, seed, indexMemory);
  const table = new SessionTable(records, index, onewayMax, onEnd);
  let turn = 0;
  const open = (n: number, nowMs = 0): { base: number; leg: number; lport: number } => {
    const leg = legs[turn++ % 2];
    const lport = leg.pool.take();
    assert.ok(lport >= 0);
    return { base: table.open(request(n), 0, leg, lport, nowMs), leg: leg.index, lport };
  };
  const has = (n: number) => table.find(request(n)) >= 0;
  return { table, open, has, legs, service };
}
