// Which sessions are busy: counts packets by slot, for about a second, and queues who has many. Where the
// datapath has much to do it counts for about a minute. There each session gets only its share of what the
// datapath can forward: by a second's packets none of very many would ever be busy.

/** So many packets of both directions in that time are a busy session: a DNS query never is one. */
export const BUSY_PACKETS = 8;
const PERIOD_MS = 1_000;
/** So many packets per second of sessions that are not hot are much to do. */
const MUCH = 10_000;
const PERIOD_OF_MUCH_MS = 60_000;
/** The average is over so long: in a lull of a second not all counts are forgotten. */
const AVERAGE_MS = 2_000;
/** Sessions that wait to be taken. */
const QUEUE = 4_096;

export class BusySessions {
  /** Up to BUSY_PACKETS. */
  readonly #packets: Uint8Array;
  readonly #queue = new Int32Array(QUEUE);
  #count = 0;
  /** Since packets were forgotten, and the average per second before. */
  #noted = 0;
  #rate = 0;
  #forgetAt = 0;

  constructor(slots: number) {
    this.#packets = new Uint8Array(slots);
  }

  note(slot: number): void {
    this.#noted++;
    const packets = this.#packets;
    if (packets[slot] >= BUSY_PACKETS || ++packets[slot] < BUSY_PACKETS) return;
    if (!this.add(slot)) packets[slot]--;
  }

  /** It is busy, however many packets it had. False: there is no room. */
  add(slot: number): boolean {
    if (this.#count === QUEUE) return false;
    this.#packets[slot] = BUSY_PACKETS;
    this.#queue[this.#count++] = slot;
    return true;
  }

  /** It begins anew. */
  clear(slot: number): void {
    this.#packets[slot] = 0;
  }

  /** Those that became busy since; holds until the next `note`. Who is not taken up may be busy again. */
  take(): Int32Array {
    const slots = this.#queue.subarray(0, this.#count);
    for (let i = 0; i < slots.length; i++) this.#packets[slots[i]] = 0;
    this.#count = 0;
    return slots;
  }

  /** Forgets packets in turn, all within a period of calls. */
  forget(elapsedMs: number): void {
    if (elapsedMs <= 0) return;
    const rate = (1_000 * this.#noted) / elapsedMs;
    this.#rate += (rate - this.#rate) * (1 - Math.exp(-elapsedMs / AVERAGE_MS));
    const periodMs = this.#rate < MUCH ? PERIOD_MS : PERIOD_OF_MUCH_MS;
    this.#noted = 0;
    const packets = this.#packets;
    const end = this.#forgetAt + Math.min(packets.length, Math.ceil((packets.length * elapsedMs) / periodMs));
    packets.fill(0, this.#forgetAt, end);
    if (end > packets.length) packets.fill(0, 0, end - packets.length);
    this.#forgetAt = end % packets.length;
  }
}
