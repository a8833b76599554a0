// The query string of /sessions -> SessionFilter, or a QueryError whose text goes to the person who asked.
import { isIP } from 'node:net';
import type { SessionFilter } from '../session/snapshot.ts';
import { ADDRESS_WORDS, formatAddress, parseAddressInto } from '../wire/address.ts';

export class QueryError extends Error {
  override readonly name = 'QueryError';
}

const PARAMETERS = ['client', 'rs', 'service', 'state', 'offset', 'limit'];
const LIMIT_DEFAULT = 100;
const LIMIT_MAX = 1000;

/** `query` is the parsed query string; a parameter that stands twice is an array. Throws QueryError. */
export function parseSessionQuery(
  query: Record<string, unknown>,
  serviceNames: readonly string[],
): SessionFilter {
  for (const [name, value] of Object.entries(query)) {
    if (!PARAMETERS.includes(name))
      refuse(`unknown parameter ${JSON.stringify(name)}`, PARAMETERS.join(', '));
    if (typeof value !== 'string') refuse(`parameter ${name} stands more than once`, 'each at most once');
  }
  const { client, rs, service, state, offset, limit } = query as Record<string, string | undefined>;
  const parsed: SessionFilter = {
    offset: readInteger('offset', offset, 0, 0, 999_999_999),
    limit: readInteger('limit', limit, LIMIT_DEFAULT, 1, LIMIT_MAX),
  };
  if (client !== undefined) {
    const { ip, port } = readEndpoint('client', client);
    parsed.client = ip;
    if (port !== undefined) parsed.clientPort = port;
  }
  if (rs !== undefined) {
    const { ip, port } = readEndpoint('rs', rs);
    parsed.rs = ip;
    if (port !== undefined) parsed.rsPort = port;
  }
  if (service !== undefined) {
    if (!serviceNames.includes(service))
      refuse(`service ${JSON.stringify(service)} does not exist`, 'a name from /services');
    parsed.service = service;
  }
  if (state !== undefined) {
    if (state !== 'oneway' && state !== 'normal')
      refuse(`state ${JSON.stringify(state)}`, 'oneway or normal');
    parsed.state = state;
  }
  return parsed;
}

function readInteger(
  name: string,
  text: string | undefined,
  fallback: number,
  min: number,
  max: number,
): number {
  if (text === undefined) return fallback;
  const value = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= min && value <= max)) refuse(`${name} ${JSON.stringify(text)}`, `an integer ${min}..${max}`);
  return value;
}

/** `ip`, `ip:port`, or for IPv6 with a port `[ip]:port`. */
function readEndpoint(name: string, text: string): { ip: string; port?: number } {
  const whole = canonical(text);
  if (whole !== undefined) return { ip: whole };
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+)):(\d{1,5})$/.exec(text);
  const ip = canonical(match?.[1] ?? match?.[2] ?? '');
  const port = Number(match?.[3]);
  if (ip === undefined || !(port <= 65_535))
    return refuse(`${name} ${JSON.stringify(text)}`, 'an address, or address:port');
  return { ip, port };
}

/** The address as sessions show it, whatever its notation was; undefined when it is none. */
function canonical(text: string): string | undefined {
  if (isIP(text) === 0 || text.includes('%')) return undefined;
  const words = new Int32Array(ADDRESS_WORDS);
  parseAddressInto(words, 0, text);
  return formatAddress(words, 0);
}

function refuse(what: string, allowed: string): never {
  throw new QueryError(`${what}: expected ${allowed}`);
}
