// Slots in the order of their use, the least recently used first to go: lru-cache (this is its only
// importer), several of them when there are many slots. The order is exact within each; they are kept equally
// full, so that what goes when they take turns is old in all of them.
import { LRUCache } from 'lru-cache';

/**
 * lru-cache keeps a Map, which stops the process while it rehashes: 40 to 240 ms at 1,000,000 entries, 3 ms
 * at 65,536. So no cache is larger than this.
 */
const SHARD_SLOTS = 65_536;

/** Without options get() and set() make an object each time: 56 bytes of garbage, see bench/datapath.ts. */
const GET_OPTIONS: LRUCache.GetOptions<number, number, unknown> = {};
const SET_OPTIONS: LRUCache.SetOptions<number, number, unknown> = {};

export class Recency {
  readonly max: number;
  readonly #shards: LRUCache<number, number>[] = [];
  readonly #shardMax: number;
  /** Which shard a slot is in. */
  readonly #shardOf: Uint16Array;
  #turn = 0;
  #count = 0;

  /** Holds at most `max` of the slots 0 to `slots` - 1. */
  constructor(slots: number, max: number) {
    this.max = max;
    const shards = Math.ceil(max / SHARD_SLOTS);
    this.#shardMax = Math.ceil(max / shards);
    this.#shardOf = new Uint16Array(slots);
    for (let i = 0; i < shards; i++) this.#shards.push(new LRUCache({ max: this.#shardMax }));
  }

  get count(): number {
    return this.#count;
  }

  /** A quarter of what it may hold is left, or less. */
  get isScarce(): boolean {
    return this.#count >= this.max - (this.max >>> 2);
  }

  /** Takes in a slot that is not here, as the most recently used; the caller has seen that there is room. */
  add(slot: number): void {
    const shards = this.#shards;
    let index = this.#takeTurn();
    // The emptier of two in turn: what ends does so in any shard, and would leave them unequal.
    const next = this.#next(index);
    if (shards[next].size < shards[index].size) index = next;
    while (shards[index].size === this.#shardMax) index = this.#next(index);
    shards[index].set(slot, slot, SET_OPTIONS);
    this.#shardOf[slot] = index;
    this.#count++;
  }

  touch(slot: number): void {
    this.#shards[this.#shardOf[slot]].get(slot, GET_OPTIONS);
  }

  delete(slot: number): void {
    const shard = this.#shards[this.#shardOf[slot]];
    // To delete the last one lru-cache clears all its arrays: 80 us, which each answer of a quiet proxy would
    // pay for.
    if (shard.size === 1) shard.pop();
    else shard.delete(slot);
    this.#count--;
  }

  /** Takes out a slot that was not used for long and returns it; there must be one. */
  pop(): number {
    const shards = this.#shards;
    let index = this.#takeTurn();
    const next = this.#next(index);
    if (shards[next].size > shards[index].size) index = next;
    while (shards[index].size === 0) index = this.#next(index);
    this.#count--;
    return shards[index].pop()!;
  }

  #takeTurn(): number {
    const turn = this.#turn;
    this.#turn = this.#next(turn);
    return turn;
  }

  #next(index: number): number {
    return index + 1 === this.#shards.length ? 0 : index + 1;
  }
}
