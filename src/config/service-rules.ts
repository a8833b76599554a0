// What the keys of one service must satisfy together, besides those about addresses (rules.ts) and UOA
// (uoa-rules.ts). What cannot work is an error; what works but has no effect is a warning, so that a key may
// stay while another one is tried.
import { hasUnifiedType, isInPayload, oneOfWords, UOA_DIALECTS } from '../uoa/dialect.ts';
import type { Finding, KeyPath } from './problem.ts';
import { formatDuration } from './reader.ts';
import { DEFAULT_HEALTH, DEFAULT_LIMITS, DEFAULT_UOA, type ServiceConfig } from './schema.ts';
import { targetsOf } from './targets.ts';

type Health = ServiceConfig['health'];
type HealthKey = keyof Health;

/** Every violation in one service; paths start at the service. */
export function findServiceConflicts(service: ServiceConfig): Finding[] {
  return [...findHealthConflicts(service.health), ...findContradictions(service)];
}

/** Keys that only some types of check read. */
const READ_BY: Partial<Record<HealthKey, readonly Health['type'][]>> = {
  port: ['udp', 'tcp', 'http'],
  send: ['udp'],
  expect: ['udp'],
  path: ['http'],
  status: ['http'],
  command: ['exec'],
  interval: ['udp', 'tcp', 'http', 'icmp', 'exec'],
  timeout: ['udp', 'tcp', 'http', 'icmp', 'exec'],
  rise: ['udp', 'tcp', 'http', 'icmp', 'exec'],
  fall: ['udp', 'tcp', 'http', 'icmp', 'exec'],
  jitter: ['udp', 'tcp', 'http', 'icmp', 'exec'],
};

/**
 * Checks of a server come one after the other: past this a dead one is asked so much less often than
 * `interval` says.
 */
const TIMEOUT_MAX_INTERVALS = 10;

function findHealthConflicts({ type, command, interval, timeout }: Health): Finding[] {
  const findings: Finding[] = [];
  if (type === 'exec' && command.length === 0) {
    const message = 'is missing, expected the program that type exec runs';
    findings.push({ path: ['health', 'command'], message, blamed: [] });
  }
  const maxMs = TIMEOUT_MAX_INTERVALS * interval;
  if (type !== 'none' && timeout > maxMs) {
    const message =
      `${formatDuration(timeout)} is not allowed (more than ${TIMEOUT_MAX_INTERVALS} intervals of ` +
      `${formatDuration(interval)}), expected at most ${formatDuration(maxMs)}`;
    const blamed = [
      ['health', 'timeout'],
      ['health', 'interval'],
    ];
    findings.push({ path: ['health', 'timeout'], message, blamed });
  }
  return findings;
}

/** Prefixes that are both served and not. */
function findContradictions({ allow, deny }: ServiceConfig): Finding[] {
  const indexByAllowed = new Map(allow.map((prefix, index) => [prefix, index]));
  return deny.flatMap((prefix, index) => {
    const allowed = indexByAllowed.get(prefix);
    if (allowed === undefined) return [];
    const message = `${prefix} stands at allow[${allowed}] too, expected it in one of them`;
    return [{ path: ['deny', index], message }];
  });
}

/** What is allowed in one service but probably not meant; `maxSessions` is what the table holds. */
export function serviceWarnings(service: ServiceConfig, maxSessions: number): Finding[] {
  return [
    ...warnOfWeights(service),
    ...warnOfHealth(service),
    ...warnOfPersistence(service),
    ...warnOfLimits(service.limits, maxSessions),
    ...warnOfUoa(service),
  ];
}

function warnOfWeights({ realServers, fallback }: ServiceConfig): Finding[] {
  if (realServers.some(({ weight }) => weight > 0)) return [];
  const result =
    fallback === undefined ? 'no new session is accepted' : 'every new session goes to the fallback';
  return [{ path: ['realServers'], message: `every weight is 0: ${result}` }];
}

