// What several keys of a config must satisfy together. Each rule reports all it finds; one pass and a few
// maps, so that the largest config allowed is checked in well under a second.
import { isDeepStrictEqual } from 'node:util';
import { familyOf, formatEndpoint } from '../wire/address.ts';
import { isLoopback } from './address.ts';
import { type Finding, formatPath, formatValue, type KeyPath, type Problem } from './problem.ts';
import { formatRange, type PortRange } from './reader.ts';
import { type Config, MAX_LEGS, MAX_REAL_SERVERS, type ServiceConfig } from './schema.ts';
import { findServiceConflicts, serviceWarnings } from './service-rules.ts';
import { type Targeted, targetsOf } from './targets.ts';
import { findMixedReceivers, findUoaConflicts } from './uoa-rules.ts';

/** A service that is valid in itself, with its index in `services`. */
export interface IndexedService {
  index: number;
  service: ServiceConfig;
}

/** What rules between services look at. */
type ToOthers = Targeted & Pick<ServiceConfig, 'name' | 'vip' | 'vport' | 'lips' | 'lports' | 'uoa'>;

interface Indexed {
  index: number;
  service: ToOthers;
}

/** Every violation among `services`, which need not be all services of the file. */
export const findConflicts = (services: readonly IndexedService[]): Finding[] =>
  findConflictsBetween(services, withinServices(services));

/** Those that take more to see than a service by itself; `within` are those that do not. */
export function findConflictsBetween(
  services: readonly Indexed[],
  within: readonly Finding[] = [],
): Finding[] {
  const tooMany = findExcess(services);
  return [
    ...tooMany,
    ...findDuplicates(services),
    ...findLoops(services),
    ...findClaimedPorts(services),
    ...within,
    ...findMixedReceivers(services),
    // The excess rule bounds the work of this one.
    ...(tooMany.length === 0 ? findSharedLegs(services) : []),
  ];
}

/** Whether one may take the place of the other as far as findConflictsBetween tells. */
export const isSameToOthers = (a: ServiceConfig, b: ServiceConfig): boolean =>
  a === b || isDeepStrictEqual(toOthers(a), toOthers(b));

function toOthers(service: ServiceConfig): ToOthers {
  const { name, vip, vport, lips, lports, uoa, fallback } = service;
  const realServers = service.realServers.map(({ ip, port, dialect }) => ({ ip, port, dialect }));
  return { name, vip, vport, lips, lports, uoa, fallback, realServers };
}

/** Those of a service by itself; paths start there. */
export const findConflictsWithin = (service: ServiceConfig): Finding[] => [
  ...findFamilyConflicts(service),
  ...findUoaConflicts(service),
  ...findServiceConflicts(service),
];

function withinServices(services: readonly IndexedService[]): Finding[] {
  return services.flatMap(({ index, service }) =>
    findConflictsWithin(service).map(({ path, message, blamed }) => ({
      path: ['services', index, ...path],
      message,
      blamed: (blamed ?? [path]).map((inService) => ['services', index, ...inService]),
    })),
  );
}

/** Packets to a real server come from the LIPs of its family. */
function lipsByFamily({ lips }: Pick<ServiceConfig, 'lips'>): Record<4 | 6, string[]> {
  return {
    4: lips.filter((lip) => familyOf(lip) === 4),
    6: lips.filter((lip) => familyOf(lip) === 6),
  };
}

function findExcess(services: readonly Indexed[]): Finding[] {
  let realServers = 0;
  let legs = 0;
  for (const { service } of services) {
    const targets = targetsOf(service);
    realServers += targets.length;
    const lips = lipsByFamily(service);
    for (const { ip } of targets) legs += lips[familyOf(ip)].length;
  }
  const findings: Finding[] = [];
  const report = (count: number, what: string, max: number) => {
    if (count > max)
      findings.push({ path: ['services'], message: `${count} ${what} in total, at most ${max} are allowed` });
  };
  report(realServers, 'real servers', MAX_REAL_SERVERS);
  report(legs, 'combinations of a LIP and a real server', MAX_LEGS);
  return findings;
}

function findDuplicates(services: readonly Indexed[]): Finding[] {
  const findings: Finding[] = [];
  const uses = () => {
    const firstPath = new Map<string, string>();
    return (value: string, what: string, path: KeyPath, allowed: string) => {
      const first = firstPath.get(value);
      if (first === undefined) firstPath.set(value, formatPath(path));
      else
        findings.push({ path, message: `${what} ${value} is already used by ${first}, expected ${allowed}` });
    };
  };
  const vip = uses();
  const name = uses();
  for (const { index, service } of services) {
    const path = ['services', index];
    for (const address of service.vip)
      vip(formatEndpoint(address, service.vport), 'vip:vport', [...path, 'vport'], 'each once');
    name(service.name, 'name', [...path, 'name'], 'a unique name');
    const lip = uses();
    for (const [i, address] of service.lips.entries())
      lip(address, 'LIP', [...path, 'lips', i], 'each once per service');
    const realServer = uses();
    for (const { endpoint, what, path: inService } of targetsOf(service))
      realServer(endpoint, what, [...path, ...inService], 'each once per service');
  }
  return findings;
}

/** Real servers and fallbacks that are a VIP:vport: their datagrams would come back to the proxy. */
function findLoops(services: readonly Indexed[]): Finding[] {
  const findings: Finding[] = [];
  const nameByVip = new Map(
    services.flatMap(({ service: { vip, vport, name } }) =>
      vip.map((address) => [formatEndpoint(address, vport), name]),
    ),
  );
  for (const { index, service } of services) {
    for (const { endpoint, path } of targetsOf(service)) {
      const name = nameByVip.get(endpoint);
      if (name === undefined) continue;
      const message = `${endpoint} is the VIP of service ${formatValue(name)}, expected a server, not a loop`;
      findings.push({ path: ['services', index, ...path], message });
    }
  }
  return findings;
}

