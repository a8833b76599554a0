// What tests of next hops share: a host with some interfaces, whose neighbors are known by name, and the
// program that follows its routes.

import { type Cleanup, namespace, type Program, sh, startProgram } from '../io/namespaces.ts';
import { udp4 } from '../packets/builder.ts';
import { udp6 } from '../packets/builder6.ts';
import type { Answer, Hop, Question } from './next-hop-program.ts';

/**
 * A neighbor at 10.<network>.0.<host> and fd00:<network>::<host>, as the Ethernet address that `addNeighbor`
 * gives it.
 */
export const macOf = (network: number, host: number) => `02:00:00:00:${hex(network)}:${hex(host)}`;
const hex = (byte: number) => byte.toString(16).padStart(2, '0');

/**
 * A namespace with the interfaces e1 to e<count>, of which e<n> has 10.<n>.0.1/24 and fd00:<n>::1/64. Its
 * other ends are in the namespace `peer`, as p1 to p<count> without addresses.
 */
export function routedHost(t: Cleanup, count: number): { ns: string; peer: string } {
  const ns = namespace(t, 'h');
  const peer = namespace(t, 'p');
  sh(`ip netns exec ${peer} sysctl -qw net.ipv6.conf.all.disable_ipv6=1`);
  for (let n = 1; n <= count; n++) {
    sh(`ip -n ${ns} link add e${n} type veth peer name p${n} netns ${peer}`);
    sh(`ip -n ${peer} link set p${n} up && ip -n ${ns} link set e${n} up`);
    addAddresses(ns, n);
  }
  return { ns, peer };
}

export function addAddresses(ns: string, network: number): void {
  sh(`ip -n ${ns} address replace 10.${network}.0.1/24 dev e${network}`);
  sh(`ip -n ${ns} address replace fd00:${network}::1/64 dev e${network} nodad`);
}

export function addNeighbor(ns: string, network: number, host: number, state = 'permanent'): void {
  for (const ip of [`10.${network}.0.${host}`, `fd00:${network}::${host}`]) {
    sh(`ip -n ${ns} neigh replace ${ip} lladdr ${macOf(network, host)} dev e${network} nud ${state}`);
  }
}

export function deviceIndex(ns: string, device: string): number {
  return (JSON.parse(sh(`ip -n ${ns} -j link show ${device}`)) as { ifindex: number }[])[0].ifindex;
}

/** After so many lookups of one address its hop is remembered. */
const OFTEN = 20;

export interface Finder {
  program: Program;
  /** The hops to these addresses a second after the last question, or after `laterMs`. */
  find(addresses: readonly string[], laterMs?: number): Promise<(Hop | null)[]>;
  /**
   * The Ethernet addresses that packets to these addresses are sent to; '' when they are left to the IP
   * layer.
   */
  macs(...addresses: string[]): Promise<string[]>;
  /** The same from this source. */
  macsFrom(from: string, ...addresses: string[]): Promise<string[]>;
  /** The interface and MTU towards each of these addresses, as `e1 1500`; the least MTU of all. */
  paths(...addresses: string[]): Promise<{ paths: string[]; leastMtu: number }>;
  /** How often the kernel was asked about a route so far. */
  asked(): Promise<number>;
  /** Rules or routes may mean some sources only. */
  isBySource(): Promise<boolean>;
  /** What the operator was told so far of routes through the IP layer. */
  told(): Promise<string[]>;
}

export async function startFinder(t: Cleanup, ns: string, options: object = {}): Promise<Finder> {
  const program = startProgram(t, ns, 'route/next-hop-program.ts', options);
  await program.next('ready');
  let nowMs = 0;
  const ask = async (find: readonly string[], laterMs = 1_000, how: Partial<Question> = {}) => {
    nowMs += laterMs;
    program.write({ find, nowMs, ...how });
    return program.next<Answer>('found');
  };
  return {
    program,
    find: async (addresses, laterMs) => (await ask(addresses, laterMs)).hops,
    macs: async (...addresses) =>
      (await ask(addresses, 1_000, { times: OFTEN })).hops.map((hop) => hop?.dst ?? ''),
    macsFrom: async (from, ...addresses) =>
      (await ask(addresses, 1_000, { times: OFTEN, from })).hops.map((hop) => hop?.dst ?? ''),
    paths: async (...addresses) => {
      const { paths, leastMtu } = await ask([], 1_000, { paths: addresses, times: OFTEN });
      return { paths: paths.map(({ port, mtu }) => `${port} ${mtu}`.trim()), leastMtu };
    },
    asked: async () => (await ask([])).asked,
    isBySource: async () => (await ask([])).isBySource,
    told: async () => (await ask([])).told,
  };
}

/** Where the kernel sends what packet I/O gives to its IP layer. */
export interface IpLayer {
  /** The Ethernet address that packets to `dst` from each of these are sent to, '' when none leaves. */
  macTo(dst: string, sources: readonly string[]): Promise<string>;
}

/** The host's gateways must be host 2 of each of its two networks. */
export function watchIpLayer(ns: string, { program }: Finder, destinations: readonly string[]): IpLayer {
  const networks = [1, 2];
  const rules = destinations.flatMap((dst, index) =>
    networks.map((n) => {
      const match = `${dst.includes(':') ? 'ip6' : 'ip'} daddr ${dst} oifname "e${n}"`;
      return { counter: `d${index}e${n}`, match };
    }),
  );
  sh(
    `ip netns exec ${ns} nft -f -`,
    `table inet seen {
      ${rules.map(({ counter }) => `counter ${counter} {}`).join('\n')}
      chain out {
        type filter hook postrouting priority 0
        ${rules.map(({ counter, match }) => `${match} counter name ${counter}`).join('\n')}
      }
    }`,
  );
  return {
    async macTo(dst, sources) {
      const packetOf = dst.includes(':') ? udp6 : udp4;
      const packets = sources.map((src) => packetOf({ src, dst, sport: 5001, dport: 6000 }));
      program.write({ send: packets.map((packet) => Buffer.from(packet).toString('hex')) });
      await program.next('sent');
      const listed = JSON.parse(sh(`ip netns exec ${ns} nft -j reset counters table inet seen`)) as {
        nftables: { counter?: { name: string; packets: number } }[];
      };
      const seen = networks.map((n) => {
        const name = `d${destinations.indexOf(dst)}e${n}`;
        return listed.nftables.find(({ counter }) => counter?.name === name)!.counter!.packets;
      });
      if (seen.every((count) => count === 0)) return '';
      const way = seen.indexOf(sources.length);
      if (way < 0) throw new Error(`packets to ${dst} went different ways: ${seen.join(', ')}`);
      return macOf(networks[way], 2);
    },
  };
}
