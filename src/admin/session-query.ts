// The query strings of /sessions and /session -> SessionFilter and SessionTuple, or a QueryError whose text
// goes to who asked.
import type { SessionTuple } from '../session/find-session.ts';
import type { SessionFilter } from '../session/snapshot.ts';
import { readEndpoint } from './endpoint.ts';
import { unknownName } from './names.ts';

export class QueryError extends Error {
  override readonly name = 'QueryError';
}

const PARAMETERS = ['client', 'rs', 'lip', 'service', 'state', 'offset', 'limit'];
const TUPLE_PARAMETERS = ['lip', 'rs'];
const LIMIT_DEFAULT = 100;
const LIMIT_MAX = 1000;

/** `query` is the parsed query string; a parameter that stands twice is an array. Throws QueryError. */
export function parseSessionQuery(
  query: Record<string, unknown>,
  serviceNames: readonly string[],
): SessionFilter {
  const { client, rs, lip, service, state, offset, limit } = parametersOf(query, PARAMETERS);
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
  if (lip !== undefined) {
    const { ip, port } = endpointOf('lip', lip);
    parsed.lip = ip;
    if (port !== undefined) parsed.lport = port;
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

/** As parseSessionQuery: both ends as the real server sees them. */
export function parseSessionTuple(query: Record<string, unknown>): SessionTuple {
  const { lip, rs } = parametersOf(query, TUPLE_PARAMETERS);
  const local = portedEndpoint('lip', lip);
  const server = portedEndpoint('rs', rs);
  return { lip: local.ip, lport: local.port, rs: server.ip, rsPort: server.port };
}

function parametersOf(
  query: Record<string, unknown>,
  allowed: readonly string[],
): Record<string, string | undefined> {
  for (const [name, value] of Object.entries(query)) {
    if (!allowed.includes(name)) refuse(`unknown parameter ${JSON.stringify(name)}`, allowed.join(', '));
    if (typeof value !== 'string') refuse(`parameter ${name} stands more than once`, 'each at most once');
  }
  return query as Record<string, string | undefined>;
}

function portedEndpoint(name: string, text: string | undefined): { ip: string; port: number } {
  const { ip = '', port } = readEndpoint(text ?? '') ?? {};
  if (port === undefined)
    refuse(text === undefined ? `no ${name}` : `${name} ${JSON.stringify(text)}`, 'IP:PORT or [IP]:PORT');
  return { ip, port };
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
