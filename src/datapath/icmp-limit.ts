// How many ICMP errors may be sent. First each pair of hosts has a limit of its own, so that one who causes
// many does not keep them from others; then all errors of a kind together have one. "Too big" has none (Linux
// does not limit it either): who forges a client's address would end its path MTU discovery, and it is hardly
// longer than what it answers.
import { hashTuple } from '../session/tuple-hash.ts';
import type { Family } from '../wire/address.ts';

/** What an error says; those of other hosts that are passed on have kinds of their own. */
export const ICMP_KIND = {
  /** Fragmentation needed and packet too big, our own and passed on. */
  tooBig: 0,
  timeExceeded: 1,
  unreachable: 2,
  parameterProblem: 3,
  toClient: 4,
  toRealServer: 5,
} as const;
const KINDS = Object.keys(ICMP_KIND).length;

/** At once, for a pair of hosts and for all of a kind. */
const BURST = 50;
/** Per second, of each kind. */
const ALL_PER_SECOND = 1000;
const PAIR_PER_SECOND = 250;

/** Pairs share a bucket by chance, as a secret key has it. */
const PAIR_BUCKETS = 1 << 12;

export class IcmpLimit {
  readonly #key0: number;
  readonly #key1: number;
  readonly #pairs = new Buckets(PAIR_BUCKETS);
  readonly #all = new Buckets(KINDS);

  /** `seed`: two random int32. */
  constructor([key0, key1]: readonly [number, number]) {
    this.#key0 = key0;
    this.#key1 = key1;
  }

  /**
   * Whether an error of an ICMP_KIND about what the pair of hosts in these eight words does may be sent now.
   */
  take(kind: number, addresses: Int32Array, family: Family, nowMs: number): boolean {
    if (kind === ICMP_KIND.tooBig) return true;
    const pair = hashTuple(this.#key0, this.#key1, addresses, family, kind) & (PAIR_BUCKETS - 1);
    if (!this.#pairs.has(pair, PAIR_PER_SECOND, nowMs)) return false;
    if (!this.#all.has(kind, ALL_PER_SECOND, nowMs)) return false;
    this.#all.take(kind);
    this.#pairs.take(pair);
    return true;
  }
}

/** Token buckets, full at first. */
class Buckets {
  /** Tokens that are gone. */
  readonly #gone: Float64Array;
  readonly #filledAt: Int32Array;

  constructor(count: number) {
    this.#gone = new Float64Array(count);
    this.#filledAt = new Int32Array(count);
  }

  has(bucket: number, perSecond: number, nowMs: number): boolean {
    const elapsedMs = (nowMs - this.#filledAt[bucket]) | 0;
    // The clock wraps after 24 days without an error: a full bucket is right then too.
    const gained = elapsedMs < 0 ? BURST : (elapsedMs * perSecond) / 1000;
    this.#gone[bucket] = Math.max(0, this.#gone[bucket] - gained);
    this.#filledAt[bucket] = nowMs;
    return this.#gone[bucket] <= BURST - 1;
  }

  take(bucket: number): void {
    this.#gone[bucket]++;
  }
}
