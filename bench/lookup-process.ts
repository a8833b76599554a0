// The process behind lookup.ts: fills a session table of its own and looks sessions up in an order that no
// cache foresees, each by its client's packet and by its real server's.

import type { Leg } from '../src/session/leg.ts';
import { LportPool } from '../src/session/lport-pool.ts';
import { SESSION_WORDS } from '../src/session/session.ts';
import { SessionTable } from '../src/session/table.ts';
import { isInbound, TupleIndex } from '../src/session/tuple-index.ts';
import { dieWithParent } from '../src/sys/process.ts';
import { UoaReceiver } from '../src/uoa/receiver.ts';
import { Packet } from '../src/wire/packet.ts';
import { strideOf } from './session-load.ts';

export interface LookupInput {
  sessions: number;
  rounds: number;
  /** Of a round. */
  lookups: number;
}
/** Nanoseconds per lookup. */
export interface LookupFigures {
  inbound: number;
  outbound: number;
  /** Of a tuple that is in no session. */
  unknown: number;
}

const LPORTS = { first: 1024, last: 65_535 };
const LPORTS_PER_LIP = LPORTS.last - LPORTS.first + 1;
const V4_MAPPED = 0xffff;
const FIRST_CIP = 0x0b00_0000;
const VIP = 0x0a01_0064;
const RIP = 0x0a02_000b;
const FIRST_LIP = 0x0a02_00c8;
const PORT = 6000;
/** Tuples of no session have clients from here on. */
const UNKNOWN_CLIENTS = 0x1000_0000;

dieWithParent();
const input = JSON.parse(process.argv.at(-1) ?? '{}') as LookupInput;
process.send?.(measure(input));

function measure({ sessions, rounds, lookups }: LookupInput): LookupFigures {
  const packet = new Packet();
  const legs = makeLegs(Math.ceil(sessions / LPORTS_PER_LIP));
  const service = { vips: v4Words(VIP, 0), vport: PORT, onewayMs: 300_000, normalMs: 300_000 };
  const records = new Int32Array(sessions * SESSION_WORDS);
  const index = new TupleIndex(records, [service], legs, [0x1234_5678, 0x3abc_def0]);
  const table = new SessionTable(records, index, sessions, () => {});
  const inbound = (session: number): void =>
    setTuple(packet, FIRST_CIP + session, VIP, 1024 + (session % 50_000), PORT);
  const outbound = (session: number): void => {
    const lip = FIRST_LIP + Math.floor(session / LPORTS_PER_LIP);
    setTuple(packet, RIP, lip, PORT, LPORTS.first + (session % LPORTS_PER_LIP));
  };
  const unknown = (session: number): void => inbound(UNKNOWN_CLIENTS + session);
  for (let session = 0; session < sessions; session++) {
    inbound(session);
    const leg = legs[Math.floor(session / LPORTS_PER_LIP)];
    table.open(packet, 0, leg, leg.pool.take(), 0);
  }
  const stride = strideOf(sessions);
  const drive = (set: (session: number) => void, isRight: (entry: number) => boolean): number => {
    let session = 0;
    let wrong = 0;
    const start = process.hrtime.bigint();
    for (let n = 0; n < lookups; n++) {
      set(session);
      if (!isRight(table.find(packet))) wrong++;
      session += stride;
      if (session >= sessions) session -= sessions;
    }
    if (wrong > 0) throw new Error(`${wrong} lookups found another session or none`);
    return Number(process.hrtime.bigint() - start) / lookups;
  };
  const best = (set: (session: number) => void, isRight: (entry: number) => boolean): number => {
    const times = Array.from({ length: rounds + 1 }, () => drive(set, isRight)).slice(1);
    return times.sort((a, b) => a - b)[times.length >> 1];
  };
  return {
    inbound: best(inbound, (entry) => entry >= 0 && isInbound(entry)),
    outbound: best(outbound, (entry) => entry >= 0 && !isInbound(entry)),
    unknown: best(unknown, (entry) => entry < 0),
  };
}

function makeLegs(count: number): Leg[] {
  return Array.from({ length: count }, (_, index) => ({
    index,
    family: 4,
    towards: v4Words(FIRST_LIP + index, RIP),
    from: v4Words(RIP, FIRST_LIP + index),
    rport: PORT,
    mtu: 1500,
    pool: new LportPool(LPORTS.first, LPORTS.last),
    receiver: new UoaReceiver(undefined, undefined, 'inserted'),
    proxyV2: undefined,
    dialectNumber: 0,
    realServerIndex: 0,
  }));
}

function v4Words(one: number, other: number): Int32Array {
  return Int32Array.of(0, 0, V4_MAPPED, one, 0, 0, other === 0 ? 0 : V4_MAPPED, other);
}

function setTuple(packet: Packet, src: number, dst: number, sport: number, dport: number): void {
  const { addresses } = packet;
  addresses[2] = V4_MAPPED;
  addresses[3] = src;
  addresses[6] = V4_MAPPED;
  addresses[7] = dst;
  packet.sport = sport;
  packet.dport = dport;
}
