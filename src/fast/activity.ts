// What the programs did for each session: the map `activity`, as memory of this process. A session has a
// slot, which is two rows: 2 * slot for its client's packets, the next for those of its real server.
import { mapSharedMemory } from '../sys/shared-memory.ts';
import { ACTIVITY_LEN, TICK_MS } from './layout.ts';

const WORDS = ACTIVITY_LEN / 4;
const ROWS = 2;
// Words of a row: `counts` is one of 64 bits.
const COUNTS_LOW = 0;
const COUNTS_HIGH = 1;
const SEEN = 2;
/** In the lower half; in the upper one the note. */
const GENERATION_NOTE = 3;
/** Packets stand above 38 bits of bytes. */
const HIGH_BITS = 6;
const HIGH_BYTES = (1 << HIGH_BITS) - 1;
const TWO_32 = 2 ** 32;

export const INBOUND = 0;
export const OUTBOUND = 1;
export type Direction = typeof INBOUND | typeof OUTBOUND;

export class Activity {
  readonly #words: Int32Array;
  /** Of the last fold: packets, bytes of their IP packets, and the tick of the last one. */
  packets = 0;
  bytes = 0;
  seenTick = 0;

  /** Of a map with so many sessions. Throws a SysError. */
  constructor(fd: number, sessions: number) {
    const words = ROWS * sessions * WORDS;
    this.#words = new Int32Array(mapSharedMemory(fd, words * 4), 0, words);
  }

  /**
   * Makes a slot ready before entries for it are put. Returns the generation that these are to have: entries
   * of one before are over.
   */
  start(slot: number, nowTick: number): number {
    const generation = this.#nextGeneration(slot);
    for (const direction of [INBOUND, OUTBOUND] as const) {
      Atomics.store(this.#words, at(slot, direction) + SEEN, nowTick);
      this.fold(slot, direction); // of another process's session that is not known any more
    }
    this.#setGeneration(slot, generation);
    return generation;
  }

  /**
   * From now on no packet of the session is forwarded, in either direction. The entries are to be taken out.
   */
  end(slot: number): void {
    this.#setGeneration(slot, this.#nextGeneration(slot));
  }

  /** The generation whose entries are at work, to be compared with that of an entry. */
  generationOf(slot: number): number {
    return Atomics.load(this.#words, at(slot, INBOUND) + GENERATION_NOTE) & 0xffff;
  }

  /** 16 bits that a row keeps for whoever takes over, until its slot is started or ended. */
  noteOf(slot: number, direction: Direction): number {
    return Atomics.load(this.#words, at(slot, direction) + GENERATION_NOTE) >>> 16;
  }

  /** Of the two rows of a slot. */
  note(slot: number, inbound: number, outbound: number): void {
    const generation = this.generationOf(slot);
    Atomics.store(this.#words, at(slot, INBOUND) + GENERATION_NOTE, (inbound << 16) | generation);
    Atomics.store(this.#words, at(slot, OUTBOUND) + GENERATION_NOTE, (outbound << 16) | generation);
  }

  /** Never 0, which rows have that nobody used, so that entries without a session are over. */
  #nextGeneration(slot: number): number {
    return (this.generationOf(slot) + 1) & 0xffff || 1;
  }

  #setGeneration(slot: number, generation: number): void {
    Atomics.store(this.#words, at(slot, INBOUND) + GENERATION_NOTE, generation);
    Atomics.store(this.#words, at(slot, OUTBOUND) + GENERATION_NOTE, generation);
  }

  /**
   * Takes out of the row what came since the last fold, of this process or one before, to `packets`, `bytes`
   * and `seenTick`. False: nothing did. Of 2^26 packets and 2^38 bytes the programs never count the last
   * sixteenth, so they do not overflow (readUncounted).
   */
  fold(slot: number, direction: Direction): boolean {
    const words = this.#words;
    const row = at(slot, direction);
    if (words[row + COUNTS_LOW] === 0 && words[row + COUNTS_HIGH] === 0) return false;
    // A packet in between is taken out in parts, the rest next time: nothing is lost, since the kernel adds
    // to both as to one.
    const low = Atomics.exchange(words, row + COUNTS_LOW, 0);
    const high = Atomics.exchange(words, row + COUNTS_HIGH, 0);
    this.packets = high >>> HIGH_BITS;
    this.bytes = (high & HIGH_BYTES) * TWO_32 + (low >>> 0);
    this.seenTick = Atomics.load(words, row + SEEN);
    return true;
  }

  /** How long ago the row's last packet was, ms, up to 140 too few or too many. */
  silenceMs(slot: number, direction: Direction, nowTick: number): number {
    const ticks = (nowTick - Atomics.load(this.#words, at(slot, direction) + SEEN)) | 0;
    return Math.max(0, ticks) * TICK_MS;
  }
}

const at = (slot: number, direction: Direction): number => (ROWS * slot + direction) * WORDS;
