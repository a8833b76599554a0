// The memory that the datapaths and the control plane share, and where things lie in it. All compute the same
// layout from the same capacity. A common part, then one part per datapath. Cells are aligned and written by
// one side only, where not said otherwise, so a reader sees whole numbers without locks.
import { Persistence } from '../service/persistence.ts';
import { SESSION_WORDS } from '../session/session.ts';
import { type IndexMemory, indexBuckets } from '../session/tuple-index.ts';
import { announcementWords } from './announcements.ts';
import { ClientTable } from './client-table.ts';
import { counterCells } from './counters.ts';
import { Loans } from './loans.ts';
import { capacityOf, type DatapathPlan } from './plan.ts';
import { SERVER_COLUMNS } from './server-cells.ts';

/** Written by the control plane, or by all datapaths. */
export interface CommonMemory {
  /**
   * Cell CONTROL.weightsVersion goes up after weights changed; cell CONTROL.draining is 1 when no new session
   * is taken.
   */
  readonly control: Int32Array;
  /** Per real server: its weight for new sessions, or WEIGHT_DOWN. */
  readonly weights: Int32Array;
  /** datapath/announcements.ts; the control plane announces, too. */
  readonly announcements: Int32Array;
  /** service/persistence.ts */
  readonly persistence: Int32Array;
  /** datapath/client-table.ts */
  readonly clients: Int32Array;
  /** Per service: whose turn is next (service/scheduler/rr.ts). */
  readonly turns: Int32Array;
  /** Per service: the bucket of its new sessions (bucket.ts). */
  readonly buckets: Int32Array;
  /** Per service: not 0 where its sessions are to go by no fast path. */
  readonly fastPathOff: Int32Array;
  /** datapath/loans.ts */
  readonly loans: Int32Array;
}

export const CONTROL = { weightsVersion: 0, draining: 1 } as const;
const CONTROL_CELLS = 16;
/** Entries of the tables by client address: one for every second session, but not more than this. */
const CLIENT_ENTRIES_MAX = 1 << 18;

export interface DatapathMemory {
  readonly common: CommonMemory;
  /** Rows as in counters.ts. */
  readonly counters: Float64Array;
  /** lports in use, per leg. */
  readonly legsInUse: Float64Array;
  /** Those of them, per leg, whose sessions have no answer. */
  readonly legsUnanswered: Float64Array;
  /** Per leg, LPORT_ARC_CELLS: see LportPool.arc. Written by a datapath that stops, for the one after it. */
  readonly lportArcs: Float64Array;
  /** Rows as in server-cells.ts. */
  readonly servers: Float64Array;
  /** Per service: what makes a client in the counts of this datapath's sessions (admission.ts). */
  readonly clientPrefixes: Float64Array;
  /**
   * Per service the VIPs that its sessions in `records` were opened for, as Service has them; zeros where
   * nobody noted it.
   */
  readonly vips: Int32Array;
  /** Cell 0: session slots that were ever used. */
  readonly table: Float64Array;
  /** Cell 0: packets that the datapath began, those put together from fragments too. */
  readonly begun: Float64Array;
  /** Cell 0 goes up several times per second, as long as the datapath gets round to it. */
  readonly pulse: Float64Array;
  /** Counters of the packet I/O, which defines their layout. */
  readonly io: Float64Array;
  /** SESSION_WORDS int32 per session. */
  readonly records: Int32Array;
  /** By session: whether the fast path forwards it, or why not (session/hot-state.ts). */
  readonly hotStates: Uint8Array;
  /** Of the sessions in `records`, by both of their tuples. */
  readonly index: IndexMemory;
}

const CELL = Float64Array.BYTES_PER_ELEMENT;
const WORD = Int32Array.BYTES_PER_ELEMENT;
const LINE = 64;
/** Of a service: an IPv4 VIP and an IPv6 one; an even number, so that cells stay aligned. */
export const VIPS_WORDS = 8;
/** The lport that its pool began with, and the next one, each 0 where nobody noted it. */
export const LPORT_ARC_CELLS = 2;
const KEY_WORDS = 2;
/** How many new sessions a service may open just now, and as of when. */
export const BUCKET_WORDS = 3;

/** A power of two. */
const clientEntries = ({ maxAllSessions, maxSessions }: DatapathPlan): number =>
  Math.min(CLIENT_ENTRIES_MAX, 2 ** Math.ceil(Math.log2((maxAllSessions ?? maxSessions) / 2 + 64)));

const loanWords = ({ worker, maxAllSessions, maxSessions }: DatapathPlan): number =>
  Loans.words(worker?.workers ?? 1, maxAllSessions ?? maxSessions);

