// Sessions over a restart of the proxy: saved to a file when it stops, taken from it when it starts. Indexes
// are good for one run only, so a session is saved with the name of its leg, and is found again where
// service, addresses and ports are still the same. A file that is not as it should be is said and ignored as
// a whole. Of 1,000,000 sessions, 28 MB, saving and loading take 0.15 s of a processor each, and writing the
// records 0.6 s (Node 20, x86-64).
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
  /** As they were given to saveSessions. */
  workers: number;
  key: Uint8Array;
}

/**
 * Writes the sessions of `tables`, which are not used any more. `nowMs` is the datapath's clock, `wallMs` is
 * the time since 1970. Throws nothing.
 */
export function saveSessions(
  file: StateFile,
  tables: readonly RecordedSessions[],
  services: readonly StateService[],
  { workers, key, wallMs }: { workers: number; key: Uint8Array; wallMs: number },
  nowMs: number,
): SavedSummary | { problem: string } {
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
  const content = { workers, key, savedAtMs: wallMs, legs, sessions: sessions.subarray(0, at) };
  const parts = encodeState(content);
  try {
    file.write(parts);
  } catch (error) {
    return { problem: `${file.path} cannot be written: ${(error as Error).message}` };
  }
  const bytes = parts.reduce((sum, part) => sum + part.length, 0);
  return { saved: at / SAVED_WORDS, gone, bytes };
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
  const content = decodeState(bytes);
  if (typeof content === 'string') return refuse(content);
  const awayMs = Math.round(wallMs - content.savedAtMs);
  if (!(awayMs <= STATE_AGE_MAX_MS)) return refuse(`it is ${inMinutes(awayMs)} old`);
  if (awayMs < -CLOCK_BACK_MS) return refuse(`it is of a time ${inMinutes(-awayMs)} from now`);
  return judge(content, services, Math.max(0, awayMs), nowMs) ?? refuse('a session in it is damaged');
}

const inMinutes = (ms: number): string => `${Math.round(ms / 60_000)} minutes`;

/** Undefined when a session is not one that saveSessions can have written. */
function judge(
  { legs, sessions, workers, key }: Exclude<ReturnType<typeof decodeState>, string>,
  services: readonly StateService[],
  awayMs: number,
  nowMs: number,
): LoadedSessions | undefined {
  const known = new Map(namedLegs(services).map((leg) => [leg.name, leg]));
  const then = legs.map(legOfLine);
  const table = then.map(({ name, dialect }): (NamedLeg & SavedLeg) | undefined => {
    const leg = known.get(name);
    // Told in another dialect: its real server is perhaps another one, too.
    return leg && { ...leg, isToldAnew: leg.dialect !== dialect };
  });
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
    if (ageMs + awayMs >= timeoutMs) dropped.expired++;
    else chosen[count++] = at / SAVED_WORDS;
  }
  const restored = new RestoredSessions(sessions, chosen.subarray(0, count), table, awayMs, nowMs);
  return { sessions: restored, dropped, workers, key };
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
