// What the figures were measured on: they mean nothing without it.
import { readFileSync } from 'node:fs';
import os from 'node:os';
import { run } from '../src/lab/namespace.ts';
import { nginxVersion } from './forwarders/nginx.ts';
import { forwarderCpu, loadCpu } from './processors.ts';

/** Lines that describe the machine and the command. */
export function describeMachine(argv: readonly string[]): string[] {
  const cpus = os.cpus();
  const model = cpus[0]?.model.trim() || 'unknown';
  const gib = (os.totalmem() / 2 ** 30).toFixed(1);
  return [
    `command   npm run bench${argv.length > 0 ? ` -- ${argv.join(' ')}` : ''}`,
    `machine   ${cpus.length} x ${model}, ${gib} GiB, load ${os.loadavg()[0]?.toFixed(2)} before`,
    `system    ${distribution()}, Linux ${os.release()}, Node ${process.version}`,
    `peers     ${[nginxVersion() ?? 'no nginx', nftVersion()].join(', ')}`,
    `bound     load to processor ${loadCpu()}, forwarders to ${forwarderCpu()}; a figure is the median (least-most) of rounds`,
  ];
}

function distribution(): string {
  try {
    return /^PRETTY_NAME="?([^"\n]*)/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1] ?? 'unknown';
  } catch {
    return 'unknown';
  }
}

const nftVersion = (): string => run(['nft', '--version']).trim();
