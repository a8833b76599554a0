// The moment of a takeover: all of this process is ready, the proxy before steps aside, and what it had goes
// on here. Where both can say what comes in, packets come to both from before it stops on: it says which of
// them it dealt with, and this one takes all others. So none is lost, nor goes twice, they only wait. What is
// hot goes on meanwhile, where the maps of the fast path stay.
import { HotRecords } from '../fast/hot-records.ts';
import { fromText, NOTHING } from '../io/dealt-with.ts';
import { nowMs } from '../worker-protocol.ts';
import { AdoptedSessions } from './adopted-sessions.ts';
import type { HealthWatch } from './health-watch.ts';
import type { Predecessor } from './predecessor.ts';
import type { Reloader } from './reload.ts';
import type { Runtime } from './runtime.ts';
import { SavedSessions, writeAdopted } from './saved-sessions.ts';

/**
 * Resolves when the workers forward. Throws a StartError, WorkerError or IoError: then the proxy before goes
 * on.
 */
export async function takeOver(
  before: Predecessor,
  { io, fast, fastSwitch, layout, log, memories, serverStates, workers }: Runtime,
  { config, host, services, replans }: Reloader,
  health: HealthWatch,
): Promise<void> {
  const comesInByBoth = io.isSteered && before.hello.isSteered;
  if (comesInByBoth) io.stamp?.(true);
  await workers.prepare();
  const { found } = fast;
  // Mapped while nobody waits: as many megabytes as sessions.max allows.
  const rows = found && new HotRecords(found.fds, found);
  log.info(`all is ready: process ${before.hello.pid} is to step aside`);
  await before.prepare(fast.succession);
  fast.standBy();
  if (comesInByBoth) io.start();
  const asked = performance.now();
  const { state, dealtWith, down } = await before.stepAside();
  const received = performance.now();
  if (!comesInByBoth) io.start();
  const saved = SavedSessions.from(state, services, log);
  const { steering } = replans[0];
  const writing = { memories, config, services, steering, sharedSeed: layout.sharedSeed, log };
  const adopted = found && new AdoptedSessions(found, services, nowMs(), rows);
  if (adopted !== undefined) writeAdopted(adopted, true, writing);
  saved.write(writing, adopted);
  serverStates.restore(saved.set.servers);
  fastSwitch.restore(saved.set.fastPathOff);
  health.update(config, services);
  health.goOn(down);
  const written = performance.now();
  await before.requireAside();
  fast.takePlace();
  // The workers may have been told of one.
  if (!fast.isOn) fastSwitch.withdraw();
  const ofPort = ({ name }: { name: string }) => (dealtWith[name] ? fromText(dealtWith[name]) : NOTHING);
  await workers.adopt(host.ports.map(ofPort));
  await before.begin();
  try {
    await workers.start();
  } catch (error) {
    // Those that forward already: the proxy before goes on as soon as the conversation is closed.
    await workers.stop();
    throw error;
  }
  if (comesInByBoth) io.stamp?.(false);
  const ms = [asked, received, written, performance.now()].map((at, i, all) => Math.round(at - all[i - 1]));
  log.info(
    { ms: { asked: ms[1], sessions: ms[2], workers: ms[3] } },
    'forwarding in place of the proxy before',
  );
}
