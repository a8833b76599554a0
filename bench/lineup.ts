// Forwarders side by side, each started in a network of its own, and the load that they take turns at: one
// measurement of each, then again, so that whatever else the machine does hits all of them alike.

import { ForeignCpu } from './foreign-cpu.ts';
import { FORWARDERS, type ForwarderKey } from './forwarders/all.ts';
import type { Forwarder } from './forwarders/forwarder.ts';
import { type Aim, Load } from './load.ts';
import type { Outcome } from './load-protocol.ts';
import { Network } from './network.ts';
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
  readonly #foreignShares: number[] = [];

  private constructor(load: Load, entrants: Entrant[], missing: string[]) {
    this.#load = load;
    this.#pids = [process.pid, load.pid, ...entrants.flatMap(({ forwarder }) => forwarder.pids())];
    this.entrants = entrants;
    this.missing = missing;
  }

  /** Runs `measure` with these forwarders; afterwards everything is gone. */
  static async with<T>(keys: readonly ForwarderKey[], measure: (lineup: Lineup) => Promise<T>): Promise<T> {
    const load = new Load();
    const networks: Network[] = [];
    try {
      const entrants: Entrant[] = [];
      const missing: string[] = [];
      for (const key of keys) {
        const network = new Network(key);
        networks.push(network);
        await load.attach(network);
        try {
          const forwarder = await FORWARDERS[key](network);
          entrants.push({ key, network, forwarder });
          if (forwarder.neverSleeps) signal(forwarder, 'SIGSTOP');
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
  async shoot({ network, forwarder }: Entrant, aim: Aim): Promise<Result> {
    const foreign = new ForeignCpu(() => this.#pids);
    const { dst } = forwarder;
    const ticks = (): number => forwarder.pids().reduce((sum, pid) => sum + processTicks(pid), 0);
    const before = ticks();
    if (forwarder.neverSleeps) signal(forwarder, 'SIGCONT');
    const outcome = await this.#load.shoot(network, dst === undefined ? aim : { ...aim, dst });
    if (forwarder.neverSleeps) signal(forwarder, 'SIGSTOP');
    this.#foreignShares.push(foreign.share());
    forwarder.check();
    return { ...outcome, cpu: (ticks() - before) / TICKS_PER_SECOND / outcome.seconds };
  }

  /**
   * Opens sessions of the first `flows` flows, as far as they were not yet, at a rate at which none should be
   * lost.
   */
  async open(entrant: Entrant, flows: number): Promise<void> {
    const { key, forwarder } = entrant;
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
    const able = this.entrants.filter(({ forwarder }) => forwarder.maxSessions >= flows);
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

function signal({ pids }: Forwarder, name: NodeJS.Signals): void {
  for (const pid of pids()) process.kill(pid, name);
}
