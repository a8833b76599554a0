// The sessions that a predecessor left hot, read from their rows: each names both ends of both sides, so that
// service, real server and LIP:lport can be told in any plan.
import type { Activity } from './activity.ts';
import { readNote } from './heritage.ts';
import { type Ends, emptyEnds, type HotRecords, INBOUND, type MutableEnds, OUTBOUND } from './hot-records.ts';

/** One session, as long as it is visited: the next one overwrites it. */
export interface FoundSession {
  /** Of the maps, over all workers. */
  session: number;
  /** As its client's packets come, and as they go on to the real server. */
  fromClient: Ends;
  toServer: Ends;
  /** Since its last packet, and since the last one of its client, ms. */
  silenceMs: number;
  clientSilenceMs: number;
  progress: number;
  dialectNumber: number;
  uoaSentAtMs: number;
}

/** Visits each session that is hot. */
export function readFoundSessions(
  records: HotRecords,
  activity: Activity,
  nowTick: number,
  visit: (found: FoundSession) => void,
): void {
  const [fromClient, toServer] = [emptyEnds(), emptyEnds()];
  for (let session = 0; ; session++) {
    session = records.nextHot(session, records.sessions);
    if (session < 0) return;
    records.readEnds(session, INBOUND, fromClient);
    records.readEnds(session, OUTBOUND, toServer);
    turn(toServer);
    const clientSilenceMs = activity.silenceMs(session, INBOUND, nowTick);
    const silenceMs = Math.min(clientSilenceMs, activity.silenceMs(session, OUTBOUND, nowTick));
    visit({ session, fromClient, toServer, silenceMs, clientSilenceMs, ...readNote(activity, session) });
  }
}

/** Makes them the ends of the answer. */
function turn(ends: MutableEnds): void {
  const { addresses, sport, dport } = ends;
  for (let word = 0; word < 4; word++) {
    const source = addresses[word]!;
    addresses[word] = addresses[4 + word]!;
    addresses[4 + word] = source;
  }
  ends.sport = dport;
  ends.dport = sport;
}
