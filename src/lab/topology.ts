// The three networks of the lab and the end-to-end tests, built from namespaces and veth pairs with their
// default offloads, so that the proxy meets unfinished checksums and super packets as it does on a real host.
//
// two-arm   client eth0 10.1.0.0/24 ── wan0 lb lan0 ── 10.2.0.0/24 eth0 rs
// one-arm   client eth0 ─┐ bridge ┌─ eth0 rs      both networks on one link; lb has both addresses
//                        └ lb eth0┘
// sidecar   client eth0 10.1.0.0/24 ── eth0 lb    the real server runs in the lb namespace
//
// IPv6 is beside IPv4 everywhere: fd00:1::/64 and fd00:2::/64. The last group has the digits of the last IPv4
// byte, so that 10.1.0.12 and fd00:1::12 are one host.
import type { ChildProcess, SpawnOptions } from 'node:child_process';
import { existsSync } from 'node:fs';
import type { Family } from '../wire/address.ts';
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

export type PerFamily<T> = Readonly<Record<Family, T>>;
export type TopologyKind = 'two-arm' | 'one-arm' | 'sidecar';
export type Role = 'client' | 'lb' | 'rs';
type Namespaces = Readonly<Record<Role, string> & { bridge?: string }>;

export interface TopologyOptions {
  kind: TopologyKind;
  /** Number of client addresses of each family, from 10.1.0.2 on, at most 200; the VIP is left out. */
  clients: number;
  /** Number of real-server addresses of each family, from 10.2.0.11 on, at most 100; not used by sidecar. */
  servers: number;
  /** MTU of the link to the real servers; 1500 by default. */
  lanMtu?: number;
}

const NETWORK: PerFamily<{ clients: string; servers: string; prefixLen: number }> = {
  4: { clients: '10.1.0.', servers: '10.2.0.', prefixLen: 24 },
  6: { clients: 'fd00:1::', servers: 'fd00:2::', prefixLen: 64 },
};
const VIP_NUMBER = 100;

/** Addresses that the proxy assigns, and the lb's own. */
export const VIPS = perFamily((family) => `${NETWORK[family].clients}${VIP_NUMBER}`);
export const LIPS = perFamily((family) => [200, 201].map((number) => `${NETWORK[family].servers}${number}`));
export const LB_WAN_IPS = perFamily((family) => `${NETWORK[family].clients}1`);
export const LB_LAN_IPS = perFamily((family) => `${NETWORK[family].servers}1`);
export const VPORT = 6000;

const FIRST_CLIENT = 2;
const MAX_CLIENTS = 200;
const FIRST_SERVER = 11;
const MAX_SERVERS = 100;

export class Topology {
  readonly kind: TopologyKind;
  /** Names of the namespaces; in a sidecar, rs is the lb's. Only a one-arm network has a bridge. */
  readonly namespaces: Namespaces;
  readonly clientIps: PerFamily<readonly string[]>;
  readonly serverIps: PerFamily<readonly string[]>;
  /** The lb's interfaces towards clients and towards real servers. */
  readonly wan: string;
  readonly lan: string;
  /** Folder for files of this run. */
  readonly scratch: string;
  readonly #all: readonly string[];

  constructor(options: TopologyOptions, namespaces: Namespaces, all: readonly string[]) {
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

/**
 * Builds a network; one at a time per process. Needs root. On failure nothing is left and the reason is
 * thrown.
 */
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
    let bridge: string | undefined;
    if (options.kind === 'two-arm') {
      connect(lb, 'wan0', client, 'eth0', 1500);
      connect(lb, 'lan0', rs, 'eth0', lanMtu);
      configure(lb, { wan0: [LB_WAN_IPS], lan0: [LB_LAN_IPS] });
    } else if (options.kind === 'one-arm') {
      bridge = make('bridge');
      const withoutDelay = ['stp_state', '0', 'forward_delay', '0'];
      run(['ip', '-n', bridge, 'link', 'add', 'br0', 'type', 'bridge', ...withoutDelay]);
      connect(bridge, 'tolb', lb, 'eth0', 1500);
      connect(bridge, 'toclient', client, 'eth0', 1500);
      connect(bridge, 'tors', rs, 'eth0', lanMtu);
      for (const port of ['tolb', 'toclient', 'tors']) {
        run(['ip', '-n', bridge, 'link', 'set', port, 'master', 'br0']);
      }
      run(['ip', '-n', bridge, 'link', 'set', 'br0', 'up']);
      configure(lb, { eth0: [LB_WAN_IPS, LB_LAN_IPS] });
    } else {
      connect(lb, 'eth0', client, 'eth0', 1500);
      configure(lb, { eth0: [LB_WAN_IPS] });
    }
    configure(client, { eth0: [clientAddresses(options)] }, LB_WAN_IPS);
    if (rs !== lb) configure(rs, { eth0: [serverAddresses(options)] }, LB_LAN_IPS);
    return new Topology(options, { client, lb, rs, ...(bridge && { bridge }) }, made);
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

/** Addresses by device, a default route for each family that has a gateway. */
function configure(
  namespace: string,
  devices: Record<string, readonly PerFamily<string | readonly string[]>[]>,
  gateways?: PerFamily<string>,
): void {
  for (const family of families()) {
    const lines = Object.entries(devices).flatMap(([device, addresses]) =>
      addresses
        .flatMap((ips) => ips[family])
        .map(
          (ip) =>
            `address add ${ip}/${NETWORK[family].prefixLen} dev ${device}${family === 6 ? ' nodad' : ''}`,
        ),
    );
    if (gateways !== undefined) lines.push(`route add default via ${gateways[family]}`);
    run(['ip', `-${family}`, '-n', namespace, '-batch', '-'], `${lines.join('\n')}\n`);
  }
}

/** Those that this kernel has. */
export function families(): Family[] {
  return existsSync('/proc/net/if_inet6') ? [4, 6] : [4];
}

function perFamily<T>(make: (family: Family) => T): PerFamily<T> {
  return { 4: make(4), 6: make(6) };
}

function clientAddresses(options: TopologyOptions): PerFamily<string[]> {
  const numbers = Array.from({ length: options.clients + 1 }, (_, index) => FIRST_CLIENT + index)
    .filter((number) => number !== VIP_NUMBER)
    .slice(0, options.clients);
  return perFamily((family) => numbers.map((number) => `${NETWORK[family].clients}${number}`));
}

function serverAddresses(options: TopologyOptions): PerFamily<string[]> {
  const count = options.kind === 'sidecar' ? 0 : options.servers;
  const numbers = Array.from({ length: count }, (_, index) => FIRST_SERVER + index);
  return perFamily((family) => numbers.map((number) => `${NETWORK[family].servers}${number}`));
}
