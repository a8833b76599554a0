// What hot sessions leave to the next process: their rows, by which the kernel forwards without it, and in
// each a note (Activity.note). Of its 16 bits per direction the first are how far their UOA is and in
// which dialect, the second when one was sent last.
import type { Sessions } from '../datapath/walk.ts';
import { HANDSHAKE, isUsed } from '../session/session.ts';
import { PROGRESS_MASK, progressOf, uoaSentAt } from '../uoa/handshake.ts';
import type { Activity } from './activity.ts';
import { type Ends, emptyEnds, type HotRecords, INBOUND, OUTBOUND } from './hot-records.ts';
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

/** Whether a hot session's row is for the packets of the record in this place. */
export function isAsRecorded(
  records: HotRecords,
  session: number,
  sessions: Sessions,
  base: number,
): boolean {
  if (!isUsed(sessions.memory.records, base)) return false;
  wanted.read(sessions, base);
  records.readEnds(session, INBOUND, ends);
  if (!isSame(ends, wanted.fromClient)) return false;
  records.readEnds(session, OUTBOUND, ends);
  return isSame(ends, wanted.fromServer);
}

const wanted = new PacketEnds();
const ends = emptyEnds();

function isSame(a: Ends, b: Ends): boolean {
  for (let word = 0; word < 8; word++) if (a.addresses[word] !== b.addresses[word]) return false;
  return a.sport === b.sport && a.dport === b.dport;
}
