// Which families meet in the lab (clients' and real servers'), and which UOA dialects can be shown between
// them.
import {
  DEFAULT_DIALECT,
  isInPayload,
  isReadOver,
  oneOfWords,
  UOA_DIALECTS,
  uoaForms,
} from '../uoa/dialect.ts';
import { proxyHeaderLen } from '../uoa/proxy-v2.ts';
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

export const LAB_DIALECTS = [...UOA_DIALECTS, 'none'] as const;
export type LabDialect = (typeof LAB_DIALECTS)[number];
export const LAB_DIALECT: LabDialect = DEFAULT_DIALECT;

const MTU = 1500;
const UDP_HEADER_LEN = 8;
const IP_HEADER_LEN = { 4: 20, 6: 40 } as const;

/** Why a dialect cannot be shown there, in words; undefined when it can. */
export function dialectRefusal(dialect: LabDialect, family: FamilyName): string | undefined {
  const { server } = FAMILY_PAIRS[family];
  if (dialect === 'none' || isReadOver(dialect, server)) return undefined;
  const others = LAB_DIALECTS.filter((other) => other === 'none' || isReadOver(other, server));
  return (
    `no receiver reads dialect ${dialect} over IPv${server}, and the real servers of --family ${family} have such addresses: ` +
    `choose --dialect ${oneOfWords(others)}`
  );
}

/**
 * The payload that fills the MTU on the side where the headers are longer; with a header in the payload on
 * that of the real servers.
 */
export function fullPayloadLen({ client, server }: FamilyPair, dialect: LabDialect): number {
  const added = isInPayload(dialect) ? proxyHeaderLen(client) : 0;
  return MTU - Math.max(IP_HEADER_LEN[client], IP_HEADER_LEN[server] + added) - UDP_HEADER_LEN;
}

/** How the first UOA of a session travels when its datagram has `payloadLen` bytes. */
export function uoaCarriage(
  dialect: LabDialect,
  { client, server }: FamilyPair,
  payloadLen: number,
): 'none' | 'inserted' | 'carrier' | 'header' {
  if (isInPayload(dialect)) return 'header';
  const form = dialect === 'none' ? undefined : uoaForms(dialect, server, 31)?.[client];
  if (form === undefined) return 'none';
  if (!form.inserted || payloadLen === 0) return 'carrier';
  const len = IP_HEADER_LEN[server] + form.size + UDP_HEADER_LEN + payloadLen;
  return len <= MTU ? 'inserted' : 'carrier';
}
