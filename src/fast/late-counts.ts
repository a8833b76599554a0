// What the programs count for sessions that are hot no more: a processor may have had a packet under way when
// its session was taken out. So their rows are looked at once more, a tick or two later, or before another
// session gets them, and what is there counts for whom it was.
import type { DatapathMemory } from '../datapath/memory.ts';
import type { Forwarded } from './forwarded.ts';

/** Numbers of real servers have 16 bits. */
const SERVERS = 0x10000;

export class LateCounts {
  readonly #forwarded: Forwarded;
  /** By slot service and real server: of those that were taken out since the last tick, and before it. */
  #recent = new Map<number, number>();
  #due = new Map<number, number>();

  constructor(forwarded: Forwarded) {
    this.#forwarded = forwarded;
  }

  /** The slot's session was taken out, and what it had then is counted. */
  note(slot: number, service: number, realServer: number): void {
    this.#recent.set(slot, service * SERVERS + realServer);
  }

  /** Before the slot's rows are another session's. */
  settle(memory: DatapathMemory, slot: number): void {
    for (const late of [this.#due, this.#recent]) {
      const whose = late.get(slot);
      if (whose === undefined) continue;
      this.#count(memory, slot, whose);
      late.delete(slot);
    }
  }

  tick(memory: DatapathMemory): void {
    for (const [slot, whose] of this.#due) this.#count(memory, slot, whose);
    this.#due.clear();
    [this.#due, this.#recent] = [this.#recent, this.#due];
  }

  #count(memory: DatapathMemory, slot: number, whose: number): void {
    this.#forwarded.foldLate(memory, slot, Math.floor(whose / SERVERS), whose % SERVERS);
  }
}
