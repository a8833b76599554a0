// uoa-proxy itself, the real program with its real config: dist when it is built, else the sources.
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createScratch } from '../../src/lab/namespace.ts';
import { nodeArgv } from '../child.ts';
import { LIPS, PORT, RIP, VIP } from '../network.ts';
import { type Forwarder, SESSION_SECONDS, type Start } from './forwarder.ts';
import { startProgram } from './program.ts';

export interface ProxyOptions {
  mode: 'ring' | 'pcap';
  /** Keys of `io`, as YAML: `workers: 2`. */
  io?: string;
  opensPerSecond: number;
  neverSleeps?: boolean;
}

export const METRICS_URL = 'http://127.0.0.1:9464/metrics';
export const MAX_SESSIONS = 1_000_000;

export function proxy({ mode, io, opensPerSecond, neverSleeps = false }: ProxyOptions): Start {
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
  - name: bench
    vip: ${VIP}
    vport: ${PORT}
    lips: [${LIPS.join(', ')}]
    timeouts: { oneway: ${SESSION_SECONDS}s, normal: ${SESSION_SECONDS}s }
    realServers:
      - { ip: ${RIP}, port: ${PORT} }
`,
    );
    const built = fileURLToPath(new URL('../../dist/main.js', import.meta.url));
    const isBuilt = existsSync(built);
    const argv = isBuilt ? [process.execPath, built] : nodeArgv('../src/main.ts');
    const program = startProgram(network, [...argv, 'run', '--config', config]);
    await program.until('"msg":"ready"');
    const pids = network.pids();
    const settings = `io.mode ${mode}${io === undefined ? '' : `, io.${io}`}, onewayShare 100`;
    return {
      name: `uoa-proxy ${mode}${io === undefined ? '' : ` ${io}`}`,
      note: `${settings}, one worker unless said, UOA dialect ipo${isBuilt ? '' : ', from the sources'}`,
      opensPerSecond,
      maxSessions: MAX_SESSIONS,
      neverSleeps,
      check: program.check,
      pids: () => pids,
    };
  };
}
