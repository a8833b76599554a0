// nginx's stream module, one worker, tuned as its own documentation offers: many datagrams per wake-up, large
// buffers, no log. Its figure ends where it has no more local ports: it binds to one LIP.
import { spawnSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createScratch } from '../../src/lab/namespace.ts';
import { LIPS, PORT, RIP, VIP } from '../network.ts';
import { SESSION_SECONDS, type Start } from './forwarder.ts';
import { startProgram } from './program.ts';

const MAX_SESSIONS = 60_000;
const BUFFER = '32m';

export const nginx: Start = async (network) => {
  const binary = findNginx();
  const module = join(dirname(binary), '../lib/nginx/modules/ngx_stream_module.so');
  if (binary === '' || !existsSync(module)) {
    throw new Error('not installed (Debian packages nginx and libnginx-mod-stream, or: npm run setup bench)');
  }
  network.exec(['ip', 'address', 'add', `${VIP}/32`, 'dev', 'wan0']);
  network.exec(['ip', 'address', 'add', `${LIPS[0]}/32`, 'dev', 'lan0']);
  network.set({ 'net/ipv4/ip_local_port_range': '1024 65535' });
  const scratch = createScratch();
  const config = join(scratch, 'nginx.conf');
  // Of each session nginx keeps two connections, one of them with a descriptor.
  writeFileSync(
    config,
    `load_module ${module};
daemon off; user root; worker_processes 1; worker_rlimit_nofile ${2 * MAX_SESSIONS};
pid ${scratch}/nginx.pid; error_log stderr crit;
events { use epoll; multi_accept on; worker_connections ${2 * MAX_SESSIONS + 1000}; }
stream { access_log off; server {
  listen ${VIP}:${PORT} udp reuseport rcvbuf=${BUFFER} sndbuf=${BUFFER};
  proxy_pass ${RIP}:${PORT}; proxy_bind ${LIPS[0]}; proxy_timeout ${SESSION_SECONDS}s;
} }
`,
  );
  const program = startProgram(network, [
    binary,
    '-p',
    scratch,
    '-c',
    config,
    '-g',
    'error_log stderr notice;',
  ]);
  await program.until('start worker process');
  const pids = network.pids();
  return {
    name: 'nginx stream',
    note: 'one worker, reuseport, multi_accept, proxy_bind, no access log',
    opensPerSecond: 15_000,
    maxSessions: MAX_SESSIONS,
    check: program.check,
    pids: () => pids,
  };
};

/** "nginx/1.22.1", or undefined. */
export function nginxVersion(): string | undefined {
  const binary = findNginx();
  if (binary === '') return undefined;
  return spawnSync(binary, ['-v'], { encoding: 'utf8' })
    .stderr.replace(/^.*version: /, '')
    .trim();
}

function findNginx(): string {
  const found = spawnSync('sh', ['-c', 'PATH=$PATH:/usr/sbin command -v nginx'], { encoding: 'utf8' });
  return found.stdout.trim();
}
