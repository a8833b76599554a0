// What an operator sees of the sessions: decoded from the shared records by the control plane, while the
// datapath goes on writing them. A record that changes under its hands shows as it was or as it is, never as
// an error.

import type { ProxyV2Mode } from '../uoa/dialect.ts';
import { handshakeState, trialsSent } from '../uoa/handshake.ts';
import { addressWords, familyOf, formatAddress, isSameAddress } from '../wire/address.ts';
import { HOT_STATES, type HotState } from './hot-state.ts';
import {
  CLIENT,
  cportOf,
  HANDSHAKE,
  isNormal,
  isUsed,
  LAST_SEEN,
  legOf,
  lportOf,
  SESSION_WORDS,
  serviceOf,
} from './session.ts';

export interface SessionSnapshot {
  service: string;
  client: string;
  clientPort: number;
  vip: string;
  vport: number;
  lip: string;
  lport: number;
  rs: string;
  rsPort: number;
  state: 'oneway' | 'normal';
  /** Milliseconds since its last forwarded packet. */
  idleMs: number;
  /** `every`: each datagram brings a header. */
  uoa: { state: 'off' | 'every' | 'sending' | 'acked' | 'exhausted'; sent: number };
  /** Whether the fast path forwards it, or why not; null where there is none. */
  fastPath: HotState | null;
}

export interface SessionFilter {
  client?: string;
  clientPort?: number;
  rs?: string;
  rsPort?: number;
  lip?: string;
  lport?: number;
  service?: string;
  state?: 'oneway' | 'normal';
  offset: number;
  limit: number;
}

export interface SessionNames {
  services: readonly { name: string; vips: readonly string[]; vport: number; maxTrials: number }[];
  legs: readonly {
    lip: string;
    rip: string;
    rport: number;
    dialect: string;
    proxyV2?: ProxyV2Mode | undefined;
  }[];
}

/** The records of one session table; `slots` is how many slots were ever used. */
export interface RecordedSessions {
  records: Int32Array;
  slots: number;
  /** By slot, HOT_STATES; undefined where there is no fast path. */
  hotStates?: Uint8Array | undefined;
}

/** So many records are looked at between two turns of the event loop: some milliseconds. */
const SLICE = 65_536;

/**
 * Lists the sessions that match: by table, in slot order. A million take a tenth of a second, which may be
 * interrupted where it yields. `names` is asked before each, because what records call by number may change
 * meanwhile.
 */
export function* listSessions(
  tables: readonly RecordedSessions[],
  names: () => SessionNames,
  filter: SessionFilter,
  nowMs: number,
): Generator<void, { total: number; sessions: SessionSnapshot[] }> {
  const sessions: SessionSnapshot[] = [];
  let total = 0;
  let known = names();
  let wanted = new Wanted(filter, known);
  for (const { records, slots, hotStates } of tables) {
    for (let slot = 0; slot < slots; slot++) {
      if (slot % SLICE === SLICE - 1) {
        yield;
        if (names() !== known) {
          known = names();
          wanted = new Wanted(filter, known);
        }
      }
      const base = slot * SESSION_WORDS;
      if (!isUsed(records, base) || !wanted.has(records, base)) continue;
      if (total >= filter.offset && sessions.length < filter.limit)
        sessions.push(snapshot(records, base, known, nowMs, hotStates?.[slot]));
      total++;
    }
  }
  return { total, sessions };
}

/** A filter in the terms of the records. */
class Wanted {
  /**
   * By number: those that the filter names, among those that have a name. While a change of the config ends
   * it one has none.
   */
  readonly #services: boolean[];
  readonly #legs: boolean[];
  readonly #client: Int32Array | undefined;
  readonly #clientPort: number | undefined;
  readonly #lport: number | undefined;
  readonly #state: SessionFilter['state'];

  constructor(filter: SessionFilter, names: SessionNames) {
    const { client, clientPort, rs, rsPort, lip, lport, service, state } = filter;
    // map leaves out the numbers that nothing has.
    this.#services = names.services.map(({ name }) => service === undefined || name === service);
    this.#legs = names.legs.map(
      (leg) =>
        (rs === undefined || leg.rip === rs) &&
        (rsPort === undefined || leg.rport === rsPort) &&
        (lip === undefined || leg.lip === lip),
    );
    this.#lport = lport;
    this.#clientPort = clientPort;
    this.#state = state;
    if (client === undefined) return;
    this.#client = addressWords(client);
  }

  has(records: Int32Array, base: number): boolean {
    if (this.#client !== undefined && !isSameAddress(records, base + CLIENT, this.#client, 0)) return false;
    if (this.#clientPort !== undefined && cportOf(records, base) !== this.#clientPort) return false;
    if (this.#lport !== undefined && lportOf(records, base) !== this.#lport) return false;
    if (this.#state !== undefined && (this.#state === 'normal') !== isNormal(records, base)) return false;
    return this.#services[serviceOf(records, base)] === true && this.#legs[legOf(records, base)] === true;
  }
}

/** As it is, or as it just was; its service and leg have names. */
export function snapshot(
  records: Int32Array,
  base: number,
  names: SessionNames,
  nowMs: number,
  hotState: number | undefined,
): SessionSnapshot {
  const service = names.services[serviceOf(records, base)];
  const leg = names.legs[legOf(records, base)];
  const client = formatAddress(records, base + CLIENT);
  return {
    service: service.name,
    client,
    clientPort: cportOf(records, base),
    vip: service.vips.find((vip) => familyOf(vip) === familyOf(client)) ?? '',
    vport: service.vport,
    lip: leg.lip,
    lport: lportOf(records, base),
    rs: leg.rip,
    rsPort: leg.rport,
    state: isNormal(records, base) ? 'normal' : 'oneway',
    idleMs: Math.max(0, (nowMs - records[base + LAST_SEEN]) | 0),
    uoa: { state: uoaState(records, base, service, leg), sent: trialsSent(records, base + HANDSHAKE) },
    fastPath: hotState === undefined ? null : HOT_STATES[hotState]!,
  };
}

function uoaState(
  records: Int32Array,
  base: number,
  { maxTrials }: SessionNames['services'][number],
  { dialect, proxyV2 }: SessionNames['legs'][number],
): SessionSnapshot['uoa']['state'] {
  if (proxyV2 === 'every') return proxyV2;
  return maxTrials === 0 || dialect === 'none' ? 'off' : handshakeState(records, base + HANDSHAKE);
}
