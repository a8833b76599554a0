// Two datapaths of one plan that get the same packets, each with other bytes around them: one between guard
// bytes, the other in a buffer that ends where the packet ends. What they say and send must be the same, so
// nothing that was read stood outside the packet.
import assert from 'node:assert/strict';
import { COUNTER, COUNTER_COLUMNS, DROP_COLUMN } from '../../src/datapath/counters.ts';
import { Datapath } from '../../src/datapath/datapath.ts';
import { allocateMemory, type DatapathMemory } from '../../src/datapath/memory.ts';
import type { DatapathOptions } from '../../src/datapath/options.ts';
import type { DatapathPlan } from '../../src/datapath/plan.ts';
import { DROP_REASONS, verdictName } from '../../src/datapath/verdict.ts';
import { Frame, HEADROOM } from '../../src/wire/frame.ts';
import { checkAccounts } from '../datapath/accounts.ts';
import { hex } from '../packets/bytes.ts';
import { read } from './reader.ts';
import { smear } from './smear.ts';

export type Counts = Partial<Record<string, number>>;

/** A packet handed to `send`. */
export interface Attempt {
  packet: Uint8Array;
  wasSent: boolean;
}

export interface Outcome {
  verdict: string;
  attempts: Attempt[];
  /** Named counters that changed, over all services. */
  changed: Counts;
  /** Drop reasons that were counted. */
  drops: Counts;
}

const GUARD = 46;
const COUNTER_NAMES = Object.keys(COUNTER);

/** One datapath with the bytes that surround its packets. */
export class Half {
  readonly memory: DatapathMemory;
  readonly datapath: Datapath;
  private readonly fill: number;
  private readonly guard: number;
  private readonly before: Float64Array;
  /** Used again for every packet: it is filled anew each time. */
  private readonly buffer = new Uint8Array(0x20000);
  private attempts: Attempt[] = [];
  private refuse = 0;

  constructor(plan: DatapathPlan, fill: number, guard: number, options: DatapathOptions = {}) {
    this.fill = fill;
    this.guard = guard;
    this.memory = allocateMemory(plan);
    this.before = this.memory.counters.slice();
    const send = (frame: Frame, off: number, len: number) => {
      assert.ok(
        off >= 0 && off + len <= frame.bytes.length,
        `sends bytes ${off} to ${off + len} of its buffer`,
      );
      const wasSent = (this.refuse & (1 << this.attempts.length)) === 0;
      this.attempts.push({ packet: Uint8Array.from(frame.bytes.subarray(off, off + len)), wasSent });
      return wasSent;
    };
    this.datapath = new Datapath(plan, this.memory, send, { ...options, seed: [0x01234567, 0x09abcdef] });
  }

  receive(packet: Uint8Array, port: number, nowMs: number, refuse: number): Outcome {
    const off = this.guard + HEADROOM;
    const end = off + packet.length;
    const bytes = this.buffer.subarray(0, end + this.guard).fill(this.fill);
    bytes.set(packet, off);
    this.attempts = [];
    this.refuse = refuse;
    this.before.set(this.memory.counters);
    const verdict = verdictName(this.datapath.receive(new Frame(bytes), off, end, port, nowMs));
    for (let at = 0; at < this.guard; at++) {
      if (bytes[at] !== this.fill || bytes[end + at] !== this.fill)
        assert.fail(`writes outside the packet and its headroom: ${hex(bytes)}`);
    }
    bytes.fill(this.fill); // the frame belongs to packet I/O again: what was held must have been copied
    checkAccounts(this.memory);
    return { verdict, attempts: this.attempts, ...this.changes() };
  }

  tick(nowMs: number): Outcome {
    this.before.set(this.memory.counters);
    this.attempts = [];
    this.datapath.tick(nowMs);
    return { verdict: 'tick', attempts: this.attempts, ...this.changes() };
  }

  /** A counter now, over all services. */
  total(name: keyof typeof COUNTER): number {
    const { counters } = this.memory;
    let sum = 0;
    for (let cell = COUNTER[name]; cell < counters.length; cell += COUNTER_COLUMNS) sum += counters[cell];
    return sum;
  }

  private changes(): Pick<Outcome, 'changed' | 'drops'> {
    const changed: Counts = {};
    const drops: Counts = {};
    const { counters } = this.memory;
    for (let cell = 0; cell < counters.length; cell++) {
      const change = counters[cell] - this.before[cell];
      if (change === 0) continue;
      const column = cell % COUNTER_COLUMNS;
      const [counts, name] =
        column < DROP_COLUMN ? [changed, COUNTER_NAMES[column]] : [drops, DROP_REASONS[column - DROP_COLUMN]];
      counts[name] = (counts[name] ?? 0) + change;
    }
    return { changed, drops };
  }
}

export class Twin {
  private readonly guarded: Half;
  private readonly exact: Half;

  constructor(plan: DatapathPlan) {
    this.guarded = new Half(plan, 0xa5, GUARD);
    this.exact = new Half(plan, 0x3c, 0);
  }

  get memory(): DatapathMemory {
    return this.guarded.memory;
  }

  get sessionCount(): number {
    return this.guarded.datapath.sessionCount;
  }

  /** A counter now, over all services. */
  total(name: keyof typeof COUNTER): number {
    return this.guarded.total(name);
  }

  receive(packet: Uint8Array, port: number, nowMs: number, refuse = 0): Outcome {
    const one = this.guarded.receive(packet, port, nowMs, refuse);
    if (mayBeIcmp(packet)) smear();
    const other = this.exact.receive(packet, port, nowMs, refuse);
    assertSameOutcome(one, other, OUTSIDE);
    return one;
  }

  tick(nowMs: number): Outcome {
    const one = this.guarded.tick(nowMs);
    assertSameOutcome(one, this.exact.tick(nowMs), OUTSIDE);
    return one;
  }
}

/** Only what embeds a packet goes through the shared buffer. */
const mayBeIcmp = (packet: Uint8Array): boolean => packet[9] === 1 || (packet[0] ?? 0) >> 4 === 6;

const OUTSIDE = 'bytes outside the packet change what is done with it';

function assertSameOutcome(one: Outcome, other: Outcome, told: string): void {
  assert.deepEqual(other.changed, one.changed, told);
  assertSameReaction(one, other, told);
}

/** Verdict, drops and what is sent. */
export function assertSameReaction(one: Outcome, other: Outcome, told: string): void {
  assert.equal(other.verdict, one.verdict, told);
  assert.deepEqual(other.drops, one.drops, told);
  assert.equal(other.attempts.length, one.attempts.length, told);
  for (const [index, { packet }] of one.attempts.entries()) {
    const twin = other.attempts[index].packet;
    if (Buffer.compare(packet, twin) !== 0 && hex(withoutCarrierId(packet)) !== hex(withoutCarrierId(twin)))
      assert.equal(hex(twin), hex(packet), told);
  }
}

/** All datapaths of a process number their carriers together. */
function withoutCarrierId(packet: Uint8Array): Uint8Array {
  const copy = packet.slice();
  const seen = read(copy);
  if (seen?.family === 4 && seen.udp?.payload.length === 0) {
    copy.fill(0, 4, 6);
    copy.fill(0, 10, 12);
  }
  return copy;
}
