// How many sessions a reload ends, and why, said before it does: counted in the records that the datapaths share, which go
// on meanwhile, so that a few may be others by then.
import type { DatapathMemory } from '../datapath/memory.ts';
import { isSameService } from '../service/numbering.ts';
import { type RealServerPlan, type ServicePlan, serverName } from '../service/plan.ts';
import { familyOfClient, isUsed, legOf, lportOf, SESSION_WORDS, serviceOf } from '../session/session.ts';
import { familyOf } from '../wire/address.ts';

/** A line per service and reason; `after` is numbered as numberServices does after `before`. Pure. */
export function endingSessions(
  memories: readonly Pick<DatapathMemory, 'records' | 'table'>[],
  before: readonly ServicePlan[],
  after: readonly ServicePlan[],
): string[] {
  const fates: LegFate[] = [];
  for (const service of before) {
    const now = after.find((one) => isSameService(one, service));
    for (const server of service.realServers)
      for (const leg of server.legs) fates[leg.index] = fateOf(service, now, server, leg);
  }
  if (!fates.some((fate) => fate.isMixed || fate.all !== undefined)) return [];
  const counts = new Map<string, number>();
  for (const { records, table } of memories) {
    for (let base = 0; base < table[0]! * SESSION_WORDS; base += SESSION_WORDS) {
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

/** Why the sessions of a leg end: all of them, those of a VIP, or those whose lport is not among those of now. */
interface LegFate {
  service: ServicePlan;
  all: string | undefined;
  /** By family of the client. */
  vips: { 4: string | undefined; 6: string | undefined };
  outOf(lport: number): string | undefined;
  /** There may be some that end and some that stay. */
  isMixed: boolean;
}

function fateOf(
  service: ServicePlan,
  now: ServicePlan | undefined,
  server: RealServerPlan,
  leg: RealServerPlan['legs'][number],
): LegFate {
  const fate: LegFate = {
    service,
    all: undefined,
    vips: { 4: undefined, 6: undefined },
    outOf: () => undefined,
    isMixed: false,
  };
  if (now === undefined) return { ...fate, all: 'removed' };
  const nowServer = now.realServers.find(({ index }) => index === server.index);
  if (nowServer === undefined) return { ...fate, all: `real server ${serverName(server)} removed` };
  if (!nowServer.legs.some(({ index }) => index === leg.index))
    return { ...fate, all: `LIP ${leg.lip} removed` };
  const gone = service.vips.filter((vip) => !now.vips.includes(vip));
  for (const vip of gone) fate.vips[familyOf(vip)] = `VIP ${vip} removed`;
  const { first, last } = now.lports;
  const isNarrower = first > service.lports.first || last < service.lports.last;
  if (isNarrower)
    fate.outOf = (lport) => (lport < first || lport > last ? `lports are ${first}-${last}` : undefined);
  fate.isMixed = gone.length > 0 || isNarrower;
  return fate;
}
