// The packets that real receivers accepted (README.md beside this file), typed.
import { readFileSync } from 'node:fs';
import { unhex } from '../packets/bytes.ts';

export interface Golden {
  name: string;
  dialect: 'ipo' | 'opp' | 'elb' | 'unified';
  realServerFamily: 4 | 6;
  clientFamily: 4 | 6;
  carriage: 'inserted' | 'carrier';
  lport: number;
  bytes: Uint8Array;
}

interface Entry extends Omit<Golden, 'lport' | 'bytes'> {
  lportRport: [number, number];
  packet: string;
}

const entries: Entry[] = JSON.parse(readFileSync(new URL('accepted.json', import.meta.url), 'utf8'));

export const GOLDEN: readonly Golden[] = entries.map((entry) => ({
  name: entry.name,
  dialect: entry.dialect,
  realServerFamily: entry.realServerFamily,
  clientFamily: entry.clientFamily,
  carriage: entry.carriage,
  lport: entry.lportRport[0],
  bytes: unhex(entry.packet),
}));

/** IPv4 client, IPv4 real server, dialect ipo or opp: 10.1.0.2:5000 behind 10.2.0.200:lport -> 10.2.0.10:6000. */
export const GOLDEN_V4: readonly Golden[] = GOLDEN.filter(
  (entry) =>
    (entry.dialect === 'ipo' || entry.dialect === 'opp') &&
    entry.realServerFamily === 4 &&
    entry.clientFamily === 4,
);
