// The receiver's process: serves cgroups, sends echo ACKs, forgets clients, tells metrics. The programs do
// the rest, and go on without it.
import { watch } from 'node:fs';
import { dirname } from 'node:path';
import type { Logger } from 'pino';
import { type MetricsServer, startMetricsServer } from '../admin/metrics-server.ts';
import { needRestart, type ReceiverConfig } from '../config/receiver-schema.ts';
import { missingCapabilities } from '../sys/capabilities.ts';
import { IoError } from '../sys/io-error.ts';
import { SysError } from '../sys/libc.ts';
import { packageVersion } from '../version.ts';
import { cgroupPath, ownCgroup } from './cgroup.ts';
import { EchoAcks } from './echo-ack.ts';
import { METRICS_PREFIX, receiverFamilies } from './families.ts';
import { detach } from './leftovers.ts';
import { ownAddressesIn } from './own-addresses.ts';
import { ServedCgroup } from './served-cgroup.ts';

/** Between two looks whether a cgroup is there, or was made again. */
const LOOK_MS = 1000;
const FORGET_MS = 30_000;
/** One line of the log for what goes on. */
const COMPLAIN_MS = 60_000;

export interface Receiver {
  readonly address: { host: string; port: number };
  /** It never ends by itself. */
  readonly ended: Promise<never>;
  /** Never rejects. */
  reload(): Promise<void>;
  /** Programs that are pinned stay at work. */
  stop(): Promise<void>;
}

/**
 * Starts it by a config; `reread` reads it again and may throw. Rejects with an IoError or AdminListenError,
 * and nothing left behind.
 */
export async function startReceiver(
  config: ReceiverConfig,
  log: Logger,
  reread: () => ReceiverConfig,
): Promise<Receiver> {
  requireCapabilities();
  const running = new Running(config, log, reread);
  try {
    await running.start();
  } catch (error) {
    await running.stop();
    throw error;
  }
  return running;
}

function requireCapabilities(): void {
  const missing = missingCapabilities(['CAP_BPF', 'CAP_NET_ADMIN', 'CAP_NET_RAW']);
  if (missing.length > 0)
    throw new IoError(
      `the receiver needs ${missing.join(', ')}, which this process does not have`,
      'run it as root, or give it CAP_BPF, CAP_NET_ADMIN and CAP_NET_RAW (AmbientCapabilities= of a systemd unit)',
    );
}

class Running implements Receiver {
  readonly ended = new Promise<never>(() => {});
  #config: ReceiverConfig;
  readonly #log: Logger;
  readonly #reread: () => ReceiverConfig;
  readonly #startedAt = new Date();
  readonly #served = new Map<string, ServedCgroup>();
  /** Of cgroups that cannot be attached to, why, so that it is said once. */
  readonly #problems = new Map<string, string>();
  readonly #watchers = new Map<string, { close(): void }>();
  readonly #complained = new Map<string, number>();
  readonly #timers: NodeJS.Timeout[] = [];
  #acks: EchoAcks | undefined;
  #server: MetricsServer | undefined;
  #isForgetting = false;
  #reloading: Promise<void> = Promise.resolve();

  constructor(config: ReceiverConfig, log: Logger, reread: () => ReceiverConfig) {
    this.#config = config;
    this.#log = log;
    this.#reread = reread;
  }

  get address(): { host: string; port: number } {
    return this.#server!.address;
  }

