// uoa-proxy itself, the real program with its real config: dist when it is built, else the sources.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { createScratch } from '../../src/lab/namespace.ts';
import { nodeArgv } from '../child.ts';
import { metricsOf, sumOf } from '../metrics.ts';
import { LIPS, PORT, RIP, VIP } from '../network.ts';
import { steerToForwarderCpu, threadNapi } from '../processors.ts';
import { count } from '../table.ts';
import { type Forwarder, SESSION_SECONDS, type Start } from './forwarder.ts';
import { type Program, startProgram } from './program.ts';

export interface ProxyOptions {
  mode: 'ring' | 'pcap';
  /** Keys of `io`, as YAML: `workers: 2`. */
  io?: string;
  fastPath?: 'xdp' | 'tc';
  opensPerSecond: number;
  neverSleeps?: boolean;
  /** How many are configured; only one of them gets packets. */
  services?: number;
  maxSessions?: number;
  /** A mounted bpffs of its own: it can be restarted. */
  bpffs?: string;
}

export const MAX_SESSIONS = 1_000_000;
/** A part of the table that answered sessions leave to others. */
const LEFT_FREE = 1 / 31;

const HOT_SESSIONS = 'uoa_proxy_fast_path_sessions';

/** The first vport of services that get no packets. */
const OTHERS_PORT = 20_000;

export function proxy(options: ProxyOptions): Start {
  const {
    mode,
    fastPath,
    opensPerSecond,
    neverSleeps = false,
    services = 1,
    maxSessions = MAX_SESSIONS,
    bpffs,
  } = options;
  const io = fastPath === undefined ? options.io : `fastPath: ${fastPath}`;
  const ioKeys = fastPath === undefined ? ['fastPath: off', ...(io === undefined ? [] : [io])] : [io];
  return async (network): Promise<Forwarder> => {
    const scratch = createScratch();
    const config = join(scratch, 'proxy.yaml');
    const stateFile = bpffs === undefined ? '' : `, stateFile: ${join(scratch, 'state')}`;
    const text = `io: { mode: ${mode}, wan: wan0, lan: lan0, assignAddresses: true, ${ioKeys.join(', ')} }
admin: { listen: 127.0.0.1:9464, socket: ${join(scratch, 'admin.sock')} }
log: { format: json }
# One way means that no real server answers: by default such sessions are only a part of the table.
sessions: { max: ${Math.ceil(maxSessions * (1 + LEFT_FREE))}, onewayShare: 100, lportReserve: 0${stateFile} }
services:
${Array.from({ length: services }, (_, i) => serviceOn(i === 0 ? PORT : OTHERS_PORT + i)).join('')}`;
    writeFileSync(config, text);
    const built = fileURLToPath(new URL('../../dist/main.js', import.meta.url));
    const isBuilt = existsSync(built);
    const argv = isBuilt ? [process.execPath, built] : nodeArgv('../src/main.ts');
    const under =
      bpffs === undefined ? [] : ['sh', '-c', 'mount --bind "$0" /sys/fs/bpf && exec "$@"', bpffs];
    const start = async (...options: string[]): Promise<Program> => {
      const started = startProgram(network, [...under, ...argv, 'run', ...options, '--config', config]);
      await started.until('"msg":"ready"');
      return started;
    };
    let program = await start();
    let isRestarting = false;
    let reloads = 1;
    // A thread that is kept waiting loses packets, and those are no restart's.
    const napi = fastPath === 'xdp' && bpffs === undefined ? threadNapi(network) : [];
    let pids = [...network.pids(), ...napi];
    const startAgain = async (...options: string[]): Promise<void> => {
      try {
        program = await start(...options);
        pids = [...network.pids(), ...napi];
      } finally {
        isRestarting = false;
      }
    };
    const steered = fastPath === 'tc' ? `, ${steerToForwarderCpu(network)}` : '';
    const settings = `io.mode ${mode}${io === undefined ? '' : `, io.${io}`}, onewayShare 100`;
    const others = services === 1 ? '' : ` ${count(services)} services`;
    return {
      name: `uoa-proxy ${mode}${io === undefined ? '' : ` ${io}`}${others}`,
      note: `${settings}, one worker unless said, UOA dialect ipo${isBuilt ? '' : ', from the sources'}${steered}`,
      opensPerSecond,
      maxSessions,
      ...(neverSleeps && { standStill: pids }),
      ...(fastPath !== undefined && {
        ...(bpffs === undefined && { standStill: network.pids() }),
        fastPath: {
          workers: network.pids().filter(isWorker),
          hotSessions: () => sumOf(metricsOf(network), HOT_SESSIONS),
          rate: fastPath === 'xdp' ? 1_500_000 : 300_000,
        },
      }),
      ...(bpffs !== undefined && {
        restarts: {
          async kill() {
            isRestarting = true;
            for (const pid of network.pids()) process.kill(pid, 'SIGKILL');
            while (network.pids().length > 0) await sleep(20);
            await startAgain();
          },
          async takeOver() {
            const before = network.pids();
            isRestarting = true;
            await startAgain('--takeover');
            while (network.pids().some((pid) => before.includes(pid))) await sleep(20);
            pids = [...network.pids(), ...napi];
          },
          async reload() {
            writeFileSync(config, text.replace('weight: 1 }', `weight: ${++reloads} }`));
            process.kill(pids[0]!, 'SIGHUP');
            await program.until(`weight ${reloads - 1} -> ${reloads}`);
          },
        },
      }),
      check: () => {
        if (!isRestarting) program.check();
      },
      pids: () => pids,
    };
  };
}

const isWorker = (pid: number): boolean =>
  readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('worker-main');

const serviceOn = (port: number): string => `  - name: bench${port}
    vip: ${VIP}
    vport: ${port}
    lips: [${LIPS.join(', ')}]
    timeouts: { oneway: ${SESSION_SECONDS}s, normal: ${SESSION_SECONDS}s }
    realServers:
      - { ip: ${RIP}, port: ${port}, weight: 1 }
`;
