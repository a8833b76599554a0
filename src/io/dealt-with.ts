// Which packets one process dealt with of those that come in by the rings of two: in a takeover the other one
// leaves them out, and takes all else. A packet is known by its stamp, the nanosecond in which it came in,
// which is the same in every ring while the kernel stamps packets (stampPackets). So it does not matter in
// which order processors put packets into rings, nor when which ring was read last.

/** Of one port. Times by the clock that the kernel gives packets, microseconds since 1970. */
export interface DealtWith {
  /** All that came in until then, ... */
  readonly untilUs: number;
  /** ... of what came in later those with these stamps (stampOf), in no order, ... */
  readonly stamps: Float64Array;
  /** ... and, of what has no stamp, all until then. */
  readonly lastUs: number;
}

export const NOTHING: DealtWith = { untilUs: 0, stamps: new Float64Array(0), lastUs: 0 };
/** All that came in until then. */
export const allUntil = (us: number): DealtWith => ({ ...NOTHING, untilUs: us, lastUs: us });

/** Seconds after which stamps come again: all are below 2^53. */
const AGE_S = 1 << 22;

/** From when a packet came in. */
export const stampOf = (seconds: number, nanoseconds: number): number =>
  (seconds % AGE_S) * 1e9 + nanoseconds;

/** By several. */
export const joined = (all: readonly DealtWith[]): DealtWith => ({
  untilUs: Math.max(0, ...all.map(({ untilUs }) => untilUs)),
  stamps: Float64Array.from(all.flatMap(({ stamps }) => [...stamps])),
  lastUs: Math.max(0, ...all.map(({ lastUs }) => lastUs)),
});

/**
 * Looks up packets in it, each once: parts of what was one packet have one stamp, and maybe not all were
 * dealt with.
 */
export class DealtWithIndex {
  readonly #untilUs: number;
  readonly #lastUs: number;
  readonly #counts = new Map<number, number>();

  constructor({ untilUs, lastUs, stamps }: DealtWith) {
    this.#untilUs = untilUs;
    this.#lastUs = lastUs;
    for (const stamp of stamps) this.#counts.set(stamp, (this.#counts.get(stamp) ?? 0) + 1);
  }

  /** `stamp` is undefined of a packet without one. */
  take(us: number, stamp: number | undefined): boolean {
    if (us <= this.#untilUs) return true;
    if (stamp === undefined) return us <= this.#lastUs;
    const count = this.#counts.get(stamp) ?? 0;
    if (count > 0) this.#counts.set(stamp, count - 1);
    return count > 0;
  }
}

/** For a message in JSON. */
export interface DealtWithText {
  readonly untilUs: number;
  readonly stamps: string;
  readonly lastUs: number;
}

export const toText = ({ stamps, ...times }: DealtWith): DealtWithText => ({
  ...times,
  stamps: Buffer.from(stamps.buffer, stamps.byteOffset, stamps.byteLength).toString('base64'),
});

export const fromText = ({ stamps, ...times }: DealtWithText): DealtWith => {
  const bytes = Uint8Array.from(Buffer.from(stamps, 'base64'));
  return { ...times, stamps: new Float64Array(bytes.buffer) };
};
