// Interfaces as their programs know them: the map `control`, as memory of this process. A row says whose
// packets come in there, and until when the program may forward, so that a fast path whose proxy is gone
// ends.
import { mapSharedMemory } from '../sys/shared-memory.ts';
import { PORT_LEN } from './layout.ts';

const WORDS = PORT_LEN / 4;
const ALIVE_UNTIL = 0;
const MAC_HEAD = 1;
const MAC_TAIL_FACES = 2;
const IFINDEX = 3;
const MISSED = 4;
const IS_BLOCKED = 5;
const FACES_CLIENTS = 1;
const FACES_REAL_SERVERS = 2;
const IS_SHARED = 4;
/** Behind the end of the Ethernet address. */
const FACES_SHIFT = 16;

export interface PortRow {
  readonly interfaceIndex: number;
  /** Its Ethernet address, six bytes. */
  readonly mac: Uint8Array;
  readonly facesClients: boolean;
  readonly facesRealServers: boolean;
}

export class PortRows {
  readonly #words: Int32Array;
  readonly #count: number;

  /** Of a map with so many. Throws a SysError. */
  constructor(fd: number, count: number) {
    this.#count = count;
    this.#words = new Int32Array(mapSharedMemory(fd, count * PORT_LEN), 0, count * WORDS);
  }

  /**
   * Says what a row's interface is; it is off before, meanwhile and after if that is another one than before,
   * or faces others.
   */
  set(row: number, { interfaceIndex, mac, facesClients, facesRealServers }: PortRow): void {
    const words = this.#words;
    const base = this.#baseOf(row);
    const bytes = Buffer.from(mac);
    if (bytes.length !== 6) throw new RangeError('an Ethernet address has six bytes');
    const faces = (facesClients ? FACES_CLIENTS : 0) | (facesRealServers ? FACES_REAL_SERVERS : 0);
    const shared = words[base + MAC_TAIL_FACES]! & (IS_SHARED << FACES_SHIFT);
    const wanted = [
      [MAC_HEAD, bytes.readInt32LE(0)],
      [MAC_TAIL_FACES, bytes.readUInt16LE(4) | (faces << FACES_SHIFT) | shared],
      [IFINDEX, interfaceIndex],
    ] as const;
    if (wanted.every(([at, word]) => words[base + at] === word)) return;
    this.switchOff(row);
    for (const [at, word] of wanted) Atomics.store(words, base + at, word);
  }

  /** Rows that interfaces have. */
  used(): { row: number; interfaceIndex: number }[] {
    return Array.from({ length: this.#count }, (_, row) => ({
      row,
      interfaceIndex: this.#words[row * WORDS + IFINDEX]!,
    })).filter(({ interfaceIndex }) => interfaceIndex !== 0);
  }

  /** The row of an interface; -1: it has none. */
  find(interfaceIndex: number): number {
    for (let row = 0; row < this.#count; row++)
      if (this.#words[row * WORDS + IFINDEX] === interfaceIndex) return row;
    return -1;
  }

  /** A row that no interface has; -1: all have one. */
  findFree(): number {
    return this.find(0);
  }

  /** Gives a row back. */
  free(row: number): void {
    this.switchOff(row);
    Atomics.store(this.#words, this.#baseOf(row) + IFINDEX, 0);
  }

  /**
   * Another process's program may be the one that takes what the steering program leaves to tc: what ours
   * does not see is not missed.
   */
  share(row: number, isShared: boolean): void {
    const at = this.#baseOf(row) + MAC_TAIL_FACES;
    const bit = IS_SHARED << FACES_SHIFT;
    if (isShared) Atomics.or(this.#words, at, bit);
    else Atomics.and(this.#words, at, ~bit);
  }

  /** Until that tick the program forwards; to be said again before it comes. */
  switchOn(row: number, untilTick: number): void {
    Atomics.store(this.#words, this.#baseOf(row) + ALIVE_UNTIL, untilTick === 0 ? 1 : untilTick);
  }

  /** The program forwards, by the last word. */
  isAlive(row: number, nowTick: number): boolean {
    const until = Atomics.load(this.#words, this.#baseOf(row) + ALIVE_UNTIL);
    return until !== 0 && ((until - nowTick) | 0) > 0;
  }

  /** The program forwards nothing from now on. */
  switchOff(row: number): void {
    Atomics.store(this.#words, this.#baseOf(row) + ALIVE_UNTIL, 0);
  }

  /** Packets that were left to tc and that it never saw, because another program ended the chain before. */
  missed(row: number): number {
    return Atomics.load(this.#words, this.#baseOf(row) + MISSED) >>> 0;
  }

  /** There were too many of them, so that the steering program leaves none to tc any more. */
  isBlocked(row: number): boolean {
    return Atomics.load(this.#words, this.#baseOf(row) + IS_BLOCKED) !== 0;
  }

  /** It is tried again. */
  unblock(row: number): void {
    Atomics.store(this.#words, this.#baseOf(row) + IS_BLOCKED, 0);
  }

  #baseOf(row: number): number {
    if (!(row >= 0 && row < this.#count)) throw new RangeError(`row ${row} of ${this.#count}`);
    return row * WORDS;
  }
}
