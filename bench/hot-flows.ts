// Makes flows of a forwarder with a fast path hot, and keeps them so. A session must be answered and busy for
// that, and goes by the slow path until then; one that is hot stays so only while it is used.

import { setTimeout as sleep } from 'node:timers/promises';
import type { FastPathForwarder } from './forwarders/forwarder.ts';
import type { Aim } from './load.ts';
import type { Outcome } from './load-protocol.ts';
import { Pace } from './pace.ts';

/** Round trips per second by the slow path, at first, and of hot ones at most. */
const SLOW_RATE = 60_000;
const LEAST_RATE = 10_000;
/**
 * A session is busy after four round trips. Each gets some more, as some are lost and only so many at a time
 * become hot.
 */
const ROUNDS = 6;
/** New flows in each shot; each shot takes those of the shots before with it. */
const STEP = 12_000;
/** So many of them, all but a few, are as good as all. */
export const HOT_ENOUGH = 0.98;
const LIMIT_MS = 60_000;
const LIMIT_EACH_MS = 0.15;
const LEAST_SECONDS = 0.02;
/** After this the forwarder has looked at what became busy, and has counted it. */
const WAIT_MS = 150;
/** Those that are hot are used again so often: an operator's 10 s without a packet would be too long. */
const KEEP_MS = 4_000;
const PAYLOAD_LEN = 64;

export class HotFlows {
  readonly #shoot: (aim: Aim) => Promise<Outcome>;
  readonly #fastPath: FastPathForwarder;
  readonly #slow: Pace;
  readonly #fast: Pace;
  /** How many flows were opened, from the first on. */
  #opened = 0;
  #keptMs = Number.NEGATIVE_INFINITY;

  constructor(shoot: (aim: Aim) => Promise<Outcome>, fastPath: FastPathForwarder) {
    this.#shoot = shoot;
    this.#fastPath = fastPath;
    this.#slow = new Pace(SLOW_RATE, { least: LEAST_RATE, most: fastPath.rate / 2, lost: 0.03 });
    this.#fast = new Pace(fastPath.rate, {
      least: fastPath.rate / 3,
      most: fastPath.rate,
      lost: 0.3,
    });
  }

  get opened(): number {
    return this.#opened;
  }

  /** They may be gone. */
  forget(): void {
    this.#opened = 0;
  }

  /**
   * Opens the first `flows` flows, as far as they were not yet. Returns how many are hot: too few when its
   * time is over.
   */
  async open(flows: number): Promise<number> {
    const { hotSessions } = this.#fastPath;
    const endMs = performance.now() + LIMIT_MS + flows * LIMIT_EACH_MS;
    const window = ROUNDS * STEP;
    let from = this.#opened;
    for (;;) {
      for (let at = from + STEP - window; at < flows && performance.now() < endMs; at += STEP) {
        const first = Math.max(from, at);
        const end = Math.min(flows, at + window);
        await this.#roundTrips(first, end);
        this.#opened = Math.max(this.#opened, end);
        if (performance.now() - this.#keptMs > KEEP_MS) await this.keep();
      }
      await sleep(WAIT_MS);
      const hot = hotSessions();
      if (hot >= HOT_ENOUGH * flows || performance.now() >= endMs) return hot;
      from = 0; // all again, for those that are not, or no more
    }
  }

  /** A packet of each of them, one way. */
  async keep(): Promise<void> {
    this.#keptMs = performance.now();
    await this.#each(this.#fast, { firstFlow: 0, flows: this.#opened, echo: false });
  }

  #roundTrips(first: number, end: number): Promise<void> {
    return this.#each(this.#slow, { firstFlow: first, flows: end - first, echo: true });
  }

  /** A machine that does something else makes fewer packets than it is told to. */
  async #each(
    pace: Pace,
    { firstFlow, flows, echo }: { firstFlow: number; flows: number; echo: boolean },
  ): Promise<void> {
    for (let done = 0; done < flows; ) {
      const left = flows - done;
      const { rate } = pace;
      const seconds = Math.max(LEAST_SECONDS, (1.05 * left) / rate);
      const aim = { payloadLen: PAYLOAD_LEN, flows: left, firstFlow: firstFlow + done, rate, seconds, echo };
      const { sent, deliveredInAll, answeredInAll } = await this.#shoot(aim);
      pace.note(sent, echo ? answeredInAll : deliveredInAll);
      done += Math.max(1, sent);
    }
  }
}
