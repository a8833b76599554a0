// Long work of the control plane, done in slices: whoever else waits is served between them.
import { setImmediate as aTurn } from 'node:timers/promises';

/** Resolves with what `work` returns; it yields where it can be interrupted. */
export async function inSlices<T>(work: Generator<void, T>): Promise<T> {
  for (;;) {
    const slice = work.next();
    if (slice.done) return slice.value;
    await aTurn();
  }
}
