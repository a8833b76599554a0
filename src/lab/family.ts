// Which families meet in the lab (clients' and real servers'), and which UOA dialects can be shown between them.
import type { Family } from '../wire/address.ts';

export interface FamilyPair {
  client: Family;
  server: Family;
}

/** What `uoa-proxy lab --family` takes. */
export const FAMILY_PAIRS = {
  4: { client: 4, server: 4 },
  6: { client: 6, server: 6 },
  nat64: { client: 6, server: 4 },
  nat46: { client: 4, server: 6 },
} as const satisfies Record<string, FamilyPair>;
export type FamilyName = `${keyof typeof FAMILY_PAIRS}`;
export const FAMILY_NAMES = Object.keys(FAMILY_PAIRS) as FamilyName[];

export const LAB_DIALECTS = ['ipo', 'opp', 'elb', 'unified', 'none'] as const;
export type LabDialect = (typeof LAB_DIALECTS)[number];

const MTU = 1500;
const UDP_HEADER_LEN = 8;
/** What a UOA adds to a packet, by the family of the real server, then of the client. */
const UOA_LEN = {
  ipo: { 4: { 4: 8, 6: 20 }, 6: { 4: 0, 6: 0 } },
  opp: { 4: { 4: 12, 6: 24 }, 6: { 4: 12, 6: 24 } },
  elb: { 4: { 4: 8, 6: 20 }, 6: { 4: 16, 6: 24 } },
  unified: { 4: { 4: 16, 6: 40 }, 6: { 4: 16, 6: 40 } },
} as const;
const IP_HEADER_LEN = { 4: 20, 6: 40 } as const;

/** Why a dialect cannot be shown there, in words; undefined when it can. */
export function dialectRefusal(dialect: LabDialect, family: FamilyName): string | undefined {
  if (dialect !== 'ipo' || FAMILY_PAIRS[family].server === 4) return undefined;
  const others = LAB_DIALECTS.filter((other) => other !== 'ipo').join(', ');
  return (
    `dialect ipo is an IPv4 option, and the real servers of --family ${family} have IPv6 addresses: ` +
    `choose --dialect ${others.replace(/, (\w+)$/, ' or $1')}`
  );
}

/** The payload that fills the MTU on the side where the header is longer. */
export function fullPayloadLen({ client, server }: FamilyPair): number {
  return MTU - Math.max(IP_HEADER_LEN[client], IP_HEADER_LEN[server]) - UDP_HEADER_LEN;
}

/** How the first UOA of a session travels when its datagram has `payloadLen` bytes. */
export function uoaCarriage(
  dialect: LabDialect,
  { client, server }: FamilyPair,
  payloadLen: number,
): 'none' | 'inserted' | 'carrier' {
  if (dialect === 'none') return 'none';
  // Over IPv6, opp inside a large packet crashes receivers: it has a packet of its own there.
  if (dialect === 'opp' && server === 6) return 'carrier';
  const len = IP_HEADER_LEN[server] + UOA_LEN[dialect][server][client] + UDP_HEADER_LEN + payloadLen;
  return len <= MTU ? 'inserted' : 'carrier';
}
