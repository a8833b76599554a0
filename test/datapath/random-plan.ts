// Random plans that the config's rules allow, each a change of the one before: services, real servers, LIPs,
// lports and policies come, go and change.
import { type PlanChange, type RealServerDraft, realServer, type ServiceChange } from './rig.ts';

/** Numbers of a seed: mulberry32. */
export class Draws {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 0;
  }

  /** A whole number from 0 to less than `end`. */
  below(end: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let x = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) % end;
  }

  chance(percent: number): boolean {
    return this.below(100) < percent;
  }

  of<T>(list: readonly T[]): T {
    return list[this.below(list.length)];
  }

  /** Some of them, at least one, in their order. */
  some<T>(list: readonly T[]): T[] {
    const found = list.filter(() => this.chance(50));
    return found.length > 0 ? found : [this.of(list)];
  }
}

const SERVICES = [0, 1, 2, 3];
const RIPS = ['10.2.0.10', '10.2.0.11', '10.2.0.12', 'fd00:2::10', 'fd00:2::11'];
const LIPS = { 4: ['10.2.0.200', '10.2.0.201'], 6: ['fd00:2::200', 'fd00:2::201'] };
const LPORTS = [
  { first: 20000, last: 20005 },
  { first: 20010, last: 20013 },
  { first: 20020, last: 20051 },
];
/** What the last of them is in some plans, for all services at once: parts of ranges must not overlap. */
const NARROWED = { first: 20020, last: 20031 };

const isV6 = (ip: string): boolean => ip.includes(':');

function vipsOf(draws: Draws, service: number): string[] {
  const v4 = draws.chance(90) ? '10.1.0.100' : '10.1.0.101';
  return draws.of([[v4], [`fd00:1::a${service}`], [v4, 'fd00:1::100'], ['fd00:1::100', v4]]);
}

function drawRealServers(draws: Draws): RealServerDraft[] {
  const ips = draws.some(RIPS);
  const fallback = draws.chance(30) ? draws.of(ips) : undefined;
  return ips.map((ip) =>
    realServer(ip, {
      weight: draws.of([0, 1, 5, 100]),
      isFallback: ip === fallback,
      isLeaving: ip !== fallback && draws.chance(15),
    }),
  );
}

/** `before` is what the service was, of which most stays. */
function drawService(draws: Draws, service: number, before: ServiceChange | undefined): ServiceChange {
  const keep = <T>(old: T | undefined, make: () => T, percent: number): T =>
    old === undefined || draws.chance(percent) ? make() : old;
  const realServers = keep(before?.realServers, () => drawRealServers(draws), 50);
  const hasV6 = realServers.some(({ ip }) => isV6(ip));
  const families = [...(realServers.some(({ ip }) => !isV6(ip)) ? [4] : []), ...(hasV6 ? [6] : [])];
  const isFit = (lips: readonly string[] | undefined) =>
    lips !== undefined && families.every((family) => lips.some((lip) => isV6(lip) === (family === 6)));
  const oldLips = isFit(before?.lips) ? before?.lips : undefined;
  const dialects = (['none', 'opp', 'elb', 'unified', 'proxy-v2', 'ipo'] as const).slice(0, hasV6 ? 5 : 6);
  const oldDialect = hasV6 && before?.dialect === 'ipo' ? undefined : before?.dialect;
  return {
    name: `service${service}`,
    vport: keep(before?.vport, () => draws.of([6000, 7000]) + service, 5),
    vips: keep(before?.vips, () => vipsOf(draws, service), 8),
    lips: keep(oldLips, () => families.flatMap((family) => draws.some(LIPS[family as 4 | 6])), 20),
    lports: keep(before?.lports, () => draws.of(LPORTS), 8),
    realServers,
    dialect: keep(oldDialect, () => draws.of(dialects), 10),
    scheduler: keep(before?.scheduler, () => draws.of(['rr', 'wrr', 'lc', 'wlc', 'sh', 'mh', 'random']), 20),
    persistenceMs: keep(before?.persistenceMs, () => draws.of([0, 0, 5000]), 20),
    onDown: keep(before?.onDown, () => draws.of(['keep', 'move', 'reset']), 20),
    onewayMs: draws.of([2000, 20_000]),
    normalMs: draws.of([5000, 60_000]),
    maxTrials: draws.of([0, 3]),
    deny: draws.chance(20) ? ['10.1.0.3/32'] : [],
    limits: {
      sessions: draws.of([0, 0, 20]),
      sessionsPerClient: draws.of([0, 0, 4]),
      newSessions: draws.of([0, 0, 50]),
      newSessionsPerClient: draws.of([0, 0, 10]),
      prefixV4: draws.of([24, 32]),
      prefixV6: draws.of([56, 64]),
    },
  };
}

/** The services of the plan after the one with the services `before`. */
export function nextServices(draws: Draws, before: readonly ServiceChange[]): ServiceChange[] {
  const services = SERVICES.flatMap((service) => {
    const old = before.find(({ name }) => name === `service${service}`);
    if (old === undefined) return draws.chance(30) ? [drawService(draws, service, undefined)] : [];
    if (draws.chance(6)) return [];
    return [draws.chance(60) ? drawService(draws, service, old) : old];
  });
  if (services.length === 0) services.push(drawService(draws, 0, undefined));
  const isNarrow = before.some(({ lports }) => lports?.last === NARROWED.last) !== draws.chance(10);
  const wide = LPORTS.at(-1)!;
  const fitted = services.map((service) =>
    service.lports?.first === wide.first ? { ...service, lports: isNarrow ? NARROWED : wide } : service,
  );
  return draws.chance(20) ? fitted.reverse() : fitted;
}

/** Room for two plans at once, as there must be. */
export const CAPACITY: Required<PlanChange>['capacity'] = { services: 10, realServers: 40, legs: 80 };
