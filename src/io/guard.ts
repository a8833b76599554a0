// Keeps the host's own kernel away from the proxy's packets: an nftables table that drops what comes in for VIP:vport
// and LIP:lports behind the capture (which sees it before), so that the kernel neither answers with ICMP port unreachable
// nor forwards it, and that leaves what raw-socket sends from there out of connection tracking, so that no NAT rule
// rewrites it, nor what a local real server answers. The table belongs (`flags owner`) to the netlink socket of a child
// process `nft -i` and vanishes with it; the child ends at the end of its input, which this process holds: nothing stays,
// not even after SIGKILL.
//
// Not covered, because without ports a packet cannot be told from another program's on the same address: fragments but
// the first, where the host does not reassemble before (it does once connection tracking is in use). They wait in the
// kernel's reassembly for the first one, which the guard drops, and are discarded there after 30 s (ipfrag_time) within
// ipfrag_high_thresh, without an answer: the kernel sends none unless it has seen the first fragment.
import { type ChildProcessWithoutNullStreams, execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { PROTOCOL_OPP } from '../wire/ipv4.ts';
import { IoError } from './io-error.ts';
import { type LipPorts, mergePorts, type VipPort } from './port-ranges.ts';

const run = promisify(execFile);

const INSTALL_TIMEOUT_MS = 10_000;
const REINSTALL_DELAY_MS = 1_000;

export interface GuardSpec {
  vips: readonly VipPort[];
  lips: readonly LipPorts[];
}

export interface Guard {
  /** Name of the nftables table, family ip. */
  readonly table: string;
  /** Removes the table; it is gone when the promise resolves. */
  remove(): Promise<void>;
}

/**
 * Installs the guard and resolves once it is in force. When its process dies it is installed again, and `onLost` is told
 * in a sentence, also when that fails (then it is tried again every second). Throws an IoError that names what is missing.
 */
export async function installGuard(spec: GuardSpec, onLost: (message: string) => void): Promise<Guard> {
  // The process id tells a person whose table it is; containers that share a network namespace may share the id.
  const table = `uoa_proxy_${process.pid}_${randomBytes(2).toString('hex')}`;
  const ruleset = guardRuleset(table, spec);
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
        const child = await hold(table, ruleset);
        if (removed) await release(child);
        else watch(child);
        return;
      } catch (error) {
        onLost(`the guard could not be installed again: ${(error as Error).message}`);
        await sleep(REINSTALL_DELAY_MS, undefined, { ref: false });
      }
    }
  };

  watch(await hold(table, ruleset));
  return {
    table,
    async remove() {
      removed = true;
      await release(holder);
    },
  };
}

/** The table as one line of nft's language, so that it is one transaction. */
export function guardRuleset(table: string, spec: GuardSpec): string {
  const addresses = mergePorts(spec.vips, spec.lips);
  const ips = addresses.map(({ ip }) => ip).join(', ');
  const ports = addresses
    .flatMap(({ ip, ranges }) =>
      ranges.map(({ first, last }) => `${ip} . ${first === last ? first : `${first}-${last}`}`),
    )
    .join(', ');
  return (
    `table ip ${table} { flags owner; ` +
    `set addresses { type ipv4_addr; elements = { ${ips} }; }; ` +
    `set ports { type ipv4_addr . inet_service; flags interval; elements = { ${ports} }; }; ` +
    'chain receive { type filter hook prerouting priority raw; policy accept; ' +
    'ip daddr . udp dport @ports drop; ' +
    `ip daddr @addresses ip protocol ${PROTOCOL_OPP} drop; }; ` +
    'chain send { type filter hook output priority raw; policy accept; ' +
    'ip saddr . udp sport @ports notrack; ip daddr . udp dport @ports notrack; ' +
    `ip saddr @addresses ip protocol ${PROTOCOL_OPP} notrack; ip daddr @addresses ip protocol ${PROTOCOL_OPP} notrack; }; }`
  );
}

/** Starts the child that owns the table, and resolves when the table is there. */
async function hold(table: string, ruleset: string): Promise<ChildProcessWithoutNullStreams> {
  // It must outlive the signals that a terminal or a service manager sends to all processes at once, until the proxy has
  // stopped: ignored signals stay ignored after exec. nft -i would write its input to ~/.nft.history.
  const child = spawn('sh', ['-c', "trap '' TERM INT HUP; exec nft -i"], {
    stdio: 'pipe',
    detached: true,
    env: { ...systemPath(), HOME: '/nonexistent' },
  });
  let complaint = '';
  let failure: Error | undefined;
  child.on('error', (error) => {
    failure = error;
  });
  child.stderr.on('data', (chunk: Buffer) => {
    complaint = (complaint + chunk).slice(0, 4096);
  });
  child.stdout.resume();
  child.stdin.on('error', () => {}); // it ended first: seen below
  child.stdin.write(`${ruleset}\n`);
  const deadline = performance.now() + INSTALL_TIMEOUT_MS;
  while (!(await isInstalled(table))) {
    if (failure !== undefined) throw explain(failure.message);
    if (complaint !== '' || child.exitCode !== null || child.signalCode !== null) {
      await release(child);
      throw explain(complaint || `nft ended with ${child.exitCode ?? child.signalCode}`);
    }
    if (performance.now() > deadline) {
      await release(child);
      throw explain(`no table after ${INSTALL_TIMEOUT_MS} ms`);
    }
    await sleep(10);
  }
  return child;
}

async function isInstalled(table: string): Promise<boolean> {
  try {
    await run('nft', ['-j', 'list', 'chain', 'ip', table, 'send'], { env: systemPath() });
    return true;
  } catch {
    return false;
  }
}

/** Ends the child; with its socket the kernel removes the table. */
async function release(child: ChildProcessWithoutNullStreams): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.stdin.end();
  const timer = setTimeout(() => child.kill('SIGKILL'), 1_000);
  await ended;
  clearTimeout(timer);
}

function explain(text: string): IoError {
  const message = text.trim().split('\n')[0]!;
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
    'nftables with tables that have an owner needs Linux 5.12 or later',
  );
}

/** The environment with the folders of system programs in PATH, which an ordinary user's lacks on Debian. */
function systemPath(): NodeJS.ProcessEnv {
  return { ...process.env, PATH: `${process.env.PATH ?? '/usr/bin:/bin'}:/usr/sbin:/sbin` };
}
