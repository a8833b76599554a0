// Notices a datapath process that lives but does nothing any more (stopped, or in a loop without end) and
// ends it, so that its successor goes on. It counts its own looks, not time: where all stands still, as in a
// virtual machine that is paused, it does not look either.
import type { Logger } from 'pino';
import type { Workers } from '../workers.ts';

const LOOK_EVERY_MS = 1000;
/**
 * A datapath counts ten times per second; the longest that it has work for at once, a reload of large lists,
 * is half a second.
 */
const SILENT_LOOKS = 10;

/** `pulses` has the cell of each worker (DatapathMemory.pulse). Returns what ends it. */
export function watchPulse(
  workers: Pick<Workers, 'pids' | 'kill'>,
  pulses: readonly Float64Array[],
  log: Logger,
): () => void {
  const seen = pulses.map(() => ({ pulse: -1, looks: 0 }));
  const timer = setInterval(() => {
    for (const [worker, pid] of workers.pids.entries()) {
      const last = seen[worker];
      const pulse = pulses[worker][0];
      if (pid !== undefined && pulse === last.pulse) last.looks++;
      else seen[worker] = { pulse, looks: 0 };
      if (last.looks < SILENT_LOOKS) continue;
      log.error({ worker }, `the datapath process did nothing for ${SILENT_LOOKS} s: killing it`);
      workers.kill(worker);
      last.looks = 0;
    }
  }, LOOK_EVERY_MS);
  timer.unref();
  return () => clearInterval(timer);
}
