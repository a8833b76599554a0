// A proxy of one service with the real programs: each packet goes to the program first, and to the datapath
// where that passes it on. What leaves is always what the datapath alone would have sent.
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { COUNTER, counterRow } from '../../src/datapath/counters.ts';
import { Datapath } from '../../src/datapath/datapath.ts';
import { allocateMemory, CONTROL } from '../../src/datapath/memory.ts';
import { SERVER_COUNTER, serverRow } from '../../src/datapath/server-cells.ts';
import { verdictName } from '../../src/datapath/verdict.ts';
import { readNote } from '../../src/fast/heritage.ts';
import type { HopLookUp } from '../../src/fast/hops.ts';
import { HotSessions } from '../../src/fast/hot-sessions.ts';
import { BUCKET_LEN, bucketsFor, HOT_LEN } from '../../src/fast/layout.ts';
import { HOT_STATES, type HotState } from '../../src/session/hot-state.ts';
import { cportOf, isUsed, LAST_SEEN, SESSION_WORDS } from '../../src/session/session.ts';
import { mapSharedMemory } from '../../src/sys/shared-memory.ts';
import { Frame, HEADROOM } from '../../src/wire/frame.ts';
import { makePlan, type PlanChange, PORT, type ServiceChange } from '../datapath/rig.ts';
import { icmp4, udp4 } from '../packets/builder.ts';
import { hex } from '../packets/bytes.ts';
import { type EitherFields, udp } from '../packets/uoa-builder.ts';
import { frameOf, leavingFrame, openRig, TO_CLIENT, TO_SERVER } from './rig.ts';

const ETHERNET_LEN = 14;
/** Of a bucket of entries: its tags come first. */
const ENTRIES_AT = BUCKET_LEN / 8;
export const BUSY = 12;
const CAPACITY = { services: 4, realServers: 4, legs: 4 };

export interface Ends {
  vip: string;
  lip: string;
  rip: string;
  client: string;
}

export const IPV4: Ends = { vip: '10.1.0.100', lip: '10.2.0.200', rip: '10.2.0.10', client: '192.0.2.7' };
export const IPV6: Ends = {
  vip: 'fd00:1::100',
  lip: 'fd00:2::200',
  rip: 'fd00:2::10',
  client: '2001:db8::7',
};

const serviceOf = ({ vip, lip, rip }: Ends, change: ServiceChange): PlanChange => ({
  service: {
    vips: [vip],
    lips: [lip],
    maxTrials: 0,
    lports: { first: 20_000, last: 20_099 },
    realServers: [
      { ip: rip, port: 6000, weight: 1, mtu: 1500, isFallback: false, isLeaving: false, unreachable: '' },
    ],
    ...change,
  },
});

type Way = 'forward' | 'fast' | string;

/** A proxy of one service whose fast path is at work. */
export class FastRig {
  fast: HotSessions;
  readonly #rig;
  readonly #hops: HopLookUp;
  #datapath: Datapath;
  readonly #memory;
  readonly #ends: Ends;
  /** Whether packets to each side leave at layer 2. */
  readonly hasHop = [true, true];
  /** By TO_SERVER and TO_CLIENT: how many hot sessions have it. */
  readonly hopUses = [0, 0];
  hopsVersion = 1;
  /** Of the interfaces, and whether packets to clients may be as large. */
  linkMtu = 1500;
  isWhole = true;
  nowMs = 1_000_000;
  plan;
  #sent: Uint8Array[] = [];
  /** The client's port, and by it the lport that its session has. */
  cport = 4000;
  readonly #lports = new Map<number, number>();

