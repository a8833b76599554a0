// What a UOA tells: who a session's client is and which virtual address it called.
import type { Family } from '../wire/address.ts';

export class Origin {
  /** The client's and the VIP's. */
  family: Family = 4;
  /** CIP in words 0..3, VIP in 4..7 (wire/address.ts). */
  readonly addresses = new Int32Array(8);
  cport = 0;
  vport = 0;
}

/**
 * Writes the `family`'s bytes of the address at words[at..at+3] to `off` and returns the offset behind them.
 */
export function writeAddress(
  view: DataView,
  off: number,
  family: Family,
  words: Int32Array,
  at: number,
): number {
  if (family === 4) {
    view.setInt32(off, words[at + 3]);
    return off + 4;
  }
  for (let i = 0; i < 4; i++) view.setInt32(off + 4 * i, words[at + i]);
  return off + 16;
}
