// The lab's traffic: the client program under load and the real servers that answer it, with what they
// counted so far.
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  type ClientEvent,
  type ClientTotals,
  type Learned,
  listen,
  noClientTotals,
  type ServerEvent,
  type ServerTotals,
  sumTotals,
} from './events.ts';
import { type FamilyPair, fullPayloadLen, type LabDialect } from './family.ts';
import { endProgram, startClient, startRealServer } from './programs.ts';
import { type Topology, VIPS } from './topology.ts';

/** Payload lengths: empty, too small for a mark, usual ones; then the one that fills the MTU. */
const SIZES = [0, 1, 7, 64, 512, 1200];
const SOCKETS_PER_ADDRESS = 4;
/** Datagrams of a bounded load, at least; and per socket. */
const DATAGRAMS = 6000;
const MIN_ROUNDS = 2 * (SIZES.length + 1);
const LIGHT_PAUSE_MS = 200;
/** More than a busy machine lets a program wait. */
export const TIMEOUT_MS = 5000;

export class ClientLoad {
  totals: ClientTotals = noClientTotals();
  readonly #child: ChildProcess;
  readonly #closed: Promise<unknown>;

  /**
   * Starts to send at once: `bounded` a few thousand datagrams as fast as they are answered, else a few until
   * the end.
   */
  constructor(topology: Topology, pair: FamilyPair, dialect: LabDialect, vports: number[], bounded: boolean) {
    const addresses = [...topology.clientIps[pair.client]];
    const sockets = addresses.length * SOCKETS_PER_ADDRESS;
    this.#child = startClient(topology, {
      addresses,
      socketsPerAddress: SOCKETS_PER_ADDRESS,
      vip: VIPS[pair.client],
      vports,
      sizes: [...SIZES, fullPayloadLen(pair, dialect)],
      rounds: bounded ? Math.max(MIN_ROUNDS, Math.ceil(DATAGRAMS / sockets)) : 0,
      pauseMs: bounded ? 0 : LIGHT_PAUSE_MS,
      timeoutMs: TIMEOUT_MS,
    });
    this.#closed = once(this.#child, 'close');
    listen<ClientEvent>(this.#child, (event) => {
      if (event.event !== 'ready') this.totals = event.totals;
    });
  }

  async ended(): Promise<void> {
    await this.#closed;
  }

  /** Ends the load and returns its totals with those of the clients before it. */
  async finish(before: readonly ClientTotals[]): Promise<ClientTotals> {
    await endProgram(this.#child);
    await this.#closed;
    return sumTotals([this.totals, ...before]);
  }
}

interface RealServerProcess {
  ip: string;
  child: ChildProcess;
  ready: boolean;
  totals: ServerTotals;
  learned: Learned[] | undefined;
  closed: Promise<unknown>;
}

export class RealServers {
  readonly #servers: RealServerProcess[];

  constructor(topology: Topology, ips: readonly string[], port: number) {
    this.#servers = ips.map((ip) => {
      const child = startRealServer(topology, { ip, port });
      const totals = { received: 0, empty: 0, attributed: 0, unattributed: 0, wrong: 0, uoas: 0, acks: 0 };
      const server: RealServerProcess = {
        ip,
        child,
        ready: false,
        totals,
        learned: undefined,
        closed: once(child, 'close'),
      };
      listen<ServerEvent>(child, (event) => {
        if (event.event === 'ready') server.ready = true;
        else if (event.event !== 'learned') server.totals = event.totals;
        if (event.event === 'result') server.learned = event.learned;
      });
      return server;
    });
  }

  get totals(): ServerTotals {
    return sumTotals(this.#servers.map((server) => server.totals));
  }

  /** Waits until all of them listen. */
  async ready(): Promise<void> {
    for (const server of this.#servers) {
      while (!server.ready) {
        if (server.child.exitCode !== null) throw new Error(`the real server ${server.ip} did not start`);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    }
  }

  /** Ends them; one that was gone before has no table. */
  async finish() {
    return await Promise.all(
      this.#servers.map(async ({ ip, child, closed }, index) => {
        await endProgram(child);
        await closed;
        const { totals, learned } = this.#servers[index];
        return { ip, totals, learned: learned ?? [], endedEarly: learned === undefined };
      }),
    );
  }
}
