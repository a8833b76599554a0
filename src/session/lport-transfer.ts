// Lports that are in use, or rest, go from earlier owners to new pools: those of a process that goes on
// with another one's records, or of a plan with other ranges.
import type { LportPool } from './lport-pool.ts';

export class LportTransfer {
  /** By new pool: lports of sessions that go on. */
  readonly #inUse = new Map<LportPool, number[]>();
  /** By new pool: those whose ports it may have. */
  readonly #before = new Map<LportPool, Set<LportPool>>();

  /** Notes the lport, which no other session has, as in use; false when `pool` cannot have it. */
  claim(pool: LportPool, lport: number): boolean {
    if (!pool.isUntouched || !pool.has(lport)) return false;
    const lports = this.#inUse.get(pool);
    if (lports === undefined) this.#inUse.set(pool, [lport]);
    else lports.push(lport);
    return true;
  }

  /** What rests in `before` goes on resting in `pool`. Most legs have nothing that does. */
  inherit(pool: LportPool, before: LportPool): void {
    if (!before.hasResting) return;
    const pools = this.#before.get(pool);
    if (pools === undefined) this.#before.set(pool, new Set([before]));
    else pools.add(before);
  }

  /** The new pools begin with what was noted. */
  takeOver(): void {
    for (const pool of new Set([...this.#inUse.keys(), ...this.#before.keys()]))
      if (pool.isUntouched) pool.takeOver(this.#inUse.get(pool) ?? [], this.#before.get(pool));
  }
}
