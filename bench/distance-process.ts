// One of two processes, each bound to a processor, that hand a cache line to and fro when distance.ts tells
// them. Arguments: the role, descriptor and length of the memory that they share.
import { dieWithParent } from '../src/sys/process.ts';
import { mapSharedMemory } from '../src/sys/shared-memory.ts';
import type { Handing, Took } from './distance.ts';

const LOOKS_BETWEEN_CLOCKS = 4096;

dieWithParent();
const [, , role, fd, length] = process.argv;
const words = new Int32Array(mapSharedMemory(Number(fd), Number(length)));
process.on('message', (handing: Handing) => {
  const took: Took = { nanoseconds: role === 'begins' ? begin(handing) : follow(handing) };
  process.send?.(took);
});
process.on('disconnect', () => process.exit(0));

/** What one time took in the fastest series, since whatever comes in between adds to it. */
function begin({ first, series, times, patienceMs }: Handing): number | null {
  const untilMs = performance.now() + patienceMs;
  let [value, least] = [first, Number.POSITIVE_INFINITY];
  for (let left = series; left > 0; left--) {
    const startMs = performance.now();
    for (let time = 0; time < times; time++, value += 2) {
      Atomics.store(words, 0, value);
      if (!isThere(value + 1, untilMs)) return null;
    }
    least = Math.min(least, (1e6 * (performance.now() - startMs)) / times);
  }
  return least;
}

function follow({ first, series, times, patienceMs }: Handing): null {
  const untilMs = performance.now() + patienceMs;
  for (let value = first; value < first + 2 * series * times; value += 2) {
    if (!isThere(value, untilMs)) break;
    Atomics.store(words, 0, value + 1);
  }
  return null;
}

/** Waits for a value; false: it did not come in time. */
function isThere(value: number, untilMs: number): boolean {
  for (let looks = 1; Atomics.load(words, 0) !== value; looks++)
    if (looks % LOOKS_BETWEEN_CLOCKS === 0 && performance.now() > untilMs) return false;
  return true;
}
