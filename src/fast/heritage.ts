// What hot sessions leave to the next process: their entries, which forward without it, and a note beside
// what they counted (Activity.note). Of the rows' 16 bits each the first are how far their UOA is and in
// which dialect, the second when one was sent last.
import type { Sessions } from '../datapath/walk.ts';
import { HANDSHAKE, isUsed, SESSION_WORDS } from '../session/session.ts';
import { PROGRESS_MASK, progressOf, uoaSentAt } from '../uoa/handshake.ts';
import { type Activity, INBOUND, OUTBOUND } from './activity.ts';
import type { Ends, HotEntries } from './hot-entries.ts';
import { PacketEnds } from './packet-ends.ts';

const DIALECT_SHIFT = 12;
/** Times are kept in units of 65.5 s: a refresh may come that much too early. */
const SENT_SHIFT = 16;

/** Leaves a note of the session, which is hot. */
export function leaveNote(
  activity: Activity,
  session: number,
  { directory, memory }: Sessions,
  base: number,
): void {
  const words = base + HANDSHAKE;
  const inbound = progressOf(memory.records, words) | (directory.legOf(base).dialectNumber << DIALECT_SHIFT);
  const outbound = uoaSentAt(memory.records, words) >>> SENT_SHIFT;
  if (activity.noteOf(session, INBOUND) === inbound && activity.noteOf(session, OUTBOUND) === outbound)
    return;
  activity.note(session, inbound, outbound);
}

/** For resumeProgress; the dialect as uoa/dialect.ts numbers it. */
export function readNote(
  activity: Activity,
  session: number,
): { progress: number; dialectNumber: number; uoaSentAtMs: number } {
  const note = activity.noteOf(session, INBOUND);
  return {
    progress: note & PROGRESS_MASK,
    dialectNumber: note >>> DIALECT_SHIFT,
    uoaSentAtMs: (activity.noteOf(session, OUTBOUND) << SENT_SHIFT) | 0,
  };
}

/** What entries there are of the slots of a worker. */
export interface Heritage {
  /** By slot: bit 1 where its client's packets are forwarded as its record says, bit 2 its real server's. */
  readonly directions: Uint8Array;
  /** By row from the worker's first on: what the entry has. */
  readonly hops: Uint16Array;
  readonly idleMs: Int32Array;
  /** Entries that no session of ours has, and their slots. */
  readonly over: { readonly slot: number; readonly ends: Ends }[];
}

/** Throws a BpfError. */
export function readHeritage(
  entries: HotEntries,
  activity: Activity,
  sessions: Sessions,
  firstSession: number,
  slots: number,
): Heritage {
  const directions = new Uint8Array(slots);
  const hops = new Uint16Array(2 * slots);
  const idleMs = new Int32Array(slots);
  const over: Heritage['over'] = [];
  const ends = new PacketEnds();
  const { records } = sessions.memory;
  entries.read((from, to, { row, generation, hop, idleMs: idle }) => {
    const slot = (row >>> 1) - firstSession;
    if (slot < 0 || slot >= slots) return;
    const base = slot * SESSION_WORDS;
    if (isUsed(records, base) && activity.generationOf(firstSession + slot) === generation) {
      ends.read(sessions, base);
      const isInbound = (row & 1) === INBOUND;
      const [ours, goesOn] = isInbound ? [ends.fromClient, ends.toServer] : [ends.fromServer, ends.toClient];
      if (isSame(from, ours) && isSame(to, goesOn)) {
        directions[slot]! |= isInbound ? 1 : 2;
        hops[2 * slot + (row & 1)] = hop;
        if (isInbound) idleMs[slot] = idle;
        return;
      }
    }
    const { sport, dport } = from;
    over.push({ slot, ends: { addresses: from.addresses.slice(), sport, dport } });
  });
  return { directions, hops, idleMs, over };
}

/** Takes out the entries of a worker's slots that are not `isOurs`. Throws a BpfError. */
export function removeOthers(
  isOurs: (slot: number) => boolean,
  entries: HotEntries,
  firstSession: number,
  slots: number,
): void {
  const others: Ends[] = [];
  entries.read(({ addresses, sport, dport }, _to, { row }) => {
    const slot = (row >>> 1) - firstSession;
    if (slot < 0 || slot >= slots || isOurs(slot)) return;
    others.push({ addresses: addresses.slice(), sport, dport });
  });
  for (const ends of others) entries.remove(ends);
  entries.flush();
}

function isSame(a: Ends, b: Ends): boolean {
  for (let word = 0; word < 8; word++) if (a.addresses[word] !== b.addresses[word]) return false;
  return a.sport === b.sport && a.dport === b.dport;
}
