// What an operator sees of the sessions: decoded from the shared records by the control plane, while the datapath goes
// on writing them. A record that changes under its hands shows as it was or as it is, never as an error.
import { handshakeState, trialsSent } from '../uoa/handshake.ts';
import { familyOf, formatAddress } from '../wire/address.ts';
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

export interface SessionSnapshot {
  service: string;
  client: string;
  clientPort: number;
  vip: string;
  vport: number;
  lip: string;
  lport: number;
  rs: string;
  rsPort: number;
  state: 'oneway' | 'normal';
  /** Milliseconds since its last forwarded packet. */
  idleMs: number;
  uoa: { state: 'off' | 'sending' | 'acked' | 'exhausted'; sent: number };
}

export interface SessionFilter {
  client?: string;
  clientPort?: number;
  rs?: string;
  rsPort?: number;
  service?: string;
  state?: 'oneway' | 'normal';
  offset: number;
  limit: number;
}

export interface SessionNames {
  services: readonly { name: string; vips: readonly string[]; vport: number; maxTrials: number }[];
  legs: readonly { lip: string; rip: string; rport: number; dialect: string }[];
}

/** The records of one session table; `slots` is how many slots were ever used. */
export interface RecordedSessions {
  records: Int32Array;
  slots: number;
}

/** Lists the sessions that match: by table, in slot order. */
export function listSessions(
  tables: readonly RecordedSessions[],
  names: SessionNames,
  filter: SessionFilter,
  nowMs: number,
): { total: number; sessions: SessionSnapshot[] } {
  const sessions: SessionSnapshot[] = [];
  let total = 0;
  for (const { records, slots } of tables) {
    for (let base = 0; base < slots * SESSION_WORDS; base += SESSION_WORDS) {
      if (!isUsed(records, base) || !isNamed(records, base, names)) continue;
      if (!matches(records, base, names, filter)) continue;
      if (total >= filter.offset && sessions.length < filter.limit)
        sessions.push(snapshot(records, base, names, nowMs));
      total++;
    }
  }
  return { total, sessions };
}

/** Not while a change of the config ends it. */
const isNamed = (records: Int32Array, base: number, names: SessionNames): boolean =>
  names.services[serviceOf(records, base)] !== undefined && names.legs[legOf(records, base)] !== undefined;

function matches(records: Int32Array, base: number, names: SessionNames, filter: SessionFilter): boolean {
  if (filter.state !== undefined && (filter.state === 'normal') !== isNormal(records, base)) return false;
  if (filter.clientPort !== undefined && cportOf(records, base) !== filter.clientPort) return false;
  if (filter.service !== undefined && names.services[serviceOf(records, base)].name !== filter.service)
    return false;
  const leg = names.legs[legOf(records, base)];
  if (filter.rs !== undefined && leg.rip !== filter.rs) return false;
  if (filter.rsPort !== undefined && leg.rport !== filter.rsPort) return false;
  return filter.client === undefined || formatAddress(records, base + CLIENT) === filter.client;
}

function snapshot(records: Int32Array, base: number, names: SessionNames, nowMs: number): SessionSnapshot {
  const service = names.services[serviceOf(records, base)];
  const leg = names.legs[legOf(records, base)];
  const client = formatAddress(records, base + CLIENT);
  const state =
    service.maxTrials === 0 || leg.dialect === 'none' ? 'off' : handshakeState(records, base + HANDSHAKE);
  return {
    service: service.name,
    client,
    clientPort: cportOf(records, base),
    vip: service.vips.find((vip) => familyOf(vip) === familyOf(client)) ?? '',
    vport: service.vport,
    lip: leg.lip,
    lport: lportOf(records, base),
    rs: leg.rip,
    rsPort: leg.rport,
    state: isNormal(records, base) ? 'normal' : 'oneway',
    idleMs: Math.max(0, (nowMs - records[base + LAST_SEEN]) | 0),
    uoa: { state, sent: trialsSent(records, base + HANDSHAKE) },
  };
}
