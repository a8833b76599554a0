// Which processor the load and the forwarders run on: never the same one.
import os from 'node:os';

/**
 * The processors that the load and the forwarders are bound to; -1 when there is only one, and nothing is
 * bound.
 */
export const loadCpu = (): number => (os.availableParallelism() > 1 ? 1 : -1);
export const forwarderCpu = (): number => (os.availableParallelism() > 1 ? 0 : -1);

/** What stands before a command that is to run on this processor. */
export const onCpu = (cpu: number): string[] => (cpu < 0 ? [] : ['taskset', '-c', String(cpu)]);
