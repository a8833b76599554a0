// What several datapaths count, added up for the control plane. With one datapath nothing is copied.
import type { DatapathMemory } from './memory.ts';

type Summed = Pick<DatapathMemory, 'counters' | 'legsInUse' | 'servers' | 'io'>;
const KEYS = ['counters', 'legsInUse', 'servers', 'io'] as const;

export class Totals implements Summed {
  readonly counters: Float64Array;
  readonly legsInUse: Float64Array;
  readonly servers: Float64Array;
  readonly io: Float64Array;
  readonly #memories: readonly DatapathMemory[];

  /** All of the same plan. */
  constructor(memories: readonly DatapathMemory[]) {
    this.#memories = memories;
    const [first] = memories;
    const cells = (key: (typeof KEYS)[number]) =>
      memories.length === 1 ? first[key] : new Float64Array(first[key].length);
    this.counters = cells('counters');
    this.legsInUse = cells('legsInUse');
    this.servers = cells('servers');
    this.io = cells('io');
  }

  /** Adds up anew; to be called before the arrays are read. */
  refresh(): void {
    if (this.#memories.length === 1) return;
    for (const key of KEYS) {
      const total = this[key];
      total.fill(0);
      for (const memory of this.#memories) for (let i = 0; i < total.length; i++) total[i] += memory[key][i];
    }
  }
}
