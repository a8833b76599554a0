// How far the load's processor is from that of the forwarders: how long a cache line takes to and fro. Each
// packet goes that way. On a virtual machine it changes every few minutes, when the host moves one of the two
// to a core that shares no cache with the other's; then all forward less, and those most that do little else.
// So measurements wait until they are near, but not for ever, and say how it was.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { createSharedMemory } from '../src/sys/shared-memory.ts';
import { nodeArgv } from './child.ts';
import { forwarderCpu, loadCpu, onCpu } from './processors.ts';
import { figureOf } from './statistics.ts';

/** `series` times `times` times to and fro; values from `first` on, which nobody waited for before. */
export interface Handing {
  first: number;
  series: number;
  times: number;
  patienceMs: number;
}

/** Of one time; null: the other process did not run in time, or this is not the one to say. */
export interface Took {
  nanoseconds: number | null;
}

const SERIES = 10;
const TIMES = 200;
const PATIENCE_MS = 50;
const TRIES = 3;
/** Within a cache it is 40 to 120 ns, between two it is 200 to 600. */
const FAR_NS = 160;
const LOOK_AGAIN_MS = 500;
const SHARED_LEN = 4096;
/** Behind stdin, stdout, stderr and the channel. */
const SHARED_FD = 4;

/** How long all measurements of this process together may still wait. */
let patienceMs = 0;

/** To be called before; otherwise nothing waits. */
export function waitForNearness(mostMs: number): void {
  patienceMs = mostMs;
}

export class Distance {
  readonly #ends: readonly ChildProcess[];
  readonly #measured: number[] = [];
  #waitedMs = 0;
  #next = 1;

  /** With one processor there is none. */
  constructor() {
    const cpus = [loadCpu(), forwarderCpu()];
    if (cpus.includes(-1)) {
      this.#ends = [];
      return;
    }
    const { fd } = createSharedMemory('distance', SHARED_LEN);
    this.#ends = ['begins', 'follows'].map((role, at) => {
      const argv = [...nodeArgv('./distance-process.ts'), role, `${SHARED_FD}`, `${SHARED_LEN}`];
      const [command = '', ...rest] = [...onCpu(cpus[at]!), ...argv];
      return spawn(command, rest, { stdio: ['ignore', 'inherit', 'inherit', 'ipc', fd], detached: true });
    });
  }

  get pids(): number[] {
    return this.#ends.map(({ pid = 0 }) => pid);
  }

  /** Nanoseconds; undefined: it could not be measured. */
  async measure(): Promise<number | undefined> {
    if (this.#ends.length === 0) return undefined;
    for (let left = TRIES; left > 0; left--) {
      const handing: Handing = { first: this.#next, series: SERIES, times: TIMES, patienceMs: PATIENCE_MS };
      this.#next = (this.#next + 2 * SERIES * TIMES) % 2 ** 30;
      const answers = this.#ends.map((end) => once(end, 'message') as Promise<[Took]>);
      for (const end of this.#ends) end.send(handing);
      const [[{ nanoseconds }]] = (await Promise.all(answers)) as [[Took], [Took]];
      if (nanoseconds !== null) return nanoseconds;
    }
    return undefined;
  }

  /** Waits until they are near, as long as that is worth it. Returns how long it did, in ms. */
  async nearness(): Promise<number> {
    const startMs = performance.now();
    for (;;) {
      const lookMs = performance.now();
      const nanoseconds = await this.measure();
      const isFar = nanoseconds !== undefined && nanoseconds > FAR_NS;
      if (!isFar || patienceMs <= 0) {
        if (nanoseconds !== undefined) this.#measured.push(nanoseconds);
        const waitedMs = lookMs - startMs;
        this.#waitedMs += waitedMs;
        return waitedMs;
      }
      await sleep(LOOK_AGAIN_MS);
      patienceMs -= performance.now() - lookMs;
    }
  }

  /** What is to be said of all measurements. */
  describe(): string | undefined {
    if (this.#measured.length === 0) return undefined;
    const { median, least, most } = figureOf(this.#measured);
    const far = this.#measured.filter((nanoseconds) => nanoseconds > FAR_NS).length;
    const round = (value: number): string => value.toFixed(0);
    const spread = `${round(median)} ns (${round(least)}-${round(most)})`;
    const waited = this.#waitedMs > 1_000 ? `, waited ${round(this.#waitedMs / 1_000)} s for less` : '';
    const note =
      far === 0 ? '' : `; over ${FAR_NS} ns before ${far} of ${this.#measured.length}: those are low`;
    return `a cache line took ${spread} to the other processor and back${waited}${note}`;
  }

  stop(): void {
    for (const end of this.#ends) end.kill('SIGKILL');
  }
}
