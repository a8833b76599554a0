// uoa-proxy itself, the real program with its real config: dist when it is built, else the sources.
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createScratch } from '../../src/lab/namespace.ts';
import { nodeArgv } from '../child.ts';
import { LIPS, PORT, RIP, VIP } from '../network.ts';
import { count } from '../table.ts';
import { type Forwarder, SESSION_SECONDS, type Start } from './forwarder.ts';
import { startProgram } from './program.ts';

export interface ProxyOptions {
  mode: 'ring' | 'pcap';
  /** Keys of `io`, as YAML: `workers: 2`. */
  io?: string;
  opensPerSecond: number;
  neverSleeps?: boolean;
  /** How many are configured; only one of them gets packets. */
  services?: number;
}

export const METRICS_URL = 'http://127.0.0.1:9464/metrics';
export const MAX_SESSIONS = 1_000_000;

/** The first vport of services that get no packets. */
const OTHERS_PORT = 20_000;

export function proxy({ mode, io, opensPerSecond, neverSleeps = false, services = 1 }: ProxyOptions): Start {
  return async (network): Promise<Forwarder> => {
    const config = join(createScratch(), 'proxy.yaml');
    writeFileSync(
      config,
      `io: { mode: ${mode}, wan: wan0, lan: lan0, assignAddresses: true${io === undefined ? '' : `, ${io}`} }
admin: { listen: 127.0.0.1:9464 }
log: { format: json }
# One way means that no real server answers: by default such sessions are only a part of the table.
sessions: { max: ${MAX_SESSIONS}, onewayShare: 100, lportReserve: 0 }
services:
${Array.from({ length: services }, (_, i) => serviceOn(i === 0 ? PORT : OTHERS_PORT + i)).join('')}`,
    );
    const built = fileURLToPath(new URL('../../dist/main.js', import.meta.url));
    const isBuilt = existsSync(built);
    const argv = isBuilt ? [process.execPath, built] : nodeArgv('../src/main.ts');
    const program = startProgram(network, [...argv, 'run', '--config', config]);
    await program.until('"msg":"ready"');
    const pids = network.pids();
    const settings = `io.mode ${mode}${io === undefined ? '' : `, io.${io}`}, onewayShare 100`;
    const others = services === 1 ? '' : ` ${count(services)} services`;
    return {
      name: `uoa-proxy ${mode}${io === undefined ? '' : ` ${io}`}${others}`,
      note: `${settings}, one worker unless said, UOA dialect ipo${isBuilt ? '' : ', from the sources'}`,
      opensPerSecond,
      maxSessions: MAX_SESSIONS,
      neverSleeps,
      check: program.check,
      pids: () => pids,
    };
  };
}

const serviceOn = (port: number): string => `  - name: bench${port}
    vip: ${VIP}
    vport: ${port}
    lips: [${LIPS.join(', ')}]
    timeouts: { oneway: ${SESSION_SECONDS}s, normal: ${SESSION_SECONDS}s }
    realServers:
      - { ip: ${RIP}, port: ${port} }
`;
