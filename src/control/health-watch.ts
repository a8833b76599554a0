// Joins the health checks (src/health) with what the datapaths count of each real server, and tells the
// server states.
import { isDeepStrictEqual } from 'node:util';
import type { Logger } from 'pino';
import type { Config } from '../config/schema.ts';
import { SERVER_COUNTER, serverRow } from '../datapath/server-cells.ts';
import { type HealthTarget, Monitor } from '../health/monitor.ts';
import { Passive, type TrafficFailure } from '../health/passive.ts';
import type { HealthConfig } from '../health/probe.ts';
import { isNumberedAs, type ServicePlan, serverName } from '../service/plan.ts';
import { isInPayload } from '../uoa/dialect.ts';
import { configsIn } from './planning.ts';
import type { ServerStates } from './server-states.ts';

const OBSERVE_MS = 1000;
/** What does not change is said again after this long. */
const REPEAT_MS = 600_000;

interface Observed {
  index: number;
  key: string;
  service: string;
  rs: string;
  health: HealthConfig;
  passive: Passive;
  /** When it was said last that it is silent but stays. */
  sparedAtMs: number;
}

/** A service with what the config says of its health; undefined when it names it no more. */
interface Watched {
  service: ServicePlan;
  health: HealthConfig | undefined;
}

/** Whether what is watched of one goes on as what was watched of the other. */
const isWatchedAlike = (a: Watched, b: Watched): boolean =>
  isDeepStrictEqual(a.health, b.health) &&
  isNumberedAs(a.service, b.service) &&
  a.service.realServers.every((server, at) => isProxied(server) === isProxied(b.service.realServers[at]));

const isProxied = ({ dialect }: ServicePlan['realServers'][number]): boolean => isInPayload(dialect);

/** A real server that is down, and why. */
export interface Down {
  readonly service: string;
  readonly rs: string;
  readonly reason: string;
}

export class HealthWatch {
  readonly #serverStates: ServerStates;
  readonly #monitor: Monitor;
  readonly #read: () => Float64Array;
  readonly #log: Logger;
  #indexByKey = new Map<string, number>();
  #observed: Observed[] = [];
  #watched: readonly Watched[] = [];
  readonly #timer: NodeJS.Timeout;

  /** `read` returns the rows of server-cells.ts, up to date. */
  constructor(serverStates: ServerStates, read: () => Float64Array, log: Logger) {
    this.#serverStates = serverStates;
    this.#read = read;
    this.#log = log;
    this.#monitor = new Monitor(
      ({ key }, state, reason) => {
        const index = this.#indexByKey.get(key);
        if (index !== undefined) serverStates.setHealth(index, state, reason);
        // What ends from before it went down must not take it out once more.
        if (state === 'up') this.#observed.find((one) => one.key === key)?.passive.forget();
      },
      {
        onProblem: ({ service, ip, port }, problem) =>
          log.error({ service, rs: serverName({ ip, port }) }, `health check of ${service}: ${problem}`),
      },
    );
    this.#timer = setInterval(() => this.#observe(), OBSERVE_MS).unref();
  }

  /** Real servers that are leaving are checked on: their sessions may have to move. */
  update(config: Config, services: readonly ServicePlan[]): void {
    const configOf = configsIn(config);
    const watched = services.map((service) => ({ service, health: configOf(service)?.health }));
    const isSame =
      watched.length === this.#watched.length &&
      watched.every((one, at) => isWatchedAlike(one, this.#watched[at]));
    this.#watched = watched;
    if (!isSame) this.#change(watched);
  }

  #change(watched: readonly Watched[]): void {
    const targets: HealthTarget[] = [];
    const before = new Map(this.#observed.map((one) => [one.key, one]));
    this.#observed = [];
    this.#indexByKey = new Map();
    for (const { service, health } of watched) {
      if (health === undefined) continue;
      for (const server of service.realServers) {
        const { index, ip, port } = server;
        const rs = serverName({ ip, port });
        const key = `${service.name} ${rs}`;
        this.#indexByKey.set(key, index);
        targets.push({ key, service: service.name, ip, port, health, isProxied: isProxied(server) });
        if (!Passive.isWanted(health)) continue;
        const known = before.get(key);
        const isAsBefore = known?.index === index && isDeepStrictEqual(known.health, health);
        const own = { key, index, service: service.name, rs, health };
        this.#observed.push(
          isAsBefore ? known : { ...own, passive: new Passive(health), sparedAtMs: -Infinity },
        );
      }
    }
    this.#monitor.update(targets);
    // A service with another address has other numbers, but the same real servers.
    for (const [key, { state, reason }] of this.#monitor.status())
      this.#serverStates.setHealth(this.#indexByKey.get(key)!, state, reason);
  }

  /** Those whose checks, or traffic, say that they are down, by names. */
  down(): Down[] {
    return [...this.#monitor.status()].flatMap(([key, { state, reason }]) => {
      const at = key.lastIndexOf(' ');
      return state === 'up' ? [] : [{ service: key.slice(0, at), rs: key.slice(at + 1), reason }];
    });
  }

  /** What another process found to be down, of those that are watched, is so until checks say otherwise. */
  goOn(down: readonly Down[]): void {
    for (const { service, rs, reason } of down) this.#monitor.fail(`${service} ${rs}`, reason);
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#monitor.stop();
  }

  #observe(): void {
    if (this.#observed.length === 0) return;
    const servers = this.#read();
    for (const one of this.#observed) {
      const { index, passive } = one;
      const row = serverRow(index);
      const counters = {
        unreachable: servers[row + SERVER_COUNTER.unreachable],
        onewayEnded: servers[row + SERVER_COUNTER.onewayEnded],
        answered: servers[row + SERVER_COUNTER.sessionsAnswered],
      };
      const failure = passive.observe(counters, performance.now());
      if (failure !== undefined) this.#onFailure(one, failure);
    }
  }

  /**
   * Clients alone can bring silence about. So a real server that a check asks too, and that is up, goes only
   * where another one takes its new sessions: without it these would be lost for certain.
   */
  #onFailure(observed: Observed, { isSilence, reason }: TrafficFailure): void {
    const { key, index, service, rs, health } = observed;
    if (!isSilence || health.type === 'none' || this.#serverStates.hasOther(index)) {
      this.#monitor.fail(key, reason);
      return;
    }
    const nowMs = performance.now();
    if (this.#serverStates.stateOf(index).state !== 'up' || nowMs - observed.sparedAtMs < REPEAT_MS) return;
    observed.sparedAtMs = nowMs;
    const why = 'its check succeeds, and no other one takes new sessions';
    this.#log.warn({ service, rs, reason }, `real server ${rs} of ${service} stays up (${why}): ${reason}`);
  }
}
