// Runs rows: each is a test of its own with a fresh datapath. A step's key says where the packet comes in (wan, lan); a
// list of packets are fragments, of which all but the last are held without effect.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { dissect } from '../packets/dissect.ts';
import { assertSame, type Expected } from './expected.ts';
import { type Counts, type PlanChange, PORT, Rig, refusalsIn } from './rig.ts';

interface Expectation {
  /** Milliseconds since the row began; stays until the next step that names a time. */
  at?: number;
  /** Named counters that change, all of them; drops are checked by the rig. */
  changed?: Counts;
  /** Drops that are counted beside the verdict: fragments that were held and given up. */
  alsoDropped?: Counts;
  /** How often each real server has refused our UOA until then. */
  refusals?: number[];
  /** Sessions in the table afterwards. */
  sessions?: number;
}

export interface PacketStep extends Expectation {
  /** Received on port 0 ... */
  wan?: Uint8Array | readonly Uint8Array[];
  /** ... or on port 1. */
  lan?: Uint8Array | readonly Uint8Array[];
  /** 'forward', 'pass', 'consumed', 'held' or 'drop:reason'; of fragments, that of the last. */
  verdict: string;
  /** Packets out, in order. Left out: none, unless the verdict is forward, where it means "not this row's subject". */
  sent?: Expected[];
  /** Packet I/O fails for these while this step runs. */
  refuse?: (packet: Uint8Array) => boolean;
}

export interface TickStep extends Expectation {
  tick: true;
}

export type Step = PacketStep | TickStep;

const HELD = { verdict: 'held', sent: [], changed: { fragmentsReceived: 1 } };

export interface Row {
  /** A sentence in the present tense. */
  name: string;
  plan?: PlanChange;
  startMs?: number;
  shift?: number;
  steps: Step[];
}

export function rows(topic: string, list: readonly Row[]): void {
  describe(topic, () => {
    for (const row of list) {
      test(row.name, () => {
        const rig = new Rig(row.plan, { startMs: row.startMs ?? 5_000, shift: row.shift ?? 0 });
        for (const [index, step] of row.steps.entries()) runStep(rig, step, `step ${index + 1}`);
      });
    }
  });
}

function runStep(rig: Rig, step: Step, where: string): void {
  rig.at = step.at ?? rig.at;
  if ('tick' in step) {
    const changed = rig.tick(step.alsoDropped);
    if (step.changed) assert.deepEqual(changed, step.changed, `${where}: counters`);
  } else {
    runPacket(rig, step, where);
  }
  if (step.sessions !== undefined)
    assert.equal(rig.datapath.sessionCount, step.sessions, `${where}: sessions`);
  if (step.refusals) assert.deepEqual(refusalsIn(rig.memory), step.refusals, `${where}: refusals`);
}

function runPacket(rig: Rig, step: PacketStep, where: string): void {
  const port = step.wan ? PORT.wan : PORT.lan;
  const given = step.wan ?? step.lan ?? [];
  const packets = given instanceof Uint8Array ? [given] : given;
  const last = packets[packets.length - 1];
  if (!last) throw new Error(`${where} has no packet`);
  rig.refuse = step.refuse ?? (() => false);
  for (const fragment of packets.slice(0, -1)) assert.deepEqual(rig.receive(fragment, port), HELD, where);
  const outcome = rig.receive(last, port, step.alsoDropped);
  assert.equal(outcome.verdict, step.verdict, `${where}: verdict`);
  if (step.sent || step.verdict !== 'forward') assertSent(outcome.sent, step.sent ?? [], where);
  if (step.changed) assert.deepEqual(outcome.changed, step.changed, `${where}: counters`);
}

function assertSent(sent: readonly Uint8Array[], expected: readonly Expected[], where: string): void {
  assert.equal(
    sent.length,
    expected.length,
    `${where}: sent ${JSON.stringify(
      sent.map((packet) => dissect(packet, { fragment: true })),
      null,
      1,
    )}`,
  );
  for (const [index, expectation] of expected.entries()) {
    const packet = sent[index];
    assert.ok(packet);
    if (typeof expectation === 'function') expectation(packet);
    else assertSame(packet, expectation);
  }
}