  async start(): Promise<void> {
    const { acksPerSecond, admin, from } = this.#config;
    const paths = pathsOf(this.#config);
    this.#acks = openAcks(acksPerSecond, (errno) =>
      this.#complain('ack', 'an echo ACK was not sent', { errno }),
    );
    for (const path of paths) this.#serve(path);
    this.#warnOfSources();
    const families = receiverFamilies({
      version: packageVersion(),
      startedAt: this.#startedAt,
      cgroups: () => [...this.#served.values()],
      acks: () => this.#acks!.counts,
      maxClients: this.#config.maxClients,
    });
    const health = () => this.#health();
    this.#server = await startMetricsServer({ prefix: METRICS_PREFIX, families, health }, admin.listen);
    this.#timers.push(setInterval(() => this.#look(), LOOK_MS));
    this.#timers.push(setInterval(() => void this.#forget(), FORGET_MS));
    this.#log.info({ from, cgroups: paths, admin: this.address }, 'receiving');
  }

  #warnOfSources(): void {
    const { from } = this.#config;
    for (const prefix of from.filter((one) => one.endsWith('/0')))
      this.#log.warn({ from: prefix }, 'whoever can send to a program can say who its clients are');
    const own = ownAddressesIn(from);
    if (own.length > 0)
      this.#log.warn(
        { addresses: own },
        '`from` holds addresses of this host: real servers of that network can say who clients are',
      );
  }

  /** One after the other: by a signal, and because the file changed. */
  reload(): Promise<void> {
    this.#reloading = this.#reloading
      .then(() => this.#reload())
      .catch((error: Error) => this.#log.error(`the config was reloaded in part only: ${error.message}`));
    return this.#reloading;
  }

  async #reload(): Promise<void> {
    let config: ReceiverConfig;
    let paths: string[];
    try {
      config = this.#reread();
      const fixed = needRestart(this.#config, config);
      if (fixed.length > 0) throw new Error(`${fixed.join(', ')}: needs a restart`);
      paths = pathsOf(config);
    } catch (error) {
      this.#log.error(`the config was not reloaded: ${(error as Error).message}`);
      return;
    }
    this.#config = config;
    this.#log.level = config.log.level;
    this.#acks!.perSecond = config.acksPerSecond;
    this.#warnOfSources();
    const attempt = async (path: string, change: () => void | Promise<void>) => {
      try {
        await change();
      } catch (error) {
        this.#log.error({ cgroup: path }, (error as Error).message);
      }
    };
    for (const [path, served] of [...this.#served]) {
      if (paths.includes(path)) await attempt(path, () => served.trust(config.from));
      else await attempt(path, () => this.#leave(path, served));
    }
    for (const path of paths.filter((one) => !this.#served.has(one)))
      await attempt(path, () => this.#serve(path));
    this.#log.info({ from: config.from, cgroups: paths }, 'the config was reloaded');
  }

  async stop(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    for (const path of [...this.#watchers.keys()]) this.#unwatch(path);
    await this.#server?.close();
    for (const served of this.#served.values()) served.close();
    this.#served.clear();
    this.#acks?.close();
  }

  /** Throws an IoError. */
  #serve(path: string): void {
    const { from, maxClients } = this.#config;
    const served = ServedCgroup.open({ path, from, maxClients, version: packageVersion() });
    try {
      this.#attach(served);
    } catch (error) {
      served.close();
      throw error;
    }
    this.#served.set(path, served);
    if (served.unpinned !== '')
      this.#log.warn({ cgroup: path }, `${served.unpinned}: the programs go with this process`);
    this.#watch(path);
    served.acknowledge(this.#acks!).catch((error: Error) => this.#log.error({ cgroup: path }, error.message));
  }

  async #leave(path: string, served: ServedCgroup): Promise<void> {
    this.#unwatch(path);
    this.#served.delete(path);
    served.close();
    await detach(path);
    this.#log.info({ cgroup: path }, 'the programs were detached');
  }

  /** Throws an IoError. */
  #attach(served: ServedCgroup): void {
    const { path } = served;
    const wasAttached = served.isAttached;
    const attached = served.look();
    if (attached === 'anew' || attached === 'taken over')
      this.#log.info({ cgroup: path, how: attached }, 'the programs are attached');
    if (attached === 'gone' && (wasAttached || !this.#served.has(path)))
      this.#log.warn({ cgroup: path }, 'there is no such cgroup: waiting for it');
  }

  #look(): void {
    for (const served of this.#served.values()) {
      const { path } = served;
      try {
        this.#attach(served);
        this.#problems.delete(path);
      } catch (error) {
        const { message } = error as Error;
        if (this.#problems.get(path) !== message) this.#log.error({ cgroup: path }, message);
        this.#problems.set(path, message);
      }
    }
  }

  /** So that a cgroup that is made gets its programs before its programs begin. */
  #watch(path: string): void {
    try {
      const watcher = watch(dirname(path), { persistent: false }, () => this.#look());
      watcher.on('error', () => this.#unwatch(path)); // the folder is gone; it is looked for anyway
      this.#watchers.set(path, watcher);
    } catch {
      // Likewise.
    }
  }

  #unwatch(path: string): void {
    this.#watchers.get(path)?.close();
    this.#watchers.delete(path);
  }

  async #forget(): Promise<void> {
    if (this.#isForgetting) return;
    this.#isForgetting = true;
    try {
      for (const served of [...this.#served.values()]) {
        const forgotten = await served.forgetUnused(this.#config.idle);
        if (forgotten > 0) this.#log.debug({ cgroup: served.path, forgotten }, 'clients forgotten');
        this.#sayWhatIsWrong(served);
      }
    } catch (error) {
      this.#complain('forget', `clients could not be forgotten: ${(error as Error).message}`, {});
    } finally {
      this.#isForgetting = false;
    }
  }

  readonly #said = new Map<string, number>();

  #sayWhatIsWrong(served: ServedCgroup): void {
    const counters = served.counters();
    const say = (name: 'full' | 'ignored' | 'malformed', message: string, more: object) => {
      const key = `${name} ${served.path}`;
      const before = this.#said.get(key) ?? 0;
      this.#said.set(key, counters[name]);
      if (counters[name] > before)
        this.#complain(key, message, { cgroup: served.path, times: counters[name] - before, ...more });
    };
    say('full', 'there is no room for more clients: programs see the LIP of others (maxClients)', {});
    say('malformed', 'UOAs cannot be read', {});
    if (counters.ignored > 0)
      say('ignored', 'UOAs of sources that are not in `from` were ignored', {
        sources: served.ignored().slice(0, 5),
      });
  }

  #complain(what: string, message: string, more: object): void {
    const now = performance.now();
    const last = this.#complained.get(what);
    if (last !== undefined && now - last < COMPLAIN_MS) return;
    this.#complained.set(what, now);
    this.#log.warn(more, message);
  }

  #health() {
    const cgroups = [...this.#served.values()].map(({ path, isAttached }) => ({ path, isAttached }));
    return {
      status: this.#problems.size === 0 ? 'ok' : 'degraded',
      version: packageVersion(),
      uptimeSeconds: Math.floor((Date.now() - this.#startedAt.getTime()) / 1000),
      cgroups,
      problems: [...this.#problems].map(([path, problem]) => `${path}: ${problem}`),
    };
  }
}

function openAcks(perSecond: number, onFailure: (errno: number) => void): EchoAcks {
  try {
    return new EchoAcks(perSecond, onFailure);
  } catch (error) {
    if (!(error instanceof SysError)) throw error;
    throw new IoError(`echo ACKs cannot be sent: ${error.message}`, 'CAP_NET_RAW is needed', error);
  }
}

/** The cgroups of a config, by the paths that the kernel has. Throws an IoError. */
function pathsOf({ cgroups, self }: ReceiverConfig): string[] {
  const paths = [...new Set(self ? [ownCgroup()] : cgroups.map(cgroupPath))];
  for (const path of paths) {
    const above = paths.find((other) => other !== path && `${path}/`.startsWith(`${other}/`));
    if (above !== undefined)
      throw new IoError(
        `the cgroup ${path} is below ${above}, whose programs are those of both`,
        'name one of them only',
      );
  }
  return paths;
}
