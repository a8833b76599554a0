// What differs between two configs, in sentences for the log. The schema's keys are walked, so that a new key
// needs no line here; only services and real servers are told of in words of their own.
import { formatEndpoint } from '../wire/address.ts';
import { entries, type KeyEntry } from './key.ts';
import type { KeyPath } from './problem.ts';
import { formatDuration } from './reader.ts';
import { CONFIG_SCHEMA, type Config, type RealServerConfig, type ServiceConfig } from './schema.ts';

export interface Changes {
  /** What changes while the proxy runs, in the order of the config. */
  lines: string[];
  /** What cannot change while it runs. */
  needsRestart: string[];
}

/** Groups and keys that belong to processes, sockets and memory that stay. */
const NEED_RESTART = ['io', 'admin', 'sessions', 'log.format'];

const KEYS = [...entries(CONFIG_SCHEMA)];
const TOP_KEYS = KEYS.filter(({ path, kind }) => path[0] !== 'services' && kind !== 'group');
const SERVICE_KEYS = below(['services', '[]'], ['realServers']);
const SERVER_KEYS = below(['services', '[]', 'realServers', '[]'], []);

/**
 * `after` with the services of `before` that say the same: who made something of one need not look at it
 * again. Both stay as they are.
 */
export function withUnchanged(before: Config, after: Config): Config {
  const known = new Set(before.services);
  const byName = new Map(before.services.map((service) => [service.name, service]));
  const services = after.services.map((service) => {
    if (known.has(service)) return service;
    const old = byName.get(service.name);
    return old !== undefined && JSON.stringify(old) === JSON.stringify(service) ? old : service;
  });
  return { ...after, services };
}

/** Pure: both configs stay as they are. Services that are the same objects in both are not looked at. */
export function describeChanges(before: Config, after: Config): Changes {
  const lines: string[] = [];
  const needsRestart: string[] = [];
  for (const change of differences(TOP_KEYS, before, after)) {
    if (NEED_RESTART.some((name) => change.name === name || change.name.startsWith(`${name}.`)))
      needsRestart.push(`${change.text}: needs a restart`);
    else lines.push(change.text);
  }
  const oldOf = sameIn(before.services);
  for (const service of after.services) {
    const old = oldOf(service);
    const { name, vip, vport } = service;
    if (old !== undefined) lines.push(...serviceChanges(old, service));
    else lines.push(`service ${name} added (${vip.map((ip) => formatEndpoint(ip, vport)).join(', ')})`);
  }
  const newOf = sameIn(after.services);
  for (const old of before.services) if (newOf(old) === undefined) lines.push(`service ${old.name} removed`);
  return { lines, needsRestart };
}

/**
 * Finds the same service, as isSameService has it: by names first, because there may be a thousand of each.
 */
function sameIn(services: readonly ServiceConfig[]): (service: ServiceConfig) => ServiceConfig | undefined {
  const byName = new Map<string, ServiceConfig[]>();
  for (const service of services) byName.set(service.name, [...(byName.get(service.name) ?? []), service]);
  return ({ name, vport, vip }) =>
    byName.get(name)?.find((one) => one.vport === vport && one.vip.some((ip) => vip.includes(ip)));
}

function serviceChanges(before: ServiceConfig, after: ServiceConfig): string[] {
  if (before === after) return [];
  const lines = differences(SERVICE_KEYS, before, after).map(({ text }) => text);
  const oldByEndpoint = byEndpoint(before);
  const newByEndpoint = byEndpoint(after);
  for (const [endpoint, server] of newByEndpoint) {
    const old = oldByEndpoint.get(endpoint);
    if (old === undefined) lines.push(`real server ${endpoint} added`);
    else
      lines.push(
        ...differences(SERVER_KEYS, old, server).map(({ text }) => `real server ${endpoint} ${text}`),
      );
  }
  const { drainTimeout } = after;
  const rest =
    drainTimeout === 0 ? 'its sessions end' : `its sessions stay for up to ${formatDuration(drainTimeout)}`;
  for (const endpoint of oldByEndpoint.keys())
    if (!newByEndpoint.has(endpoint)) lines.push(`real server ${endpoint} removed: ${rest}`);
  return lines.map((line) => `service ${after.name}: ${line}`);
}

function byEndpoint({ realServers }: ServiceConfig): Map<string, RealServerConfig> {
  return new Map(realServers.map((one) => [formatEndpoint(one.ip, one.port), one]));
}

interface Difference {
  /** Dotted, as `uoa.maxTrials`. */
  name: string;
  /** The name, and the old and the new value. */
  text: string;
}

/** `keys` have paths within the two. */
function differences(keys: readonly KeyEntry[], before: object, after: object): Difference[] {
  return keys.flatMap(({ path, kind, format }) => {
    const name = path.join('.');
    const from = valueAt(before, path);
    const to = valueAt(after, path);
    // As text, because that is how an operator tells values apart.
    const text = kind === 'list' ? listDifference(from, to) : valueDifference(format(from), format(to));
    return text === undefined ? [] : [{ name, text: `${name} ${text}` }];
  });
}

function valueDifference(from: string, to: string): string | undefined {
  return from === to ? undefined : `${from} -> ${to}`;
}

/** More than this many elements are counted only. */
const NAMED_MAX = 5;

function listDifference(from: unknown, to: unknown): string | undefined {
  const before = (from as unknown[]).map(String);
  const after = (to as unknown[]).map(String);
  const parts: string[] = [];
  const describe = (all: readonly string[], others: readonly string[], what: string) => {
    const known = new Set(others);
    const own = all.filter((element) => !known.has(element));
    const named = own.slice(0, NAMED_MAX).join(', ');
    const more = own.length > NAMED_MAX ? ` and ${own.length - NAMED_MAX} more` : '';
    if (own.length > 0) parts.push(`${named}${more} ${what}`);
  };
  describe(after, before, 'added');
  describe(before, after, 'removed');
  if (parts.length > 0) return parts.join(', ');
  const isSameList = before.length === after.length && before.every((element, i) => element === after[i]);
  return isSameList ? undefined : 'in another order or number';
}

function valueAt(config: object, path: KeyPath): unknown {
  let at: unknown = config;
  for (const step of path) at = (at as Record<string, unknown>)[step];
  return at;
}

/**
 * The keys and lists under a path, with their paths from there on; elements of lists are told of with their
 * list.
 */
function below(prefix: readonly string[], without: readonly string[]): KeyEntry[] {
  return KEYS.filter(({ path, kind }) => kind !== 'group' && prefix.every((step, i) => path[i] === step))
    .map((key) => ({ ...key, path: key.path.slice(prefix.length) }))
    .filter(({ path }) => path.length > 0 && !path.includes('[]') && !without.includes(path[0]));
}
