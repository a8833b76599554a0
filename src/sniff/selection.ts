// The filter words of `uoa-proxy sniff` -> which sightings are shown. Kinds and dialects among the words are
// alternatives, addresses and ports must all be there.
import { isIPv4, isIPv6 } from 'node:net';
import { canonicalAddress } from '../wire/address.ts';
import { KINDS, type Sighting } from './sighting.ts';
import { type Endpoint, SEEN_DIALECTS } from './uoa-option.ts';

const ENDS = ['client', 'vip', 'src', 'dst'] as const;
type End = (typeof ENDS)[number];

/** An address, a port, or both. */
interface Wanted {
  ip: string | undefined;
  port: number | undefined;
}

/** Throws an Error that says what is wrong with a word and what is allowed. */
export function parseSelection(words: readonly string[]): (sighting: Sighting) => boolean {
  const kinds: string[] = [];
  const dialects: string[] = [];
  const ends: { end: End | undefined; wanted: Wanted }[] = [];
  for (let index = 0; index < words.length; index++) {
    const word = words[index];
    if (isOneOf(KINDS, word)) kinds.push(word);
    else if (isOneOf(SEEN_DIALECTS, word)) dialects.push(word);
    else if (isOneOf(ENDS, word)) {
      const address = words[++index];
      if (address === undefined)
        throw new Error(`filter word "${word}" must be followed by an address or a port`);
      ends.push({ end: word, wanted: parseWanted(address) });
    } else ends.push({ end: undefined, wanted: parseWanted(word) });
  }
  return (sighting) =>
    (kinds.length === 0 || kinds.includes(sighting.kind)) &&
    (dialects.length === 0 || (sighting.dialect !== undefined && dialects.includes(sighting.dialect))) &&
    ends.every(({ end, wanted }) =>
      (end === undefined ? ENDS : [end]).some((at) => matches(wanted, endOf(sighting, at))),
    );
}

/** An address as it is printed, so that one can be compared with the other. Throws an Error. */
export function normalAddress(text: string, option: string): string {
  if (!isIPv4(text) && !isIPv6(text))
    throw new Error(`${option} must be IP addresses with commas between them, not "${text}"`);
  return canonicalAddress(text);
}

function parseWanted(text: string): Wanted {
  if (/^\d+$/.test(text)) return { ip: undefined, port: parsePort(text) };
  if (isIPv4(text) || isIPv6(text)) return { ip: canonicalAddress(text), port: undefined };
  const [, bracketed, plain, port] = /^(?:\[([^\]]+)\]|([^:]+)):(\d+)$/.exec(text) ?? [];
  const ip = bracketed ?? plain ?? '';
  if (port !== undefined && (isIPv4(ip) || isIPv6(ip)))
    return { ip: canonicalAddress(ip), port: parsePort(port) };
  const allowed = [...KINDS, ...SEEN_DIALECTS].join(', ');
  throw new Error(
    `filter word "${text}" is not known; allowed are ${allowed}, an address, a port or address:port, ` +
      `and ${ENDS.join(', ')} before one of these`,
  );
}

function parsePort(text: string): number {
  const port = Number(text);
  if (port > 0xffff) throw new Error(`filter word "${text}" is no port: 0 to 65535`);
  return port;
}

function endOf(sighting: Sighting, end: End): Endpoint | undefined {
  return end === 'vip' ? sighting.virtual : sighting[end];
}

function matches({ ip, port }: Wanted, endpoint: Endpoint | undefined): boolean {
  if (endpoint === undefined) return false;
  return (ip === undefined || ip === endpoint.ip) && (port === undefined || port === endpoint.port);
}

function isOneOf<T extends string>(list: readonly T[], word: string): word is T {
  return (list as readonly string[]).includes(word);
}
