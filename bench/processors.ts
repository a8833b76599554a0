// Which processor the load and the forwarders run on: never the same one.
import { readdirSync, readFileSync } from 'node:fs';
import os from 'node:os';
import { run } from '../src/lab/namespace.ts';
import type { Network } from './network.ts';

/**
 * The processors that the load and the forwarders are bound to; -1 when there is only one, and nothing is
 * bound.
 */
export const loadCpu = (): number => (os.availableParallelism() > 1 ? 1 : -1);
export const forwarderCpu = (): number => (os.availableParallelism() > 1 ? 0 : -1);

/** What stands before a command that is to run on this processor. */
export const onCpu = (cpu: number): string[] => (cpu < 0 ? [] : ['taskset', '-c', String(cpu)]);

/**
 * Has the kernel go on with what arrives on the forwarders' processor. Without this it forwards within the
 * load's own system call, on the load's processor. Returns what was done, in words.
 */
export function steerToForwarderCpu(network: Network): string {
  const cpu = forwarderCpu();
  if (cpu < 0) return 'on the one processor';
  network.exec(['sh', '-ec', `echo ${(1 << cpu).toString(16)} > /sys/class/net/wan0/queues/rx-0/rps_cpus`]);
  return `receive packet steering to processor ${cpu}`;
}

/**
 * The same for programs at XDP, which run before packets can be steered: the interfaces' NAPI become threads,
 * on the forwarders' processor. Returns their pids. To be called when the programs are attached.
 */
export function threadNapi(network: Network): number[] {
  const cpu = forwarderCpu();
  if (cpu < 0) return [];
  network.exec(['sh', '-ec', 'for name in wan0 lan0; do echo 1 > /sys/class/net/$name/threaded; done']);
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name) && isNapiOf(name));
  for (const pid of pids) {
    run(['taskset', '-pc', String(cpu), pid]);
    // As interrupts do, they come before whatever else wants the processor, and at once.
    run(['chrt', '--fifo', '--pid', '1', pid]);
  }
  return pids.map(Number);
}

function isNapiOf(pid: string): boolean {
  try {
    return /^napi\/(wan|lan)0-/.test(readFileSync(`/proc/${pid}/comm`, 'utf8'));
  } catch {
    return false; // ended
  }
}
