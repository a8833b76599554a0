// Next hops as the programs know them: the map `hops`, as memory of this process. A hop is changed in one
// step, so that no packet goes to half of one and half of another.
import { mapSharedMemory } from '../sys/shared-memory.ts';
import { HOP_LEN } from './layout.ts';

const WORDS = HOP_LEN / 4;
const CONFIRM_AT = 0;
const CURRENT = 1;
const WAYS = 2;
// Words of a way.
const WAY_WORDS = 5;
const IFINDEX = 0;
const MTU = 1;
const MACS = 2;

export interface Way {
  readonly interfaceIndex: number;
  /** Largest IP packet, bytes. */
  readonly mtu: number;
  /** Ethernet addresses, six bytes. */
  readonly destination: Uint8Array;
  readonly source: Uint8Array;
}

export class Hops {
  readonly #words: Int32Array;
  readonly #count: number;

  /** Of a map with so many. Throws a SysError. */
  constructor(fd: number, count: number) {
    this.#count = count;
    this.#words = new Int32Array(mapSharedMemory(fd, count * HOP_LEN), 0, count * WORDS);
  }

  /** Packets by this hop go so from now on. To be told again where it is the same costs little. */
  set(hop: number, way: Way): void {
    const words = this.#words;
    const base = this.#baseOf(hop);
    const current = Atomics.load(words, base + CURRENT) & 1;
    const now = base + WAYS + current * WAY_WORDS;
    const next = base + WAYS + (1 - current) * WAY_WORDS;
    const macs = macWords(way);
    const wanted = [way.interfaceIndex, way.mtu, ...macs];
    if (wanted.every((word, at) => words[now + at] === (word | 0))) return;
    for (const [at, word] of wanted.entries()) Atomics.store(words, next + at, word | 0);
    Atomics.store(words, base + CURRENT, 1 - current);
  }

  /** Packets by this hop go the slow way until it is set again. */
  clear(hop: number): void {
    this.set(hop, NOWHERE);
  }

  /** Undefined where it is not set. */
  get(hop: number): Way | undefined {
    const words = this.#words;
    const base = this.#baseOf(hop);
    const at = base + WAYS + (Atomics.load(words, base + CURRENT) & 1) * WAY_WORDS;
    const interfaceIndex = words[at + IFINDEX]!;
    if (interfaceIndex === 0) return undefined;
    const macs = new Uint8Array(Int32Array.from(words.subarray(at + MACS, at + WAY_WORDS)).buffer);
    return { interfaceIndex, mtu: words[at + MTU]!, destination: macs.slice(0, 6), source: macs.slice(6) };
  }

  /** From `tick` on, for half a second, the next packet goes the slow way, to confirm the neighbor. */
  confirmAt(hop: number, tick: number): void {
    Atomics.store(this.#words, this.#baseOf(hop) + CONFIRM_AT, tick);
  }

  /** Whether one may still, or may again when it is asked for anew: none did since confirmAt was told. */
  isUnconfirmed(hop: number, nowTick: number): boolean {
    return ((nowTick - Atomics.load(this.#words, this.#baseOf(hop) + CONFIRM_AT)) | 0) >= 0;
  }

  #baseOf(hop: number): number {
    if (!(hop >= 0 && hop < this.#count)) throw new RangeError(`hop ${hop} of ${this.#count}`);
    return hop * WORDS;
  }
}

const NOWHERE: Way = {
  interfaceIndex: 0,
  mtu: 0,
  destination: new Uint8Array(6),
  source: new Uint8Array(6),
};

function macWords({ destination, source }: Way): number[] {
  const bytes = Uint8Array.of(...destination, ...source);
  if (bytes.length !== 12) throw new RangeError('an Ethernet address has six bytes');
  return [...new Int32Array(bytes.buffer)];
}

/** Who knows which rows are for which packets (hop-rows.ts). */
export interface HopLookUp {
  /** Another number when a pair's row, or whether it has one, may be another. */
  readonly version: number;
  /** The row by which packets between these addresses (eight words) leave at layer 2; -1: they do not. */
  rowOf(addresses: Int32Array): number;
  /** Goes on with the row that a predecessor had for them; false: it is none for them. */
  takeOver(addresses: Int32Array, row: number): boolean;
  /** So many sessions more, or less, go by it: while any does, it is for the same neighbor. */
  use(row: number, more: number): void;
  /** Largest IP packet that a row lets through. */
  mtuOf(row: number): number;
  /** Packets between these addresses may be as large as the interface lets through. */
  isWhole(addresses: Int32Array): boolean;
  /** To be called before the others each time: rows are as the neighbors are now. */
  update(): void;
}
