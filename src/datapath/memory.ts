// The memory that datapath and control plane share, and where things lie in it. Both compute the same layout from the
// same plan. Cells are aligned and written by one side only, so a reader sees whole numbers without locks.
import { SESSION_WORDS } from '../session/session.ts';
import { counterCells } from './counters.ts';
import { type DatapathPlan, legPlans, realServerCount } from './plan.ts';

export interface DatapathMemory {
  /** Rows as in counters.ts. */
  readonly counters: Float64Array;
  /** lports in use, per leg. */
  readonly legsInUse: Float64Array;
  /** Per real server: how often it said that it cannot read the UOA. */
  readonly refusals: Float64Array;
  /** Cell 0: session slots that were ever used. */
  readonly table: Float64Array;
  /** Counters of the packet I/O, which defines their layout. */
  readonly io: Float64Array;
  /** SESSION_WORDS int32 per session. */
  readonly records: Int32Array;
}

const CELL = Float64Array.BYTES_PER_ELEMENT;

/** Bytes of memory for a plan and `ioCells` counters of the packet I/O. */
export function memoryBytes(plan: DatapathPlan, ioCells: number): number {
  return headCells(plan, ioCells) * CELL + plan.maxSessions * SESSION_WORDS * Int32Array.BYTES_PER_ELEMENT;
}

/** Lays the plan's memory over `memoryBytes` of a zeroed buffer from `byteOffset` on, a multiple of 64. */
export function mapMemory(
  buffer: ArrayBuffer,
  plan: DatapathPlan,
  ioCells: number,
  byteOffset = 0,
): DatapathMemory {
  let at = byteOffset;
  const cells = (count: number): Float64Array => {
    const view = new Float64Array(buffer, at, count);
    at += count * CELL;
    return view;
  };
  return {
    counters: cells(counterCells(plan.services.length)),
    legsInUse: cells(legPlans(plan.services).length),
    refusals: cells(realServerCount(plan.services)),
    table: cells(1),
    io: cells(ioCells),
    records: new Int32Array(
      buffer,
      byteOffset + headCells(plan, ioCells) * CELL,
      plan.maxSessions * SESSION_WORDS,
    ),
  };
}

/** Memory of its own for a datapath that shares with nobody. */
export function allocateMemory(plan: DatapathPlan, ioCells = 0): DatapathMemory {
  return mapMemory(new ArrayBuffer(memoryBytes(plan, ioCells)), plan, ioCells);
}

/** Rounded up to a cache line, so that a session record never straddles two. */
function headCells(plan: DatapathPlan, ioCells: number): number {
  const { services } = plan;
  const perServer = legPlans(services).length + realServerCount(services);
  const cells = counterCells(services.length) + perServer + 1 + ioCells;
  return Math.ceil(cells / 8) * 8;
}
