// Runs rows: each is a test of its own with a fresh datapath. A step's key says where the packet comes in (wan, lan).
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { dissect } from '../packets/dissect.ts';
import { type PlanChange, PORT, Rig } from './rig.ts';
import { assertSame, type Expected } from './roles.ts';

interface Expectation {
  /** Milliseconds since the row began; stays until the next step that names a time. */
  at?: number;
  /** Named counters that change, all of them; drops are checked by the rig. */
  changed?: Record<string, number>;
  /** Sessions in the table afterwards. */
  sessions?: number;
}

export interface PacketStep extends Expectation {
  /** Received on port 0 ... */
  wan?: Uint8Array;
  /** ... or on port 1. */
  lan?: Uint8Array;
  /** 'forward', 'pass', 'consumed' or 'drop:reason'. */
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
    const changed = rig.tick();
    if (step.changed) assert.deepEqual(changed, step.changed, `${where}: counters`);
  } else {
    runPacket(rig, step, where);
  }
  if (step.sessions !== undefined)
    assert.equal(rig.datapath.sessionCount, step.sessions, `${where}: sessions`);
}

function runPacket(rig: Rig, step: PacketStep, where: string): void {
  const packet = step.wan ?? step.lan;
  if (!packet) throw new Error(`${where} has no packet`);
  rig.refuse = step.refuse ?? (() => false);
  const outcome = rig.receive(packet, step.wan ? PORT.wan : PORT.lan);
  assert.equal(outcome.verdict, step.verdict, `${where}: verdict`);
  if (step.sent || step.verdict !== 'forward') assertSent(outcome.sent, step.sent ?? [], where);
  if (step.changed) assert.deepEqual(outcome.changed, step.changed, `${where}: counters`);
}

function assertSent(sent: readonly Uint8Array[], expected: readonly Expected[], where: string): void {
  assert.equal(sent.length, expected.length, `${where}: sent ${JSON.stringify(sent.map((packet) => dissect(packet)), null, 1)}`);
  for (const [index, expectation] of expected.entries()) {
    const packet = sent[index];
    assert.ok(packet);
    if (typeof expectation === 'function') expectation(packet);
    else assertSame(packet, expectation);
  }
}
