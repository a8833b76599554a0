// How the kernel shares out processor time among the threads of this process (sched(7)).
import { readdirSync } from 'node:fs';
import os from 'node:os';
import { syscall } from './libc.ts';

const HELPERS_NICER = 10;
const NICE_MAX = 19;
const SLICE_NS = 100_000n; // the least that the kernel takes

// struct sched_attr, its first version (include/uapi/linux/sched/types.h)
const SCHED_ATTR_LEN = 48;
const POLICY_AT = 4;
const RUNTIME_AT = 24;
const SCHED_OTHER = 0;

/** System calls that no C library of the day has a function for (asm/unistd_64.h, asm-generic/unistd.h). */
const CALLS: Record<string, { set: number; get: number }> = {
  x64: { set: 314, get: 315 },
  arm64: { set: 274, get: 275 },
};

/**
 * The main thread runs as soon as it has something to do, though a helper thread of V8 (compiling, collecting
 * garbage) has the processor: otherwise it waits for the end of the helper's slice, some milliseconds. It
 * takes both, measured: a lower priority for the helpers, and short slices for the main thread (from Linux
 * 6.12 on; ignored before). Helpers still get a tenth of a processor that the main thread would like for
 * itself alone. Needs no privilege; where the kernel refuses nevertheless, or an operator chose another
 * policy, all stays as it is.
 */
export function preferMainThread(): void {
  const nice = Math.min(os.getPriority() + HELPERS_NICER, NICE_MAX);
  const threads = readdirSync('/proc/self/task').map(Number);
  for (const thread of threads.filter((id) => id !== process.pid)) {
    try {
      os.setPriority(thread, nice);
    } catch {
      // It has ended, or may not be touched.
    }
  }
  const calls = CALLS[process.arch];
  if (calls === undefined) return;
  const attributes = Buffer.from(new ArrayBuffer(SCHED_ATTR_LEN));
  if (syscall(calls.get, 0, attributes, SCHED_ATTR_LEN, 0) !== 0) return;
  if (attributes.readUInt32LE(POLICY_AT) !== SCHED_OTHER) return;
  attributes.writeBigUInt64LE(SLICE_NS, RUNTIME_AT);
  syscall(calls.set, 0, attributes, 0, 0);
}
