// The embedded lab: clients, the proxy and real servers, each in a network namespace of its own, linked by
// veth pairs; real programs, real packets. Shows a person what happens and judges it. Leaves nothing behind.
import { spawnSync } from 'node:child_process';
import { formatEndpoint } from '../wire/address.ts';
import { startCapture } from './capture.ts';
import { demonstrate } from './demonstration.ts';
import { dialectRefusal, FAMILY_PAIRS, type FamilyName, type LabDialect } from './family.ts';
import { labConfig, labVports } from './lab-config.ts';
import { ClientLoad, RealServers } from './load.ts';
import { removeAll, removeLeftovers } from './namespace.ts';
import { ADMIN, ProxyProcess } from './programs.ts';
import { judge, learnedTables, picture } from './report.ts';
import { heading, paint, say, status } from './screen.ts';
import { buildTopology, families, type Topology, VIPS } from './topology.ts';

export interface LabOptions {
  /** Run a bounded load and end by itself; otherwise stay up until Ctrl-C. */
  once: boolean;
  clients: number;
  servers: number;
  dialect: LabDialect;
  family: FamilyName;
  /** The proxy's entry, main.js or main.ts. */
  mainPath: string;
  /** Also print what the proxy prints. */
  verbose: boolean;
}

const SERVER_PORT = 6000;
const STATUS_EVERY_MS = 1000;
/**
 * What may not be seen towards clients: options, protocol 248, ICMP; of ICMPv6 the errors, because neighbours
 * ask.
 */
const STRAYS =
  '(ip and (ip[0] & 0x0f > 5 or ip proto 248 or icmp)) or ' +
  '(ip6 and (ip6[6] = 60 or ip6[6] = 248 or (ip6[6] = 58 and ip6[40] < 128)))';
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const;

class Interrupted extends Error {}

/**
 * Resolves with the exit code: 0 when no datagram was lost, altered or unattributed; 130 when --once is
 * interrupted.
 */
export async function runLab(options: LabOptions): Promise<number> {
  const missing = missingRequirement(options);
  if (missing !== undefined) {
    process.stderr.write(`uoa-proxy lab: ${missing}\n`);
    return 1;
  }
  const gone = removeLeftovers();
  if (gone.length > 0) say(paint('dim', `removed what an earlier run left behind: ${gone.join(', ')}`));
  const interrupt = listenForInterrupt();
  try {
    return await runIn(buildTopology({ kind: 'two-arm', ...options }), options, interrupt);
  } catch (error) {
    if (error instanceof Interrupted) return 130;
    process.stderr.write(`uoa-proxy lab: ${(error as Error).message}\n`);
    return 1;
  } finally {
    removeAll();
    interrupt.ignore();
  }
}

async function runIn(topology: Topology, options: LabOptions, interrupt: Interrupt): Promise<number> {
  const { once, dialect, family, mainPath, verbose } = options;
  const pair = FAMILY_PAIRS[family];
  const vports = labVports();
  picture(topology, pair, vports, dialect);

  const serverIps = topology.serverIps[pair.server];
  const servers = new RealServers(topology, serverIps, SERVER_PORT);
  await interrupt.during(servers.ready());
  const config = labConfig({ serverIps, port: SERVER_PORT, dialect });
  const proxy = new ProxyProcess(topology, mainPath, config, verbose ? sayOutput : undefined);
  await interrupt.during(proxy.ready());
  say(`  proxy ready, admin on http://${ADMIN} in namespace ${topology.namespaces.lb}`);

  const shown = await interrupt.during(demonstrate({ topology, pair, dialect, vport: vports[0] }));
  const witness = await startCapture(topology, 'lb', topology.wan, STRAYS);
  heading(once ? 'Load' : 'Running');
  const load = new ClientLoad(topology, pair, dialect, vports, once);
  if (!once) howToEnter(topology);
  const ticker = setInterval(() => status(statusLine(load, servers)), STATUS_EVERY_MS);
  try {
    if (once) await interrupt.during(load.ended());
    else await Promise.race([load.ended(), interrupt.happened]);
  } finally {
    clearInterval(ticker);
  }
  say(statusLine(load, servers));

  const clients = await load.finish(shown);
  const metrics = (await proxy.get('/metrics')).body;
  const outcome = {
    dialect,
    virtuals: vports.map((vport) => formatEndpoint(VIPS[pair.client], vport)),
    clients,
    servers: await servers.finish(),
    metrics,
    proxyExitCode: await proxy.stop(),
    strays: undefined as number | undefined,
  };
  await witness?.stop();
  outcome.strays = witness?.packets.length;
  learnedTables(outcome);
  const passed = judge(outcome);
  say();
  say(passed ? paint('green', 'PASS') : paint('red', 'FAIL'));
  return passed ? 0 : 1;
}

