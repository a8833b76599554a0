// Runs one input: lets its packets arrive and its reactions happen, judges each outcome, and looks at the end
// whether everything that was kept is given back. Returns what the input reached, as signatures.
import assert from 'node:assert/strict';
import { pattern } from '../packets/bytes.ts';
import { udp } from '../packets/uoa-builder.ts';
import type { Input, Step } from './input.ts';
import { judge } from './judge.ts';
import { Model } from './model.ts';
import { AT, FAMILIES, NORMAL_MS, planOf, VPORT } from './plan.ts';
import { react } from './reaction.ts';
import { type Outcome, Twin } from './twin.ts';

/** A property that does not hold, and where. */
export class Violation extends Error {
  readonly stepIndex: number;
  readonly outcome: Outcome | undefined;

  constructor(stepIndex: number, outcome: Outcome | undefined, cause: unknown) {
    super(cause instanceof Error ? cause.message : String(cause), { cause });
    this.stepIndex = stepIndex;
    this.outcome = outcome;
  }
}

/** What an input showed: verdict -> how often, and a line for each kind of outcome. */
export interface Reached {
  verdicts: Map<string, number>;
  signatures: Set<string>;
  /** Verdicts and counters that moved. */
  features: Set<string>;
  packets: number;
}

const PORT = { wan: 0, lan: 1 };
const FRAGMENT_TIMEOUT_MS = 5_000;

/** A client that does nothing but what is right. */
const PROBES = FAMILIES.map((family) =>
  udp({ src: AT[family].cip, sport: 999, dst: AT[family].vip, dport: VPORT, payload: pattern(20) }),
);

export function runInput(input: Input): Reached {
  const run = new Run(input);
  for (const [index, step] of input.steps.entries()) run.step(index, step);
  run.end(input.steps.length);
  return run.reached;
}

class Run {
  readonly reached: Reached = { verdicts: new Map(), signatures: new Set(), features: new Set(), packets: 0 };
  readonly #input: Input;
  readonly #model: Model;
  readonly #twin: Twin;
  #nowMs: number;
  #outcome: Outcome | undefined;
  #before = 'start';
  /** A client's datagram was just sent to a real server. */
  #isDelivered = false;
  #probe = 0;

  constructor(input: Input) {
    this.#input = input;
    this.#model = new Model(input.world);
    this.#twin = new Twin(planOf(input.world));
    this.#nowMs = input.world.startMs;
  }

