// Forwarders side by side, each started in a network of its own, and the load that they take turns at: one
// measurement of each, then again, so that whatever else the machine does hits all of them alike.

import { setTimeout as sleep } from 'node:timers/promises';
import { ForeignCpu } from './foreign-cpu.ts';
import { BRINGS_XDP, FORWARDERS, type ForwarderKey } from './forwarders/all.ts';
import type { FastPathForwarder, Forwarder, Start } from './forwarders/forwarder.ts';
import { type Aim, Load } from './load.ts';
import type { Outcome } from './load-protocol.ts';
import { Network } from './network.ts';
import { count } from './table.ts';
import { processTicks, TICKS_PER_SECOND } from './usage.ts';

export interface Entrant {
  readonly key: ForwarderKey;
  readonly network: Network;
  readonly forwarder: Forwarder;
}

export interface Result extends Outcome {
  /** Processor time that the forwarder's processes took, as a part of one processor; 0 when it has none. */
  cpu: number;
}

/** As much as the source can make. */
export const FULL_RATE = 5_000_000;
const MAX_OPENING_SECONDS = 30;
const MOST_OPENING_SHOTS = 20;
const WARM_FLOWS = 64;
/** How sessions are made hot: round trips per second, and for each, flows at a time, and how many suffice. */
const HOT_RATE = 100_000;
const HOT_PACKETS = 6;
const HOT_STEP = 16_000;
const HOT_ENOUGH = 0.98;
const WAKE_MS = 100;
const HOT_LIMIT_MS = 60_000;
const HOT_LIMIT_EACH_MS = 0.6;
const HOT_WAIT_MS = 150;
/** Those that are hot are used again meanwhile. */
const HOT_REFRESH_MS = 3_000;

export class Lineup {
  readonly entrants: readonly Entrant[];
  /** Forwarders that could not be started, and why. */
  readonly missing: readonly string[];
  readonly #load: Load;
  /**
   * Of all forwarders and the load: what is not foreign. Listing them takes longer than a short measurement.
   */
  readonly #pids: readonly number[];
  readonly #opened = new Map<string, number>();
  /** Numbers of sessions that could not be made hot. */
  readonly #unable = new Map<string, number>();
  #last: Entrant | undefined;
  readonly #foreignShares: number[] = [];

  private constructor(load: Load, entrants: Entrant[], missing: string[]) {
    this.#load = load;
    this.#pids = [process.pid, load.pid, ...entrants.flatMap(({ forwarder }) => forwarder.pids())];
    this.entrants = entrants;
    this.missing = missing;
  }

  /** Runs `measure` with these forwarders, or others of `starts`; afterwards everything is gone. */
  static async with<T>(
    keys: readonly ForwarderKey[],
    measure: (lineup: Lineup) => Promise<T>,
    starts: Partial<Record<ForwarderKey, Start>> = {},
  ): Promise<T> {
    const load = new Load();
    const networks: Network[] = [];
    try {
      const entrants: Entrant[] = [];
      const missing: string[] = [];
      for (const key of keys) {
        const network = new Network(key);
        networks.push(network);
        await load.attach(network, BRINGS_XDP.has(key));
        try {
          const forwarder = await (starts[key] ?? FORWARDERS[key])(network);
          entrants.push({ key, network, forwarder });
          signal(forwarder, 'SIGSTOP');
        } catch (error) {
          if (key === 'ring' || key === 'pcap') throw error;
          missing.push(`${key}: ${(error as Error).message}`);
        }
      }
      const lineup = new Lineup(load, entrants, missing);
      for (const { forwarder } of entrants) console.log(`${forwarder.name}: ${forwarder.note}`);
      for (const line of missing) console.log(`not measured: ${line}`);
      const result = await measure(lineup);
      lineup.#reportDisturbance();
      return result;
    } finally {
      load.stop();
      for (const network of networks) network.remove();
    }
  }

  find(key: ForwarderKey): Entrant | undefined {
    return this.entrants.find((entrant) => entrant.key === key);
  }

  /** One measurement. Throws when the forwarder has ended. */
  async shoot(entrant: Entrant, aim: Aim): Promise<Result> {
    if (entrant.forwarder.fastPath && this.#last !== entrant)
      await this.#wake(entrant, entrant.forwarder.fastPath);
    this.#last = entrant;
    signal(entrant.forwarder, 'SIGCONT');
    try {
      return await this.#shoot(entrant, aim);
    } finally {
      signal(entrant.forwarder, 'SIGSTOP');
    }
  }

  async #shoot({ network, forwarder }: Entrant, aim: Aim): Promise<Result> {
    const foreign = new ForeignCpu(() => this.#pids);
    const { dst } = forwarder;
    const ticks = (): number => forwarder.pids().reduce((sum, pid) => sum + processTicks(pid), 0);
    const before = ticks();
    const outcome = await this.#load.shoot(network, dst === undefined ? aim : { ...aim, dst });
    this.#foreignShares.push(foreign.share());
    forwarder.check();
    return { ...outcome, cpu: (ticks() - before) / TICKS_PER_SECOND / outcome.seconds };
  }

  /** Sessions are used before workers go on, who would find them silent. */
  async #wake(entrant: Entrant, { workers }: FastPathForwarder): Promise<void> {
    const { standStill = [] } = entrant.forwarder;
    for (const pid of standStill) if (!workers.includes(pid)) process.kill(pid, 'SIGCONT');
    await sleep(WAKE_MS);
    await this.#keepHot(entrant);
  }

