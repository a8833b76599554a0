// What the end-to-end tests stand on: a network of namespaces with the real proxy program in it, Python
// programs as clients and servers that know nothing of src/, and tcpdump and tshark as outside witnesses.
// Everything ends with the test, also when it failed.
import assert from 'node:assert/strict';
import { type ChildProcess, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { FamilyPair, LabDialect } from '../../src/lab/family.ts';
import { exitOnSignals, removeLeftovers } from '../../src/lab/namespace.ts';
import { ProxyProcess } from '../../src/lab/programs.ts';
import {
  buildTopology,
  LB_WAN_IPS,
  LIPS,
  type Role,
  type Topology,
  type TopologyOptions,
  VIPS,
  VPORT,
} from '../../src/lab/topology.ts';
import { MAIN } from '../cli/program.ts';
import { askSocket } from './admin.ts';
import { watch } from './witness.ts';
import { prepareXdpPeers } from './xdp-peers.ts';

export { MAIN };

/**
 * Packet I/O under test, as keys of the config's `io`: test/run goes through the list for each. Where it says
 * nothing of a fast path there is none, so that the datapath is what is tested.
 */
export interface IoUnderTest {
  mode?: 'ring' | 'pcap' | 'auto';
  workers?: number;
  /** Undefined: the config says nothing of it. */
  fastPath?: 'auto' | 'xdp' | 'tc' | 'off' | undefined;
  /** Where not the topology's. */
  wan?: string;
  lan?: string;
}
const SLOW = { fastPath: 'off' } as const;
export const IO: IoUnderTest = {
  ...SLOW,
  mode: 'auto',
  workers: 1,
  ...JSON.parse(process.env.UOA_TEST_IO ?? '{}'),
};

const ADMIN_SOCKET = 'admin.sock';
const PROGRAMS = fileURLToPath(new URL('./programs/', import.meta.url));

export type Answer = Record<string, unknown> & { event: string };

export interface RigOptions extends Partial<TopologyOptions> {
  /** Families of the clients and of the real servers; both IPv4 by default. */
  pair?: FamilyPair;
  /** Where the real servers listen; by default 10.2.0.11:6000 and so on. */
  realServers?: { ip: string; port: number; dialect?: LabDialect }[];
  /** Of a sidecar, where it is not 127.0.0.2. */
  lips?: string[];
  uoa?: {
    dialect?: LabDialect;
    unifiedType?: 30 | 31;
    onUnsupported?: 'plain' | LabDialect;
    /** Inserted, where a test says nothing: most count what is where. */
    carriage?: 'auto' | 'inserted' | 'carrier';
    maxTrials?: number;
    refresh?: string;
    idleRefresh?: string;
    proxyV2?: 'every' | 'first';
  };
  /** Further keys of the service, and of the config besides `io` and `services`. */
  service?: Record<string, unknown>;
  /** Further services. */
  others?: object[];
  config?: Record<string, unknown>;
  /** Where the test is about one packet I/O. */
  io?: IoUnderTest;
  /** The beginning of a command that runs the proxy. */
  under?: readonly string[];
  /** Called when the network is there and the proxy is not. */
  beforeProxy?: (topology: Topology) => void;
}

/** What a rig's proxy.yaml holds. */
export interface RigConfig {
  [key: string]: unknown;
  services: {
    [key: string]: unknown;
    realServers: { ip: string; port: number; weight?: number }[];
  }[];
}

/** See programs/clients.py. */
export interface ClientsOptions {
  /** Where not those of the rig. */
  addresses?: readonly string[];
  vip?: string;
  vport?: number;
  portsPerAddress: number;
  count: number;
  sizes: number[];
  /** Datagrams under way at most; 64 by default. */
  window?: number;
  timeoutMs?: number;
  /** The first of those of each address; without it the kernel chooses. */
  firstPort?: number;
  /** See Rig.startClients. */
  untilClosed?: true;
}

export class Rig {
  readonly topology: Topology;
  readonly proxy: ProxyProcess;
  readonly pair: FamilyPair;
  /** What clients send to, and from where. */
  readonly vip: string;
  readonly clientIps: readonly string[];
  readonly realServers: readonly { ip: string; port: number }[];
  readonly #config: string;
  readonly #under: readonly string[];

  constructor(
    topology: Topology,
    pair: FamilyPair,
    vip: string,
    realServers: Rig['realServers'],
    config: string,
    under: readonly string[],
  ) {
    this.topology = topology;
    this.pair = pair;
    this.vip = vip;
    this.clientIps = topology.clientIps[pair.client];
    this.realServers = realServers;
    this.#config = config;
    this.#under = under;
    this.proxy = this.startProxy();
  }

  /** Changes the config file that the proxy reads again when it is told to. */
  rewriteConfig(change: (config: RigConfig) => void): void {
    const config = JSON.parse(readFileSync(this.configPath, 'utf8')) as RigConfig;
    change(config);
    writeFileSync(this.configPath, JSON.stringify(config));
  }

  /** The config file, by which `ctl` finds the proxy. */
  get configPath(): string {
    return join(this.topology.scratch, 'proxy.yaml');
  }

  /** Starts the proxy once more, by its config file as it is now; the one before must have ended. */
  startProxy(...options: string[]): ProxyProcess {
    const config = existsSync(this.configPath) ? readFileSync(this.configPath, 'utf8') : this.#config;
    return new ProxyProcess(this.topology, MAIN, config, undefined, this.#under, options);
  }

  /** Starts a Python server on each real server's address; each result comes from `end()`. */
  async startServers(): Promise<PythonProgram[]> {
    const started = this.realServers.map((address) => startPython(this.topology, 'rs', 'server.py', address));
    await Promise.all(started.map((server) => server.ready));
    return started;
  }

  /** Runs clients.py to its end. */
  async clients(options: ClientsOptions): Promise<Answer> {
    return await startPython(this.topology, 'client', 'clients.py', {
      addresses: this.clientIps,
      vip: this.vip,
      vport: VPORT,
      window: 64,
      ...options,
    }).result;
  }

  /** Starts clients.py, which goes on until `end()`. */
  startClients(options: Omit<ClientsOptions, 'count'>): PythonProgram {
    const given = { addresses: this.clientIps, vip: this.vip, vport: VPORT, window: 64, untilClosed: true };
    return startPython(this.topology, 'client', 'clients.py', { ...given, ...options });
  }

  /** Starts steady.py, which goes on until `end()`. */
  startSteadyClients(options: {
    portsPerAddress: number;
    rate: number;
    addresses?: readonly string[];
    vip?: string;
    vport?: number;
    firstPort?: number;
  }): PythonProgram {
    const given = { addresses: this.clientIps, vip: this.vip, vport: VPORT, waitMs: 10_000 };
    return startPython(this.topology, 'client', 'steady.py', { ...given, ...options });
  }

  /** Runs one command of probe.py to its end, from the first client address to the service. */
  async probe(command: string, options: object = {}): Promise<Answer> {
    return await this.startProbe(command, options).result;
  }

  startProbe(command: string, options: object = {}): PythonProgram {
    const given = { bind: this.clientIps[0], to: [this.vip, VPORT], ...options };
    return startPython(this.topology, 'client', 'probe.py', command, given);
  }

  /** What the admin socket of the running proxy answers; see askSocket. */
  async get(path: string): Promise<{ status: number; body: string }> {
    return await askSocket(this.socketPath, path);
  }

  /** Asks the running proxy for a change. */
  async post(path: string): Promise<void> {
    const { status, body } = await askSocket(this.socketPath, path, 'POST');
    assert.equal(status, 200, `POST ${path}: ${body}`);
  }

  get socketPath(): string {
    return join(this.topology.scratch, ADMIN_SOCKET);
  }

  /** Sum of the series of a metric whose labels contain `labels`; the name is without prefix. */
  async metric(name: string, labels: Record<string, string> = {}): Promise<number> {
    const { status, body } = await this.get('/metrics');
    assert.equal(status, 200, '/metrics answers');
    const wanted = Object.entries(labels).map(([key, value]) => `${key}="${value}"`);
    return body
      .split('\n')
      .filter((line) => line.startsWith(`uoa_proxy_${name}{`) || line.startsWith(`uoa_proxy_${name} `))
      .filter((line) => wanted.every((label) => line.includes(label)))
      .reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
  }

  /**
   * Starts tcpdump; the result is read with `Witness.count`. `direction`: from the view of the role's host.
   * Each packet takes `snapLen` bytes of its buffer, so that it holds a thousand of the longest, or more of
   * shorter ones.
   */
  async watch(
    role: Role,
    device: string,
    filter: string,
    direction: 'in' | 'out' | 'inout' = 'inout',
    snapLen = 262_144,
  ) {
    return await watch(this.topology, role, device, filter, direction, snapLen);
  }
}

/**
 * Asks until it is so. Throws when that takes so long that it is not for want of a fast machine: 2 minutes.
 */
export async function until(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 120_000;
  while (!(await isSo())) {
    assert.ok(performance.now() < deadline, `within 2 minutes: ${what}`);
    await sleep(50);
  }
}

let python: string | undefined;

/**
 * Throws for one that is missing; returns the path of python3 itself, which starts faster than a wrapper
 * around it.
 */
function requirePrograms(): string {
  for (const program of ['ip', 'nft', 'tcpdump', 'tshark']) {
    if (spawnSync(program, ['--version']).error) throw new Error(`this test needs the program ${program}`);
  }
  const asked = spawnSync('python3', ['-c', 'import sys; print(sys.executable)'], { encoding: 'utf8' });
  if (asked.status !== 0) throw new Error('this test needs the program python3');
  return asked.stdout.trim();
}

/** Builds the network, starts the proxy and waits until it is ready. `t` removes everything at the end. */
export async function startRig(t: TestContext, options: RigOptions = {}): Promise<Rig> {
  python ??= requirePrograms();
  removeLeftovers();
  const { kind = 'two-arm', clients = 3, servers = 2, uoa = {}, pair = { client: 4, server: 4 } } = options;
  const topology = buildTopology({ ...options, kind, clients, servers });
  t.after(() => topology.remove());
  const io: IoUnderTest = { ...SLOW, ...(options.io ?? IO) };
  if (io.fastPath === 'xdp') prepareXdpPeers(topology, python);
  options.beforeProxy?.(topology);
  const isSidecar = kind === 'sidecar';
  const vips = isSidecar ? LB_WAN_IPS : VIPS;
  const realServers =
    options.realServers ?? topology.serverIps[pair.server].map((ip) => ({ ip, port: VPORT }));
  // Where IPv6 takes part the service has both families, as one on the way from the one to the other would.
  const isDual = pair.client === 6 || pair.server === 6;
  const lips = options.lips ?? (isSidecar ? ['127.0.0.2'] : isDual ? [...LIPS[4], ...LIPS[6]] : LIPS[4]);
  const vip = isDual ? [vips[4], vips[6]] : vips[4];
  // JSON is YAML.
  const config = JSON.stringify({
    io: { wan: topology.wan, lan: topology.lan, assignAddresses: !isSidecar, ...io },
    log: { format: 'json' },
    ...options.config,
    // Where it goes with the test, also after SIGKILL.
    admin: { socket: join(topology.scratch, ADMIN_SOCKET), ...(options.config?.admin ?? {}) },
    services: [
      {
        name: 'test',
        vip,
        vport: VPORT,
        lips,
        uoa: { carriage: 'inserted', ...uoa },
        realServers,
        ...options.service,
      },
      ...(options.others ?? []),
    ],
  });
  const rig = new Rig(topology, pair, vips[pair.client], realServers, config, options.under ?? []);
  await rig.proxy.ready();
  // Neither may settle for less unseen.
  assert.match(rig.proxy.log, io.mode === 'pcap' ? /"io":"pcap"/ : /"io":"ring"/);
  assert.match(rig.proxy.log, fastPathSaid(io, isSidecar));
  return rig;
}

/**
 * Of what Witness.checksums counted, those that are right: at tc what the sender's host left to its card is
 * still so at the other end, as between any hosts that are one machine.
 */
export const rightChecksums = ({ good, unfinished }: { good: number; unfinished: number }): number =>
  IO.fastPath === 'tc' ? good + unfinished : good;

/** What the log has of the fast path. Interface lo has no XDP. */
function fastPathSaid({ fastPath }: IoUnderTest, isSidecar: boolean): RegExp {
  if (fastPath === 'off') return /^(?!.*fast path: )/s;
  if (fastPath === undefined || fastPath === 'auto') return /"level":"info".*fast path: /;
  if (fastPath === 'xdp') return isSidecar ? /"msg":"no fast path: / : /"msg":"fast path: xdp at /;
  return /"msg":"fast path: (tcx|clsact) at /;
}

export interface PythonProgram {
  child: ChildProcess;
  /** Resolves when it says that it is ready. */
  ready: Promise<void>;
  /** What it says last. Rejects when it ends without. */
  result: Promise<Answer>;
  /** Closes its standard input and waits for the result. */
  end(): Promise<Answer>;
}

/** Starts a program of programs/; objects among the arguments are passed as JSON. */
export function startPython(
  topology: Topology,
  role: Role,
  name: string,
  ...args: (string | object)[]
): PythonProgram {
  const texts = args.map((arg) => (typeof arg === 'string' ? arg : JSON.stringify(arg)));
  // -B: no __pycache__ beside the sources.
  const child = topology.spawn(role, [python ?? 'python3', '-B', join(PROGRAMS, name), ...texts], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  return listenTo(child, name);
}

/** A program that says in lines of JSON that it is ready, and last what came of it. */
export function listenTo(child: ChildProcess, name: string): PythonProgram {
  let sayReady: () => void = () => {};
  const ready = new Promise<void>((resolve) => {
    sayReady = resolve;
  });
  let last: Answer | undefined;
  createInterface({ input: child.stdout! }).on('line', (line) => {
    const answer = JSON.parse(line) as Answer;
    if (answer.event === 'ready') sayReady();
    else last = answer;
  });
  const result = once(child, 'close').then(([code]) => {
    sayReady();
    if (last === undefined) throw new Error(`${name} ended with ${code} and without a result`);
    return last;
  });
  result.catch(() => {});
  return {
    child,
    ready,
    result,
    async end() {
      child.stdin?.end();
      return await result;
    },
  };
}

exitOnSignals();
