// The query string of /sessions -> SessionFilter, or a QueryError whose text goes to the person who asked.
import type { SessionFilter } from '../session/snapshot.ts';
import { readEndpoint } from './endpoint.ts';
import { unknownName } from './names.ts';

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
    const { ip, port } = endpointOf('client', client);
    parsed.client = ip;
    if (port !== undefined) parsed.clientPort = port;
  }
  if (rs !== undefined) {
    const { ip, port } = endpointOf('rs', rs);
    parsed.rs = ip;
    if (port !== undefined) parsed.rsPort = port;
  }
  if (service !== undefined) {
    if (!serviceNames.includes(service)) throw new QueryError(unknownName('service', service, serviceNames));
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

function endpointOf(name: string, text: string): { ip: string; port?: number } {
  return readEndpoint(text) ?? refuse(`${name} ${JSON.stringify(text)}`, 'an address, or address:port');
}

function refuse(what: string, allowed: string): never {
  throw new QueryError(`${what}: expected ${allowed}`);
}