  step(index: number, { wait, what, packet, refuse }: Step): void {
    this.#outcome = undefined;
    const isAnswer = what === 'reply' && this.#isDelivered && wait === 0 && refuse === 0;
    this.#isDelivered = false;
    try {
      this.#nowMs = (this.#nowMs + wait) | 0;
      if (what === 'tick') {
        this.#tick();
        return;
      }
      const isArrival = what === 'wan' || what === 'lan';
      const arrival = isArrival ? { from: what, packet } : react(what, this.#model);
      if (!arrival) return;
      const verdict = this.#arrive(arrival.packet, arrival.from, refuse);
      if (isAnswer) assert.equal(verdict, 'forward', 'the answer to what was just sent');
    } catch (cause) {
      throw new Violation(index, this.#outcome, cause);
    }
  }

  /** Gives back everything: after the longest timeouts no session, lport or fragment is left. */
  end(index: number): void {
    this.#outcome = undefined;
    try {
      // More than once, because a sweep covers no more than the time since the last one.
      for (let n = 0; n < 3; n++) {
        this.#nowMs = (this.#nowMs + Math.max(NORMAL_MS, FRAGMENT_TIMEOUT_MS)) | 0;
        this.#tick();
      }
      assert.equal(this.#twin.sessionCount, 0, 'sessions outlive their timeouts');
      const { piecesHeld, piecesUsed, piecesDropped } = this.#model;
      assert.equal(piecesUsed + piecesDropped, piecesHeld, 'fragments held are used or dropped, and counted');
    } catch (cause) {
      throw new Violation(index, this.#outcome, cause);
    }
  }

  #tick(): void {
    this.#outcome = this.#twin.tick(this.#nowMs);
    const { drops, attempts } = this.#outcome;
    const { fragment_timeout: timedOut = 0, ...others } = drops;
    assert.deepEqual(others, {}, 'drops of a tick');
    assert.equal(attempts.length, 0, 'a tick sends');
    this.#model.piecesDropped += timedOut;
    this.#checkTotals();
    this.#before = 'tick';
  }

  /** Returns the packet's verdict, after the probe that may follow it. */
  #arrive(packet: Uint8Array, from: 'wan' | 'lan', refuse: number): string {
    const { verdict, changed } = this.#receive(packet, from, refuse);
    this.#isDelivered = verdict === 'forward' && changed.inboundForwarded === 1 && !changed.icmpTranslated;
    const { world } = this.#input;
    if (!world.isProbed || verdict === 'forward') return verdict;
    const probe = PROBES[this.#probe++ % PROBES.length];
    const probed = this.#receive(probe, 'wan', 0);
    const isFull = probed.verdict === 'drop:lports_exhausted' && world.lports < world.maxSessions;
    if (!isFull) assert.equal(probed.verdict, 'forward', `a good packet after ${verdict}`);
    this.#before = 'probe';
    return verdict;
  }

  #receive(packet: Uint8Array, from: 'wan' | 'lan', refuse: number): Outcome {
    const outcome = this.#twin.receive(packet, PORT[from], this.#nowMs, refuse);
    this.#outcome = outcome;
    judge(this.#model, packet, from, outcome);
    this.#checkTotals();
    this.#note(packet, from, outcome);
    return outcome;
  }

  /** Sessions are bounded, and every way of counting them counts the same. */
  #checkTotals(): void {
    const { sessionCount, memory } = this.#twin;
    const total = this.#twin.total.bind(this.#twin);
    assert.ok(sessionCount <= this.#input.world.maxSessions, `${sessionCount} sessions`);
    assert.ok(total('sessionsOneway') >= 0 && total('sessionsNormal') >= 0, 'sessions below zero');
    assert.equal(
      total('sessionsOneway') + total('sessionsNormal'),
      sessionCount,
      'oneway and normal sessions',
    );
    const ended = total('sessionsExpired') + total('sessionsEvicted');
    assert.equal(total('sessionsCreated') - ended, sessionCount, 'sessions created and ended');
    let inUse = 0;
    for (const count of memory.legsInUse) {
      assert.ok(count >= 0 && count <= this.#input.world.lports, `${count} lports in use`);
      inUse += count;
    }
    assert.equal(inUse, sessionCount, 'lports in use');
  }

  #note(packet: Uint8Array, from: string, { verdict, changed, attempts }: Outcome): void {
    const { verdicts, signatures, features } = this.reached;
    const { dialect4, dialect6 } = this.#input.world;
    this.reached.packets++;
    verdicts.set(verdict, (verdicts.get(verdict) ?? 0) + 1);
    const names = Object.keys(changed).filter((name) => !name.endsWith('Bytes'));
    for (const feature of [verdict, ...names]) features.add(feature);
    const shape = attempts.map(({ packet: sent, wasSent }) => `${shapeOf(sent)}${wasSent ? '' : '!'}`);
    const signature = `${from} ${shapeOf(packet)} ${verdict} ${names} ${[...new Set(shape)]}`;
    signatures.add(`${dialect4} ${dialect6} ${signature}`);
    signatures.add(`${this.#before}, ${signature}`);
    const isInbound = changed.inboundForwarded && !changed.icmpTranslated;
    this.#before = verdict !== 'forward' ? verdict : isInbound ? 'inbound' : 'forward';
  }
}

/** Family, protocol, fragment: as short as can be. */
function shapeOf(packet: Uint8Array): string {
  const version = (packet[0] ?? 0) >> 4;
  if (version === 4)
    return `4.${(packet[0] ?? 0) & 15}.${packet[9]}${((packet[6] ?? 0) & 0x3f) === 0 ? '' : 'f'}`;
  return version === 6 ? `6.${packet[6]}` : '?';
}