/** Bytes of the common part; the parts of the datapaths follow it. */
export function commonBytes(plan: DatapathPlan): number {
  const words =
    CONTROL_CELLS +
    capacityOf(plan).realServers +
    announcementWords(capacityOf(plan).realServers) +
    Persistence.words(clientEntries(plan)) +
    ClientTable.words(clientEntries(plan)) +
    (2 + BUCKET_WORDS) * capacityOf(plan).services +
    loanWords(plan);
  return roundUp(words * WORD);
}

/** Bytes of one datapath's part, for a plan and `ioCells` counters of the packet I/O. */
export function memoryBytes(plan: DatapathPlan, ioCells: number): number {
  return headBytes(plan, ioCells) + recordBytes(plan) + roundUp(plan.maxSessions) + indexBytes(plan);
}

export function mapCommon(buffer: ArrayBuffer, plan: DatapathPlan): CommonMemory {
  let at = 0;
  const words = (count: number): Int32Array => {
    const view = new Int32Array(buffer, at, count);
    at += count * WORD;
    return view;
  };
  return {
    control: words(CONTROL_CELLS),
    weights: words(capacityOf(plan).realServers),
    announcements: words(announcementWords(capacityOf(plan).realServers)),
    persistence: words(Persistence.words(clientEntries(plan))),
    clients: words(ClientTable.words(clientEntries(plan))),
    turns: words(capacityOf(plan).services),
    buckets: words(BUCKET_WORDS * capacityOf(plan).services),
    fastPathOff: words(capacityOf(plan).services),
    loans: words(loanWords(plan)),
  };
}

/** Lays a datapath's part over `memoryBytes` of a zeroed buffer from `byteOffset` on, a multiple of 64. */
export function mapMemory(
  buffer: ArrayBuffer,
  plan: DatapathPlan,
  ioCells: number,
  byteOffset: number,
): DatapathMemory {
  const { services, realServers, legs } = capacityOf(plan);
  const recordsAt = byteOffset + headBytes(plan, ioCells);
  const hotStatesAt = recordsAt + recordBytes(plan);
  const indexAt = hotStatesAt + roundUp(plan.maxSessions);
  let at = byteOffset;
  const cells = (count: number): Float64Array => {
    const view = new Float64Array(buffer, at, count);
    at += count * CELL;
    return view;
  };
  const words = (count: number): Int32Array => {
    const view = new Int32Array(buffer, at, count);
    at += count * WORD;
    return view;
  };
  return {
    common: mapCommon(buffer, plan),
    counters: cells(counterCells(services)),
    legsInUse: cells(legs),
    legsUnanswered: cells(legs),
    lportArcs: cells(LPORT_ARC_CELLS * legs),
    servers: cells(realServers * SERVER_COLUMNS),
    clientPrefixes: cells(services),
    vips: words(services * VIPS_WORDS),
    table: cells(1),
    begun: cells(1),
    pulse: cells(1),
    io: cells(ioCells),
    records: new Int32Array(buffer, recordsAt, plan.maxSessions * SESSION_WORDS),
    hotStates: new Uint8Array(buffer, hotStatesAt, plan.maxSessions),
    index: {
      key: new Int32Array(buffer, indexAt, KEY_WORDS),
      heads: new Int32Array(buffer, indexAt + LINE, indexBuckets(plan.maxSessions)),
    },
  };
}

/** Memory of its own for a datapath that shares with nobody; every real server has its weight. */
export function allocateMemory(plan: DatapathPlan, ioCells = 0): DatapathMemory {
  const common = commonBytes(plan);
  const memory = mapMemory(new ArrayBuffer(common + memoryBytes(plan, ioCells)), plan, ioCells, common);
  for (const { realServers } of plan.services)
    for (const { index, weight } of realServers) memory.common.weights[index] = weight;
  return memory;
}

/** Up to a cache line, so that a session record never straddles two. */
const roundUp = (bytes: number): number => Math.ceil(bytes / LINE) * LINE;

const recordBytes = ({ maxSessions }: DatapathPlan): number => maxSessions * SESSION_WORDS * WORD;

/** The key has a line of its own. */
const indexBytes = ({ maxSessions }: DatapathPlan): number =>
  roundUp(LINE + indexBuckets(maxSessions) * WORD);

function headBytes(plan: DatapathPlan, ioCells: number): number {
  const { services, realServers, legs } = capacityOf(plan);
  const cells =
    counterCells(services) +
    (2 + LPORT_ARC_CELLS) * legs +
    realServers * SERVER_COLUMNS +
    services +
    3 +
    ioCells;
  return roundUp(cells * CELL + services * VIPS_WORDS * WORD);
}
