// Runs rows: each is a test of its own with a fresh datapath. A step's key says where the packet comes in
// (wan, lan); a list of packets are fragments, of which all but the last are held without effect.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Announcements } from '../../src/datapath/announcements.ts';
import { dissect } from '../packets/dissect.ts';
import { assertSame, type Expected } from './expected.ts';
import { checkGauges } from './recount.ts';
import { type Counts, type Mtus, type PlanChange, PORT, Rig, refusalsIn, serverCounts } from './rig.ts';

interface Expectation {
  /** Milliseconds since the row began; stays until the next step that names a time. */
  at?: number;
  /** The control plane sets weights before it, by number of the real server. */
  weights?: Record<number, number>;
  /** The control plane announces before it to a real server, by number. */
  announce?: number;
  /** The routes change before it: those of Row.mtus that are not named stay. */
  mtus?: Mtus;
  /** The control plane sets before it whether new sessions are taken. */
  draining?: boolean;
  /** Named counters that change, all of them; drops are checked by the rig. */
  changed?: Counts;
  /** Drops that are counted beside the verdict: fragments that were held and given up. */
  alsoDropped?: Counts;
  /** How often each real server has refused our UOA until then. */
  refusals?: number[];
  /** How often each real server was chosen until then, by number. */
  chosen?: number[];
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
  /** Packet I/O says that it is several in one. */
  isMerged?: true;
  /**
   * Packets out, in order. Left out: none, unless the verdict is forward, where it means "not this row's
   * subject".
   */
  sent?: Expected[];
  /** Packet I/O fails for these while this step runs. */
  refuse?: (packet: Uint8Array) => boolean;
}

export interface TickStep extends Expectation {
  tick: true;
}

/** Another plan takes the place of the one at work: all of it, as `Row.plan`. */
export interface ReplanStep extends Expectation {
  replan: PlanChange;
}

/** The datapath's process ends, and another one goes on with its memory. */
export interface SuccessorStep extends Expectation {
  successor: true;
}

export type Step = PacketStep | TickStep | ReplanStep | SuccessorStep;

/** Of rows in which plans follow one another. */
const CAPACITY = { services: 6, realServers: 12, legs: 24 };

const HELD = { verdict: 'held', sent: [], changed: { fragmentsReceived: 1 } };

export interface Row {
  /** A sentence in the present tense. */
  name: string;
  plan?: PlanChange;
  startMs?: number;
  shift?: number;
  /** MTUs of the routes, by address. */
  mtus?: Mtus;
  /** Ports that packets to these addresses leave by. */
  leavesBy?: Record<string, number>;
  steps: Step[];
}

export function rows(topic: string, list: readonly Row[]): void {
  describe(topic, () => {
    for (const row of list) {
      test(row.name, () => {
        const capacity = row.steps.some((step) => 'replan' in step) ? { capacity: CAPACITY } : {};
        const plan = { ...row.plan, ...capacity };
        const { startMs = 5_000, shift = 0, mtus, leavesBy } = row;
        const ways = { ...(mtus && { mtus: { ...mtus } }), ...(leavesBy && { leavesBy }) };
        const rig = new Rig(plan, { startMs, shift, ...ways });
        for (const [index, step] of row.steps.entries()) runStep(rig, step, `step ${index + 1}`);
      });
    }
  });
}

function runStep(rig: Rig, step: Step, where: string): void {
  rig.at = step.at ?? rig.at;
  for (const [index, weight] of Object.entries(step.weights ?? {})) rig.setWeight(Number(index), weight);
  if (step.announce !== undefined) new Announcements(rig.memory.common.announcements).announce(step.announce);
  if (step.mtus) rig.setMtus(step.mtus);
  if (step.draining !== undefined) rig.isDraining = step.draining;
  if ('verdict' in step) {
    runPacket(rig, step, where);
  } else {
    const changed = runEvent(rig, step);
    if (step.changed) assert.deepEqual(changed, step.changed, `${where}: counters`);
  }
  checkGauges(rig.memory, rig.plan, where);
  if (step.chosen) {
    const counts = serverCounts(rig.memory, 'sessionsCreated').slice(0, step.chosen.length);
    assert.deepEqual(counts, step.chosen, `${where}: chosen`);
  }
  if (step.sessions !== undefined)
    assert.equal(rig.datapath.sessionCount, step.sessions, `${where}: sessions`);
  if (step.refusals) assert.deepEqual(refusalsIn(rig.memory), step.refusals, `${where}: refusals`);
}

function runEvent(rig: Rig, step: TickStep | ReplanStep | SuccessorStep): Counts {
  if ('tick' in step) return rig.tick(step.alsoDropped);
  return 'replan' in step ? rig.replan(step.replan) : rig.succeed();
}

function runPacket(rig: Rig, step: PacketStep, where: string): void {
  const port = step.wan ? PORT.wan : PORT.lan;
  const given = step.wan ?? step.lan ?? [];
  const packets = given instanceof Uint8Array ? [given] : given;
  const last = packets[packets.length - 1];
  if (!last) throw new Error(`${where} has no packet`);
  rig.refuse = step.refuse ?? (() => false);
  for (const fragment of packets.slice(0, -1)) assert.deepEqual(rig.receive(fragment, port), HELD, where);
  const outcome = rig.receive(last, port, step.alsoDropped, step.isMerged);
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
