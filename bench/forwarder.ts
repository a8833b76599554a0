// The programs that are measured, all in the same place of the same network: uoa-proxy itself, and what a user might take
// instead, the kernel's NAT and nginx. Each sends VIP:VPORT on to the one real server, from the one LIP.
import { spawnSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { LIPS, type Topology, VIPS, VPORT } from '../src/lab/topology.ts';
import { nodeArgv } from './load.ts';
import { generatorCpu } from './machine.ts';

export interface Forwarder {
  readonly name: string;
  /** What a reader must know to judge the figure. */
  readonly note: string;
  /** Throws when it is not running any more. */
  check(): void;
  stop(): Promise<void>;
}

/** First lport that the proxy hands out: sessions of the bench have this one and those that follow. */
export const FIRST_LPORT = 1024;
export const METRICS_URL = 'http://127.0.0.1:9464/metrics';
const READY_TIMEOUT_MS = 15_000;
const STOP_TIMEOUT_MS = 5000;

/** The real program: dist when it is built, else the sources. */
export async function startProxy(topology: Topology): Promise<Forwarder> {
  const config = join(topology.scratch, 'proxy.yaml');
  writeFileSync(
    config,
    `io: { wan: wan0, lan: lan0, assignAddresses: true }
admin: { listen: 127.0.0.1:9464 }
log: { format: json }
services:
  - name: bench
    vip: ${VIPS[4]}
    vport: ${VPORT}
    lips: [${LIPS[4][0]}]
    lports: ${FIRST_LPORT}-65535
    realServers:
      - { ip: ${topology.serverIps[4][0]}, port: ${VPORT} }
`,
  );
  const built = fileURLToPath(new URL('../dist/main.js', import.meta.url));
  const isBuilt = existsSync(built);
  const program = isBuilt ? [process.execPath, built] : nodeArgv('../src/main.ts');
  const running = startProgram(topology, [...program, 'run', '--config', config]);
  await running.until('"msg":"ready"');
  return { name: 'uoa-proxy', note: isBuilt ? 'dist, io.mode pcap' : 'src, io.mode pcap', ...running };
}

/** DNAT and SNAT with connection tracking, in the kernel of the LB namespace. */
export async function startKernelNat(topology: Topology): Promise<Forwarder> {
  const rip = topology.serverIps[4][0];
  topology.exec('lb', ['sh', '-ec', 'echo 1 > /proc/sys/net/ipv4/ip_forward']);
  topology.exec(
    'lb',
    ['nft', '-f', '-'],
    `table ip bench {
      chain pre { type nat hook prerouting priority dstnat; ip daddr ${VIPS[4]} udp dport ${VPORT} dnat to ${rip}:${VPORT}; }
      chain post { type nat hook postrouting priority srcnat; ip daddr ${rip} udp dport ${VPORT} snat to ${LIPS[4][0]}; }
    }`,
  );
  // Without this the kernel forwards within the generator's own system calls, on the generator's processor.
  const cpu = generatorCpu();
  if (cpu >= 0) {
    const mask = (1 << (cpu === 0 ? 1 : 0)).toString(16);
    topology.exec('lb', ['sh', '-ec', `echo ${mask} > /sys/class/net/wan0/queues/rx-0/rps_cpus`]);
  }
  return {
    name: 'kernel DNAT+SNAT',
    note:
      cpu >= 0
        ? 'nftables, conntrack; receive packet steering to one other processor'
        : 'nftables, conntrack',
    check() {},
    async stop() {
      topology.exec('lb', ['nft', 'delete', 'table', 'ip', 'bench']);
      topology.exec('lb', ['sh', '-ec', 'echo 0 > /proc/sys/net/ipv4/ip_forward']);
      topology.exec('lb', ['sh', '-ec', 'echo 0 > /sys/class/net/wan0/queues/rx-0/rps_cpus']);
    },
  };
}

/** nginx's stream module, one worker; undefined when nginx or the module is not installed. */
export async function startNginx(topology: Topology): Promise<Forwarder | undefined> {
  const nginx = spawnSync('sh', ['-c', 'PATH=$PATH:/usr/sbin command -v nginx'], {
    encoding: 'utf8',
  }).stdout.trim();
  const module = join(dirname(nginx), '../lib/nginx/modules/ngx_stream_module.so');
  if (nginx === '' || !existsSync(module)) return undefined;
  for (const [ip, device] of [[VIPS[4], 'wan0'] as const, [LIPS[4][0], 'lan0'] as const]) {
    topology.exec('lb', ['ip', 'address', 'add', `${ip}/32`, 'dev', device]);
  }
  const config = join(topology.scratch, 'nginx.conf');
  writeFileSync(
    config,
    `load_module ${module};
daemon off; user root; worker_processes 1; worker_rlimit_nofile 65536;
pid ${topology.scratch}/nginx.pid; error_log stderr warn;
events { worker_connections 32768; }
stream { server {
  listen ${VIPS[4]}:${VPORT} udp;
  proxy_pass ${topology.serverIps[4][0]}:${VPORT}; proxy_bind ${LIPS[4][0]}; proxy_timeout 300s;
} }
`,
  );
  const running = startProgram(topology, [nginx, '-p', topology.scratch, '-c', config]);
  await sleep(500);
  running.check();
  const stop = async (): Promise<void> => {
    await running.stop();
    topology.exec('lb', ['ip', 'address', 'del', `${VIPS[4]}/32`, 'dev', 'wan0']);
    topology.exec('lb', ['ip', 'address', 'del', `${LIPS[4][0]}/32`, 'dev', 'lan0']);
  };
  return { name: 'nginx stream', note: 'proxy_bind, one worker', check: running.check, stop };
}

interface Running {
  /** Resolves when the program has written `text`. */
  until(text: string): Promise<void>;
  check(): void;
  stop(): Promise<void>;
}

function startProgram(topology: Topology, argv: readonly string[]): Running {
  const child = topology.spawn('lb', argv, { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  let exit: string | undefined;
  const keep = (chunk: Buffer) => {
    output = (output + chunk.toString()).slice(-20_000);
  };
  child.stdout?.on('data', keep);
  child.stderr?.on('data', keep);
  child.on('exit', (code, signal) => {
    exit = signal ?? `exit code ${code}`;
  });
  const check = (): void => {
    if (exit !== undefined) throw new Error(`${argv.join(' ')} ended (${exit}):\n${output}`);
  };
  return {
    check,
    async until(text) {
      const deadline = Date.now() + READY_TIMEOUT_MS;
      while (!output.includes(text)) {
        check();
        if (Date.now() > deadline) throw new Error(`${argv.join(' ')} did not start in time:\n${output}`);
        await sleep(50);
      }
    },
    async stop() {
      child.kill('SIGTERM');
      const deadline = Date.now() + STOP_TIMEOUT_MS;
      while (exit === undefined && Date.now() < deadline) await sleep(20);
      if (exit === undefined) child.kill('SIGKILL');
    },
  };
}
