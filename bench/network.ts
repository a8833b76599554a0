// A network of its own for each forwarder, all alike and there at the same time, so that measurements can
// take turns:
//
// client eth0 10.1.0.2 ── wan0 10.1.0.1 lb lan0 10.2.0.1 ── eth0 10.2.0.11 rs
//
// Clients have addresses from 11.0.0.0/8 on and are behind 10.1.0.2, as clients are behind a router.
// Neighbours are fixed: nobody waits for an answer to ARP, and nobody's is measured.
import type { ChildProcess } from 'node:child_process';
import {
  createNamespace,
  inNamespace,
  pidsInside,
  removeNamespace,
  run,
  spawnIn,
} from '../src/lab/namespace.ts';

export const VIP = '10.1.0.100';
export const RIP = '10.2.0.11';
export const PORT = 6000;
/** Enough for 1,200,000 sessions with one real server, of at most 64,512 ports each. */
export const LIPS = Array.from({ length: 20 }, (_, index) => `10.2.0.${200 + index}`);
const ROUTER = '10.1.0.2';
const CLIENTS = '11.0.0.0/8';

export class Network {
  readonly label: string;
  readonly client: string;
  readonly lb: string;
  readonly rs: string;

  /** Builds it. `label`: letters and digits, another one for each. On failure nothing is left. */
  constructor(label: string) {
    this.label = label;
    const made: string[] = [];
    const make = (role: string): string => {
      made.push(createNamespace(`${label}${role}`));
      return made.at(-1)!;
    };
    try {
      this.client = make('client');
      this.lb = make('lb');
      this.rs = make('rs');
      connect(this.lb, 'wan0', this.client);
      connect(this.lb, 'lan0', this.rs);
      ip(this.client, 'address', 'add', `${ROUTER}/24`, 'dev', 'eth0');
      ip(this.lb, 'address', 'add', '10.1.0.1/24', 'dev', 'wan0');
      ip(this.lb, 'address', 'add', '10.2.0.1/24', 'dev', 'lan0');
      ip(this.rs, 'address', 'add', `${RIP}/24`, 'dev', 'eth0');
      ip(this.lb, 'route', 'add', CLIENTS, 'via', ROUTER);
      ip(this.rs, 'route', 'add', 'default', 'via', '10.2.0.1');
      fixNeighbor(this.lb, 'wan0', ROUTER, macOf(this.client, 'eth0'));
      fixNeighbor(this.lb, 'lan0', RIP, macOf(this.rs, 'eth0'));
      for (const lip of ['10.2.0.1', ...LIPS]) fixNeighbor(this.rs, 'eth0', lip, macOf(this.lb, 'lan0'));
    } catch (error) {
      for (const name of made) removeNamespace(name);
      throw error;
    }
  }

  /** For a client that is a socket: it finds the VIP whether somebody has that address or not. */
  fixVip(): void {
    fixNeighbor(this.client, 'eth0', VIP, macOf(this.lb, 'wan0'));
  }

  /** Runs a command where the forwarder is. */
  exec(argv: readonly string[], input?: string): string {
    return run(inNamespace(this.lb, argv), input);
  }

  /** Writes settings of the kernel there: path below /proc/sys to value. */
  set(settings: Record<string, string | number>): void {
    const lines = Object.entries(settings).map(([path, value]) => `echo ${value} > /proc/sys/${path}`);
    this.exec(['sh', '-ec', lines.join('\n')]);
  }

  /** Starts a program there; it is killed when the network is removed. */
  spawn(argv: readonly string[]): ChildProcess {
    return spawnIn(this.lb, argv, { stdio: ['ignore', 'pipe', 'pipe'] });
  }

  pids(): number[] {
    return pidsInside(this.lb);
  }

  remove(): void {
    for (const name of [this.client, this.lb, this.rs]) removeNamespace(name);
  }
}

/** The Ethernet address of an interface. */
export function macOf(namespace: string, device: string): string {
  const text = run(['ip', '-n', namespace, '-o', 'link', 'show', device]);
  const mac = /link\/ether ([0-9a-f:]+)/.exec(text)?.[1];
  if (mac === undefined) throw new Error(`${device} has no Ethernet address`);
  return mac;
}

function connect(lb: string, device: string, other: string): void {
  ip(lb, 'link', 'add', device, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', other);
  ip(lb, 'link', 'set', device, 'up');
  ip(other, 'link', 'set', 'eth0', 'up');
}

function fixNeighbor(namespace: string, device: string, address: string, mac: string): void {
  ip(namespace, 'neighbor', 'replace', address, 'lladdr', mac, 'dev', device, 'nud', 'permanent');
}

function ip(namespace: string, ...argv: string[]): void {
  run(['ip', '-n', namespace, ...argv]);
}
