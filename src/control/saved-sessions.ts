// Sessions over a restart: read before anything is opened, written into the memory of the datapaths before
// they start, and saved when they have stopped. With them goes what an operator set at run time, which
// the file holds in between as well, for the start after a crash.
import { isIP } from 'node:net';
import type { Logger } from 'pino';
import type { Config } from '../config/schema.ts';
import { Loans } from '../datapath/loans.ts';
import { type DatapathMemory, LPORT_ARC_CELLS } from '../datapath/memory.ts';
import { Persistence } from '../service/persistence.ts';
import type { ServicePlan } from '../service/plan.ts';
import {
  type FreshTable,
  type RestoredSession,
  type ToRestore,
  writeRecords,
} from '../session/restored-sessions.ts';
import { SESSION_WORDS, vipAt } from '../session/session.ts';
import {
  decodeSessions,
  encodeSessions,
  type LoadedSessions,
  loadSessions,
  saveSessions,
} from '../session/state-file.ts';
import { lportsFrom, type SavedAddress, type SavedServer, type SavedSwitch } from '../session/state-notes.ts';
import { Owners, STEERING_KEY_WORDS, type SteeringSpec } from '../steer/steering.ts';
import { WholeFile } from '../sys/whole-file.ts';
import { familyOf, isV4, parseAddressInto } from '../wire/address.ts';
import { nowMs } from '../worker-protocol.ts';
import type { AdoptedSessions } from './adopted-sessions.ts';
import { StartError } from './start-error.ts';
import type { StateLock } from './state-lock.ts';

/** At run time. */
export interface OperatorSet {
  readonly servers: readonly SavedServer[];
  readonly fastPathOff: SavedSwitch;
}

export class SavedSessions {
  readonly #loaded: LoadedSessions;
  readonly #services: readonly ServicePlan[];
  readonly #log: Logger;

  constructor(loaded: LoadedSessions, services: readonly ServicePlan[], log: Logger) {
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
    const loaded = loadSessions(new WholeFile(stateFile), services, { wallMs: Date.now() }, nowMs());
    if (!('problem' in loaded)) {
      // Nothing is wrong with a file that had none.
      if (loaded.outOfTime !== '' && loaded.dropped.expired > 0)
        log.warn(`saved sessions: those in ${stateFile} are left out: ${loaded.outOfTime}`);
      return new SavedSessions(loaded, services, log);
    }
    if (!loaded.isMissing) log.warn(`saved sessions: ${loaded.problem}`);
    return undefined;
  }

  /** Those that encodeForSuccessor made. Throws a StartError. */
  static from(state: Uint8Array, services: readonly ServicePlan[], log: Logger): SavedSessions {
    // A buffer's slices are no copies.
    const loaded = decodeSessions(new Uint8Array(state), services, { wallMs: Date.now() }, nowMs());
    if (typeof loaded !== 'string') return new SavedSessions(loaded, services, log);
    throw new StartError(`the sessions of the proxy before cannot be read: ${loaded}`, 'it goes on');
  }

  /** Addresses that were left on the host. */
  get added(): readonly SavedAddress[] {
    return this.#loaded.added.filter(({ ip }) => isIP(ip) !== 0);
  }

  /** What an operator set. */
  get set(): OperatorSet {
    const { servers, fastPathOff } = this.#loaded;
    return { servers, fastPathOff };
  }

  /** By which `workers` shared out the sessions; undefined when another number of them did. */
  steeringKey(workers: number): readonly number[] | undefined {
    const { key, workers: before } = this.#loaded;
    if (before !== workers || key.length !== 4 * STEERING_KEY_WORDS) return undefined;
    return [...new Int32Array(key.slice().buffer)];
  }

  /** Those that are not among `adopted`, into memory that no datapath has used yet. */
  write(writing: Writing, adopted: AdoptedSessions | undefined): void {
    const { sessions, dropped } = this.#loaded;
    const { memories } = writing;
    const outcome = writeRecords(
      sessions,
      freshTables(writing),
      ownerIn(writing),
      reachableIn(writing),
      adopted?.has,
    );
    notePersistence(persistenceIn(writing), this.#services, sessions);
    this.#writeArcs(memories);
    const { written } = outcome;
    if (written > 0 || dropped.gone > 0 || dropped.expired > 0 || outcome.withoutRoom > 0)
      this.#log.info({ ...outcome, ...dropped }, `saved sessions: ${written} go on`);
  }

  /** Where new sessions find their lports: behind those that were in use. */
  #writeArcs(memories: readonly DatapathMemory[]): void {
    const { arcs } = this.#loaded;
    if (arcs.size === 0) return;
    for (const { realServers, lports } of this.#services) {
      for (const { index } of realServers.flatMap(({ legs }) => legs)) {
        const found = arcs.get(index);
        if (found === undefined) continue;
        for (const [worker, { lportArcs }] of memories.entries())
          lportArcs[LPORT_ARC_CELLS * index + 1] = Math.max(
            0,
            lportsFrom(found, worker, memories.length, lports),
          );
      }
    }
  }
}

/** What sessions are written into before the datapaths start, and by which plan. */
export interface Writing {
  memories: readonly DatapathMemory[];
  config: Config;
  services: readonly ServicePlan[];
  steering: SteeringSpec | undefined;
  sharedSeed: readonly [number, number];
  log: Logger;
}

