// Sessions over a restart: read before anything is opened, written into the memory of the datapaths before
// they start, and saved when they have stopped.
import type { Logger } from 'pino';
import type { Config } from '../config/schema.ts';
import type { DatapathMemory } from '../datapath/memory.ts';
import { Persistence } from '../service/persistence.ts';
import type { ServicePlan } from '../service/plan.ts';
import { type RestoredSession, type RestoredSessions, writeRecords } from '../session/restored-sessions.ts';
import { SESSION_WORDS, vipAt } from '../session/session.ts';
import { type LoadedSessions, loadSessions, saveSessions } from '../session/state-file.ts';
import { Owners, STEERING_KEY_WORDS, type SteeringSpec } from '../steer/steering.ts';
import { type FileLock, lockFile } from '../sys/file-lock.ts';
import { WholeFile } from '../sys/whole-file.ts';
import { familyOf, isV4, parseAddressInto } from '../wire/address.ts';
import { nowMs } from '../worker-protocol.ts';
import { StartError } from './start-error.ts';

export class SavedSessions {
  readonly #file: WholeFile;
  readonly #loaded: LoadedSessions;
  readonly #services: readonly ServicePlan[];
  readonly #log: Logger;

  private constructor(
    file: WholeFile,
    loaded: LoadedSessions,
    services: readonly ServicePlan[],
    log: Logger,
  ) {
    this.#file = file;
    this.#loaded = loaded;
    this.#services = services;
    this.#log = log;
  }

  /** Undefined when there are none, or when they cannot be used, which is logged. */
  static load(
    { sessions: { stateFile } }: Config,
    services: readonly ServicePlan[],
    log: Logger,
  ): SavedSessions | undefined {
    if (stateFile === undefined) return undefined;
    const file = new WholeFile(stateFile);
    const loaded = loadSessions(file, services, { wallMs: Date.now() }, nowMs());
    if (!('problem' in loaded)) return new SavedSessions(file, loaded, services, log);
    if (!loaded.isMissing) log.warn(`saved sessions: ${loaded.problem}`);
    return undefined;
  }

  /** By which `workers` shared out the sessions; undefined when another number of them did. */
  steeringKey(workers: number): readonly number[] | undefined {
    const { key, workers: before } = this.#loaded;
    if (before !== workers || key.length !== 4 * STEERING_KEY_WORDS) return undefined;
    return [...new Int32Array(key.slice().buffer)];
  }

  /** Into memory that no datapath has used yet. */
  write(
    memories: readonly DatapathMemory[],
    { sessions: { onewayShare } }: Config,
    steering: SteeringSpec | undefined,
    sharedSeed: readonly [number, number],
  ): void {
    const { sessions, dropped } = this.#loaded;
    const ownerOf =
      steering === undefined ? () => 0 : ownersOf(steering, this.#services, this.#loaded.workers);
    const tables = memories.map(({ records, table }) => {
      const max = records.length / SESSION_WORDS;
      return { records, table, onewayMax: Math.max(1, Math.floor((max * onewayShare) / 100)) };
    });
    const outcome = writeRecords(sessions, tables, ownerOf);
    const persistence = new Persistence(memories[0].common.persistence, sharedSeed);
    notePersistence(persistence, this.#services, sessions);
    this.#log.info({ ...outcome, ...dropped }, `saved sessions: ${outcome.written} go on`);
  }

  /** They are at work: later they would only be wrong. */
  forget(): void {
    try {
      this.#file.remove();
    } catch (error) {
      this.#log.warn(`saved sessions: ${this.#file.path} cannot be removed: ${(error as Error).message}`);
    }
  }
}

/** New sessions of a client go where the one of its sessions goes on that was in use last. */
export function notePersistence(
  persistence: Persistence,
  services: readonly Pick<ServicePlan, 'persistenceMs' | 'realServers'>[],
  sessions: RestoredSessions,
): void {
  const serverOfLeg: number[] = [];
  for (const { persistenceMs, realServers } of services) {
    if (persistenceMs === 0) continue;
    for (const { index, isFallback, legs } of realServers)
      if (!isFallback) for (const leg of legs) serverOfLeg[leg.index] = index;
  }
  if (serverOfLeg.length === 0) return;
  sessions.forEach(({ client, service, leg, isNormal, lastSeenMs }) => {
    const server = serverOfLeg[leg];
    if (server === undefined) return;
    persistence.note(client, 0, service, server, lastSeenMs);
    if (isNormal) persistence.noteAnswered(client, 0, service, server, lastSeenMs);
  });
}

/**
 * Keeps the state file for this proxy, until it is released; undefined where there is none. What will keep
 * sessions from being saved is said now, not at the stop. Throws a StartError when another proxy has the
 * file.
 */
export function holdStateFile({ sessions: { stateFile } }: Config, log: Logger): FileLock | undefined {
  if (stateFile === undefined) return undefined;
  let lock: FileLock | undefined;
  try {
    lock = lockFile(`${stateFile}.lock`);
    if (lock !== undefined) new WholeFile(stateFile).tryToWrite();
  } catch (error) {
    log.error(`sessions will not be saved: sessions.stateFile ${stateFile}: ${(error as Error).message}`);
    return lock;
  }
  if (lock !== undefined) return lock;
  throw new StartError(
    `another uoa-proxy has sessions.stateFile ${stateFile}`,
    'stop it, or give each a state file of its own',
  );
}

/**
 * The worker of a session is that of its lport. The hash of its client names the same one, or else it was
 * lent to that worker (datapath/loans.ts), if `before` as many workers shared the sessions; with another
 * number of them it is lost.
 */
function ownersOf(
  steering: SteeringSpec,
  services: readonly ServicePlan[],
  before: number,
): (session: RestoredSession) => number {
  const owners = new Owners(steering);
  const addresses = new Int32Array(8);
  const byIndex: { vips: Int32Array; vport: number }[] = [];
  for (const { index, vips, vport } of services) {
    const words = new Int32Array(8);
    for (const vip of vips) parseAddressInto(words, vipAt(familyOf(vip)), vip);
    byIndex[index] = { vips: words, vport };
  }
  return ({ client, cport, service, lport }) => {
    const { vips, vport } = byIndex[service];
    const at = vipAt(isV4(client, 0) ? 4 : 6);
    for (let i = 0; i < 4; i++) {
      addresses[i] = client[i];
      addresses[4 + i] = vips[at + i];
    }
    const owner = owners.ownerOf(addresses, cport, vport);
    const ofLport = lport % steering.workers;
    return ofLport === owner || before === steering.workers ? ofLport : -1;
  };
}

/** The datapaths must have stopped. Says in the log what became of it. */
export function saveState(
  { sessions: { stateFile } }: Config,
  services: readonly ServicePlan[],
  memories: readonly DatapathMemory[],
  steeringKey: readonly number[],
  log: Logger,
): void {
  if (stateFile === undefined) return;
  const tables = memories.map(({ records, table }) => ({ records, slots: table[0] }));
  const key = new Uint8Array(Int32Array.from(steeringKey).buffer);
  const meta = { workers: memories.length, key, wallMs: Date.now() };
  const outcome = saveSessions(new WholeFile(stateFile), tables, services, meta, nowMs());
  if ('problem' in outcome) log.error(`sessions are not saved: ${outcome.problem}`);
  else log.info({ ...outcome, file: stateFile }, `${outcome.saved} sessions saved`);
}
