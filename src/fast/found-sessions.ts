// The sessions that a predecessor left hot, read from their entries: each names both ends of both sides, so
// that service, real server and LIP:lport can be told in any plan.
import { type Activity, INBOUND, OUTBOUND } from './activity.ts';
import { readNote } from './heritage.ts';
import type { Ends, HotEntries } from './hot-entries.ts';

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

interface MutableEnds extends Ends {
  sport: number;
  dport: number;
}

const ends = (): MutableEnds => ({ addresses: new Int32Array(8), sport: 0, dport: 0 });

/**
 * Visits each session once of which an entry is at work, whichever direction it is; `sessions` is how many
 * the maps have room for. Entries are read to their end first. Throws a BpfError.
 */
export function readFoundSessions(
  entries: HotEntries,
  activity: Activity,
  sessions: number,
  nowTick: number,
  visit: (found: FoundSession) => void,
): void {
  const seen = new Uint8Array(sessions);
  const [fromClient, toServer] = [ends(), ends()];
  entries.read((from, to, { row, generation }) => {
    const session = row >>> 1;
    if (session >= sessions || seen[session] !== 0 || activity.generationOf(session) !== generation) return;
    seen[session] = 1;
    if ((row & 1) === INBOUND) {
      copy(from, fromClient);
      copy(to, toServer);
    } else {
      turn(to, fromClient);
      turn(from, toServer);
    }
    const clientSilenceMs = activity.silenceMs(session, INBOUND, nowTick);
    const silenceMs = Math.min(clientSilenceMs, activity.silenceMs(session, OUTBOUND, nowTick));
    visit({ session, fromClient, toServer, silenceMs, clientSilenceMs, ...readNote(activity, session) });
  });
}

function copy({ addresses, sport, dport }: Ends, to: MutableEnds): void {
  to.addresses.set(addresses);
  to.sport = sport;
  to.dport = dport;
}

/** The ends of the answer. */
function turn({ addresses, sport, dport }: Ends, to: MutableEnds): void {
  to.addresses.set(addresses.subarray(4));
  to.addresses.set(addresses.subarray(0, 4), 4);
  to.sport = dport;
  to.dport = sport;
}
