// `uoa-proxy top`: the live view of a running proxy.
import { AdminClient } from '../ctl/admin-client.ts';
import { showLive } from '../ctl/live.ts';
import { findTarget, type TargetOptions } from './ctl-target.ts';

/** Resolves with the exit code; throws what findTarget and AdminClient throw. */
export async function top(options: TargetOptions & { once: boolean }): Promise<number> {
  await showLive(new AdminClient(findTarget(options)), options);
  return 0;
}
