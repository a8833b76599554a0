// What the figures were measured on: they mean nothing without it.
import { readFileSync } from 'node:fs';
import os from 'node:os';

/** Lines that describe the machine and the command. */
export function describeMachine(argv: readonly string[]): string[] {
  const cpus = os.cpus();
  const model = cpus[0]?.model.trim() || 'unknown';
  const gib = (os.totalmem() / 2 ** 30).toFixed(1);
  return [
    `command   npm run bench${argv.length > 0 ? ` -- ${argv.join(' ')}` : ''}`,
    `machine   ${cpus.length} x ${model}, ${gib} GiB, load ${os.loadavg()[0]?.toFixed(2)} before`,
    `system    ${distribution()}, Linux ${os.release()}, Node ${process.version}`,
  ];
}

/** The processor that the load generator is bound to, so that the forwarder has the others; -1 when there is one only. */
export function generatorCpu(): number {
  const cpus = os.availableParallelism();
  return cpus > 1 ? cpus - 1 : -1;
}

function distribution(): string {
  try {
    return /^PRETTY_NAME="?([^"\n]*)/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1] ?? 'unknown';
  } catch {
    return 'unknown';
  }
}