/** LIPs whose lports cover a port that is a service or a real server on the same address. */
function findClaimedPorts(services: readonly Indexed[]): Finding[] {
  const claims = new Map<string, Map<number, string>>();
  const claim = (ip: string, port: number, what: string) => {
    const ports = claims.get(ip) ?? new Map<number, string>();
    if (!ports.has(port)) ports.set(port, what);
    claims.set(ip, ports);
  };
  for (const { service } of services) {
    for (const vip of service.vip) claim(vip, service.vport, `VIP ${formatEndpoint(vip, service.vport)}`);
    for (const { ip, port, endpoint, what } of targetsOf(service)) claim(ip, port, `${what} ${endpoint}`);
  }
  const findings: Finding[] = [];
  for (const { index, service } of services) {
    for (const [i, lip] of service.lips.entries()) {
      for (const [port, what] of claims.get(lip) ?? []) {
        if (!contains(service.lports, port)) continue;
        const message = `${lip} with lports ${formatRange(service.lports)} covers ${what}, expected another LIP or lports without ${port}`;
        const blamed = [['services', index, 'lports']];
        findings.push({ path: ['services', index, 'lips', i], message, blamed });
      }
    }
  }
  return findings;
}

/** Least MTU of a link that carries IPv6 (RFC 8200, 5). */
const MTU_MIN_IPV6 = 1280;

/** Real servers that no LIP can send to, and an MTU that IPv6 does not know. */
function findFamilyConflicts(service: ServiceConfig): Finding[] {
  const findings: Finding[] = [];
  const lips = lipsByFamily(service);
  for (const { ip, ipPath } of targetsOf(service)) {
    const family = familyOf(ip);
    if (lips[family].length > 0) continue;
    const message = `"${ip}" is not allowed (every LIP is IPv${10 - family}), expected an IPv${family} address among the lips too`;
    findings.push({ path: ipPath, message });
  }
  const overIpv6 = targetsOf(service).find(({ ip }) => familyOf(ip) === 6);
  if (overIpv6 && service.mtu !== 'auto' && service.mtu < MTU_MIN_IPV6) {
    const message = `${service.mtu} is not allowed (${overIpv6.endpoint} is reached over IPv6), expected auto | integer ${MTU_MIN_IPV6}..65535`;
    findings.push({ path: ['mtu'], message });
  }
  return findings;
}

/**
 * Services that send from one LIP to one real server share the lports: they must agree on them, or keep
 * apart.
 */
function findSharedLegs(services: readonly Indexed[]): Finding[] {
  interface User {
    index: number;
    lports: PortRange;
  }
  const usersByLeg = new Map<string, User[]>();
  const findings = new Map<string, Finding>();
  for (const { index, service } of services) {
    const lips = lipsByFamily(service);
    for (const { ip, endpoint } of targetsOf(service)) {
      for (const lip of lips[familyOf(ip)]) {
        const leg = `${lip} to ${endpoint}`;
        const users = usersByLeg.get(leg) ?? [];
        usersByLeg.set(leg, users);
        const clash = users.find(
          (user) => user.index !== index && overlapsPartly(user.lports, service.lports),
        );
        if (clash) {
          const message =
            `${formatRange(service.lports)} overlaps ${formatRange(clash.lports)} of services[${clash.index}], which also ` +
            `sends from ${leg}, expected identical or disjoint ranges`;
          const path = ['services', index, 'lports'];
          const blamed = [path, ['services', clash.index, 'lports']];
          findings.set(`${index} ${clash.index}`, { path, message, blamed });
        }
        // One entry per distinct range is enough to find every clash of a later service.
        if (!users.some((user) => isSame(user.lports, service.lports)))
          users.push({ index, lports: service.lports });
      }
    }
  }
  return [...findings.values()];
}

function contains(range: PortRange, port: number): boolean {
  return port >= range.first && port <= range.last;
}

function isSame(a: PortRange, b: PortRange): boolean {
  return a.first === b.first && a.last === b.last;
}

function overlapsPartly(a: PortRange, b: PortRange): boolean {
  return !isSame(a, b) && a.first <= b.last && b.first <= a.last;
}

/** What serviceWarnings said of each service, with how many sessions. */
const warned = new WeakMap<ServiceConfig, { max: number; findings: Finding[] }>();

function warningsOf(service: ServiceConfig, max: number): Finding[] {
  const known = warned.get(service);
  if (known?.max === max) return known.findings;
  const findings = serviceWarnings(service, max);
  warned.set(service, { max, findings });
  return findings;
}

/** What is allowed but probably not meant. */
export function configWarnings(config: Config): Problem[] {
  const warnings: Finding[] = config.services.flatMap((service, index) =>
    warningsOf(service, config.sessions.max).map(({ path, message }) => ({
      path: ['services', index, ...path],
      message,
    })),
  );
  const { listen, tokenFile } = config.admin;
  if (!isLoopback(listen.host) && tokenFile === undefined) {
    const message = `${formatValue(listen.host)} can be reached from other machines, without authentication: /sessions shows client addresses; set admin.tokenFile`;
    warnings.push({ path: ['admin', 'listen'], message });
  }
  return warnings.map(({ path, message }) => ({ path: formatPath(path), message }));
}
