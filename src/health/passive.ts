// What the traffic of one real server says about it: ICMP unreachable errors, and sessions that end without an answer. It
// is given counters and a time; it keeps no timer and knows no server.
import { inWords } from './attempt.ts';
import type { HealthConfig } from './probe.ts';

/** Since any start; they never become less but when they start again at zero. */
export interface TrafficCounters {
  /** ICMP unreachable errors that came from the server. */
  unreachable: number;
  /** Sessions that ended and had no answer. */
  onewayEnded: number;
  /** Packets of the server to its clients. */
  answered: number;
}

interface Sample extends TrafficCounters {
  atMs: number;
}

/** Samples kept per server, so that a long window costs no more: beyond 60 of them it is exact to a 60th of itself. */
const SAMPLES = 60;

export class Passive {
  readonly #health: HealthConfig;
  /** Oldest first; the first is the youngest that is as old as the window, or older. */
  readonly #samples: Sample[] = [];
  #last: TrafficCounters | undefined;
  /** onewayEnded when the server answered last. */
  #endedAtAnswer = 0;

  constructor(health: HealthConfig) {
    this.#health = health;
  }

  /** Whether there is anything to observe. */
  static isWanted({ unreachable, silent }: HealthConfig): boolean {
    return unreachable > 0 || silent > 0;
  }

  /**
   * To be called about once per second; `nowMs` is monotonic. Returns why the server counts as failed, for Monitor.fail, and
   * then counts from zero.
   */
  observe(counters: TrafficCounters, nowMs: number): string | undefined {
    const last = this.#last;
    this.#last = { ...counters };
    const isRestarted = last !== undefined && hasDecreased(last, counters);
    if (last === undefined || isRestarted) return this.#restart(counters, nowMs);
    if (counters.answered > last.answered) this.#endedAtAnswer = counters.onewayEnded;
    const { window, unreachable, silent } = this.#health;
    const samples = this.#samples;
    while (samples.length > 1 && nowMs - samples[1]!.atMs >= window) samples.shift();
    const oldest = samples[0]!;
    const errors = counters.unreachable - oldest.unreachable;
    const ended = counters.onewayEnded - Math.max(oldest.onewayEnded, this.#endedAtAnswer);
    let reason: string | undefined;
    if (unreachable > 0 && errors >= unreachable)
      reason = `${errors} ICMP unreachable errors within ${inWords(window)}`;
    else if (silent > 0 && ended >= silent)
      reason = `${ended} sessions ended within ${inWords(window)} and none was answered`;
    if (reason !== undefined) this.#restart(counters, nowMs);
    else if (nowMs - samples.at(-1)!.atMs >= window / SAMPLES) samples.push({ ...counters, atMs: nowMs });
    return reason;
  }

  #restart(counters: TrafficCounters, nowMs: number): undefined {
    this.#samples.splice(0, this.#samples.length, { ...counters, atMs: nowMs });
    this.#endedAtAnswer = counters.onewayEnded;
  }
}

function hasDecreased(before: TrafficCounters, now: TrafficCounters): boolean {
  return (
    now.unreachable < before.unreachable ||
    now.onewayEnded < before.onewayEnded ||
    now.answered < before.answered
  );
}
