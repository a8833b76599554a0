// What the programs did for each session: counts and times in the rows of hot sessions, per direction.
import {
  COUNTS,
  type Direction,
  type HotRecords,
  INBOUND,
  NOTES,
  OUTBOUND,
  ROW_WORDS,
  SEEN,
} from './hot-records.ts';
import { TICK_MS } from './layout.ts';

/** Packets stand above 38 bits of bytes. */
const HIGH_BITS = 6;
const HIGH_BYTES = (1 << HIGH_BITS) - 1;
const TWO_32 = 2 ** 32;

export class Activity {
  readonly #words: Int32Array;
  /** Of the last fold: packets, bytes of their IP packets, and the tick of the last one. */
  packets = 0;
  bytes = 0;
  seenTick = 0;

  constructor({ words }: HotRecords) {
    this.#words = words;
  }

  /** Makes a row ready for a session that becomes hot, whose client was silent for so long. */
  start(session: number, nowTick: number, silenceMs = 0): void {
    for (const direction of [INBOUND, OUTBOUND] as const) {
      const ticks = direction === INBOUND ? Math.floor(silenceMs / TICK_MS) : 0;
      Atomics.store(this.#words, session * ROW_WORDS + SEEN + direction, nowTick - ticks);
      this.fold(session, direction); // of another process's session that is not known any more
    }
  }

  /** 16 bits that a row keeps for whoever takes over. */
  noteOf(session: number, direction: Direction): number {
    return (Atomics.load(this.#words, session * ROW_WORDS + NOTES) >>> (16 * direction)) & 0xffff;
  }

  /** One for each direction. */
  note(session: number, inbound: number, outbound: number): void {
    Atomics.store(this.#words, session * ROW_WORDS + NOTES, (outbound << 16) | inbound);
  }

  /**
   * Takes out of the row what came since the last fold, of this process or one before, to `packets`, `bytes`
   * and `seenTick`. False: nothing did. Of 2^26 packets and 2^38 bytes the programs never count the last
   * sixteenth, so they do not overflow (readUncounted).
   */
  fold(session: number, direction: Direction): boolean {
    const words = this.#words;
    const row = session * ROW_WORDS;
    const counts = row + COUNTS + 2 * direction;
    if (words[counts] === 0 && words[counts + 1] === 0) return false;
    // A packet in between is taken out in parts, the rest next time: nothing is lost, since the kernel adds
    // to both as to one.
    const low = Atomics.exchange(words, counts, 0);
    const high = Atomics.exchange(words, counts + 1, 0);
    this.packets = high >>> HIGH_BITS;
    this.bytes = (high & HIGH_BYTES) * TWO_32 + (low >>> 0);
    this.seenTick = Atomics.load(words, row + SEEN + direction);
    return true;
  }

  /** How long ago the direction's last packet was, ms, up to 140 too few or too many. */
  silenceMs(session: number, direction: Direction, nowTick: number): number {
    const ticks = (nowTick - Atomics.load(this.#words, session * ROW_WORDS + SEEN + direction)) | 0;
    return Math.max(0, ticks) * TICK_MS;
  }
}
