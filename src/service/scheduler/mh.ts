// Maglev hashing (Eisenbud and others, "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI
// 2016, 3.4): a client address always gets the same real server, in every proxy with the same real servers in
// whatever order, and when one comes or goes hardly any other client moves. Every real server has its own
// order of the table's slots, from a hash of its key; in turns, by weight, each takes the first of its order
// that is still free.
import { hashAddress, hashText } from './fixed-hash.ts';
import type { Scheduler, ServerSet } from './scheduler.ts';

/**
 * A prime, so that every step but 0 visits all slots. The same for any number of real servers, or clients
 * would move when that number changes: 655 of equal weight are within 1 % of each other, 4,096 have 16 or 17
 * slots each.
 */
const SLOTS = 65_537;
/** No index: there are fewer real servers. */
const FREE = 0xffff;

export class Maglev implements Scheduler {
  readonly #weights: Int32Array;
  /** Indexes in the order of their keys, which is the same in every proxy. */
  readonly #inOrder: readonly number[];
  /** Where the real server's own order of the slots begins, and the distance from each to the next. */
  readonly #offset: Int32Array;
  readonly #step: Int32Array;
  readonly #table = new Uint16Array(SLOTS);
  /** The weights that the table was filled for, and the largest of them. */
  readonly #filled: Int32Array;
  #heaviest = 0;

  constructor({ keys, weights }: ServerSet) {
    this.#weights = weights;
    this.#inOrder = keys.map((_, index) => index).sort((a, b) => compare(keys[a], keys[b]) || a - b);
    this.#offset = Int32Array.from(keys, (key) => (hashText(key, 0) >>> 0) % SLOTS);
    this.#step = Int32Array.from(keys, (key) => 1 + ((hashText(key, 1) >>> 0) % (SLOTS - 1)));
    this.#filled = new Int32Array(weights.length);
    this.update();
  }

  /** Without the one that has the client's slot, who has the next. */
  pick(client: Int32Array, except = -1): number {
    if (this.#heaviest === 0) return -1;
    const slot = (hashAddress(client) >>> 0) % SLOTS;
    for (let at = slot; at < slot + SLOTS; at++) {
      const index = this.#table[at % SLOTS];
      if (index !== except) return index;
    }
    return -1;
  }

  /**
   * Fills the table anew if the weights changed relative to each other. About 3 ms for 2 to 4,096 real
   * servers; the first time in a process, not yet compiled, up to 30 ms (Node 20, x86-64).
   */
  update(): void {
    let heaviest = 0;
    for (const weight of this.#weights) if (weight > heaviest) heaviest = weight;
    if (this.#isFilledFor(heaviest)) return;
    this.#filled.set(this.#weights);
    this.#heaviest = heaviest;
    if (heaviest > 0) this.#fill();
  }

  #isFilledFor(heaviest: number): boolean {
    if (heaviest === 0 || this.#heaviest === 0) return heaviest === this.#heaviest;
    return this.#weights.every((weight, i) => weight * this.#heaviest === this.#filled[i] * heaviest);
  }

  /**
   * In each round the heaviest have a turn; who has a third of their weight has one in every third round.
   * Turn n is in round (n + 1/2) * heaviest / weight, which rounds everyone's slots to the nearest, but the
   * first turn in the first round: however light, it gets a slot. Who has a turn is kept in a queue per
   * round, so that many light ones cost nothing in the rounds that are not theirs. Weights in the same
   * proportions give the same table.
   */
  #fill(): void {
    const table = this.#table.fill(FREE);
    const slot = this.#offset.slice();
    const turns = new Int32Array(slot.length);
    const rounds = new Rounds(slot.length);
    for (const server of this.#inOrder) if (this.#weights[server] > 0) rounds.add(0, server);
    for (let taken = 0, round = 0; taken < SLOTS; round++) {
      for (let server = rounds.take(round); server >= 0 && taken < SLOTS; server = rounds.take(round)) {
        const step = this.#step[server];
        let free = slot[server];
        while (table[free] !== FREE) {
          free += step;
          if (free >= SLOTS) free -= SLOTS;
        }
        table[free] = server;
        slot[server] = free;
        taken++;
        turns[server]++;
        rounds.add(Math.floor(((turns[server] + 0.5) * this.#heaviest) / this.#weights[server]), server);
      }
    }
  }
}

/** First in, first out, per round; a real server waits for one turn at a time. */
class Rounds {
  readonly #first = new Int32Array(SLOTS).fill(-1);
  readonly #last = new Int32Array(SLOTS).fill(-1);
  readonly #next: Int32Array;

  constructor(servers: number) {
    this.#next = new Int32Array(servers);
  }

  /** The table is full before round SLOTS, since each round takes a slot. */
  add(round: number, server: number): void {
    if (round >= SLOTS) return;
    this.#next[server] = -1;
    if (this.#first[round] < 0) this.#first[round] = server;
    else this.#next[this.#last[round]] = server;
    this.#last[round] = server;
  }

  /** -1 when nobody is left in the round. */
  take(round: number): number {
    const server = this.#first[round];
    if (server >= 0) this.#first[round] = this.#next[server];
    return server;
  }
}

/** Not by locale, which may differ between proxies. */
function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
