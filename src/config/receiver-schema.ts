// THE description of the receiver's config, in a file or on the command line; what schema.ts is for the
// proxy.
import type * as z from 'zod';
import { listenAddress, prefix } from './address.ts';
import { defaulted, group, list, optionalGroup, optionalList, required } from './key.ts';
import { checkBy, parseBy } from './load.ts';
import { log } from './log.ts';
import { ConfigError, type Finding, formatPath } from './problem.ts';
import { duration, flag, integer, text } from './reader.ts';
import { readText } from './text.ts';

const PREFIXES_MAX = 4096;
const CGROUPS_MAX = 64;

export const RECEIVER_SCHEMA = group({
  from: list(
    'LIPs of the proxies whose UOAs are believed: whoever can send from such an address can say who a client is.',
    required('Address or prefix.', prefix(), '10.2.0.200/32'),
    PREFIXES_MAX,
  ),
  cgroups: optionalList(
    'The cgroups (version 2) whose programs see their clients, with those below them. One that is not there yet, or is made again, is found when it is.',
    required(
      'Absolute path.',
      text('absolute path of a cgroup', /^\/[^\0]*$/),
      '/sys/fs/cgroup/system.slice/game.service',
    ),
    CGROUPS_MAX,
  ),
  self: defaulted('The cgroup of the receiver itself, instead of `cgroups`.', flag(), false),
  maxClients: defaulted(
    'Most clients of a cgroup at a time, each some 400 bytes of the kernel. Those for whom there is no room are seen as LIPs, and counted.',
    integer(1, 16_000_000),
    262_144,
  ),
  idle: defaulted(
    'A client is forgotten when programs neither received from it nor sent to it for so long; not before its session ends in the proxy, where programs send to silent clients.',
    duration('10s', '48h'),
    '360s',
  ),
  acksPerSecond: defaulted('Most echo ACKs in a second; 0 sends none.', integer(0, 10_000_000), 50_000),
  admin: optionalGroup('HTTP: /metrics and /healthz.', {
    listen: defaulted('Address and port; port 0 takes any free one.', listenAddress(), '127.0.0.1:9465'),
  }),
  log,
});

/** A checked config. */
export type ReceiverConfig = z.output<typeof RECEIVER_SCHEMA>;

/** Throws ConfigError with all problems of a file. */
export function loadReceiverConfig(path: string): ReceiverConfig {
  return parseBy(readText(path), path, RECEIVER_SCHEMA, conflictsOf);
}

/** What the command line says; options that are not given are undefined. */
export interface ReceiverOptions {
  from: readonly string[] | undefined;
  cgroup: readonly string[] | undefined;
  self: boolean | undefined;
  maxClients: number | undefined;
  idle: string | undefined;
  listen: string | undefined;
}

const OPTION_OF: Record<string, string> = {
  from: '--from',
  cgroups: '--cgroup',
  self: '--self',
  maxClients: '--max-clients',
  idle: '--idle',
  admin: '--listen',
};

/** The same of options of the command line. */
export function readReceiverOptions(given: ReceiverOptions): ReceiverConfig {
  const { from, cgroup, self, maxClients, idle, listen } = given;
  const raw = {
    ...(from && { from }),
    ...(cgroup && { cgroups: cgroup }),
    ...(self !== undefined && { self }),
    ...(maxClients !== undefined && { maxClients }),
    ...(idle !== undefined && { idle }),
    ...(listen !== undefined && { admin: { listen } }),
  };
  const { config, findings } = checkBy(raw, RECEIVER_SCHEMA, conflictsOf);
  if (config !== undefined) return config;
  const problems = findings.map(({ path, message }) => ({
    path: OPTION_OF[String(path[0])] ?? formatPath(path),
    message,
  }));
  throw new ConfigError('the command line', problems);
}

function conflictsOf({ cgroups, self }: ReceiverConfig): Finding[] {
  if (self && cgroups.length > 0)
    return [{ path: ['self'], message: 'true is not allowed, because there are cgroups, too' }];
  if (!self && cgroups.length === 0)
    return [{ path: ['cgroups'], message: 'is missing, expected the path of a cgroup, or self' }];
  return [];
}

/** Why a reload cannot take it: keys that need a restart. */
export function needRestart(before: ReceiverConfig, after: ReceiverConfig): string[] {
  const fixed = (config: ReceiverConfig) => ({
    maxClients: config.maxClients,
    'admin.listen': `${config.admin.listen.host} ${config.admin.listen.port}`,
    'log.format': config.log.format,
  });
  const [old, wanted] = [fixed(before), fixed(after)];
  return (Object.keys(old) as (keyof typeof old)[]).filter((key) => old[key] !== wanted[key]);
}
