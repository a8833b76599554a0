// Which client is behind LIP:lport, as its real server asks: one look into the index that the datapath keeps
// in shared memory, however many sessions there are. The datapath may change chains meanwhile, so what is
// found is compared, and what is not found is looked for again.
import { parseAddressInto } from '../wire/address.ts';
import { isUsed, legOf, lportOf, NEXT, serviceOf } from './session.ts';
import { type RecordedSessions, type SessionNames, type SessionSnapshot, snapshot } from './snapshot.ts';
import { hashTuple } from './tuple-hash.ts';
import { baseOf, type IndexMemory, isInbound } from './tuple-index.ts';

/** Addresses in canonical notation. */
export interface SessionTuple {
  lip: string;
  lport: number;
  rs: string;
  rsPort: number;
}

export interface IndexedSessions extends RecordedSessions {
  index: IndexMemory;
}

/**
 * A chain has one entry or two, of a dozen it is the longest among millions. Beyond this a look went astray
 * among links that changed.
 */
const STEPS_MAX = 256;
const LOOKS = 3;

/** Undefined: there is none, as far as the datapaths whose tables these are have told. */
export function findSession(
  tables: readonly IndexedSessions[],
  names: SessionNames,
  tuple: SessionTuple,
  nowMs: number,
): SessionSnapshot | undefined {
  const addresses = new Int32Array(8);
  parseAddressInto(addresses, 0, tuple.rs);
  parseAddressInto(addresses, 4, tuple.lip);
  const family = tuple.lip.includes(':') ? 6 : 4;
  const ports = (tuple.rsPort << 16) | tuple.lport;
  for (let looks = 0; looks < LOOKS; looks++) {
    for (const table of tables) {
      const { heads, key } = table.index;
      const bucket = hashTuple(key[0]!, key[1]!, addresses, family, ports) & (heads.length - 1);
      const found = findIn(table, heads[bucket]! - 1, names, tuple, nowMs);
      if (found !== undefined) return found;
    }
  }
  return undefined;
}

function findIn(
  { records, hotStates }: IndexedSessions,
  first: number,
  names: SessionNames,
  tuple: SessionTuple,
  nowMs: number,
): SessionSnapshot | undefined {
  let entry = first;
  for (let steps = 0; entry >= 0 && steps < STEPS_MAX; steps++) {
    const base = baseOf(entry);
    if (!isInbound(entry) && isOf(records, base, names, tuple)) {
      const hotState = hotStates?.[entry >> 1];
      const seen = snapshot(records, base, names, nowMs, hotState);
      if (isOf(records, base, names, tuple)) return seen; // else it ended while it was read
    }
    entry = records[base + NEXT + (entry & 1)]! - 1;
  }
  return undefined;
}

function isOf(records: Int32Array, base: number, names: SessionNames, tuple: SessionTuple): boolean {
  if (!isUsed(records, base) || lportOf(records, base) !== tuple.lport) return false;
  const leg = names.legs[legOf(records, base)];
  return (
    leg !== undefined &&
    leg.rport === tuple.rsPort &&
    leg.lip === tuple.lip &&
    leg.rip === tuple.rs &&
    names.services[serviceOf(records, base)] !== undefined
  );
}
