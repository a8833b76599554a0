// Numbers for services, real servers and legs, which session records and the shared memory call them by. What
// stays from one plan to the next keeps its numbers, so that its sessions and counters go on; a number that
// became free is given out again only by the plan after, when no session bears it any more.
import { lipsTowards, type RealServerPlan, type ServiceDraft, type ServicePlan, serverName } from './plan.ts';

/** How many there can be; fixed for the life of the shared memory. */
export interface Capacity {
  readonly services: number;
  readonly realServers: number;
  readonly legs: number;
}

/** More services, real servers or legs than the memory was made for. */
export class CapacityError extends Error {
  override readonly name = 'CapacityError';
}

/** What each plan was made of. */
const draftOf = new WeakMap<ServicePlan, ServiceDraft>();

/** Whether a plan says what the draft says, because it was made of it; false: that is not known. */
export const isMadeOf = (plan: ServicePlan, draft: ServiceDraft): boolean =>
  plan === draft || draftOf.get(plan) === draft;

/**
 * Gives numbers to `drafts`; `before` is the plan that they follow, and a service of it that was made of the
 * same draft goes on as the same object. Throws a CapacityError.
 */
export function numberServices(
  drafts: readonly ServiceDraft[],
  before: readonly ServicePlan[] = [],
  capacity: Capacity = { services: 0xffff, realServers: 0xffff, legs: 0xffff },
): ServicePlan[] {
  const oldOf = sameServiceIn(before);
  const olds = drafts.map((draft) => oldOf(draft));
  if (olds.every((old, at) => old !== undefined && isMadeOf(old, drafts[at]))) return olds as ServicePlan[];
  refuseMoreThan(capacity, drafts);
  const beforeServers = before.flatMap(({ realServers }) => realServers);
  const beforeLegs = beforeServers.flatMap(({ legs }) => legs);
  const serviceNumbers = new Numbers(WORDS.services, before, capacity.services);
  const serverNumbers = new Numbers(WORDS.realServers, beforeServers, capacity.realServers);
  const legNumbers = new Numbers(WORDS.legs, beforeLegs, capacity.legs);
  return drafts.map((draft, at) => {
    const old = olds[at];
    if (old !== undefined && isMadeOf(old, draft)) return old;
    const oldServers = new Map(old?.realServers.map((one) => [serverName(one), one]));
    const realServers = draft.realServers.map((server): RealServerPlan => {
      const oldServer = oldServers.get(serverName(server));
      const oldLegs = new Map(oldServer?.legs.map(({ lip, index }) => [lip, index]));
      const legs = lipsTowards(draft.lips, server.ip).map((lip) => ({
        lip,
        index: oldLegs.get(lip) ?? legNumbers.next(),
      }));
      return { ...server, index: oldServer?.index ?? serverNumbers.next(), legs };
    });
    const plan = { ...draft, index: old?.index ?? serviceNumbers.next(), realServers };
    draftOf.set(plan, draft);
    return plan;
  });
}

const WORDS = { services: 'services', realServers: 'real servers', legs: 'legs (LIPs times real servers)' };

/** What does not fit alone, without the real servers that leave, never will. */
function refuseMoreThan(capacity: Capacity, drafts: readonly ServiceDraft[]): void {
  const needed = { services: drafts.length, realServers: 0, legs: 0 };
  for (const { lips, realServers } of drafts) {
    for (const { ip, isLeaving } of realServers) {
      if (isLeaving) continue;
      needed.realServers++;
      needed.legs += lipsTowards(lips, ip).length;
    }
  }
  for (const what of ['services', 'realServers', 'legs'] as const) {
    const max = capacity[what];
    if (needed[what] > max)
      throw new CapacityError(`more ${WORDS[what]} than the ${max} that there is room for until a restart`);
  }
}

/**
 * A service may get another VIP and lose one; with none in common it is another one: its clients call
 * something else.
 */
export function isSameService(a: Identity, b: Identity): boolean {
  return a.name === b.name && a.vport === b.vport && a.vips.some((vip) => b.vips.includes(vip));
}

/** What makes a service the one that it is. */
type Identity = Pick<ServiceDraft, 'name' | 'vips' | 'vport'>;

/**
 * Finds among `services` the one that is the same as another: by names first, because there may be a thousand
 * of each.
 */
export function sameServiceIn<T extends Identity>(services: readonly T[]): (one: Identity) => T | undefined {
  const byName = new Map<string, T[]>();
  for (const service of services) {
    const own = byName.get(service.name);
    if (own === undefined) byName.set(service.name, [service]);
    else own.push(service);
  }
  return (one) => byName.get(one.name)?.find((other) => isSameService(other, one));
}

class Numbers {
  readonly #what: string;
  readonly #before: readonly { index: number }[];
  /** Made when the first one is asked for: most plans need none. */
  #taken: ReadonlySet<number> | undefined;
  readonly #max: number;
  #next = 0;

  constructor(what: string, before: readonly { index: number }[], max: number) {
    this.#what = what;
    this.#before = before;
    this.#max = max;
  }

  next(): number {
    this.#taken ??= new Set(this.#before.map(({ index }) => index));
    while (this.#taken.has(this.#next)) this.#next++;
    if (this.#next >= this.#max)
      throw new CapacityError(
        `the new ${this.#what} do not fit beside those of before, with room for ${this.#max}: ` +
          'change less at once, or wait until the real servers that leave are gone',
      );
    return this.#next++;
  }
}
