// Sessions over a restart of the proxy: saved to a file when it stops, taken from it when it starts; and what
// an operator set at run time (state-notes.ts). Indexes are good for one run only, so a session is saved with
// the name of its leg, and is found again where service, addresses and ports are still the same. A file that
// is not as it should be is said and ignored as a whole. Of 1,000,000 sessions, 28 MB, saving and loading
// take 0.15 s of a processor each, and writing the records 0.6 s (Node 20, x86-64).
import { handshakeState } from '../uoa/handshake.ts';
import { familyOf, isImpossibleSource, isV4 } from '../wire/address.ts';
import { RestoredSessions, type SavedLeg } from './restored-sessions.ts';
import {
  CLIENT,
  cportOf,
  HANDSHAKE,
  isNormal,
  isUsed,
  LAST_SEEN,
  legOf,
  lportOf,
  SESSION_WORDS,
  serviceOf,
} from './session.ts';
import type { RecordedSessions } from './snapshot.ts';
import {
  decodeState,
  encodeState,
  FILE_LENGTH_MAX,
  SAVED,
  SAVED_ACKED,
  SAVED_NORMAL,
  SAVED_WORDS,
} from './state-format.ts';
import {
  decodeNotes,
  encodeNotes,
  NO_NOTES,
  NOTHING_OFF,
  type SavedAddress,
  type SavedArc,
  type SavedServer,
  type SavedSwitch,
} from './state-notes.ts';

/**
 * Past this a file is ignored: the real servers have forgotten the clients (after 360 s), and the clients the
 * proxy.
 */
export const STATE_AGE_MAX_MS = 10 * 60_000;
/** The wall clock may have been set back by this much. */
const CLOCK_BACK_MS = 60_000;

/** The file, as sys/whole-file.ts has it. All but `path` throw what the system says. */
export interface StateFile {
  readonly path: string;
  /** Undefined when there is none. */
  read(maxBytes: number): Uint8Array | undefined;
  /** All or nothing: a reader sees the old file or the new one. */
  write(parts: readonly Uint8Array[]): void;
}

/** A service as records call it, like service/plan.ts. */
export interface StateService {
  readonly index: number;
  readonly name: string;
  readonly vips: readonly string[];
  readonly vport: number;
  readonly lports: { readonly first: number; readonly last: number };
  readonly onewayMs: number;
  readonly normalMs: number;
  readonly realServers: readonly {
    readonly ip: string;
    readonly port: number;
    readonly dialect: string;
    readonly legs: readonly { readonly index: number; readonly lip: string }[];
  }[];
}

export interface SavedSummary {
  saved: number;
  /** Left out, because their service or leg is none of `services`. */
  gone: number;
  bytes: number;
}

export interface LoadedSessions {
  sessions: RestoredSessions;
  /** Left out: their service, real server or LIP is not there any more; they ended by time. */
  dropped: { gone: number; expired: number };
  /** Why no session goes on, while the rest is good; '': there is no reason against it. */
  outOfTime: string;
  /** As they were given to saveSessions. */
  workers: number;
  key: Uint8Array;
  servers: readonly SavedServer[];
  fastPathOff: SavedSwitch;
  /** Addresses that were left on the host for this process; none where `outOfTime`. */
  added: readonly SavedAddress[];
  /** By the leg's number of now, one per worker; none where nothing was handed out. */
  arcs: ReadonlyMap<number, readonly SavedArc[]>;
}

/** What is saved beside the sessions. */
export interface StateMeta {
  workers: number;
  key: Uint8Array;
  /** Milliseconds since 1970. */
  wallMs: number;
  servers?: readonly SavedServer[];
  fastPathOff?: SavedSwitch;
  added?: readonly SavedAddress[];
  /** One per worker; undefined: nobody knows. */
  arcOf?: (leg: number) => readonly SavedArc[] | undefined;
}

/**
 * Writes the sessions of `tables`, which are not used any more. `nowMs` is the datapath's clock. Throws
 * nothing.
 */
export function saveSessions(
  file: StateFile,
  tables: readonly RecordedSessions[],
  services: readonly StateService[],
  meta: StateMeta,
  nowMs: number,
): SavedSummary | { problem: string } {
  const { parts, saved, gone } = encodeSessions(tables, services, meta, nowMs);
  try {
    file.write(parts);
  } catch (error) {
    return { problem: `${file.path} cannot be written: ${(error as Error).message}` };
  }
  return { saved, gone, bytes: parts.reduce((sum, part) => sum + part.length, 0) };
}

