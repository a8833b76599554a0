// What the keys about UOA must satisfy together with the real servers of their service: what no receiver can
// read where it goes is refused, because nobody would notice but the program that misses its clients'
// addresses.
import {
  FALLBACK_DIALECTS,
  hasUnifiedType,
  isInPayload,
  isReadOver,
  isSameOver,
  oneOfWords,
  sameDialects,
  UOA_DIALECTS,
  type UoaDialect,
  uoaOption,
} from '../uoa/dialect.ts';
import { type Family, familyOf } from '../wire/address.ts';
import type { Finding, KeyPath } from './problem.ts';
import type { ServiceConfig } from './schema.ts';
import { type Target, type Targeted, targetsOf } from './targets.ts';

type Dialect = Target['dialect'];

/** Every violation in one service; paths start at the service. */
export function findUoaConflicts(service: ServiceConfig): Finding[] {
  return [
    ...findUnread(service, 4),
    ...findUnread(service, 6),
    ...findUselessFallback(service),
    ...findUntold(service),
  ];
}

/** One service of several, with its index. */
interface Indexed {
  index: number;
  service: Targeted & Pick<ServiceConfig, 'uoa'>;
}

/**
 * Hosts that would get an option of one type in two meanings. A receiver module serves a whole host, whatever
 * the port; one for ipo or elb takes the longer option of unified for its own and overruns its memory.
 */
export function findMixedReceivers(services: readonly Indexed[]): Finding[] {
  const findings: Finding[] = [];
  const firstUse = new Map<string, { meaning: string; dialect: Dialect; key: KeyPath }>();
  const use = (
    rip: string,
    dialect: Dialect,
    { uoa }: Pick<ServiceConfig, 'uoa'>,
    path: KeyPath,
    key: KeyPath,
  ) => {
    const option = dialect === 'none' ? undefined : uoaOption(dialect, uoa.unifiedType);
    if (option === undefined) return;
    const { type, meaning } = option;
    const first = firstUse.get(`${rip} ${type}`);
    if (first === undefined) firstUse.set(`${rip} ${type}`, { meaning, dialect, key });
    if (first === undefined || first.meaning === meaning) return;
    const message =
      `"${dialect}" is not allowed for ${rip}, which is sent "${first.dialect}" too (both are option ${type}, and a receiver of one ` +
      'can be brought down by the other), expected one of them for the whole host, or uoa.unifiedType 30 for ' +
      oneOfWords(UOA_DIALECTS.filter(hasUnifiedType));
    findings.push({ path, message, blamed: [key, first.key] });
  };
  for (const { index, service } of services) {
    const path = ['services', index];
    const common = [...path, 'uoa', 'dialect'];
    const falling = new Set<string>();
    for (const { ip, dialect, hasOwnDialect, path: inService } of targetsOf(service)) {
      const target = [...path, ...inService];
      use(ip, dialect, service, target, hasOwnDialect ? [...target, 'dialect'] : common);
      if (canRefuse(dialect)) falling.add(ip);
    }
    const { onUnsupported } = service.uoa;
    if (onUnsupported === 'plain') continue;
    const key = [...path, 'uoa', 'onUnsupported'];
    for (const rip of falling) use(rip, onUnsupported, service, key, key);
  }
  return findings;
}

/** A real server's own dialect is reported where it stands, the service's once for all that have it. */
function findUnread(service: ServiceConfig, family: Family): Finding[] {
  const findings: Finding[] = [];
  const read = UOA_DIALECTS.filter((dialect) => isReadOver(dialect, family));
  const isUnread = (dialect: Dialect | 'plain'): dialect is UoaDialect =>
    dialect !== 'none' && dialect !== 'plain' && !isReadOver(dialect, family);
  const refuse = (path: Finding['path'], dialect: Dialect, targets: readonly Target[], expected: string) => {
    if (targets.length === 0) return;
    const message = `"${dialect}" is not allowed for ${list(targets)} (no receiver reads ${dialect} over IPv${family}), expected ${expected}`;
    findings.push({ path, message });
  };
  const targets = targetsOf(service).filter(({ ip }) => familyOf(ip) === family);
  const others = oneOfWords([...read, 'none']);
  for (const one of targets) {
    if (one.hasOwnDialect && isUnread(one.dialect))
      refuse([...one.path, 'dialect'], one.dialect, [one], others);
  }
  const { dialect: common, onUnsupported } = service.uoa;
  if (isUnread(common)) {
    const inheriting = targets.filter(({ hasOwnDialect }) => !hasOwnDialect);
    const isFallback = inheriting.every(({ what }) => what === 'fallback');
    const expected = `${others}${isFallback ? '' : ', here or as their own dialect'}`;
    refuse(['uoa', 'dialect'], common, inheriting, expected);
  }
  if (isUnread(onUnsupported)) {
    const falling = targets.filter(({ dialect }) => canRefuse(dialect));
    const fallbacks = FALLBACK_DIALECTS.filter((dialect) => read.includes(dialect));
    refuse(['uoa', 'onUnsupported'], onUnsupported, falling, oneOfWords(['plain', ...fallbacks]));
  }
  return findings;
}

/** Headers of proxy-v2 that no datagram would bring: the programs that wait for them would drop all. */
function findUntold(service: ServiceConfig): Finding[] {
  const told = targetsOf(service).filter(({ dialect }) => isInPayload(dialect));
  if (service.uoa.maxTrials > 0 || told.length === 0) return [];
  const message = `0 is not allowed for ${list(told)} (it turns UOA off, and dialect proxy-v2 is a header that its program expects), expected 1 or more, or dialect none`;
  return [{ path: ['uoa', 'maxTrials'], message }];
}

/** A dialect to fall back to that every real server was just found not to read, or that is never used. */
function findUselessFallback(service: ServiceConfig): Finding[] {
  const { onUnsupported } = service.uoa;
  const refuse = (reason: string): Finding[] => {
    const message = `"${onUnsupported}" is not allowed (${reason}), expected plain or another dialect`;
    return [{ path: ['uoa', 'onUnsupported'], message }];
  };
  if (onUnsupported === 'plain') return [];
  const all = targetsOf(service);
  const told = all.filter(({ dialect }) => canRefuse(dialect));
  if (told.length === 0) {
    const others = oneOfWords([...new Set(all.map(({ dialect }) => dialect))]);
    return refuse(`with dialect ${others} there is nothing that a real server can say it cannot read`);
  }
  if (told.every(({ dialect, ip }) => isSame(dialect, onUnsupported, ip)))
    return refuse(`${list(told)} is sent that already; ${sameDialects().join('; ')}`);
  return [];
}

/** Whether a real server of the dialect may say by ICMP that it cannot read it. */
const canRefuse = (dialect: Dialect): boolean => dialect !== 'none' && !isInPayload(dialect);

/** Whether a real server sees no difference between the two. */
const isSame = (a: Dialect, b: UoaDialect, rip: string): boolean =>
  a !== 'none' && isSameOver(a, b, familyOf(rip));

/** `[fd00::11]:6000 and 2 more`. */
function list(targets: readonly Target[]): string {
  return `${targets[0].endpoint}${targets.length === 1 ? '' : ` and ${targets.length - 1} more`}`;
}
