// `uoa-proxy top`: the live view of a running proxy, as screens or as JSON lines.
import { AdminClient } from '../ctl/admin-client.ts';
import { printLines, showLive } from '../ctl/live.ts';
import { findTarget, type TargetOptions } from './ctl-target.ts';

/** Resolves with the exit code; throws what findTarget and AdminClient throw. */
export async function top(options: TargetOptions & { once: boolean; json: boolean }): Promise<number> {
  const client = new AdminClient(await findTarget(options));
  await (options.json ? printLines : showLive)(client, options);
  return 0;
}
