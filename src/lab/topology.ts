// The three networks of the lab and the end-to-end tests, built from namespaces and veth pairs with their default
// offloads, so that the proxy meets unfinished checksums and super packets as it does on a real host.
//
// two-arm   client eth0 10.1.0.0/24 ── wan0 lb lan0 ── 10.2.0.0/24 eth0 rs
// one-arm   client eth0 ─┐ bridge ┌─ eth0 rs      both networks on the one link; the lb has eth0 with both addresses
//                        └ lb eth0┘
// sidecar   client eth0 10.1.0.0/24 ── eth0 lb    the real server runs in the lb namespace
import type { ChildProcess, SpawnOptions } from 'node:child_process';
import {
  createNamespace,
  createScratch,
  inNamespace,
  pidsInside,
  removeNamespace,
  removeScratch,
  run,
  spawnIn,
} from './namespace.ts';

export type TopologyKind = 'two-arm' | 'one-arm' | 'sidecar';
export type Role = 'client' | 'lb' | 'rs';

export interface TopologyOptions {
  kind: TopologyKind;
  /** Number of client addresses, from 10.1.0.2 on, at most 200; the VIP is left out. */
  clients: number;
  /** Number of real-server addresses, from 10.2.0.11 on, at most 100; not used by sidecar. */
  servers: number;
  /** MTU of the link to the real servers; 1500 by default. */
  lanMtu?: number;
}

/** Addresses that the proxy assigns, and the lb's own. */
export const VIP = '10.1.0.100';
export const LIPS = ['10.2.0.200', '10.2.0.201'] as const;
export const LB_WAN_IP = '10.1.0.1';
export const LB_LAN_IP = '10.2.0.1';
export const VPORT = 6000;

const FIRST_CLIENT = 2;
const MAX_CLIENTS = 200;
const FIRST_SERVER = 11;
const MAX_SERVERS = 100;

export class Topology {
  readonly kind: TopologyKind;
  /** Names of the namespaces; in a sidecar, rs is the lb's. */
  readonly namespaces: Record<Role, string>;
  readonly clientIps: readonly string[];
  readonly serverIps: readonly string[];
  /** The lb's interfaces towards clients and towards real servers. */
  readonly wan: string;
  readonly lan: string;
  /** Folder for files of this run. */
  readonly scratch: string;
  readonly #all: readonly string[];

  constructor(options: TopologyOptions, namespaces: Record<Role, string>, all: readonly string[]) {
    this.kind = options.kind;
    this.namespaces = namespaces;
    this.clientIps = clientAddresses(options);
    this.serverIps = serverAddresses(options);
    this.wan = options.kind === 'two-arm' ? 'wan0' : 'eth0';
    this.lan = { 'two-arm': 'lan0', 'one-arm': 'eth0', sidecar: 'lo' }[options.kind];
    this.scratch = createScratch();
    this.#all = all;
  }

  /** Runs a command inside to its end and returns its stdout; throws CommandError when it fails. */
  exec(role: Role, argv: readonly string[], input?: string): string {
    return run(inNamespace(this.namespaces[role], argv), input);
  }

  /** Starts a program inside. It is killed when the topology is removed. */
  spawn(role: Role, argv: readonly string[], options: SpawnOptions = {}): ChildProcess {
    return spawnIn(this.namespaces[role], argv, options);
  }

  /** Pids of all processes inside, without this one. */
  pids(): number[] {
    return this.#all.flatMap(pidsInside).filter((pid) => pid !== process.pid);
  }

  /** Kills every process inside and removes namespaces and files. May be called again. */
  remove(): void {
    for (const name of this.#all) removeNamespace(name);
    removeScratch(this.scratch);
  }
}

/** Builds a network; one at a time per process. Needs root. On failure nothing is left and the reason is thrown. */
export function buildTopology(options: TopologyOptions): Topology {
  if (options.clients > MAX_CLIENTS || options.servers > MAX_SERVERS) {
    throw new RangeError(
      `at most ${MAX_CLIENTS} clients and ${MAX_SERVERS} real servers fit the lab's networks`,
    );
  }
  const made: string[] = [];
  const make = (role: string) => {
    const name = createNamespace(role);
    made.push(name);
    return name;
  };
  try {
    const client = make('client');
    const lb = make('lb');
    const rs = options.kind === 'sidecar' ? lb : make('rs');
    const lanMtu = options.lanMtu ?? 1500;
    if (options.kind === 'two-arm') {
      connect(lb, 'wan0', client, 'eth0', 1500);
      connect(lb, 'lan0', rs, 'eth0', lanMtu);
      configure(lb, { wan0: [LB_WAN_IP], lan0: [LB_LAN_IP] });
    } else if (options.kind === 'one-arm') {
      const bridge = make('bridge');
      run([
        'ip',
        '-n',
        bridge,
        'link',
        'add',
        'br0',
        'type',
        'bridge',
        'stp_state',
        '0',
        'forward_delay',
        '0',
      ]);
      connect(bridge, 'tolb', lb, 'eth0', 1500);
      connect(bridge, 'toclient', client, 'eth0', 1500);
      connect(bridge, 'tors', rs, 'eth0', lanMtu);
      for (const port of ['tolb', 'toclient', 'tors']) {
        run(['ip', '-n', bridge, 'link', 'set', port, 'master', 'br0']);
      }
      run(['ip', '-n', bridge, 'link', 'set', 'br0', 'up']);
      configure(lb, { eth0: [LB_WAN_IP, LB_LAN_IP] });
    } else {
      connect(lb, 'eth0', client, 'eth0', 1500);
      configure(lb, { eth0: [LB_WAN_IP] });
    }
    configure(client, { eth0: clientAddresses(options) }, LB_WAN_IP);
    if (rs !== lb) configure(rs, { eth0: serverAddresses(options) }, LB_LAN_IP);
    return new Topology(options, { client, lb, rs }, made);
  } catch (error) {
    for (const name of made) removeNamespace(name);
    throw error;
  }
}

/** A veth pair, both ends up. */
function connect(left: string, leftDevice: string, right: string, rightDevice: string, mtu: number): void {
  const peer = ['peer', 'name', rightDevice, 'netns', right, 'mtu', String(mtu)];
  run(['ip', '-n', left, 'link', 'add', leftDevice, 'mtu', String(mtu), 'type', 'veth', ...peer]);
  run(['ip', '-n', left, 'link', 'set', leftDevice, 'up']);
  run(['ip', '-n', right, 'link', 'set', rightDevice, 'up']);
}

function configure(namespace: string, addresses: Record<string, readonly string[]>, gateway?: string): void {
  const lines = Object.entries(addresses).flatMap(([device, ips]) =>
    ips.map((ip) => `address add ${ip}/24 dev ${device}`),
  );
  if (gateway !== undefined) lines.push(`route add default via ${gateway}`);
  run(['ip', '-n', namespace, '-batch', '-'], `${lines.join('\n')}\n`);
}

function clientAddresses(options: TopologyOptions): string[] {
  const ips = Array.from({ length: options.clients + 1 }, (_, index) => `10.1.0.${FIRST_CLIENT + index}`);
  return ips.filter((ip) => ip !== VIP).slice(0, options.clients);
}

function serverAddresses(options: TopologyOptions): string[] {
  if (options.kind === 'sidecar') return [];
  return Array.from({ length: options.servers }, (_, index) => `10.2.0.${FIRST_SERVER + index}`);
}