/** What a predecessor left hot; to be written before what was saved. */
export function writeAdopted(adopted: AdoptedSessions, isAtWork: boolean, writing: Writing): void {
  const outcome = adopted.write(freshTables(writing), isAtWork, ownerIn(writing), reachableIn(writing));
  notePersistence(persistenceIn(writing), writing.services, adopted);
  writing.log.info(outcome, `fast path: ${outcome.written} sessions go on`);
}

const freshTables = ({ memories, config: { sessions } }: Writing): FreshTable[] =>
  memories.map(({ records, table }) => {
    const max = records.length / SESSION_WORDS;
    return { records, table, onewayMax: Math.max(1, Math.floor((max * sessions.onewayShare) / 100)) };
  });

const persistenceIn = ({ memories, sharedSeed }: Writing): Persistence =>
  new Persistence(memories[0].common.persistence, sharedSeed);

const ownerIn =
  ({ memories: { length } }: Writing) =>
  ({ lport }: RestoredSession): number =>
    lport % length;

/**
 * The worker of a session is that of its lport. By the hash of its client, packets may come to another one:
 * this one finds a loan (datapath/loans.ts), which must be there before the first of them is judged.
 */
const reachableIn = ({ memories, sharedSeed, steering, services }: Writing) =>
  steering === undefined ? () => true : lendTo(memories, sharedSeed, new Owners(steering), services);

/** Makes the loan of a session, if it needs one; false: there is no room for it. */
function lendTo(
  memories: readonly DatapathMemory[],
  sharedSeed: readonly [number, number],
  owners: Owners,
  services: readonly ServicePlan[],
): (session: RestoredSession, owner: number) => boolean {
  const addresses = new Int32Array(8);
  const byIndex: { vips: Int32Array; vport: number }[] = [];
  for (const { index, vips, vport } of services) {
    const words = new Int32Array(8);
    for (const vip of vips) parseAddressInto(words, vipAt(familyOf(vip)), vip);
    byIndex[index] = { vips: words, vport };
  }
  // All before one lends: then the table is looked through for what is there.
  const loansOf = memories.map(({ common }, worker) => new Loans(common.loans, sharedSeed, worker));
  return ({ client, cport, service }, owner) => {
    const { vips, vport } = byIndex[service];
    const at = vipAt(isV4(client, 0) ? 4 : 6);
    for (let i = 0; i < 4; i++) {
      addresses[i] = client[i];
      addresses[4 + i] = vips[at + i];
    }
    if (owners.ownerOf(addresses, cport, vport) === owner) return true;
    return loansOf[owner].affirm(addresses, 0, cport, service);
  };
}

/**
 * From a start on the file says only what an operator set, so that it outlives a crash; where that is nothing
 * there is no file. Its sessions are at work: later they would only be wrong.
 */
export function rememberSet(
  { sessions: { stateFile } }: Config,
  { servers, fastPathOff }: OperatorSet,
  lock: StateLock,
  log: Logger,
): void {
  if (stateFile === undefined || !lock.hold('what an operator sets does not outlive a crash')) return;
  const file = new WholeFile(stateFile);
  try {
    if (servers.length === 0 && !fastPathOff.all && fastPathOff.services.length === 0) {
      file.remove();
      return;
    }
    const meta = { workers: 1, key: new Uint8Array(0), wallMs: Date.now(), servers, fastPathOff };
    file.write(encodeSessions([], [], meta, nowMs()).parts);
  } catch (error) {
    log.warn(`saved sessions: ${stateFile} is not what it should be: ${(error as Error).message}`);
  }
}

/** New sessions of a client go where the one of its sessions goes on that was in use last. */
export function notePersistence(
  persistence: Persistence,
  services: readonly Pick<ServicePlan, 'persistenceMs' | 'realServers'>[],
  sessions: ToRestore,
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

/** What is saved of datapaths that have stopped. */
export interface State extends OperatorSet {
  services: readonly ServicePlan[];
  memories: readonly DatapathMemory[];
  steeringKey: readonly number[];
  /** Addresses that stay on the host for the next process. */
  added?: readonly SavedAddress[];
}

/** Says in the log what became of it, and returns whether it is saved. */
export function saveState(
  { sessions: { stateFile } }: Config,
  state: State,
  lock: StateLock,
  log: Logger,
): boolean {
  if (stateFile === undefined || !lock.hold('sessions are not saved')) return false;
  const { tables, meta } = savedOf(state);
  const outcome = saveSessions(new WholeFile(stateFile), tables, state.services, meta, nowMs());
  if ('problem' in outcome) log.error(`sessions are not saved: ${outcome.problem}`);
  else log.info({ ...outcome, file: stateFile }, `${outcome.saved} sessions saved`);
  return !('problem' in outcome);
}

/** The same for a process that goes on with them. */
export function encodeForSuccessor(state: State, nowMs: number): Uint8Array[] {
  const { tables, meta } = savedOf(state);
  return encodeSessions(tables, state.services, meta, nowMs).parts;
}

function savedOf({ memories, steeringKey, servers, fastPathOff, added = [] }: State) {
  const tables = memories.map(({ records, table }) => ({ records, slots: table[0] }));
  const key = new Uint8Array(Int32Array.from(steeringKey).buffer);
  const arcOf = (leg: number): [number, number][] | undefined => {
    const at = LPORT_ARC_CELLS * leg;
    const arcs = memories.map(({ lportArcs }): [number, number] => [lportArcs[at], lportArcs[at + 1]]);
    return arcs.some(([, next]) => next !== 0) ? arcs : undefined;
  };
  const meta = { workers: memories.length, key, wallMs: Date.now(), servers, fastPathOff, added, arcOf };
  return { tables, meta };
}
