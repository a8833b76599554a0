// What the traffic of one real server says about it: ICMP unreachable errors, and new sessions that get no
// answer. It is given counters and a time; it keeps no timer and knows no server.
//
// New sessions are compared with new sessions: packets of old ones would hide that no new one gets through,
// and one new client that is served shows that those who are not may have sent what a server ignores.
import { inWords } from './attempt.ts';
import type { HealthConfig } from './probe.ts';

/** Since any start; they never become less but when they start again at zero. */
export interface TrafficCounters {
  /** ICMP unreachable errors that came from the server. */
  unreachable: number;
  /** Sessions that expired and had no answer. */
  onewayEnded: number;
  /** Sessions that got their first answer. */
  answered: number;
}

/** Why a server counts as failed. */
export interface TrafficFailure {
  /** Of sessions without an answer, which clients can bring about too. */
  isSilence: boolean;
  reason: string;
}

interface Sample extends TrafficCounters {
  atMs: number;
}

/**
 * Samples kept per server, so that a long window costs no more: beyond 60 of them it is exact to a 60th of
 * itself.
 */
const SAMPLES = 60;

export class Passive {
  readonly #health: HealthConfig;
  /** Oldest first; the first is the youngest that is as old as the window, or older. */
  readonly #samples: Sample[] = [];
  #last: TrafficCounters | undefined;

  constructor(health: HealthConfig) {
    this.#health = health;
  }

  /** Whether there is anything to observe. */
  static isWanted({ unreachable, silent }: HealthConfig): boolean {
    return unreachable > 0 || silent > 0;
  }

  /**
   * To be called about once per second; `nowMs` is monotonic. Returns why the server counts as failed, and
   * then counts from zero. Silence must have been observed for a whole window: an answer just before it began
   * says as much as one in it.
   */
  observe(counters: TrafficCounters, nowMs: number): TrafficFailure | undefined {
    const last = this.#last;
    this.#last = { ...counters };
    const isRestarted = last !== undefined && hasDecreased(last, counters);
    if (last === undefined || isRestarted) return this.#restart(counters, nowMs);
    const { window, unreachable, silent } = this.#health;
    const samples = this.#samples;
    while (samples.length > 1 && nowMs - samples[1].atMs >= window) samples.shift();
    const oldest = samples[0];
    const errors = counters.unreachable - oldest.unreachable;
    const ended = counters.onewayEnded - oldest.onewayEnded;
    const isSilent = nowMs - oldest.atMs >= window && counters.answered === oldest.answered;
    let failure: TrafficFailure | undefined;
    if (unreachable > 0 && errors >= unreachable) {
      const reason = `${errors} ICMP unreachable errors within ${inWords(window)}`;
      failure = { isSilence: false, reason };
    } else if (silent > 0 && ended >= silent && isSilent) {
      const reason = `${ended} sessions ended without an answer within ${inWords(window)}, and no new one got any`;
      failure = { isSilence: true, reason };
    }
    if (failure !== undefined) this.#restart(counters, nowMs);
    else if (nowMs - samples.at(-1)!.atMs >= window / SAMPLES) samples.push({ ...counters, atMs: nowMs });
    return failure;
  }

  /** What was observed until now does not count any more. */
  forget(): void {
    this.#last = undefined;
  }

  #restart(counters: TrafficCounters, nowMs: number): undefined {
    this.#samples.splice(0, this.#samples.length, { ...counters, atMs: nowMs });
  }
}

function hasDecreased(before: TrafficCounters, now: TrafficCounters): boolean {
  return (
    now.unreachable < before.unreachable ||
    now.onewayEnded < before.onewayEnded ||
    now.answered < before.answered
  );
}
