// Finds a session by either of its tuples: a chained hash table for both directions of all sessions, whose
// links are words of the records. An entry is a slot and a direction.
import { type Family, isSameAddress } from '../wire/address.ts';
import { LOOK_AHEAD_MAX } from '../wire/frame.ts';
import type { Packet } from '../wire/packet.ts';
import { ExpectedTuples } from './expected-tuples.ts';
import type { Leg } from './leg.ts';
import {
  CLIENT,
  cportOf,
  familyOfClient,
  legOf,
  lportOf,
  NEXT,
  SESSION_WORDS,
  serviceOf,
  vipAt,
} from './session.ts';
import { hashTuple } from './tuple-hash.ts';

/** What sessions must know of a service: its address and how long they last. */
export interface SessionService {
  /** The IPv4 VIP in words 0..3 and the IPv6 one in 4..7; zeros where there is none. */
  readonly vips: Int32Array;
  readonly vport: number;
  readonly onewayMs: number;
  readonly normalMs: number;
}

/** Where an index is: in memory that another process may look into (find-session.ts). */
export interface IndexMemory {
  /** Of the hash: two words. */
  readonly key: Int32Array;
  /** By bucket, of which there are indexBuckets: the first entry + 1, 0: there is none. */
  readonly heads: Int32Array;
}

/** For so many sessions; a power of two. */
export const indexBuckets = (slots: number): number => 2 ** Math.ceil(Math.log2(2 * slots));

const INBOUND = 0;
const OUTBOUND = 1;

export const baseOf = (entry: number): number => (entry >> 1) * SESSION_WORDS;
export const isInbound = (entry: number): boolean => (entry & 1) === INBOUND;
export const inboundEntry = (base: number): number => (base / SESSION_WORDS) * 2 + INBOUND;
export const outboundEntry = (base: number): number => (base / SESSION_WORDS) * 2 + OUTBOUND;

export class TupleIndex {
  /** What the numbers in records stand for. */
  services: readonly (SessionService | undefined)[];
  legs: readonly (Leg | undefined)[];
  readonly #records: Int32Array;
  readonly #heads: Int32Array;
  readonly #key0: number;
  readonly #key1: number;
  readonly #expected = new ExpectedTuples();
  /** Of the sessions that the search for each of them begins with. */
  readonly #bases = new Int32Array(LOOK_AHEAD_MAX);
  /** The tuple of an entry under way. */
  readonly #tuple = new Int32Array(8);

