// Who may open a session: the lists and limits of each service. They are asked for the first packet of a
// session only. A session that is there goes on, whatever lists and limits became of it.
//
// Limits hold for all datapaths together. Those that judge in the same instant may each let in one too many.
// The table of clients (client-table.ts) also knows who was answered, with or without limits.
//
// A session that is counted at its client has FLAG_COUNTED in its record. Addresses with the same prefix are
// one client. The length of that prefix stands in the plan, and once more in the datapath's memory. Sessions
// are counted and taken off by the latter, so that a successor with another plan finds the client that was
// counted.
import { ClientRules } from '../service/client-rules.ts';
import type { Limits, ServicePlan } from '../service/plan.ts';
import {
  CLIENT,
  FLAG_COUNTED,
  isNormal,
  isUsed,
  LAST_SEEN,
  LPORT_FLAGS,
  SESSION_WORDS,
  serviceOf,
} from '../session/session.ts';
import type { Packet } from '../wire/packet.ts';
import { Bucket } from './bucket.ts';
import { CLIENT_HAS_TOO_MANY, CLIENT_IS_TOO_FAST, CLIENT_IS_UNSEEN, ClientTable } from './client-table.ts';
import { COUNTER, counterRow } from './counters.ts';
import { BUCKET_WORDS, type CommonMemory } from './memory.ts';
import { DROP, VERDICT, type Verdict } from './verdict.ts';

/** What admission must know of a service. */
export type ServiceAccess = Pick<ServicePlan, 'index' | 'limits' | 'allow' | 'deny'>;

export class Admission {
  readonly #clients: ClientTable;
  readonly #prefixes: Float64Array;
  readonly #buckets: Int32Array;
  readonly #counters: readonly Float64Array[];
  #services: readonly (AccessPolicy | undefined)[];
  /** Of the client that was judged last. */
  #isUnseen = false;
  /** The memory was used by nobody before: sessions in it were read from a file. */
  #isFresh = true;

  /**
   * `clients` and `buckets` are CommonMemory's, `clientPrefixes` those of this datapath, whose number is
   * `worker`; `counters` are those of all datapaths. `takeOver` must come first.
   */
  constructor(
    services: readonly ServiceAccess[],
    { clients, buckets }: Pick<CommonMemory, 'clients' | 'buckets'>,
    clientPrefixes: Float64Array,
    counters: readonly Float64Array[],
    worker: number,
    seed: readonly [number, number],
  ) {
    this.#clients = new ClientTable(clients, seed, worker);
    this.#prefixes = clientPrefixes;
    this.#buckets = buckets;
    this.#counters = counters;
    this.#services = byIndex(services, (plan) => new AccessPolicy(plan, buckets, undefined));
  }

  /** Forgets some of what is long over. */
  sweep(sets: number, nowMs: number): void {
    this.#clients.sweep(sets, nowMs);
  }

  /**
   * Takes off what a predecessor counted by other prefixes than those of now, or of services that are gone,
   * in the first `slots` records. To be called once, before its sessions go on and come to `restored`.
   */
  takeOver(records: Int32Array, slots: number): void {
    this.#isFresh = this.#prefixes.every((prefixes) => prefixes === NO_PREFIXES);
    this.#takeOffOutdated(this.#outdated(), records, slots);
  }