function statusLine(load: ClientLoad, servers: RealServers): string {
  const { sent, received, missing, altered } = load.totals;
  const { attributed, unattributed, wrong } = servers.totals;
  return (
    `  sent ${sent}  answered ${received}  lost ${missing}  altered ${altered}` +
    `  |  attributed ${attributed}  not ${unattributed + wrong}`
  );
}

function howToEnter({ namespaces }: Topology): void {
  say('  look around:');
  say(`    ip netns exec ${namespaces.lb} curl -s http://${ADMIN}/metrics`);
  say(`    ip netns exec ${namespaces.lb} curl -s http://${ADMIN}/sessions`);
  say(`    ip netns exec ${namespaces.lb} tcpdump -ni lan0`);
  say(`    ip netns exec ${namespaces.client} bash`);
  say(`    ip netns exec ${namespaces.rs} bash`);
  say('  Ctrl-C ends it and prints the counters');
}

function sayOutput(text: string): void {
  for (const line of text.trimEnd().split('\n')) say(paint('dim', `  proxy: ${line}`));
}

/** Why the lab cannot run here; undefined when it can. */
function missingRequirement({ dialect, family }: LabOptions): string | undefined {
  const refusal = dialectRefusal(dialect, family);
  if (refusal !== undefined) return refusal;
  if (process.platform !== 'linux') return 'it needs Linux (network namespaces)';
  if (process.getuid?.() !== 0) return 'it makes network namespaces and must run as root: sudo uoa-proxy lab';
  const { client, server } = FAMILY_PAIRS[family];
  if (!families().includes(client) || !families().includes(server)) {
    return `this kernel has no IPv6, which --family ${family} needs`;
  }
  for (const [command, packageName] of [['ip', 'iproute2'] as const, ['nft', 'nftables'] as const]) {
    if (spawnSync(command, ['-V']).error) {
      return `it needs the program "${command}"; on Debian: apt-get install ${packageName}`;
    }
  }
  return undefined;
}

interface Interrupt {
  happened: Promise<void>;
  /** Waits for `work`, or rejects with Interrupted when the person ends the lab first. */
  during<T>(work: Promise<T>): Promise<T>;
  /** Gives the signals back. */
  ignore(): void;
}

function listenForInterrupt(): Interrupt {
  let interrupted = false;
  let settle: () => void = () => {};
  const happened = new Promise<void>((resolve) => {
    settle = resolve;
  });
  const onSignal = () => {
    // Again: do not wait for anybody; the exit hook removes everything.
    if (interrupted) process.exit(130);
    interrupted = true;
    settle();
  };
  for (const signal of SIGNALS) process.on(signal, onSignal);
  // A reader that went away (EPIPE) does not want to see more.
  process.stdout.on('error', settle);
  const failure = happened.then(() => {
    throw new Interrupted();
  });
  failure.catch(() => {});
  return {
    happened,
    during: (work) => {
      work.catch(() => {});
      return Promise.race([work, failure]);
    },
    ignore() {
      for (const signal of SIGNALS) process.off(signal, onSignal);
      // The handler for a reader that went away stays: the last lines may still be under way.
    },
  };
}
