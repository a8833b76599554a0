// Real servers and clients for the tests of schedulers: what a service would give a scheduler, in plain
// sight.
import type { ServerSet } from '../../src/service/scheduler/scheduler.ts';
import { SCHEDULERS } from '../../src/service/scheduler/schedulers.ts';

export type SchedulerName = keyof typeof SCHEDULERS;
export const NAMES = Object.keys(SCHEDULERS) as SchedulerName[];

export interface Servers extends ServerSet {
  /** Sessions of each, to be set by the test. */
  readonly taken: number[];
}

/** `10.2.0.0:6000` and on, unless `keys` says otherwise. */
export function servers(weights: readonly number[], keys = weights.map((_, index) => keyOf(index))): Servers {
  const taken = new Array<number>(weights.length).fill(0);
  return {
    keys,
    weights: Int32Array.from(weights),
    taken,
    sessions: (index) => taken[index] ?? -1,
    turns: new Int32Array(1),
    share: { worker: 0, workers: 1 },
  };
}

export const keyOf = (index: number): string => `10.2.${index >>> 8}.${index & 255}:6000`;

/**
 * 198.18.0.0 and on: neighbours, as real clients often are. `into`: where to write it, else in an array of
 * its own.
 */
export function client(number: number, into = new Int32Array(4)): Int32Array {
  into[0] = 0;
  into[1] = 0;
  into[2] = 0xffff;
  into[3] = 0xc6120000 + number;
  return into;
}

/** 2001:db8::/32 and on, one per /64. */
export function client6(number: number, into = new Int32Array(4)): Int32Array {
  into[0] = 0x20010db8;
  into[1] = number;
  into[2] = 0;
  into[3] = 1;
  return into;
}

/** What each of `count` clients gets. */
export function mapping(
  scheduler: { pick(client: Int32Array): number },
  count: number,
  of = client,
): Int32Array {
  const picked = new Int32Array(count);
  const words = new Int32Array(4);
  for (let i = 0; i < count; i++) picked[i] = scheduler.pick(of(i, words));
  return picked;
}

/** How often each index occurs. */
export function tally(picked: Int32Array, of: number): number[] {
  const counts = new Array<number>(of).fill(0);
  for (const index of picked) counts[index] = (counts[index] ?? 0) + 1;
  return counts;
}

/** Picks as letters, `-` for none: `aaba`; each pick is a session that stays. */
export function letters(
  set: Servers,
  scheduler: { pick(client: Int32Array): number },
  count: number,
): string {
  let text = '';
  for (let i = 0; i < count; i++) {
    const index = scheduler.pick(client(0));
    text += index < 0 ? '-' : String.fromCharCode(97 + index);
    if (index >= 0) set.taken[index] = (set.taken[index] ?? 0) + 1;
  }
  return text;
}

/**
 * The same numbers from 0 to less than 1 for the same seed (a linear congruential generator, Numerical
 * Recipes).
 */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}