  /**
   * `services` and `legs` are by index and may have gaps. `seed` keys the hash. `memory`: where it is not to
   * be the index's own; what it holds is forgotten.
   */
  constructor(
    records: Int32Array,
    services: readonly (SessionService | undefined)[],
    legs: readonly (Leg | undefined)[],
    seed: readonly [number, number],
    memory?: IndexMemory,
  ) {
    this.#records = records;
    this.services = services;
    this.legs = legs;
    [this.#key0, this.#key1] = seed;
    this.#heads = memory?.heads ?? new Int32Array(indexBuckets(records.length / SESSION_WORDS));
    if (memory === undefined) return;
    // Of a process that ended. What nobody used stays untouched, so that it takes no memory.
    if (memory.key.some((word) => word !== 0)) memory.heads.fill(0);
    memory.key.set(seed);
  }

  /** The entry of the packet's 4-tuple, or -1. */
  find(packet: Packet): number {
    const { addresses, family } = packet;
    const ports = (packet.sport << 16) | packet.dport;
    const expected = this.#expected.take(addresses, ports);
    const bucket = expected < 0 ? this.#bucket(addresses, family, ports) : expected;
    return this.#findIn(bucket, addresses, family, ports);
  }

  /** From now on other tuples are expected than before. */
  expectAnew(): void {
    this.#expected.clear();
  }

  /** `find` is soon asked for this tuple, after those that it expects already, LOOK_AHEAD_MAX at most. */
  expect(addresses: Int32Array, family: Family, ports: number): void {
    this.#expected.add(addresses, ports, this.#bucket(addresses, family, ports));
  }

  /** Reads what `find` will read first for each tuple that it expects. Returns something made of it. */
  fetchExpected(): number {
    const expected = this.#expected;
    const { count } = expected;
    const heads = this.#heads;
    const records = this.#records;
    const bases = this.#bases;
    // Reads that do not wait for each other stand together, without anything between them.
    for (let i = 0; i < count; i++) bases[i] = baseOf(Math.max(1, heads[expected.bucketAt(i)]) - 1);
    let read = 0;
    for (let i = 0; i < count; i++) read ^= records[bases[i]];
    return read;
  }

  /**
   * Whether a session that is linked has the lport of this one, towards the same real server from the same
   * LIP.
   */
  hasLportOf(base: number): boolean {
    const { from, family, rport } = this.legs[legOf(this.#records, base)]!;
    return this.#find(from, family, (rport << 16) | lportOf(this.#records, base)) >= 0;
  }

  /** Whether the session's client calls the same VIP in a service that takes the place of its service. */
  isSameVip(base: number, { vips }: SessionService): boolean {
    const at = vipAt(familyOfClient(this.#records, base));
    return isSameAddress(this.services[serviceOf(this.#records, base)]!.vips, at, vips, at);
  }

  link(entry: number): void {
    const bucket = this.#bucketOf(entry);
    this.#records[baseOf(entry) + NEXT + (entry & 1)] = this.#heads[bucket];
    this.#heads[bucket] = entry + 1;
  }

  /** Of a linked entry; its record, service and leg are still as they were then. */
  unlink(entry: number): void {
    const records = this.#records;
    const next = records[baseOf(entry) + NEXT + (entry & 1)];
    const bucket = this.#bucketOf(entry);
    let at = this.#heads[bucket] - 1;
    if (at === entry) {
      this.#heads[bucket] = next;
      return;
    }
    while (at >= 0) {
      const link = baseOf(at) + NEXT + (at & 1);
      at = records[link] - 1;
      if (at === entry) records[link] = next;
    }
  }

  #find(addresses: Int32Array, family: Family, ports: number): number {
    return this.#findIn(this.#bucket(addresses, family, ports), addresses, family, ports);
  }

  #findIn(bucket: number, addresses: Int32Array, family: Family, ports: number): number {
    let entry = this.#heads[bucket] - 1;
    while (entry >= 0) {
      if (this.#isEntry(entry, addresses, family, ports)) return entry;
      entry = this.#records[baseOf(entry) + NEXT + (entry & 1)] - 1;
    }
    return -1;
  }

  #bucket(addresses: Int32Array, family: Family, ports: number): number {
    return hashTuple(this.#key0, this.#key1, addresses, family, ports) & (this.#heads.length - 1);
  }

  #isEntry(entry: number, addresses: Int32Array, family: Family, ports: number): boolean {
    const records = this.#records;
    const base = baseOf(entry);
    if ((entry & 1) === INBOUND) {
      if (cportOf(records, base) !== ports >>> 16) return false;
      if (!isSameAddress(records, base + CLIENT, addresses, 0)) return false;
      const { vips, vport } = this.services[serviceOf(records, base)]!;
      return vport === (ports & 0xffff) && isSameAddress(vips, vipAt(family), addresses, 4);
    }
    if (lportOf(records, base) !== (ports & 0xffff)) return false;
    const { from, rport } = this.legs[legOf(records, base)]!;
    return (
      rport === ports >>> 16 && isSameAddress(from, 0, addresses, 0) && isSameAddress(from, 4, addresses, 4)
    );
  }

  #bucketOf(entry: number): number {
    const records = this.#records;
    const base = baseOf(entry);
    if ((entry & 1) === INBOUND) {
      const tuple = this.#tuple;
      const family = familyOfClient(records, base);
      const { vips, vport } = this.services[serviceOf(records, base)]!;
      const at = vipAt(family);
      for (let i = 0; i < 4; i++) {
        tuple[i] = records[base + CLIENT + i];
        tuple[4 + i] = vips[at + i];
      }
      return this.#bucket(tuple, family, (cportOf(records, base) << 16) | vport);
    }
    const { from, family, rport } = this.legs[legOf(records, base)]!;
    return this.#bucket(from, family, (rport << 16) | lportOf(records, base));
  }
}

/** Whether sessions of `before` may have a VIP that `after` has not. */
export function lacksVipOf(after: SessionService | undefined, before: SessionService): boolean {
  if (after === undefined) return true;
  const isOther = (at: number): boolean => !isSameAddress(before.vips, at, after.vips, at);
  return isOther(vipAt(4)) || isOther(vipAt(6));
}