function warnOfHealth({ health, onDown }: ServiceConfig): Finding[] {
  const warnings: Finding[] = [];
  for (const [key, types] of Object.entries(READ_BY)) {
    const isGiven =
      JSON.stringify(health[key as HealthKey]) !== JSON.stringify(DEFAULT_HEALTH[key as HealthKey]);
    if (!isGiven || types.includes(health.type)) continue;
    const message = `has no effect with type ${health.type}, only with ${types.join(', ')}`;
    warnings.push({ path: ['health', key], message });
  }
  const isWatched = health.unreachable > 0 || health.silent > 0;
  if (health.window !== DEFAULT_HEALTH.window && !isWatched) {
    const message = `${formatDuration(health.window)} has no effect without health.unreachable or health.silent`;
    warnings.push({ path: ['health', 'window'], message });
  }
  if (onDown !== 'keep' && health.type === 'none' && !isWatched) {
    const message = `"${onDown}" never happens: without health.type, health.unreachable or health.silent no real server is ever down`;
    warnings.push({ path: ['onDown'], message });
  }
  return warnings;
}

function warnOfPersistence({ persistence, scheduler }: ServiceConfig): Finding[] {
  if (persistence === 0 || (scheduler !== 'sh' && scheduler !== 'mh')) return [];
  const message = `${formatDuration(persistence)} has no effect: scheduler ${scheduler} sends a client address to the same real server anyway`;
  return [{ path: ['persistence'], message }];
}

/** Limits that another limit comes before; 0 is none. */
function warnOfLimits(limits: ServiceConfig['limits'], maxSessions: number): Finding[] {
  const warnings: Finding[] = [];
  const warn = (key: keyof typeof limits, message: string) =>
    warnings.push({ path: ['limits', key], message: `${limits[key]} ${message}` });
  const compare = (key: keyof typeof limits, max: number, what: string) => {
    if (max > 0 && limits[key] > max) warn(key, `is never reached: ${what} is ${max}`);
  };
  compare('sessions', maxSessions, 'sessions.max');
  compare('sessionsPerClient', limits.sessions, 'limits.sessions');
  if (limits.sessions === 0) compare('sessionsPerClient', maxSessions, 'sessions.max');
  compare('newSessionsPerClient', limits.newSessions, 'limits.newSessions');
  if (limits.sessionsPerClient === 0 && limits.newSessionsPerClient === 0) {
    const effect = 'has no effect without limits.sessionsPerClient or limits.newSessionsPerClient';
    if (limits.prefixV4 !== DEFAULT_LIMITS.prefixV4) warn('prefixV4', effect);
    if (limits.prefixV6 !== DEFAULT_LIMITS.prefixV6) warn('prefixV6', effect);
  }
  return warnings;
}

/** Keys that say which packets bring a UOA. */
const ROUND_KEYS = ['maxTrials', 'refresh', 'idleRefresh'] as const;

/** Receivers forget a client address after this long without a UOA (kernel module uoa, its default). */
const RECEIVER_MEMORY_MS = 360_000;

function warnOfUoa(service: ServiceConfig): Finding[] {
  const warnings: Finding[] = [];
  const warn = (key: keyof ServiceConfig['uoa'], message: string) => {
    const path: KeyPath = ['uoa', key];
    warnings.push({ path, message });
  };
  const { maxTrials, idleRefresh, unifiedType, onUnsupported, proxyV2 } = service.uoa;
  const dialects = targetsOf(service).map(({ dialect }) => dialect);
  const sent = new Set([onUnsupported, ...dialects]);
  const affected = UOA_DIALECTS.filter(hasUnifiedType);
  if (unifiedType !== 31 && !affected.some((dialect) => sent.has(dialect))) {
    const effect = `no real server of this service is sent ${oneOfWords(affected)}`;
    warn('unifiedType', `${unifiedType} has no effect: ${effect}`);
  }
  if (proxyV2 !== DEFAULT_UOA.proxyV2 && !dialects.some(isInPayload))
    warn('proxyV2', `${proxyV2} has no effect: no real server of this service is sent proxy-v2`);
  if (dialects.every(isInPayload) && proxyV2 === 'every') {
    for (const key of ROUND_KEYS) {
      if (service.uoa[key] === DEFAULT_UOA[key]) continue;
      warn(key, 'has no effect: with proxyV2 every each datagram brings the header');
    }
    return warnings;
  }
  if (maxTrials > 0 && idleRefresh >= RECEIVER_MEMORY_MS)
    warn('idleRefresh', `${idleRefresh / 1000}s is not below 360s, when receivers forget the client address`);
  return warnings;
}