/** What saveSessions writes. */
export function encodeSessions(
  tables: readonly RecordedSessions[],
  services: readonly StateService[],
  meta: StateMeta,
  nowMs: number,
): { parts: Uint8Array[]; saved: number; gone: number } {
  const { workers, key, wallMs, servers = [], fastPathOff = NOTHING_OFF, added = [] } = meta;
  const { arcOf = () => undefined } = meta;
  const named = namedLegs(services);
  const placeByLeg: number[] = [];
  for (const [place, { leg }] of named.entries()) placeByLeg[leg] = place;
  const sessions = new Int32Array(countUsed(tables) * SAVED_WORDS);
  let at = 0;
  let gone = 0;
  for (const { records, slots } of tables) {
    for (let base = 0; base < slots * SESSION_WORDS; base += SESSION_WORDS) {
      if (!isUsed(records, base)) continue;
      const place = placeByLeg[legOf(records, base)];
      if (place === undefined || named[place].service !== serviceOf(records, base)) gone++;
      else if (at < sessions.length) {
        putSession(sessions, at, records, base, place, nowMs);
        at += SAVED_WORDS;
      }
    }
  }
  const legs = named.map(lineOf);
  const arcs = named.flatMap(({ leg }, place) => {
    const found = arcOf(leg);
    return found === undefined ? [] : [[place, found] as const];
  });
  const notes = encodeNotes({ servers, fastPathOff, arcs, added });
  const content = { workers, key, savedAtMs: wallMs, legs, notes, sessions: sessions.subarray(0, at) };
  return { parts: encodeState(content), saved: at / SAVED_WORDS, gone };
}

/**
 * Reads what saveSessions wrote, at another `nowMs`. Throws nothing: a problem, for which all of the file is
 * ignored, is returned; `isMissing` says that it is only that there is no file. Once its sessions are at work
 * the file must be removed: later its lports may be those of other clients.
 */
export function loadSessions(
  file: StateFile,
  services: readonly StateService[],
  { wallMs }: { wallMs: number },
  nowMs: number,
): LoadedSessions | { problem: string; isMissing: boolean } {
  const refuse = (reason: string) => ({ problem: `${file.path} is ignored: ${reason}`, isMissing: false });
  let bytes: Uint8Array | undefined;
  try {
    bytes = file.read(FILE_LENGTH_MAX);
  } catch (error) {
    return refuse((error as Error).message);
  }
  if (bytes === undefined) return { problem: `${file.path} does not exist`, isMissing: true };
  const loaded = decodeSessions(bytes, services, { wallMs }, nowMs);
  return typeof loaded === 'string' ? refuse(loaded) : loaded;
}

/** What encodeSessions made, as loadSessions; or in words why it is not that. */
export function decodeSessions(
  bytes: Uint8Array,
  services: readonly StateService[],
  { wallMs }: { wallMs: number },
  nowMs: number,
): LoadedSessions | string {
  const content = decodeState(bytes);
  if (typeof content === 'string') return content;
  const notes = content.notes.length === 0 ? NO_NOTES : decodeNotes(content.notes);
  const legs = content.legs.map(legOfLine);
  if (notes === undefined || notes.arcs.some(([place]) => place >= legs.length))
    return 'its notes are damaged';
  const { workers, key, sessions } = content;
  const awayMs = Math.round(wallMs - content.savedAtMs);
  const outOfTime = whyOutOfTime(awayMs);
  const known = new Map(namedLegs(services).map((leg) => [leg.name, leg]));
  const table = legs.map(({ name, dialect }): (NamedLeg & SavedLeg) | undefined => {
    const leg = known.get(name);
    // Told in another dialect: its real server is perhaps another one, too.
    return leg && { ...leg, isToldAnew: leg.dialect !== dialect };
  });
  const judged = judge(legs, table, sessions, awayMs);
  if (judged === undefined) return 'a session in it is damaged';
  const { chosen, dropped } = judged;
  const places = outOfTime === '' ? chosen : new Uint32Array(0);
  const arcs = notes.arcs.flatMap(([place, arcs]) => {
    const leg = table[place]?.leg;
    return leg === undefined ? [] : [[leg, arcs] as const];
  });
  return {
    sessions: new RestoredSessions(sessions, places, table, Math.max(0, awayMs), nowMs),
    dropped: outOfTime === '' ? dropped : { gone: 0, expired: sessions.length / SAVED_WORDS },
    outOfTime,
    workers,
    key,
    servers: notes.servers,
    fastPathOff: notes.fastPathOff,
    added: outOfTime === '' ? notes.added : [],
    arcs: new Map(arcs),
  };
}

/** Why no session can go on after so long; '': they can. */
function whyOutOfTime(awayMs: number): string {
  if (!(awayMs <= STATE_AGE_MAX_MS)) return `they are ${inMinutes(awayMs)} old`;
  return awayMs < -CLOCK_BACK_MS ? `they are of a time ${inMinutes(-awayMs)} from now` : '';
}

