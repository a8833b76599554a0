// Sessions as a table.
import type { SessionSnapshot } from '../session/snapshot.ts';
import { formatEndpoint } from '../wire/address.ts';
import { table } from './table.ts';
import { age, plural } from './units.ts';

export interface SessionList {
  total: number;
  offset: number;
  limit: number;
  sessions: readonly SessionSnapshot[];
}

const COLUMNS = [
  { head: 'CLIENT' },
  { head: 'SERVICE' },
  { head: 'REAL SERVER' },
  { head: 'STATE' },
  { head: 'IDLE', right: true },
  { head: 'UOA' },
  { head: 'LIP:LPORT' },
] as const;
/** Where there is a fast path. */
const FAST_COLUMN = { head: 'FAST' } as const;

/** The last line says how many there are and how to see the others. */
export function sessionsTable({ total, offset, sessions }: SessionList): string[] {
  if (sessions.length === 0)
    return [total === 0 ? 'no sessions' : `${plural(total, 'session')}, none from ${offset} on`];
  const hasFast = sessions.some(({ fastPath }) => Boolean(fastPath));
  const columns = [...COLUMNS.slice(0, -1), ...(hasFast ? [FAST_COLUMN] : []), ...COLUMNS.slice(-1)];
  const rows = sessions.map((one) => [
    formatEndpoint(one.client, one.clientPort),
    one.service,
    formatEndpoint(one.rs, one.rsPort),
    one.state,
    age(one.idleMs),
    uoa(one.uoa),
    ...(hasFast ? [one.fastPath?.replace('_', ' ') ?? ''] : []),
    formatEndpoint(one.lip, one.lport),
  ]);
  const next = offset + sessions.length;
  const others = next < total || offset > 0 ? `, shown are ${offset + 1} to ${next}` : '';
  const more = next < total ? `; see the next with --offset ${next}` : '';
  return [...table(columns, rows), '', `${plural(total, 'session')}${others}${more}`];
}

/** How many were sent says nothing where none is, and little after the echo ACK. */
const uoa = ({ state, sent }: SessionSnapshot['uoa']): string =>
  state === 'off' || state === 'acked' || state === 'every' ? state : `${state} ${sent}`;
