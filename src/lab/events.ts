// What the lab's programs tell the lab: one JSON object per line on standard output. Both sides import this
// file.
import type { ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';

/** Totals of one client program; the sum over its sockets. */
export interface ClientTotals {
  sent: number;
  received: number;
  /** Replies whose bytes differ from what was sent. */
  altered: number;
  /** Datagrams without a reply within the time allowed. */
  missing: number;
  /** Datagrams that came when none was awaited. */
  unexpected: number;
  /** Sends refused by the client's kernel and ICMP errors reported to its sockets. */
  errors: number;
  /** Datagrams sent that were not empty. */
  nonEmpty: number;
}

export const noClientTotals = (): ClientTotals => ({
  sent: 0,
  received: 0,
  altered: 0,
  missing: 0,
  unexpected: 0,
  errors: 0,
  nonEmpty: 0,
});

export type ClientEvent =
  | { event: 'ready'; clients: string[] }
  | { event: 'progress' | 'result'; totals: ClientTotals };

/** Totals of one real server. */
export interface ServerTotals {
  /** Datagrams with payload. */
  received: number;
  /** Zero-length datagrams; a carrier is one too. */
  empty: number;
  /**
   * Datagrams with payload from a tuple whose client is known and, where the payload names its sender, right.
   */
  attributed: number;
  /** From a tuple whose client is not known. */
  unattributed: number;
  /** The payload names another client than the one learned. */
  wrong: number;
  /** UOAs read, and echo ACKs sent. */
  uoas: number;
  acks: number;
}

export interface Learned {
  /** LIP:lport. */
  local: string;
  /** CIP:cport. */
  client: string;
  /** VIP:vport, where the dialect tells. */
  virtual: string | undefined;
  datagrams: number;
}

export type ServerEvent =
  | { event: 'ready' }
  | { event: 'learned'; local: string; client: string }
  | { event: 'progress'; totals: ServerTotals }
  | { event: 'result'; totals: ServerTotals; learned: Learned[] };

export function sumTotals<T extends Record<keyof T, number>>(all: readonly T[]): T {
  const sum = { ...all[0] };
  for (const totals of all.slice(1)) {
    for (const key of Object.keys(sum) as (keyof T)[]) sum[key] = (sum[key] + totals[key]) as T[keyof T];
  }
  return sum;
}

export function tell(event: ClientEvent | ServerEvent): void {
  process.stdout.write(`${JSON.stringify(event)}\n`);
}

/** Calls `onEvent` for each line that a child prints; lines that are no JSON object are left out. */
export function listen<E extends ClientEvent | ServerEvent>(
  child: ChildProcess,
  onEvent: (event: E) => void,
): void {
  if (child.stdout === null) throw new Error('the child was started without a pipe on stdout');
  createInterface({ input: child.stdout }).on('line', (line) => {
    if (line.startsWith('{')) onEvent(JSON.parse(line) as E);
  });
}
