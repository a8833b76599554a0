// Waits until a proxy that drains is gone: asks it again and again, and says now and then how many sessions
// are left. It is gone when nobody listens there any more (or the socket is away), twice in a row, or when
// one answers that was started later.
import { setTimeout as wait } from 'node:timers/promises';
import type { StatsReport } from '../admin/report.ts';
import { type AdminClient, ControlError } from './admin-client.ts';
import { plural } from './units.ts';

const POLL_MS = 250;
const SAY_EVERY_MS = 10_000;
/** What the end itself may take, after the time is over. */
const END_MS = 60_000;

type Look = Pick<StatsReport, 'draining' | 'uptimeSeconds' | 'sessions'>;

/**
 * `timeoutMs` is what is left of the drain. Throws a ControlError when the drain was taken back, or the proxy
 * neither ends nor answers.
 */
export async function waitUntilGone(
  client: AdminClient,
  timeoutMs: number,
  say: (line: string) => void,
): Promise<void> {
  let giveUpAt = performance.now() + timeoutMs + END_MS;
  let saidAt = Number.NEGATIVE_INFINITY;
  let left = 0;
  let uptimeSeconds = 0;
  let refusals = 0;
  while (refusals < 2) {
    const look = await lookAt(client);
    if (look instanceof ControlError) {
      refusals = isRefusal(look) ? refusals + 1 : 0;
      if (performance.now() > giveUpAt) throw look;
    } else {
      if (look.uptimeSeconds < uptimeSeconds) break;
      if (!look.draining) throw new ControlError('the drain was taken back: the proxy takes new sessions');
      refusals = 0;
      uptimeSeconds = look.uptimeSeconds;
      left = look.sessions.normal + look.sessions.oneway;
      const now = performance.now();
      if (now - saidAt >= SAY_EVERY_MS && left > 0) {
        say(`${plural(left, 'session')} left`);
        saidAt = now;
      }
      // Somebody may have given it more time: it answers, so it is not stuck.
      giveUpAt = Math.max(giveUpAt, now + END_MS);
    }
    await wait(POLL_MS);
  }
  // Its last sessions may have ended after it was asked.
  say(
    left === 0
      ? 'drained, and the proxy has ended'
      : `the proxy has ended; ${plural(left, 'session')} a moment before`,
  );
}

async function lookAt(client: AdminClient): Promise<Look | ControlError> {
  try {
    return await client.get<StatsReport>('/stats');
  } catch (error) {
    if (error instanceof ControlError) return error;
    throw error;
  }
}

const isRefusal = ({ cause }: ControlError): boolean =>
  ['ECONNREFUSED', 'ENOENT'].includes((cause as NodeJS.ErrnoException | undefined)?.code ?? '');
