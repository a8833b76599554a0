// When a real server is to be told of all its clients again, because it came back or an operator says so. Of
// each real server a number in memory that datapaths and control plane share; a session keeps that of its
// last round of UOA, and where it is another one its next packet begins a round. So an announcement costs an
// addition, however many sessions there are.
//
// A real server whose port is unreachable has an odd number: then each packet brings a UOA, since any may be
// the first that is read by the program that starts again. It ends with an answer, which is another
// announcement, because rounds of those before may have gone nowhere.
import { ANNOUNCEMENT_BITS } from '../uoa/handshake.ts';
import { age } from '../wire/age.ts';

/** The first cell goes up with each change; behind it stand those of each real server: */
const VERSION = 0;
const STATE = 0; // how it is | number of announcements << COUNT_SHIFT
const UNREACHABLE_AT = 1; // the last ICMP error, by which it is judged whether they have ended
const BEGAN_AT = 2; // when it became unreachable; 0: never
const SERVER_WORDS = 3;

/** Cells for so many real servers. */
export const announcementWords = (realServers: number): number => 1 + SERVER_WORDS * realServers;

const STATE_MASK = 3;
const COUNT_SHIFT = 2;
const UNREACHABLE = 1;
/** It said so again too early; it counts later. */
const RESTING = 2;

/** Without a further error for so long it is not unreachable: Linux sends one per second to each LIP. */
const QUIET_MS = 3_000;
/** What is answered so soon after it became unreachable may have been on its way before. */
const LATE_ANSWER_MS = 50;
/** It becomes unreachable at most so often: who forges errors costs no more than a round in each. */
const REST_MS = 10_000;

const NUMBER_MASK = (1 << (ANNOUNCEMENT_BITS - 1)) - 1;

export class Announcements {
  readonly #cells: Int32Array;

  /** announcementWords cells, zeroed. */
  constructor(cells: Int32Array) {
    this.#cells = cells;
  }

  /** Another one where any real server's number may be. */
  get version(): number {
    return this.#cells[VERSION];
  }

  /** The real server is told of all its clients again. */
  announce(realServerIndex: number): void {
    Atomics.add(this.#cells, rowOf(realServerIndex) + STATE, 1 << COUNT_SHIFT);
    Atomics.add(this.#cells, VERSION, 1);
  }

  /** The number of its last announcement; odd: each packet is to bring a UOA. */
  lastTo(realServerIndex: number, nowMs: number): number {
    const at = rowOf(realServerIndex);
    const state = this.#cells[at + STATE];
    return (state & STATE_MASK) === 0 ? numberOf(state) : this.#settle(at, state, nowMs);
  }

  /** It said by ICMP that its port is unreachable. */
  unreachable(realServerIndex: number, nowMs: number): void {
    const cells = this.#cells;
    const at = rowOf(realServerIndex);
    cells[at + UNREACHABLE_AT] = nowMs;
    const state = cells[at + STATE];
    const how = state & STATE_MASK;
    if (how === UNREACHABLE) return;
    if (cells[at + BEGAN_AT] === 0 || age(nowMs, cells[at + BEGAN_AT]) >= REST_MS)
      this.#begin(at, state, nowMs);
    else if (how !== RESTING) this.#become(at, state, RESTING);
  }

  /** A packet of it came. Errors that go on meanwhile are not its own, since it is there. */
  answered(realServerIndex: number, nowMs: number): void {
    const cells = this.#cells;
    const at = rowOf(realServerIndex);
    const state = cells[at + STATE];
    if ((state & STATE_MASK) !== UNREACHABLE) return;
    const sinceMs = Math.max(
      age(nowMs, cells[at + BEGAN_AT]),
      age(nowMs, cells[at + UNREACHABLE_AT]), // longer ago where it rested before
    );
    if (sinceMs >= LATE_ANSWER_MS) this.#isBack(at, state);
  }

  /** What time has made of a state, and lastTo. */
  #settle(at: number, state: number, nowMs: number): number {
    const cells = this.#cells;
    const isQuiet = age(nowMs, cells[at + UNREACHABLE_AT]) >= QUIET_MS;
    const isResting = (state & STATE_MASK) === RESTING;
    if (isResting ? age(nowMs, cells[at + BEGAN_AT]) >= REST_MS : isQuiet) {
      if (isResting) cells[at + BEGAN_AT] = nowMs || 1; // this counts, too
      if (isQuiet) this.#isBack(at, state);
      else this.#begin(at, state, nowMs);
    }
    return numberOf(cells[at + STATE]);
  }

  #begin(at: number, state: number, nowMs: number): void {
    this.#cells[at + BEGAN_AT] = nowMs || 1;
    this.#become(at, state, UNREACHABLE);
  }

  /** Without effect where another datapath was faster, which did the same. */
  #become(at: number, state: number, how: number): void {
    Atomics.compareExchange(this.#cells, at + STATE, state, (state & ~STATE_MASK) | how);
    Atomics.add(this.#cells, VERSION, 1);
  }

  #isBack(at: number, state: number): void {
    const next = (state & ~STATE_MASK) + (1 << COUNT_SHIFT);
    Atomics.compareExchange(this.#cells, at + STATE, state, next);
    Atomics.add(this.#cells, VERSION, 1);
  }
}

const rowOf = (realServerIndex: number): number => 1 + SERVER_WORDS * realServerIndex;

const numberOf = (state: number): number =>
  (((state >>> COUNT_SHIFT) & NUMBER_MASK) << 1) | ((state & STATE_MASK) === UNREACHABLE ? 1 : 0);