  constructor(t: TestContext, ends: Ends, change: ServiceChange = {}, maxSessions = 1000) {
    this.#ends = ends;
    this.plan = makePlan({ ...serviceOf(ends, change), capacity: CAPACITY, maxSessions });
    this.#memory = allocateMemory(this.plan);
    this.#rig = openRig(t, this.plan.maxSessions);
    const proxy = this;
    const hops: HopLookUp = {
      get version() {
        return proxy.hopsVersion;
      },
      rowOf: (addresses) => {
        const hop = addresses.join() === this.#datapath.sessions.directory.legs[0]!.towards.join() ? 0 : 1;
        return this.hasHop[hop] ? [TO_SERVER, TO_CLIENT][hop]! : -1;
      },
      takeOver: (addresses, row) => hops.rowOf(addresses) === row,
      use: (row, more) => {
        this.hopUses[row] += more;
      },
      mtuOf: () => this.linkMtu,
      isWhole: () => this.isWhole,
      update: () => {},
    };
    this.#hops = hops;
    [this.fast, this.#datapath] = this.#startWorker();
    this.fast.follow(this.#datapath.sessions, this.nowMs);
  }

  /** The worker ends, and its successor finds its memory and its entries. */
  restartWorker(): void {
    [this.fast, this.#datapath] = this.#startWorker();
    this.hopUses.fill(0);
    this.fast.follow(this.#datapath.sessions, this.nowMs);
  }

  #startWorker(): [HotSessions, Datapath] {
    const { records, hot } = this.#rig;
    const { maxSessions } = this.plan;
    const fast = new HotSessions(records, hot, this.#hops, maxSessions, 0);
    const datapath = new Datapath(
      this.plan,
      this.#memory,
      (frame, off, len) => {
        this.#sent.push(Uint8Array.from(frame.bytes.subarray(off, off + len)));
        return true;
      },
      { seed: [1, 2], events: fast, onForwarded: (base, isFromItsSide) => fast.note(base, isFromItsSide) },
    );
    return [fast, datapath];
  }

  /** What becomes of the packet: 'fast', or the datapath's verdict. What leaves is right in both cases. */
  receive(port: number, fields: Partial<EitherFields>): Way {
    const packet = udp({ ttl: 64, hopLimit: 64, payload: Uint8Array.of(1, 2, 3), ...fields } as EitherFields);
    const { did, frame } = this.#rig.run('tc', frameOf(packet));
    const isFast = did === 'redirect';
    if (isFast) {
      const expected = { ...fields, ...this.#rewritten(port) };
      const leaves = udp({
        ttl: 63,
        hopLimit: 63,
        payload: Uint8Array.of(1, 2, 3),
        ...expected,
      } as EitherFields);
      assert.equal(hex(frame.subarray(ETHERNET_LEN)), hex(leaves));
      assert.equal(hex(frame), hex(leavingFrame(port === PORT.wan ? TO_SERVER : TO_CLIENT, leaves)));
      return 'fast';
    }
    return this.#judge(port, packet, (fields as { sport?: number }).sport === this.cport);
  }

  #judge(port: number, packet: Uint8Array, isFromClient: boolean): Way {
    const bytes = new Uint8Array(HEADROOM + packet.length + 64);
    bytes.set(packet, HEADROOM);
    this.#sent = [];
    const end = HEADROOM + packet.length;
    const verdict = verdictName(
      this.#datapath.receive(new Frame(bytes), HEADROOM, end, port, this.nowMs, false),
    );
    if (verdict === 'forward' && isFromClient) {
      const sent = this.#sent.at(-1)!;
      const isV4 = sent[0]! >> 4 === 4;
      this.#lports.set(this.cport, Buffer.from(sent).readUInt16BE(isV4 ? (sent[0]! & 15) * 4 : 40));
    }
    return verdict;
  }

  #rewritten(port: number): Partial<EitherFields> {
    const { vip, lip, rip, client } = this.#ends;
    return port === PORT.wan
      ? ({ src: lip, sport: this.lport, dst: rip, dport: 6000 } as Partial<EitherFields>)
      : ({ src: vip, sport: 6000, dst: client, dport: this.cport } as Partial<EitherFields>);
  }

  fromClient(fields: Partial<EitherFields> = {}): Way {
    const { client, vip } = this.#ends;
    return this.receive(PORT.wan, { src: client, sport: this.cport, dst: vip, dport: 6000, ...fields });
  }

  /** By the interface that faces real servers only. */
  fromClientAtLan(): Way {
    const { client, vip } = this.#ends;
    this.#rig.face(false, true);
    const did = this.receive(PORT.lan, { src: client, sport: this.cport, dst: vip, dport: 6000 });
    this.#rig.face(true, true);
    return did;
  }

  fromServer(fields: Partial<EitherFields> = {}): Way {
    const { rip, lip } = this.#ends;
    return this.receive(PORT.lan, { src: rip, sport: 6000, dst: lip, dport: this.lport, ...fields });
  }

  get lport(): number {
    return this.#lports.get(this.cport) ?? 0;
  }

  /** What a successor finds of the client's session, as far as its notes say it. */
  get heritage() {
    return readNote(this.#rig.activity, this.base / SESSION_WORDS);
  }

  /** An operator's word. */
  switch(isOn: boolean): void {
    this.#memory.common.fastPathOff[0] = isOn ? 0 : 1;
  }

  /** Of the client's session. */
  get state(): HotState {
    return HOT_STATES[this.#memory.hotStates[this.base / SESSION_WORDS]!]!;
  }

  get base(): number {
    const { records } = this.#memory;
    for (let base = 0; base < records.length; base += SESSION_WORDS)
      if (isUsed(records, base) && cportOf(records, base) === this.cport) return base;
    throw new Error(`client ${this.cport} has no session`);
  }

  /** Milliseconds since the last packet, as the record says. */
  get idleMs(): number {
    return this.nowMs - this.#memory.records[this.base + LAST_SEEN]!;
  }

  /** The real server says that it cannot read the UOA. */
  refuseDialect(): void {
    this.#datapath.sessions.directory.legs[0]!.receiver.refuse(0, this.nowMs);
  }

  /** The control plane says that the real server came back. */
  announce(): void {
    this.#datapath.sessions.directory.announcements.announce(0);
  }

  /** The real server says that nobody listens at its port. */
  sayUnreachable(): Way {
    const { lip, rip } = this.#ends;
    const embedded = udp4({ src: lip, sport: this.lport, dst: rip, dport: 6000 });
    return this.#judge(
      PORT.lan,
      icmp4({ src: rip, dst: lip, type: 3, code: 3, rest: 0, body: embedded }),
      false,
    );
  }

  /** A router says that packets to the real server are too long. */
  teachMtu(mtu: number): Way {
    const { lip, rip } = this.#ends;
    const embedded = udp4({
      src: lip,
      sport: this.lport,
      dst: rip,
      dport: 6000,
      payload: new Uint8Array(1400),
    });

    return this.#judge(
      PORT.lan,
      icmp4({ src: '10.2.0.1', dst: lip, type: 3, code: 4, rest: mtu, body: embedded }),
      false,
    );
  }

  /** A processor counts a packet of the session that has this slot, or had it. */
  count(slot: number, direction: number, bytes: number): void {
    const length = (slot + 1) * HOT_LEN;
    const counts = new BigUint64Array(mapSharedMemory(this.#rig.maps.fds.hot, length), 0, length / 8);
    counts[(slot * HOT_LEN) / 8 + direction] += (1n << 38n) + BigInt(bytes);
  }

  /** Until `free` all places for entries are taken, by sessions that are not there. */
  fillEntries(): { free(): void } {
    const { fds } = this.#rig.maps;
    const words = bucketsFor(this.plan.maxSessions) * (BUCKET_LEN / 4);
    const entries = new Int32Array(mapSharedMemory(fds.hot_buckets, 4 * words), 0, words);
    const nobodys = 4 * this.plan.maxSessions + 1;
    const change = (from: number, to: number) => {
      for (let at = 0; at < words; at++)
        if (at % (2 * ENTRIES_AT) >= ENTRIES_AT && entries[at] === from) entries[at] = to;
    };
    change(0, nobodys);
    return { free: () => change(nobodys, 0) };
  }

  /** Makes the session busy, and gives it a tick. */
  beBusy(): void {
    for (let i = 0; i < BUSY; i++) {
      this.fromClient();
      this.fromServer();
    }
    this.tick();
  }

  tick(ms = 100): void {
    this.nowMs += ms;
    this.fast.tick(this.nowMs);
    this.#datapath.tick(this.nowMs);
  }

  /** As long as it takes until each hot session was looked at. */
  look(): void {
    for (let i = 0; i < 11; i++) this.tick();
  }

  replan(change: ServiceChange): void {
    this.plan = makePlan({ ...serviceOf(this.#ends, change), capacity: CAPACITY }, this.plan.services);
    this.#datapath.reconfigure(this.plan);
  }

  setWeight(weight: number): void {
    const { control, weights } = this.#memory.common;
    weights[0] = weight;
    Atomics.add(control, CONTROL.weightsVersion, 1);
  }

  counter(name: keyof typeof COUNTER): number {
    return this.#memory.counters[counterRow(0) + COUNTER[name]];
  }

  /** Of a real server by its number. */
  serverCounter(name: keyof typeof SERVER_COUNTER, server = 0): number {
    return this.#memory.servers[serverRow(server) + SERVER_COUNTER[name]];
  }
}
