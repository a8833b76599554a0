// Which sessions are busy: counts packets by slot, for about a second, and queues who has many.

/** So many packets of both directions in about a second are a busy session: a DNS query never is one. */
export const BUSY_PACKETS = 8;
const PERIOD_MS = 1_000;
/** Sessions that wait to be taken. */
const QUEUE = 4_096;

export class BusySessions {
  /** Up to BUSY_PACKETS. */
  readonly #packets: Uint8Array;
  readonly #queue = new Int32Array(QUEUE);
  #count = 0;
  #forgetAt = 0;

  constructor(slots: number) {
    this.#packets = new Uint8Array(slots);
  }

  note(slot: number): void {
    const packets = this.#packets;
    if (packets[slot] >= BUSY_PACKETS || ++packets[slot] < BUSY_PACKETS) return;
    if (this.#count < QUEUE) this.#queue[this.#count++] = slot;
    else packets[slot]--;
  }

  /** It begins anew. */
  clear(slot: number): void {
    this.#packets[slot] = 0;
  }

  /** Those that became busy since; holds until the next `note`. */
  take(): Int32Array {
    const slots = this.#queue.subarray(0, this.#count);
    this.#count = 0;
    return slots;
  }

  /** Forgets packets in turn, all within a second of calls. */
  forget(elapsedMs: number): void {
    const packets = this.#packets;
    const end = this.#forgetAt + Math.ceil((packets.length * Math.min(elapsedMs, PERIOD_MS)) / PERIOD_MS);
    packets.fill(0, this.#forgetAt, end);
    if (end > packets.length) packets.fill(0, 0, end - packets.length);
    this.#forgetAt = end % packets.length;
  }
}