  /**
   * From now on these are the services; the sessions in the first `slots` records are this datapath's, none
   * of a service that is gone. Where another prefix makes a client, or sessions are to be counted from now
   * on, it counts the service's sessions anew: 0.4 s at 1,000,000.
   */
  update(services: readonly ServiceAccess[], records: Int32Array, slots: number): void {
    const before = this.#services;
    const after = byIndex(services, (plan) => new AccessPolicy(plan, this.#buckets, before[plan.index]));
    this.#services = after;
    const isOutdated = this.#outdated();
    const isCountedAnew = after.map(
      (policy, index) => isOutdated[index] || isLimitNew(before[index], policy),
    );
    const unseen = (policies: readonly (AccessPolicy | undefined)[]): number => {
      const isLimited = policies.map((policy, index) => isCountedAnew[index] && hasSessionLimit(policy));
      let count = 0;
      for (let base = 0; base < slots * SESSION_WORDS; base += SESSION_WORDS)
        if (isUsed(records, base) && isLimited[serviceOf(records, base)] && !isCounted(records, base))
          count++;
      return count;
    };
    const unseenBefore = isCountedAnew.includes(true) ? unseen(before) : 0;
    this.#takeOffOutdated(isOutdated, records, slots);
    if (!isCountedAnew.includes(true)) return;
    for (let base = 0; base < slots * SESSION_WORDS; base += SESSION_WORDS) {
      const index = serviceOf(records, base);
      if (isUsed(records, base) && isCountedAnew[index]) this.#restored(index, records, base);
    }
    this.#clients.addUncounted(Math.max(0, unseen(after) - unseenBefore));
  }

  /**
   * Whether the packet's client may open a session: VERDICT.forward or why not. Counts as a new session of
   * this second when it may, whether or not it is opened then.
   */
  judge(serviceIndex: number, packet: Packet, nowMs: number): Verdict {
    this.#isUnseen = false;
    const policy = this.#services[serviceIndex];
    if (policy === undefined || !policy.isGuarded) return VERDICT.forward;
    if (policy.rules !== undefined && !policy.rules.allows(packet.addresses, 0)) return DROP.denied;
    const { sessions, newSessions } = policy.limits;
    if (sessions > 0 && this.#sessionsOf(serviceIndex) >= sessions) return DROP.session_limit;
    if (newSessions > 0 && !policy.bucket.take(nowMs)) return DROP.new_session_limit;
    const { sessionsPerClient, newSessionsPerClient, prefixV4, prefixV6 } = policy.limits;
    if (sessionsPerClient > 0 || newSessionsPerClient > 0) {
      this.#clients.select(serviceIndex, packet.addresses, 0, prefixV4, prefixV6);
      const judged = this.#clients.judge(sessionsPerClient, newSessionsPerClient, nowMs);
      if (judged === CLIENT_HAS_TOO_MANY || judged === CLIENT_IS_TOO_FAST) {
        if (newSessions > 0) policy.bucket.give();
        return judged === CLIENT_HAS_TOO_MANY ? DROP.client_session_limit : DROP.client_new_session_limit;
      }
      this.#isUnseen = judged === CLIENT_IS_UNSEEN;
    }
    return VERDICT.forward;
  }

  /** With all datapaths. */
  #sessionsOf(serviceIndex: number): number {
    const row = counterRow(serviceIndex);
    let sessions = 0;
    for (const counters of this.#counters)
      sessions += counters[row + COUNTER.sessionsOneway] + counters[row + COUNTER.sessionsNormal];
    return sessions;
  }

  /** The client of the session that is to be opened next was judged by another datapath. */
  judgedElsewhere(): void {
    this.#isUnseen = false;
  }

  /** The session of the client that was judged last was opened: its record is whole. */
  opened(serviceIndex: number, records: Int32Array, base: number): void {
    const policy = this.#services[serviceIndex];
    if (hasSessionLimit(policy)) {
      this.#open(records, base);
      if (!isCounted(records, base)) this.#isUnseen = true;
    }
    if (this.#isUnseen) this.#clients.addUncounted(1);
  }

  /** A session ends, or is given up; its client, service and flags are still in its record. */
  ended(records: Int32Array, base: number): void {
    if (isCounted(records, base)) this.#takeOff(records, base);
  }

  /** A session became normal: its client was answered. */
  answered(serviceIndex: number, records: Int32Array, base: number, nowMs: number): void {
    const policy = this.#services[serviceIndex];
    if (policy !== undefined) this.#answer(records, base, nowMs);
  }

  /**
   * A session is there that was not opened here: it was read from a file, or is a predecessor's in the same
   * memory, where it is counted already when its record says so.
   */
  restored(serviceIndex: number, records: Int32Array, base: number): void {
    this.#restored(serviceIndex, records, base);
    // A predecessor has said so of its sessions.
    const isNew = this.#isFresh && hasSessionLimit(this.#services[serviceIndex]);
    if (isNew && !isCounted(records, base)) this.#clients.addUncounted(1);
  }

  #restored(serviceIndex: number, records: Int32Array, base: number): void {
    const policy = this.#services[serviceIndex];
    if (policy === undefined || isCounted(records, base)) return;
    if (isNormal(records, base)) this.#answer(records, base, records[base + LAST_SEEN]);
    else if (hasSessionLimit(policy)) this.#open(records, base);
  }

  /**
   * Whether a real server answered the client not long ago: 10 minutes after its last answered session ended.
   */
  isKnown(serviceIndex: number, addresses: Int32Array, at: number, nowMs: number): boolean {
    const policy = this.#services[serviceIndex];
    if (policy === undefined) return false;
    this.#clients.select(serviceIndex, addresses, at, policy.limits.prefixV4, policy.limits.prefixV6);
    return this.#clients.isKnown(nowMs);
  }

  #open(records: Int32Array, base: number): void {
    this.#select(records, base);
    this.#count(records, base, records[base + LAST_SEEN], false);
  }

  #answer(records: Int32Array, base: number, nowMs: number): void {
    this.#select(records, base);
    if (!isCounted(records, base)) this.#count(records, base, nowMs, true);
    if (isCounted(records, base)) this.#clients.answered(nowMs);
  }

  /** The services of which the memory names other prefixes than those of now. */
  #outdated(): boolean[] {
    const isOutdated = (was: number, index: number) =>
      was !== NO_PREFIXES && was !== prefixesOf(this.#services[index]);
    return Array.from(this.#prefixes, isOutdated);
  }

  /**
   * The sessions of these services are not counted then. All of them first, and only then the memory names
   * the prefixes of now: wherever this ends, what is still marked is counted by those that it names.
   */
  #takeOffOutdated(isOutdated: readonly boolean[], records: Int32Array, slots: number): void {
    if (isOutdated.includes(true)) {
      for (let base = 0; base < slots * SESSION_WORDS; base += SESSION_WORDS)
        if (isCounted(records, base) && isOutdated[serviceOf(records, base)]) this.#takeOff(records, base);
    }
    this.#prefixes.set(this.#prefixes.map((_, index) => prefixesOf(this.#services[index])));
  }

  /** The mark goes last, for the reason that it comes first in #count. */
  #takeOff(records: Int32Array, base: number): void {
    this.#select(records, base);
    if (isNormal(records, base)) this.#clients.answered(records[base + LAST_SEEN]);
    this.#clients.remove();
    records[base + LPORT_FLAGS] &= ~FLAG_COUNTED;
  }

