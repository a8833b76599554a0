// What the figures were measured on: they mean nothing without it.
import { readFileSync } from 'node:fs';
import os from 'node:os';
import { run } from '../src/lab/namespace.ts';
import { nginxVersion } from './forwarders/nginx.ts';

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

/** The processors that the load and the forwarders are bound to; -1 when there is only one, and nothing is bound. */
export const loadCpu = (): number => (os.availableParallelism() > 1 ? 1 : -1);
export const forwarderCpu = (): number => (os.availableParallelism() > 1 ? 0 : -1);

/** What stands before a command that is to run on this processor. */
export const onCpu = (cpu: number): string[] => (cpu < 0 ? [] : ['taskset', '-c', String(cpu)]);

function distribution(): string {
  try {
    return /^PRETTY_NAME="?([^"\n]*)/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1] ?? 'unknown';
  } catch {
    return 'unknown';
  }
}

const nftVersion = (): string => run(['nft', '--version']).trim();
