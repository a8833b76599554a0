// What is done when a session ends, whatever ended it: it is counted, and its client and its loan are free.
import type { Leg } from '../session/leg.ts';
import { CLIENT, cportOf, isNormal, legOf, serviceOf } from '../session/session.ts';
import type { SessionEnd } from '../session/table.ts';
import type { Admission } from './admission.ts';
import { countEnd } from './gauges.ts';
import type { Loans } from './loans.ts';
import type { DatapathMemory } from './memory.ts';

export class SessionEnds {
  readonly #memory: DatapathMemory;
  readonly #admission: Admission;
  readonly #loans: Loans;
  /** Of each leg that sessions may have, also of those that a new plan lacks. */
  #serverOfLeg: number[] = [];

  constructor(memory: DatapathMemory, admission: Admission, loans: Loans) {
    this.#memory = memory;
    this.#admission = admission;
    this.#loans = loans;
  }

  /** These are the legs from now on; the sessions of others have ended. */
  noteLegs(legs: readonly (Leg | undefined)[]): void {
    this.#serverOfLeg = legs.map((leg) => leg?.realServerIndex ?? -1);
  }

  /** Its record is still whole. */
  ended(base: number, end: SessionEnd): void {
    const { records } = this.#memory;
    const serviceIndex = serviceOf(records, base);
    const leg = legOf(records, base);
    countEnd(this.#memory, serviceIndex, this.#serverOfLeg[leg], leg, isNormal(records, base), end);
    this.#admission.ended(records, base);
    if (!this.#loans.isEmpty) this.#loans.end(records, base + CLIENT, cportOf(records, base), serviceIndex);
  }
}
