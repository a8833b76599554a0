// How many packets the programs left to the slow path, and why; and those that they forwarded and could not
// count.
import { lookUpInMap, possibleCpus } from '../sys/libbpf.ts';
import { FAST_PATH_REASONS, type FastPathReason } from './layout.ts';

const COUNTER_LEN = 8;
/** Of enum reason. */
const FORWARDED = 0;

/** By reason, of all interfaces since the map was made. Throws a BpfError. */
export function readPassed(fd: number): Record<FastPathReason, number> {
  const counts = FAST_PATH_REASONS.map((reason, index) => [reason, readSum(fd, FORWARDED + 1 + index)]);
  return Object.fromEntries(counts) as Record<FastPathReason, number>;
}

/** Forwarded for sessions whose rows were full, since nobody folded them. Throws a BpfError. */
export const readUncounted = (fd: number): number => readSum(fd, FORWARDED);

/** Over all processors. */
function readSum(fd: number, index: number): number {
  const key = Buffer.alloc(4);
  key.writeUInt32LE(index);
  const values = lookUpInMap(fd, key, possibleCpus() * COUNTER_LEN) ?? Buffer.alloc(0);
  let sum = 0;
  for (let at = 0; at < values.length; at += COUNTER_LEN) sum += Number(values.readBigUInt64LE(at));
  return sum;
}