const inMinutes = (ms: number): string => `${Math.round(ms / 60_000)} minutes`;

/**
 * The places of the sessions that go on; undefined when one is not such as saveSessions can have written.
 * `then` are the legs of the file, `table` has them as they are now.
 */
function judge(
  then: readonly LegLine[],
  table: readonly (NamedLeg | undefined)[],
  sessions: Int32Array,
  awayMs: number,
): { chosen: Uint32Array; dropped: LoadedSessions['dropped'] } | undefined {
  const chosen = new Uint32Array(sessions.length / SAVED_WORDS);
  const dropped = { gone: 0, expired: 0 };
  let count = 0;
  for (let at = 0; at < sessions.length; at += SAVED_WORDS) {
    const place = sessions[at + SAVED.legFlags] >>> 16;
    const flags = sessions[at + SAVED.legFlags] & 0xffff;
    const ageMs = sessions[at + SAVED.ageMs];
    if (place >= table.length || (flags & ~(SAVED_NORMAL | SAVED_ACKED)) !== 0 || ageMs < 0) return undefined;
    if (isImpossibleSource(sessions, at + SAVED.client)) return undefined;
    const { lports, vips } = then[place];
    const lport = sessions[at + SAVED.ports] & 0xffff;
    const family = isV4(sessions, at + SAVED.client) ? 4 : 6;
    const vip = vips.find((one) => familyOf(one) === family);
    if (!isAmong(lport, lports) || vip === undefined) return undefined;
    const leg = table[place];
    if (leg === undefined || !isAmong(lport, leg.lports) || !leg.vips.includes(vip)) {
      dropped.gone++;
      continue;
    }
    const timeoutMs = (flags & SAVED_NORMAL) !== 0 ? leg.normalMs : leg.onewayMs;
    if (ageMs + Math.max(0, awayMs) >= timeoutMs) dropped.expired++;
    else chosen[count++] = at / SAVED_WORDS;
  }
  return { chosen: chosen.subarray(0, count), dropped };
}

const isAmong = (lport: number, { first, last }: { first: number; last: number }): boolean =>
  lport >= first && lport <= last;

/** What a line of the file says. */
interface LegLine {
  /** What must be the same for its sessions to go on. */
  name: string;
  /** Of these the one that the session's client calls, and its lport must still be there. */
  vips: readonly string[];
  lports: { readonly first: number; readonly last: number };
  dialect: string;
}

interface NamedLeg extends Omit<SavedLeg, 'isToldAnew' | 'lports'>, LegLine {
  onewayMs: number;
  normalMs: number;
}

const lineOf = ({ name, vips, lports, dialect }: LegLine): string =>
  `${name} ${vips.join()} ${lports.first}-${lports.last} ${dialect}`;

function legOfLine(line: string): LegLine {
  const words = line.split(' ');
  const [vips = '', lports = '', dialect = ''] = words.splice(-3);
  const [first, last] = lports.split('-').map(Number);
  return { name: words.join(' '), vips: vips.split(','), lports: { first, last }, dialect };
}

function namedLegs(services: readonly StateService[]): NamedLeg[] {
  return services.flatMap(({ index, name, vips, vport, lports, onewayMs, normalMs, realServers }) => {
    const ofService = { service: index, vips, lports, onewayMs, normalMs };
    return realServers.flatMap(({ ip, port, dialect, legs }) =>
      legs.map(({ index: leg, lip }) => ({
        ...ofService,
        leg,
        dialect,
        name: `${name} ${vport} ${lip} ${ip} ${port}`,
      })),
    );
  });
}

function countUsed(tables: readonly RecordedSessions[]): number {
  let count = 0;
  for (const { records, slots } of tables)
    for (let base = 0; base < slots * SESSION_WORDS; base += SESSION_WORDS)
      if (isUsed(records, base)) count++;
  return count;
}

function putSession(
  sessions: Int32Array,
  at: number,
  records: Int32Array,
  base: number,
  place: number,
  nowMs: number,
): void {
  for (let i = 0; i < 4; i++) sessions[at + SAVED.client + i] = records[base + CLIENT + i];
  sessions[at + SAVED.ports] = (cportOf(records, base) << 16) | lportOf(records, base);
  const normal = isNormal(records, base) ? SAVED_NORMAL : 0;
  const acked = handshakeState(records, base + HANDSHAKE) === 'acked' ? SAVED_ACKED : 0;
  sessions[at + SAVED.legFlags] = (place << 16) | normal | acked;
  sessions[at + SAVED.ageMs] = Math.max(0, (nowMs - records[base + LAST_SEEN]) | 0);
}
