// Who may open a session: the lists and limits of each service, asked for the first packet of a session only. What a service
// takes in all is shared out evenly to the datapaths, rounded up; what a client takes is counted over all of them
// (client-table.ts). Also knows which clients were answered, limits or not. A session that is there goes on, whatever
// lists and limits became of it.
import { ClientRules } from '../service/client-rules.ts';
import type { LimitsPlan, ServicePlan } from '../service/plan.ts';
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
import { CLIENT_HAS_TOO_MANY, CLIENT_IS_TOO_FAST, ClientTable } from './client-table.ts';
import { DROP, VERDICT, type Verdict } from './verdict.ts';

/** So a bucket gains its tokens per second in each millisecond. */
const TOKEN = 1000;
/** More than any bucket holds. */
const FULL = Number.MAX_SAFE_INTEGER;
/** A time so far in the future is one of long ago: they wrap. */
const EARLY_MS = 1000;

/** What admission knows of a service. */
export type AdmissionPlan = Pick<ServicePlan, 'index' | 'limits' | 'allow' | 'deny'>;

export class Admission {
  readonly #clients: ClientTable;
  readonly #workers: number;
  #services: readonly (Door | undefined)[];

  /** `clients` is CommonMemory's; `worker` is the number of this of `workers` datapaths. */
  constructor(
    services: readonly AdmissionPlan[],
    clients: Int32Array,
    { worker, workers }: { readonly worker: number; readonly workers: number },
    seed: readonly [number, number],
  ) {
    this.#clients = new ClientTable(clients, seed, worker);
    this.#workers = workers;
    this.#services = byIndex(services, (plan) => new Door(plan, workers, undefined));
  }

  /**
   * From now on these are the services; the sessions in the first `slots` records are this datapath's, none of a service
   * that is gone. Where another prefix makes a client, or sessions are to be counted from now on, it counts the
   * service's sessions anew: 0.4 s at 1,000,000.
   */
  update(services: readonly AdmissionPlan[], records: Int32Array, slots: number): void {
    const before = this.#services;
    const after = byIndex(services, (plan) => new Door(plan, this.#workers, before[plan.index]));
    const isRecounted = after.map((door, index) => isCountedAnew(before[index], door));
    if (isRecounted.includes(true)) {
      for (let base = 0; base < slots * SESSION_WORDS; base += SESSION_WORDS) {
        const index = serviceOf(records, base);
        if (!isUsed(records, base) || !isRecounted[index]) continue;
        this.#takeOff(before[index]!, records, base);
        this.#restore(after[index]!, records, base);
      }
    }
    this.#services = after;
  }

  /**
   * Whether the packet's client may open a session; `sessionsOfService` are those of this datapath. VERDICT.forward or why
   * not. Counts as a new session of this second when it may, whether or not it is opened then.
   */
  judge(serviceIndex: number, packet: Packet, sessionsOfService: number, nowMs: number): Verdict {
    const door = this.#services[serviceIndex];
    if (door === undefined || !door.isGuarded) return VERDICT.forward;
    if (door.rules !== undefined && !door.rules.allows(packet.addresses, 0)) return DROP.denied;
    if (door.sessions > 0 && sessionsOfService >= door.sessions) return DROP.session_limit;
    if (door.perSecond > 0 && !door.hasToken(nowMs)) return DROP.new_session_limit;
    const { sessionsPerClient, newSessionsPerClient, prefixV4, prefixV6 } = door.limits;
    if (sessionsPerClient > 0 || newSessionsPerClient > 0) {
      this.#clients.select(serviceIndex, packet.addresses, 0, prefixV4, prefixV6);
      const judged = this.#clients.judge(sessionsPerClient, newSessionsPerClient, nowMs);
      if (judged === CLIENT_HAS_TOO_MANY) return DROP.client_session_limit;
      if (judged === CLIENT_IS_TOO_FAST) return DROP.client_new_session_limit;
    }
    if (door.perSecond > 0) door.takeToken();
    return VERDICT.forward;
  }

  /** A session was opened: its record is whole. */
  opened(serviceIndex: number, records: Int32Array, base: number): void {
    const door = this.#services[serviceIndex];
    if (door !== undefined) this.#open(door, records, base);
  }

  /** A session ends; its record is still whole. */
  ended(serviceIndex: number, records: Int32Array, base: number): void {
    const door = this.#services[serviceIndex];
    if (door !== undefined) this.#takeOff(door, records, base);
  }

  /** A session became normal: its client was answered. */
  answered(serviceIndex: number, records: Int32Array, base: number, nowMs: number): void {
    const door = this.#services[serviceIndex];
    if (door !== undefined) this.#answer(door, records, base, nowMs);
  }

  /**
   * A session is there that was not opened here: it was read from a file, and its record is not marked FLAG_COUNTED. What a
   * datapath takes over from its predecessor in the same memory is counted there already, and must not come here.
   */
  restored(serviceIndex: number, records: Int32Array, base: number): void {
    const door = this.#services[serviceIndex];
    if (door !== undefined) this.#restore(door, records, base);
  }

  /** Whether a real server answered the client not long ago: 10 minutes after its last answered session ended. */
  isKnown(serviceIndex: number, addresses: Int32Array, at: number, nowMs: number): boolean {
    const door = this.#services[serviceIndex];
    if (door === undefined) return false;
    this.#clients.select(serviceIndex, addresses, at, door.limits.prefixV4, door.limits.prefixV6);
    return this.#clients.isKnown(nowMs);
  }

  #open(door: Door, records: Int32Array, base: number): void {
    if (door.limits.sessionsPerClient === 0) return;
    this.#select(door, records, base);
    this.#count(records, base, records[base + LAST_SEEN]);
  }

  #answer(door: Door, records: Int32Array, base: number, nowMs: number): void {
    this.#select(door, records, base);
    if (!isCounted(records, base)) this.#count(records, base, nowMs);
    if (isCounted(records, base)) this.#clients.answered(nowMs);
  }