  #select(records: Int32Array, base: number): void {
    const index = serviceOf(records, base);
    const prefixes = this.#prefixes[index];
    this.#clients.select(index, records, base + CLIENT, prefixes >>> 8, prefixes & 0xff);
  }

  /**
   * Marked first: should this be the last that the process does, a session too few is counted, not one too
   * many.
   */
  #count(records: Int32Array, base: number, nowMs: number, isAnswered: boolean): void {
    records[base + LPORT_FLAGS] |= FLAG_COUNTED;
    if (!this.#clients.add(nowMs, isAnswered)) records[base + LPORT_FLAGS] &= ~FLAG_COUNTED;
  }
}

const isCounted = (records: Int32Array, base: number): boolean =>
  (records[base + LPORT_FLAGS] & FLAG_COUNTED) !== 0;

/** The lists and limits of one service. */
class AccessPolicy {
  readonly limits: Limits;
  readonly rules: ClientRules | undefined;
  readonly isGuarded: boolean;
  readonly bucket: Bucket;
  readonly #allow: readonly string[];
  readonly #deny: readonly string[];

  /** `before` is the same service until now. */
  constructor(
    { index, limits, allow, deny }: ServiceAccess,
    buckets: Int32Array,
    before: AccessPolicy | undefined,
  ) {
    this.limits = limits;
    this.bucket = new Bucket(buckets, index * BUCKET_WORDS, limits.newSessions);
    this.isGuarded =
      allow.length + deny.length > 0 ||
      limits.sessions > 0 ||
      limits.newSessions > 0 ||
      limits.sessionsPerClient > 0 ||
      limits.newSessionsPerClient > 0;
    this.#allow = allow;
    this.#deny = deny;
    const isSameRules = before !== undefined && isSame(before.#allow, allow) && isSame(before.#deny, deny);
    if (isSameRules) this.rules = before.rules;
    else this.rules = allow.length + deny.length > 0 ? new ClientRules(allow, deny) : undefined;
  }
}

const NO_PREFIXES = 0;

/**
 * What makes a client of a service, in a cell: the prefix of IPv4 in the upper bits, that of IPv6 in the
 * lower 8.
 */
const prefixesOf = (policy: AccessPolicy | undefined): number =>
  policy === undefined ? NO_PREFIXES : (policy.limits.prefixV4 << 8) | policy.limits.prefixV6;

/** Whether each session of a client counts. */
const hasSessionLimit = (policy: AccessPolicy | undefined): boolean =>
  policy !== undefined && policy.limits.sessionsPerClient > 0;

/** Whether sessions that were not counted must be. */
const isLimitNew = (before: AccessPolicy | undefined, after: AccessPolicy | undefined): boolean =>
  before?.limits.sessionsPerClient === 0 && after !== undefined && after.limits.sessionsPerClient > 0;

function byIndex(
  services: readonly ServiceAccess[],
  make: (plan: ServiceAccess) => AccessPolicy,
): (AccessPolicy | undefined)[] {
  const policies: (AccessPolicy | undefined)[] = [];
  for (const plan of services) policies[plan.index] = make(plan);
  return policies;
}

const isSame = (a: readonly string[], b: readonly string[]): boolean =>
  a.length === b.length && a.every((one, index) => one === b[index]);
