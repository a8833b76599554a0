// The packets that real receivers accepted (README.md beside this file), typed.
import { readFileSync } from 'node:fs';
import { unhex } from '../packets/bytes.ts';

export type Dialect = 'ipo' | 'opp' | 'elb' | 'unified';

export interface Endpoint {
  ip: string;
  port: number;
}

export interface Golden {
  name: string;
  /** Foreign: no dialect that the proxy sends by this name, but what a client may forge. */
  form: Dialect | 'type30' | 'type29';
  realServerFamily: 4 | 6;
  clientFamily: 4 | 6;
  carriage: 'inserted' | 'carrier';
  client: Endpoint;
  /** Only where the form has it. */
  virtual?: Endpoint;
  lport: number;
  bytes: Uint8Array;
}

interface Entry {
  name: string;
  dialect?: Dialect;
  realServerFamily: 4 | 6;
  carriage: 'inserted' | 'carrier';
  lportRport: [number, number];
  client: string;
  virtual?: string;
  packet: string;
}

const entries: Entry[] = JSON.parse(readFileSync(new URL('accepted.json', import.meta.url), 'utf8'));

export const GOLDEN: readonly Golden[] = entries.map((entry) => ({
  name: entry.name,
  form: entry.dialect ?? (entry.name.includes('type 30') ? 'type30' : 'type29'),
  realServerFamily: entry.realServerFamily,
  clientFamily: entry.client.startsWith('[') ? 6 : 4,
  carriage: entry.carriage,
  client: endpoint(entry.client),
  ...(entry.virtual && { virtual: endpoint(entry.virtual) }),
  lport: entry.lportRport[0],
  bytes: unhex(entry.packet),
}));

/** '10.1.0.2:5000' or '[fd00:1::2]:5001'. */
function endpoint(text: string): Endpoint {
  const colon = text.lastIndexOf(':');
  return { ip: text.slice(0, colon).replace(/[[\]]/g, ''), port: Number(text.slice(colon + 1)) };
}