  #restore(door: Door, records: Int32Array, base: number): void {
    records[base + LPORT_FLAGS] &= ~FLAG_COUNTED;
    if (isNormal(records, base)) this.#answer(door, records, base, records[base + LAST_SEEN]);
    else this.#open(door, records, base);
  }

  #takeOff(door: Door, records: Int32Array, base: number): void {
    if (!isCounted(records, base)) return;
    this.#select(door, records, base);
    if (isNormal(records, base)) this.#clients.answered(records[base + LAST_SEEN]);
    this.#clients.remove();
  }

  #select({ limits }: Door, records: Int32Array, base: number): void {
    const { prefixV4, prefixV6 } = limits;
    this.#clients.select(serviceOf(records, base), records, base + CLIENT, prefixV4, prefixV6);
  }

  /** Marked first: should this be the last that the process does, a session too few is counted, not one too many. */
  #count(records: Int32Array, base: number, nowMs: number): void {
    records[base + LPORT_FLAGS] |= FLAG_COUNTED;
    if (!this.#clients.add(nowMs)) records[base + LPORT_FLAGS] &= ~FLAG_COUNTED;
  }
}

const isCounted = (records: Int32Array, base: number): boolean =>
  (records[base + LPORT_FLAGS] & FLAG_COUNTED) !== 0;

/** The lists and limits of one service, as they concern one datapath. */
class Door {
  readonly limits: LimitsPlan;
  readonly rules: ClientRules | undefined;
  /** This datapath's share. */
  readonly sessions: number;
  readonly perSecond: number;
  readonly isGuarded: boolean;
  readonly #allow: readonly string[];
  readonly #deny: readonly string[];
  /** A bucket of one second's new sessions: how many, in thousandths, and when. */
  readonly #bucket = new Float64Array(1);
  #filledAt = 0;

  /** `before` is the same service until now. */
  constructor({ limits, allow, deny }: AdmissionPlan, workers: number, before: Door | undefined) {
    this.limits = limits;
    this.sessions = Math.ceil(limits.sessions / workers);
    this.perSecond = limits.newSessions / workers;
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
    if (before !== undefined && before.perSecond > 0) {
      this.#bucket[0] = before.#bucket[0];
      this.#filledAt = before.#filledAt;
    } else {
      this.#bucket[0] = FULL;
    }
  }

  hasToken(nowMs: number): boolean {
    const elapsedMs = (nowMs - this.#filledAt) | 0;
    const isEarly = elapsedMs < 0 && elapsedMs > -EARLY_MS;
    if (!isEarly) this.#filledAt = nowMs;
    const gained = isEarly ? 0 : elapsedMs < 0 ? FULL : elapsedMs * this.perSecond;
    this.#bucket[0] = Math.min(Math.max(1, this.perSecond) * TOKEN, this.#bucket[0] + gained);
    return this.#bucket[0] >= TOKEN;
  }

  takeToken(): void {
    this.#bucket[0] -= TOKEN;
  }
}

/** Whether sessions must be counted anew for what they were counted as before. */
function isCountedAnew(before: Door | undefined, after: Door | undefined): boolean {
  if (before === undefined || after === undefined) return false;
  return (
    before.limits.prefixV4 !== after.limits.prefixV4 ||
    before.limits.prefixV6 !== after.limits.prefixV6 ||
    before.limits.sessionsPerClient > 0 !== after.limits.sessionsPerClient > 0
  );
}

function byIndex(
  services: readonly AdmissionPlan[],
  make: (plan: AdmissionPlan) => Door,
): (Door | undefined)[] {
  const doors: (Door | undefined)[] = [];
  for (const plan of services) doors[plan.index] = make(plan);
  return doors;
}

const isSame = (a: readonly string[], b: readonly string[]): boolean =>
  a.length === b.length && a.every((one, index) => one === b[index]);
