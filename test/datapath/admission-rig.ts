// Datapaths that share a table of clients, each with its own records, and the clients that want sessions.
import { Admission, type ServiceAccess } from '../../src/datapath/admission.ts';
import { ClientTable } from '../../src/datapath/client-table.ts';
import { COUNTER, counterCells, counterRow } from '../../src/datapath/counters.ts';
import { BUCKET_WORDS } from '../../src/datapath/memory.ts';
import { VERDICT, verdictName } from '../../src/datapath/verdict.ts';
import type { Limits } from '../../src/service/plan.ts';
import {
  CLIENT,
  CPORT_SERVICE,
  FLAG_NORMAL,
  FLAG_USED,
  LAST_SEEN,
  LPORT_FLAGS,
  SESSION_WORDS,
  serviceOf,
} from '../../src/session/session.ts';
import { parseAddressInto } from '../../src/wire/address.ts';
import { Packet } from '../../src/wire/packet.ts';

const SLOTS = 64;
const SERVICES = 8;

export const NO_LIMITS: Limits = {
  sessions: 0,
  sessionsPerClient: 0,
  newSessions: 0,
  newSessionsPerClient: 0,
  prefixV4: 32,
  prefixV6: 64,
};

export const planOf = (
  limits: Partial<Limits>,
  { index = 0, allow = [], deny = [] }: Partial<ServiceAccess> = {},
): ServiceAccess => ({ index, limits: { ...NO_LIMITS, ...limits }, allow, deny });

export const tableOf = (entries = 1024): Int32Array => new Int32Array(ClientTable.words(entries));

function packetFrom(client: string): Packet {
  const packet = new Packet();
  parseAddressInto(packet.addresses, 0, client);
  return packet;
}

const WORKERS_MAX = 8;
const shared = new WeakMap<Int32Array, { buckets: Int32Array; counters: Float64Array[] }>();

/** What the datapaths with the same table of clients share besides it. */
function sharedBy(clients: Int32Array): { buckets: Int32Array; counters: Float64Array[] } {
  const known = shared.get(clients) ?? {
    buckets: new Int32Array(SERVICES * BUCKET_WORDS),
    counters: Array.from({ length: WORKERS_MAX }, () => new Float64Array(counterCells(SERVICES))),
  };
  shared.set(clients, known);
  return known;
}

/** One datapath's view, with the calls that the walks make. */
export class Worker {
  readonly admission: Admission;
  readonly records: Int32Array;
  readonly prefixes: Float64Array;
  now = 0;
  readonly #counters: Float64Array;

  constructor(
    plans: readonly ServiceAccess[],
    clients: Int32Array,
    worker = 0,
    records: Int32Array = new Int32Array(SLOTS * SESSION_WORDS),
    prefixes: Float64Array = new Float64Array(SERVICES),
  ) {
    this.records = records;
    this.prefixes = prefixes;
    const { buckets, counters } = sharedBy(clients);
    this.#counters = counters[worker]!;
    this.#counters.fill(0);
    this.admission = new Admission(plans, { clients, buckets }, prefixes, counters, worker, [worker + 1, 77]);
    for (let base = 0; base < records.length; base += SESSION_WORDS)
      if (records[base + LPORT_FLAGS] !== 0) this.#count(serviceOf(records, base), 1);
    this.admission.takeOver(records, SLOTS);
  }

  judge(client: string, index = 0): string {
    return verdictName(this.admission.judge(index, packetFrom(client), this.now));
  }

  /** Opens a session when that is allowed; its base, or the reason why not. */
  open(client: string, index = 0): number | string {
    const packet = packetFrom(client);
    const verdict = this.admission.judge(index, packet, this.now);
    if (verdict !== VERDICT.forward) return verdictName(verdict);
    let base = 0;
    while (base < this.records.length && this.records[base + LPORT_FLAGS] !== 0) base += SESSION_WORDS;
    if (base === this.records.length) throw new Error('more sessions than the test has room for');
    for (let i = 0; i < 4; i++) this.records[base + CLIENT + i] = packet.addresses[i]!;
    this.records[base + CPORT_SERVICE] = index;
    this.records[base + LAST_SEEN] = this.now;
    this.records[base + LPORT_FLAGS] = FLAG_USED;
    this.admission.opened(index, this.records, base);
    this.#count(index, 1);
    return base;
  }

  /** Opens as many sessions as it may, at most `most`. */
  openMany(client: string, most: number, index = 0): number {
    let count = 0;
    while (count < most && typeof this.open(client, index) === 'number') count++;
    return count;
  }

  answer(base: number | string): void {
    const at = Number(base);
    this.records[at + LPORT_FLAGS] |= FLAG_NORMAL;
    this.records[at + LAST_SEEN] = this.now;
    this.admission.answered(this.records[at + CPORT_SERVICE], this.records, at, this.now);
  }

  end(base: number | string): void {
    const at = Number(base);
    this.admission.ended(this.records, at);
    this.records[at + LPORT_FLAGS] = 0;
    this.#count(serviceOf(this.records, at), -1);
  }

  #count(index: number, sessions: number): void {
    this.#counters[counterRow(index) + COUNTER.sessionsOneway] += sessions;
  }

  isKnown(client: string, index = 0): boolean {
    return this.admission.isKnown(index, packetFrom(client).addresses, 0, this.now);
  }

  update(plans: readonly ServiceAccess[]): void {
    this.admission.update(plans, this.records, SLOTS);
  }
}
