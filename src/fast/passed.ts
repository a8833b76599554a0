// How many packets the programs left to the slow path, and why.
import { lookUpInMap, possibleCpus } from '../sys/libbpf.ts';
import { FAST_PATH_REASONS, type FastPathReason } from './layout.ts';

const COUNTER_LEN = 8;

/** By reason, of all interfaces since the map was made. Throws a BpfError. */
export function readPassed(fd: number): Record<FastPathReason, number> {
  const cpus = possibleCpus();
  const key = Buffer.alloc(4);
  const counts = FAST_PATH_REASONS.map((reason, index) => {
    key.writeUInt32LE(index + 1); // behind FORWARDED
    const values = lookUpInMap(fd, key, cpus * COUNTER_LEN) ?? Buffer.alloc(0);
    let sum = 0;
    for (let at = 0; at < values.length; at += COUNTER_LEN) sum += Number(values.readBigUInt64LE(at));
    return [reason, sum];
  });
  return Object.fromEntries(counts) as Record<FastPathReason, number>;
}
