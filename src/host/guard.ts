// Keeps the host's own kernel away from the proxy's packets: nftables tables, one per family in use, that
// drop what comes in for VIP:vport and LIP:lports behind the capture (which sees it before), so that the
// kernel neither answers with ICMP port unreachable nor forwards it, and that leave what raw sockets send
// from there out of connection tracking, so that no NAT rule rewrites it, nor what a local real server
// answers. The tables belong (`flags owner`) to the netlink socket of a child process `nft -i` and vanish
// with it; the child ends at the end of its input, which this process holds: nothing stays, not even after
// SIGKILL.
//
// While the kernel's br_netfilter is loaded, as Docker and Kubernetes do it, frames pass the prerouting hook
// inside a bridge, which is before the capture on the bridge sees them, and not again behind it; the
// interface is the bridge both times. So what comes in by a bridge is only kept from connection tracking and
// NAT there, and dropped in the input and forward hooks.
//
// The chains come before the kernel puts fragments together for connection tracking (priority -400): a first
// fragment to a port of ours is dropped by its ports and noted, those that follow are dropped by the note.
// What overtakes its first fragment cannot be told from another program's on the same address: it waits in
// the kernel and is discarded there without an answer, because the kernel sends none unless it has seen the
// first fragment. Ours that go out would be held there until the last has come, and be cut anew.
import { type ChildProcessWithoutNullStreams, execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { IoError } from '../sys/io-error.ts';
import type { Family } from '../wire/address.ts';
import { PROTOCOL_OPP } from '../wire/ipv4.ts';
import { childFailure } from './child-failure.ts';
import { guardName, hasGuard, POINTS, proxyChain, rangeSet, requireUnclaimed, UNDECIDED } from './claims.ts';
import { type AddressPorts, type LipPorts, mergePorts, ofFamily, type VipPort } from './port-ranges.ts';

const run = promisify(execFile);

const INSTALL_TIMEOUT_MS = 10_000;
const REINSTALL_DELAY_MS = 1_000;

/** A hook priority before the one of nf_defrag_ipv4 and nf_defrag_ipv6 (NF_IP_PRI_CONNTRACK_DEFRAG, -400). */
const BEFORE_DEFRAGMENTATION = -450;
/** How long, and for how many datagrams at once, their begin is remembered. */
const BEGUN_TIMEOUT_S = 5;
const BEGUN_MAX = 65_536;

export interface GuardSpec {
  vips: readonly VipPort[];
  lips: readonly LipPorts[];
  /** What this proxy is called among those of the host; see isGuarded. */
  proxy?: string;
}

export interface Guard {
  /** Name of the nftables tables, of family ip and ip6. */
  readonly table: string;
  /** Removes the tables; they are gone when the promise resolves. */
  remove(): Promise<void>;
}

/**
 * Installs the guard and resolves once it is in force. When its process dies it is installed again, and
 * `onLost` is told in a sentence, also when that fails (then it is tried again every second). `others` are
 * guards of this process that stay for now. Throws an IoError that names what is missing, or what another
 * proxy has.
 */
export async function installGuard(
  spec: GuardSpec,
  onLost: (message: string) => void,
  others: readonly string[] = [],
): Promise<Guard> {
  // The process id tells a person whose table it is; containers that share a network namespace may share the
  // id.
  const table = guardName(process.pid, randomBytes(4).toString('hex'));
  const tables = guardTables(table, spec);
  let removed = false;
  let holder: ChildProcessWithoutNullStreams;

  const watch = (child: ChildProcessWithoutNullStreams) => {
    holder = child;
    child.once('exit', () => {
      if (!removed) void reinstall();
    });
    if (child.exitCode !== null || child.signalCode !== null) void reinstall();
  };
  const reinstall = async () => {
    onLost('the process that held the guard (nft) ended: installing the guard again');
    while (!removed) {
      try {
        const child = await hold(table, tables);
        if (removed) {
          await release(child);
          return;
        }
        watch(child);
        // Meanwhile another proxy may have come.
        await requireUnclaimed(spec, table, others, systemPath()).catch((error: Error) =>
          onLost(error.message),
        );
        decide(child, table, tables);
        return;
      } catch (error) {
        onLost(`the guard could not be installed again: ${(error as Error).message}`);
        await sleep(REINSTALL_DELAY_MS, undefined, { ref: false });
      }
    }
  };

  const first = await hold(table, tables);
  try {
    await requireUnclaimed(spec, table, others, systemPath());
  } catch (error) {
    await release(first);
    throw error;
  }
  decide(first, table, tables);
  watch(first);
  return {
    table,
    async remove() {
      removed = true;
      await release(holder);
    },
  };
}

/**
 * Whether the proxy of that name lives in this network namespace, by a guard that is none of `others`; one
 * that was killed is waited for. Throws an IoError.
 */
export const isGuarded = (proxy: string, others: readonly string[] = []): Promise<boolean> =>
  hasGuard(proxy, others, systemPath());

/** What the two families call the same things; see nft(8). */
const WORDS = {
  4: {
    table: 'ip',
    addressType: 'ipv4_addr',
    id: 'ip id',
    isFragment: 'ip frag-off & 0x3fff != 0',
    isFirst: 'ip frag-off & 0x3fff == 0x2000',
    isLater: 'ip frag-off & 0x1fff != 0',
  },
  6: {
    table: 'ip6',
    addressType: 'ipv6_addr',
    id: 'frag id',
    isFragment: 'exthdr frag exists',
    isFirst: 'frag frag-off 0 frag more-fragments 1',
    isLater: 'frag frag-off != 0',
  },
} as const;

interface Table {
  /** Of nftables: ip or ip6. */
  family: string;
  /** The table in nft's language, without a line break. */
  text: string;
}

/** A table for each family that has an address here: a host without IPv6 is not asked for one of it. */
function guardTables(name: string, spec: GuardSpec): Table[] {
  const addresses = mergePorts(spec.vips, spec.lips);
  return ([4, 6] as const).flatMap((family) => {
    const own = ofFamily(addresses, family);
    return own.length === 0
      ? []
      : [{ family: WORDS[family].table, text: tableText(name, family, own, spec.proxy) }];
  });
}

/** `udp` looks behind IPv6 extension headers, and matches no fragment but the first. */
function tableText(
  name: string,
  family: Family,
  addresses: readonly AddressPorts[],
  proxy: string | undefined,
): string {
  const { table: ip, addressType, id, isFragment, isFirst, isLater } = WORDS[family];
  const elements = (list: readonly string[]) => `elements = { ${list.join(', ')} };`;
  const { points, ranges } = portSets(addresses);
  const sets = [
    `set addresses { type ${addressType}; ${elements(addresses.map((entry) => entry.ip))} };`,
    ...(points.length > 0
      ? [`set ${POINTS} { type ${addressType} . inet_service; ${elements(points)} };`]
      : []),
    ...ranges.map(({ set, ips }) => `set ${set} { type ${addressType}; ${elements(ips)} };`),
  ];
  /** A rule for each way in which a packet's source or destination can be ours. */
  const rules = (before: string, end: 's' | 'd', then: string) => [
    ...(points.length > 0 ? [`${before} ${ip} ${end}addr . udp ${end}port @${POINTS} ${then};`] : []),
    ...ranges.map(({ set, ports }) => `${before} ${ip} ${end}addr @${set} udp ${end}port ${ports} ${then};`),
  ];
  const datagram = `${ip} saddr . ${ip} daddr . ${id}`;
  const isOpp = `meta l4proto ${PROTOCOL_OPP}`;
  const hook = (name: string) =>
    `type filter hook ${name} priority ${BEFORE_DEFRAGMENTATION}; policy accept;`;
  return [
    `table ${ip} ${name} { flags owner;`,
    ...sets,
    `set begun { typeof ${datagram}; flags dynamic, timeout; timeout ${BEGUN_TIMEOUT_S}s; size ${BEGUN_MAX}; };`,
    ...(proxy === undefined ? [] : [`chain ${proxyChain(proxy)} { };`]),
    `chain ${UNDECIDED} { };`,
    'chain own {',
    ...rules(isFirst, 'd', `update @begun { ${datagram} }`),
    `${isLater} ${datagram} @begun drop;`,
    ...rules('', 'd', 'drop'),
    `${ip} daddr @addresses ${isOpp} drop; };`,
    'chain bridged {',
    ...rules('', 'd', 'notrack'),
    // Whichever comes first: one that was held back would be one that the capture never sees.
    `${isFragment} ${ip} daddr @addresses meta l4proto != { icmp, tcp, icmpv6 } notrack;`,
    `${ip} daddr @addresses ${isOpp} notrack; };`,
    `chain receive { ${hook('prerouting')} meta iifkind "bridge" goto bridged; goto own; };`,
    `chain local { ${hook('input')} ${ip} daddr @addresses goto own; };`,
    `chain forward { ${hook('forward')} ${ip} daddr @addresses goto own; };`,
    `chain send { ${hook('output')}`,
    ...rules('', 's', 'notrack'),
    ...rules('', 'd', 'notrack'),
    // Fragments that are made by the kernel itself never pass here.
    `${isFragment} ${ip} saddr @addresses notrack;`,
    `${ip} saddr @addresses ${isOpp} notrack; ${ip} daddr @addresses ${isOpp} notrack; }; }`,
  ].join(' ');
}

/**
 * Single ports as pairs for a set, and each range with the addresses that have it (claims.ts reads both
 * again): so all sets are hash tables. One set of pairs with intervals costs an eighth of the processor at
 * full load (nft_pipapo).
 */
function portSets(addresses: readonly AddressPorts[]): {
  points: string[];
  ranges: { set: string; ports: string; ips: string[] }[];
} {
  const points: string[] = [];
  const bySet = new Map<string, { set: string; ports: string; ips: string[] }>();
  for (const { ip, ranges } of addresses) {
    for (const { first, last } of ranges) {
      if (first === last) {
        points.push(`${ip} . ${first}`);
        continue;
      }
      const set = rangeSet(first, last);
      const known = bySet.get(set);
      if (known === undefined) bySet.set(set, { set, ports: `${first}-${last}`, ips: [ip] });
      else known.ips.push(ip);
    }
  }
  return { points, ranges: [...bySet.values()] };
}

/**
 * The child ends with its input, and by nothing else: not by what a terminal, a service manager or an
 * operator sends to all processes at once. All signals but KILL and STOP, and CHLD and CONT, which end
 * nothing; ignored ones stay ignored after exec. The C library keeps 32 and 33 for itself.
 */
const IGNORED = Array.from({ length: 64 }, (_, index) => index + 1)
  .filter((number) => ![9, 17, 18, 19, 32, 33].includes(number))
  .join(' ');
/** How often one is started that a signal ended before it could ignore it. */
const STARTS_MAX = 3;

/** Starts the child that owns the tables, and resolves when they are there. */
async function hold(name: string, tables: readonly Table[]): Promise<ChildProcessWithoutNullStreams> {
  for (let tries = 1; ; tries++) {
    const child = await tryToHold(name, tables);
    if (child.signalCode === null) return child;
    if (tries === STARTS_MAX) throw explain(`nft ended with ${child.signalCode}`);
  }
}

/** Resolves with a child that a signal ended, too. */
async function tryToHold(name: string, tables: readonly Table[]): Promise<ChildProcessWithoutNullStreams> {
  // nft -i would write its input to ~/.nft.history.
  const child = spawn('sh', ['-c', `trap '' ${IGNORED}; exec nft -i`], {
    stdio: 'pipe',
    detached: true,
    env: { ...systemPath(), HOME: '/nonexistent' },
  });
  if (child.pid === undefined) {
    const [error] = await once(child, 'error'); // it has no streams then
    throw explain(error);
  }
  let complaint = '';
  child.on('error', () => {}); // of a signal that could not be sent, which changes nothing
  child.stderr.on('data', (chunk: Buffer) => {
    complaint = (complaint + chunk).slice(0, 4096);
  });
  child.stdout.resume();
  child.stdin.on('error', () => {}); // it ended first: seen below
  // One line is one transaction.
  child.stdin.write(`${tables.map(({ text }) => text).join('; ')}\n`);
  const deadline = performance.now() + INSTALL_TIMEOUT_MS;
  for (;;) {
    const missing = await whyMissing(name, tables);
    if (missing === undefined) return child;
    if (child.signalCode !== null) return child;
    if (complaint !== '' || child.exitCode !== null) {
      await release(child);
      throw explain(complaint || `nft ended with ${child.exitCode}`);
    }
    if (performance.now() > deadline) {
      await release(child);
      throw explain(`no table after ${INSTALL_TIMEOUT_MS} ms: ${childFailure(missing).cause}`);
    }
    await sleep(10);
  }
}

/** The error of the nft that did not find the tables; undefined when they are there. */
async function whyMissing(name: string, tables: readonly Table[]): Promise<unknown> {
  try {
    for (const { family } of tables) {
      await run('nft', ['-j', 'list', 'chain', family, name, 'send'], { env: systemPath() });
    }
    return undefined;
  } catch (error) {
    return error;
  }
}

/** Other proxies see that the claim is good. */
function decide(child: ChildProcessWithoutNullStreams, name: string, tables: readonly Table[]): void {
  const each = tables.map(({ family }) => `delete chain ${family} ${name} ${UNDECIDED}`);
  child.stdin.write(`${each.join('; ')}\n`);
}

/** Ends the child; with its socket the kernel removes the tables. */
async function release(child: ChildProcessWithoutNullStreams): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.stdin.end();
  const timer = setTimeout(() => child.kill('SIGKILL'), 1_000);
  await ended;
  clearTimeout(timer);
}

/** Of what nft said, or of the error that it was not started with. */
function explain(problem: string | Error): IoError {
  const { cause: text, hint } =
    typeof problem === 'string' ? { cause: problem, hint: undefined } : childFailure(problem);
  const message = text.trim().split('\n')[0];
  if (/not found|ENOENT/.test(text)) {
    return new IoError(
      'the guard needs the command nft, which was not found',
      'install the Debian package nftables',
    );
  }
  if (/not permitted/i.test(text)) {
    return new IoError(
      `cannot install the guard: ${message}`,
      'nftables needs CAP_NET_ADMIN: run as root or give the process that capability',
    );
  }
  return new IoError(
    `cannot install the guard: ${message}`,
    hint ?? 'nftables with tables that have an owner needs Linux 5.12 or later',
  );
}

/** The environment with the folders of system programs in PATH, which an ordinary user's lacks on Debian. */
function systemPath(): NodeJS.ProcessEnv {
  return { ...process.env, PATH: `${process.env.PATH ?? '/usr/bin:/bin'}:/usr/sbin:/sbin` };
}
