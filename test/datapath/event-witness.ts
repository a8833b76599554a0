// What a listener knows of the sessions by their events alone, held against the records: whoever follows the
// events has missed none and heard none twice. Every rig has one, so each row of each test shows it.
import assert from 'node:assert/strict';
import type { DatapathMemory } from '../../src/datapath/memory.ts';
import type { DatapathPlan } from '../../src/datapath/plan.ts';
import type { SessionEvents } from '../../src/session/events.ts';
import {
  cportOf,
  HANDSHAKE,
  isNormal,
  isUsed,
  legOf,
  lportOf,
  SESSION_WORDS,
  serviceOf,
} from '../../src/session/session.ts';
import { handshakeState } from '../../src/uoa/handshake.ts';

interface Known {
  isAnswered: boolean;
  isOver: boolean;
}

export class EventWitness implements SessionEvents {
  /** `answered 5000`: event and cport, in order; what moves and ends with its lport. */
  log: string[] = [];
  readonly #records: Int32Array;
  readonly #table: Float64Array;
  /** By base. */
  #known = new Map<number, Known>();

  constructor({ records, table }: DatapathMemory) {
    this.#records = records;
    this.#table = table;
  }

  restored(base: number): void {
    this.#note('restored', base);
    assert.ok(!this.#known.has(base), 'what is restored was not there');
    this.#of(base);
  }

  answered(base: number): void {
    this.#note('answered', base);
    assert.ok(!this.#of(base).isAnswered, 'once');
    this.#of(base).isAnswered = true;
  }

  handshakeOver(base: number): void {
    this.#note('over', base);
    assert.ok(!this.#of(base).isOver, 'once');
    this.#of(base).isOver = true;
  }

  handshakeAgain(base: number): void {
    this.#note('again', base);
    assert.ok(this.#of(base).isOver, 'what was over');
    this.#of(base).isOver = false;
  }

  moved(base: number): void {
    this.#note('moved', base, true);
    this.#of(base).isOver = false;
  }

  narrowed(base: number): void {
    this.#note('narrowed', base);
  }

  wasUsed(): boolean {
    return false;
  }

  ended(base: number): void {
    this.#note('ended', base, true);
    this.#known.delete(base);
  }

  /** The process ended, and with it who listened in it. */
  forget(): void {
    this.#known.clear();
  }

  /** What was told until now. */
  take(): string[] {
    const { log } = this;
    this.log = [];
    return log;
  }

  check({ services }: DatapathPlan): void {
    const records = this.#records;
    const trials = new Map(services.map(({ index, maxTrials }) => [index, maxTrials]));
    const untold = new Set<number>();
    for (const { realServers } of services)
      for (const { ip, dialect, legs } of realServers)
        if (['none', 'proxy-v2'].includes(dialect) || (dialect === 'ipo' && ip.includes(':')))
          for (const { index } of legs) untold.add(index);
    let there = 0;
    for (let base = 0; base < this.#table[0] * SESSION_WORDS; base += SESSION_WORDS) {
      const known = this.#known.get(base) ?? { isAnswered: false, isOver: false };
      if (!isUsed(records, base)) {
        assert.ok(!this.#known.has(base), `the end of ${cportOf(records, base)} was told`);
        continue;
      }
      if (this.#known.has(base)) there++;
      const isOver =
        trials.get(serviceOf(records, base)) === 0 ||
        untold.has(legOf(records, base)) ||
        handshakeState(records, base + HANDSHAKE) !== 'sending';
      const expected = { isAnswered: isNormal(records, base), isOver };
      assert.deepEqual(known, expected, `what was told of the session of port ${cportOf(records, base)}`);
    }
    assert.equal(this.#known.size, there, 'nothing is known of sessions that are not there');
  }

  #of(base: number): Known {
    let known = this.#known.get(base);
    if (known === undefined) {
      known = { isAnswered: false, isOver: false };
      this.#known.set(base, known);
    }
    return known;
  }

  #note(event: string, base: number, withLport = false): void {
    assert.ok(isUsed(this.#records, base), `${event}: the record is whole`);
    const at = withLport ? ` ${lportOf(this.#records, base)}` : '';
    this.log.push(`${event} ${cportOf(this.#records, base)}${at}`);
  }
}
