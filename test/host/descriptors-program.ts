// A program for tests: opens files until there may be no more, then starts what runs other programs. Prints {
// errors }, a message and a hint of each.
import { openSync } from 'node:fs';
import { readAside } from '../../src/config/aside.ts';
import { execProbe } from '../../src/health/exec.ts';
import type { HealthConfig } from '../../src/health/probe.ts';
import { addAddresses } from '../../src/host/address-changes.ts';
import { installGuard } from '../../src/host/guard.ts';
import { portsDown } from '../../src/host/host.ts';
import { listLinks } from '../../src/host/interfaces.ts';

export interface Told {
  message: string;
  hint: string;
}

const guard = { vips: [{ ip: '10.1.0.1', port: 6000 }], lips: [] };
const check = execProbe({ timeout: 5_000, command: ['true'] } as unknown as HealthConfig);
const target = { service: 'game', ip: '10.2.0.2', port: 6000 };

/** Again before each: what failed before may have given one back late. */
function openAll(): void {
  try {
    for (;;) openSync('/dev/null', 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EMFILE') throw error;
  }
}

const errors: Told[] = [];
for (const start of [
  () => listLinks(),
  () => installGuard(guard, () => {}),
  () => readAside('services: []', 'proxy.yaml'),
  () => check(target, new AbortController().signal),
  () => addAddresses([{ ip: '10.1.0.1', device: 'lo' }]),
  () => portsDown([{ name: 'lo', side: 3, mtu: 1500, mac: '', loopback: true }]),
]) {
  openAll();
  try {
    errors.push({ message: JSON.stringify(await start()), hint: '' });
  } catch (error) {
    const { message, hint = '' } = error as Partial<Told>;
    errors.push({ message: message!, hint });
  }
}
console.log(JSON.stringify({ errors }));
process.exit(0);