  /** A packet of each session. */
  async #keepHot({ key, network, forwarder }: Entrant): Promise<void> {
    const flows = this.#opened.get(key) ?? 0;
    const { rate } = forwarder.fastPath!;
    // A machine that does something else makes fewer packets than it is told to.
    for (let sent = 0, left = MOST_OPENING_SHOTS; sent < flows && left > 0; left--) {
      const aim = { payloadLen: 64, firstFlow: sent, flows: flows - sent, rate };
      sent += (await this.#load.shoot(network, { ...aim, seconds: (1.05 * (flows - sent)) / rate })).sent;
    }
  }

  /**
   * Opens sessions of the first `flows` flows, as far as they were not yet, at a rate at which none should be
   * lost.
   */
  async open(entrant: Entrant, flows: number): Promise<void> {
    const { key, forwarder } = entrant;
    const from = this.#opened.get(key) ?? 0;
    if (from >= flows) return;
    if (forwarder.fastPath) {
      await this.#wake(entrant, forwarder.fastPath);
      signal(forwarder, 'SIGCONT');
      try {
        await this.#openHot(entrant, forwarder.fastPath, from, flows);
      } finally {
        signal(forwarder, 'SIGSTOP');
      }
      this.#last = entrant;
      return;
    }
    this.#opened.set(key, flows);
    const rate = Math.min(forwarder.opensPerSecond, 100_000);
    const seconds = Math.min(MAX_OPENING_SECONDS, Math.max(0.2, (1.1 * (flows - from)) / rate));
    const aim = { payloadLen: 64, flows: flows - from, firstFlow: from, rate, seconds };
    // One that is kept from running delivers what it got when the shot is over, and is not dead.
    for (let left = MOST_OPENING_SHOTS; left > 0; left--) {
      if ((await this.shoot(entrant, aim)).deliveredInAll > 0) return;
    }
    throw new Error(`${forwarder.name} delivers nothing`);
  }

  /**
   * The same for one with a fast path, whose sessions must be answered and busy: some at a time, for they go
   * by the slow path until they are hot, and those that are stay so only while they are used.
   */
  async #openHot(
    entrant: Entrant,
    { hotSessions }: FastPathForwarder,
    from: number,
    flows: number,
  ): Promise<void> {
    let keptMs = performance.now();
    let [first, hot] = [from, hotSessions()];
    const endMs = keptMs + HOT_LIMIT_MS + flows * HOT_LIMIT_EACH_MS;
    while (performance.now() < endMs) {
      const step = Math.min(HOT_STEP, flows - first);
      // A machine that does something else makes fewer packets than it is told to.
      for (let left = HOT_PACKETS * step; left > 0; ) {
        if (performance.now() - keptMs > HOT_REFRESH_MS) {
          await this.#keepHot(entrant);
          keptMs = performance.now();
        }
        const seconds = Math.max(0.1, Math.min(1, left / HOT_RATE));
        const aim = { payloadLen: 64, echo: true, flows: step, firstFlow: first, rate: HOT_RATE, seconds };
        left -= Math.max(1, (await this.#shoot(entrant, aim)).sent);
      }
      await sleep(HOT_WAIT_MS);
      hot = hotSessions();
      this.#opened.set(entrant.key, Math.max(this.#opened.get(entrant.key) ?? 0, first + step));
      if (hot >= HOT_ENOUGH * flows) return;
      // Later all again, for those that are so no more.
      first = first + step < flows ? first + step : 0;
    }
    this.#unable.set(entrant.key, flows);
    const { name } = entrant.forwarder;
    console.log(`not measured: ${name}: only ${count(hot)} of ${count(flows)} sessions became hot`);
  }

  /** Its sessions may be gone. */
  forget({ key }: Entrant): void {
    this.#opened.delete(key);
  }

  /** What a program does only at first (V8 compiles what runs often) is not what it does all day. */
  async warmUp(): Promise<void> {
    const aim = { payloadLen: 64, flows: WARM_FLOWS, rate: FULL_RATE, seconds: 1 };
    for (const entrant of this.entrants) {
      await this.open(entrant, WARM_FLOWS);
      for (const echo of [false, true]) await this.shoot(entrant, { ...aim, echo });
    }
  }

  /** Those that can have so many sessions, another one first in each round. */
  turn(round: number, flows: number): Entrant[] {
    const able = this.entrants.filter(
      ({ key, forwarder }) =>
        forwarder.maxSessions >= flows && flows < (this.#unable.get(key) ?? Number.POSITIVE_INFINITY),
    );
    return able.map((_, index) => able[(index + round) % able.length]);
  }

  #reportDisturbance(): void {
    const shares = this.#foreignShares;
    if (shares.length === 0) return;
    const mean = shares.reduce((sum, share) => sum + share, 0) / shares.length;
    const most = Math.max(...shares);
    console.log(
      `others used ${mean.toFixed(2)} processors meanwhile, ${most.toFixed(2)} at most${mean > 0.1 ? ': figures are too low' : ''}`,
    );
  }
}

/** To those that stand still at times. */
function signal({ standStill = [] }: Forwarder, name: NodeJS.Signals): void {
  for (const pid of standStill) process.kill(pid, name);
}
