// Forwarders side by side, each started in a network of its own, and the load that they take turns at: one
// measurement of each, then again, so that whatever else the machine does hits all of them alike.

import { setTimeout as sleep } from 'node:timers/promises';
import { Distance } from './distance.ts';
import { ForeignCpu } from './foreign-cpu.ts';
import { BRINGS_XDP, FORWARDERS, type ForwarderKey } from './forwarders/all.ts';
import type { FastPathForwarder, Forwarder, Start } from './forwarders/forwarder.ts';
import { HOT_ENOUGH, HotFlows } from './hot-flows.ts';
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
const WAKE_MS = 100;
const SHORT_WAIT_MS = 1_000;

export class Lineup {
  readonly entrants: readonly Entrant[];
  /** Forwarders that could not be started, and why. */
  readonly missing: readonly string[];
  readonly #load: Load;
  readonly #distance: Distance;
  /**
   * Of all forwarders and the load: what is not foreign. Listing them takes longer than a short measurement.
   */
  readonly #pids: readonly number[];
  readonly #opened = new Map<string, number>();
  /** Those of forwarders with a fast path. */
  readonly #hotFlows = new Map<string, HotFlows>();
  /** Numbers of sessions that could not be made hot. */
  readonly #unable = new Map<string, number>();
  #last: Entrant | undefined;
  readonly #foreignShares: number[] = [];

  private constructor(load: Load, distance: Distance, entrants: Entrant[], missing: string[]) {
    this.#load = load;
    this.#distance = distance;
    this.#pids = [
      process.pid,
      load.pid,
      ...distance.pids,
      ...entrants.flatMap(({ forwarder }) => forwarder.pids()),
    ];
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
    const distance = new Distance();
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
      const lineup = new Lineup(load, distance, entrants, missing);
      for (const { forwarder } of entrants) console.log(`${forwarder.name}: ${forwarder.note}`);
      for (const line of missing) console.log(`not measured: ${line}`);
      const result = await measure(lineup);
      lineup.#reportDisturbance();
      return result;
    } finally {
      load.stop();
      distance.stop();
      for (const network of networks) network.remove();
    }
  }

  find(key: ForwarderKey): Entrant | undefined {
    return this.entrants.find((entrant) => entrant.key === key);
  }

  /** One measurement. Throws when the forwarder has ended. */
  async shoot(entrant: Entrant, aim: Aim): Promise<Result> {
    // Sessions of a forwarder that stands still are silent meanwhile.
    if ((await this.#distance.nearness()) > SHORT_WAIT_MS) this.#last = undefined;
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
    await this.#hotFlowsOf(entrant, entrant.forwarder.fastPath!).keep();
  }

  #hotFlowsOf(entrant: Entrant, fastPath: FastPathForwarder): HotFlows {
    const { key } = entrant;
    let found = this.#hotFlows.get(key);
    if (found === undefined) {
      found = new HotFlows((aim) => this.#shoot(entrant, aim), fastPath);
      this.#hotFlows.set(key, found);
    }
    return found;
  }

  /**
   * Opens sessions of the first `flows` flows, as far as they were not yet, at a rate at which none should be
   * lost.
   */
  async open(entrant: Entrant, flows: number): Promise<void> {
    const { key, forwarder } = entrant;
    if (forwarder.fastPath) {
      await this.#openHot(entrant, forwarder.fastPath, flows);
      return;
    }
    const from = this.#opened.get(key) ?? 0;
    if (from >= flows) return;
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

  /** The same for one with a fast path. */
  async #openHot(entrant: Entrant, fastPath: FastPathForwarder, flows: number): Promise<void> {
    const { key, forwarder } = entrant;
    const hotFlows = this.#hotFlowsOf(entrant, fastPath);
    if (hotFlows.opened >= flows) return;
    await this.#wake(entrant, fastPath);
    this.#last = entrant;
    signal(forwarder, 'SIGCONT');
    try {
      const hot = await hotFlows.open(flows);
      if (hot >= HOT_ENOUGH * flows) return;
      this.#unable.set(key, flows);
      console.log(
        `not measured: ${forwarder.name}: only ${count(hot)} of ${count(flows)} sessions became hot`,
      );
    } finally {
      signal(forwarder, 'SIGSTOP');
    }
  }

  /** Its sessions may be gone. */
  forget({ key }: Entrant): void {
    this.#opened.delete(key);
    this.#hotFlows.get(key)?.forget();
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
    const distance = this.#distance.describe();
    if (distance !== undefined) console.log(distance);
  }
}

/** To those that stand still at times. */
function signal({ standStill = [] }: Forwarder, name: NodeJS.Signals): void {
  for (const pid of standStill) process.kill(pid, name);
}
