// How many sessions a reload ends, and why, said before it does: counted in the records that the datapaths
// share, which go on meanwhile, so that a few may be others by then.
import type { DatapathMemory } from '../datapath/memory.ts';
import { sameServiceIn } from '../service/numbering.ts';
import { type ServicePlan, serverName } from '../service/plan.ts';
import { familyOfClient, isUsed, legOf, lportOf, SESSION_WORDS, serviceOf } from '../session/session.ts';
import { familyOf } from '../wire/address.ts';

/** A line per service and reason; `after` is numbered as numberServices does after `before`. Pure. */
export function endingSessions(
  memories: readonly Pick<DatapathMemory, 'records' | 'table'>[],
  before: readonly ServicePlan[],
  after: readonly ServicePlan[],
): string[] {
  const fates: LegFate[] = [];
  const nowOf = sameServiceIn(after);
  for (const service of without(before, after)) {
    const now = nowOf(service);
    const staying = fateOf(service, now);
    const serversNow = new Map(now?.realServers.map((server) => [server.index, server]));
    for (const server of service.realServers) {
      const nowServer = serversNow.get(server.index);
      const legsNow = new Set(nowServer?.legs.map(({ index }) => index));
      const removed = nowServer === undefined ? `real server ${serverName(server)} removed` : undefined;
      for (const { index, lip } of server.legs) {
        if (now === undefined || legsNow.has(index)) fates[index] = staying;
        else fates[index] = { ...staying, all: removed ?? `LIP ${lip} removed` };
      }
    }
  }
  if (!fates.some((fate) => fate.isMixed || fate.all !== undefined)) return [];
  const counts = new Map<string, number>();
  for (const { records, table } of memories) {
    for (let base = 0; base < table[0] * SESSION_WORDS; base += SESSION_WORDS) {
      const fate = isUsed(records, base) ? fates[legOf(records, base)] : undefined;
      if (fate === undefined || fate.service.index !== serviceOf(records, base)) continue;
      const reason =
        fate.all ?? fate.vips[familyOfClient(records, base)] ?? fate.outOf(lportOf(records, base));
      if (reason === undefined) continue;
      const line = `service ${fate.service.name}: ${reason}`;
      counts.set(line, (counts.get(line) ?? 0) + 1);
    }
  }
  return [...counts].map(([line, count]) => `${line}: ${count} session${count === 1 ? ' ends' : 's end'}`);
}

/** Real servers that `after` has no more, although they have sessions: drainTimeout is over, or 0s. */
export function lostServers(
  before: readonly ServicePlan[],
  after: readonly ServicePlan[],
  sessionsOf: (realServerIndex: number) => number,
): { service: string; rs: string; sessions: number }[] {
  // A number belongs to one service only, before and after.
  const numbers = without(after, before).flatMap(({ realServers }) => realServers.map(({ index }) => index));
  const stays = new Set(numbers);
  return without(before, after).flatMap(({ name, realServers }) =>
    realServers
      .filter(({ index }) => !stays.has(index) && sessionsOf(index) > 0)
      .map((one) => ({ service: name, rs: serverName(one), sessions: sessionsOf(one.index) })),
  );
}

/** Those that are not in both as they are. */
function without(services: readonly ServicePlan[], others: readonly ServicePlan[]): ServicePlan[] {
  const known = new Set(others);
  return services.filter((service) => !known.has(service));
}

/**
 * Why the sessions of a leg end: all of them, those of a VIP, or those whose lport is not among those of now.
 */
interface LegFate {
  service: ServicePlan;
  all: string | undefined;
  /** By family of the client. */
  vips: { 4: string | undefined; 6: string | undefined };
  outOf(lport: number): string | undefined;
  /** There may be some that end and some that stay. */
  isMixed: boolean;
}

/** Of the legs that `now` still has, or of all when there is no such service any more. */
function fateOf(service: ServicePlan, now: ServicePlan | undefined): LegFate {
  const fate: LegFate = {
    service,
    all: now === undefined ? 'removed' : undefined,
    vips: { 4: undefined, 6: undefined },
    outOf: () => undefined,
    isMixed: false,
  };
  if (now === undefined) return fate;
  const gone = service.vips.filter((vip) => !now.vips.includes(vip));
  for (const vip of gone) fate.vips[familyOf(vip)] = `VIP ${vip} removed`;
  const { first, last } = now.lports;
  const isNarrower = first > service.lports.first || last < service.lports.last;
  if (isNarrower)
    fate.outOf = (lport) => (lport < first || lport > last ? `lports are ${first}-${last}` : undefined);
  fate.isMixed = gone.length > 0 || isNarrower;
  return fate;
}
