// What is known of hot sessions, one row each, by number: the maps hot and hot6 as memory of this process, in
// the layouts of src/bpf/hot-entries.h. What the programs count there is activity.ts's, and how they find a
// row hot-entries.ts's.
import { mapSharedMemory } from '../sys/shared-memory.ts';
import { isV4, V4_MAPPED } from '../wire/address.ts';
import { addressPairSum, fold } from '../wire/checksum.ts';
import { type FastPathSizes, HOT_LEN, HOT6_LEN, TICK_MS } from './layout.ts';

/** Directions of a session: packets of its client, and of its real server. */
export const INBOUND = 0;
export const OUTBOUND = 1;
export type Direction = typeof INBOUND | typeof OUTBOUND;

/** Words of a row; of pairs that of the inbound direction. */
export const ROW_WORDS = HOT_LEN / 4;
export const ROW6_WORDS = HOT6_LEN / 4;
export const COUNTS = 0;
export const ADDRESSES = 4;
export const PORTS = 8;
export const SEEN = 10;
const HOPS = 12;
export const NOTES = 13;
export const GENERATION_IDLE = 14;
const DIFFERENCE_FAMILY = 15;
/** Of each direction in a row of hot6. */
export const ADDRESSES6 = 8;

const IDLE_MS = TICK_MS * 8;
const IDLE_MAX = 0xffff;

/** Ends of a packet: source and destination in eight words (wire/address.ts). */
export interface Ends {
  readonly addresses: Int32Array;
  readonly sport: number;
  readonly dport: number;
}

export interface MutableEnds extends Ends {
  sport: number;
  dport: number;
}

export const emptyEnds = (): MutableEnds => ({ addresses: new Int32Array(8), sport: 0, dport: 0 });

export class HotRecords {
  readonly sessions: number;
  /** Those from here on cannot be of IPv6. */
  readonly #sessions6: number;
  readonly words: Int32Array;
  readonly words6: Int32Array;

  /** Of maps with so many sessions, whose descriptors stay the caller's. Throws a SysError. */
  constructor(
    fds: { readonly hot: number; readonly hot6: number },
    { sessions, sessions6 = sessions }: Pick<FastPathSizes, 'sessions' | 'sessions6'>,
  ) {
    this.sessions = sessions;
    this.#sessions6 = sessions6;
    this.words = new Int32Array(mapSharedMemory(fds.hot, sessions * HOT_LEN), 0, sessions * ROW_WORDS);
    const rows6 = Math.max(1, sessions6);
    this.words6 = new Int32Array(mapSharedMemory(fds.hot6, rows6 * HOT6_LEN), 0, rows6 * ROW6_WORDS);
  }

  /** Packets of it are forwarded, as far as they find the row. */
  isHot(session: number): boolean {
    return (this.#generationOf(session) & 1) !== 0;
  }

  /** The first hot one from `from` on, and before `end`; -1: there is none. */
  nextHot(from: number, end: number): number {
    const { words } = this;
    const behind = end * ROW_WORDS;
    for (let at = from * ROW_WORDS + GENERATION_IDLE; at < behind; at += ROW_WORDS)
      if ((words[at]! & 1) !== 0) return (at - GENERATION_IDLE) / ROW_WORDS;
    return -1;
  }

  /** Whether a session with such ends has room for them. */
  hasRoom(session: number, { addresses }: Ends): boolean {
    return session < this.#sessions6 || isV4(addresses, 0);
  }

  /** From now on none is, in either direction. */
  end(session: number): void {
    if (this.isHot(session)) this.#nextGeneration(session);
  }

  /**
   * Packets with the ends `fromClient` are to leave with those of `fromServer` turned, and the other way
   * round; see `change` for the rest.
   */
  begin(session: number, fromClient: Ends, fromServer: Ends, hops: HopPair, idleMs: number): void {
    this.end(session);
    const { words } = this;
    const at = session * ROW_WORDS;
    const family = isV4(fromClient.addresses, 0) ? 4 : 6;
    this.#writeEnds(session, INBOUND, fromClient, family);
    this.#writeEnds(session, OUTBOUND, fromServer, family);
    words[at + DIFFERENCE_FAMILY] = swap16(differenceOf(fromClient, fromServer)) | (family << 16);
    this.change(session, hops, idleMs);
    this.#nextGeneration(session);
  }

  /**
   * By which hops its packets go on: those to the real server first; and the silence after which a client's
   * packet is left to the slow path, up to a second early; 0: none is.
   */
  change(session: number, [toServer, toClient]: HopPair, idleMs: number): void {
    const at = session * ROW_WORDS;
    Atomics.store(this.words, at + HOPS, (toClient << 16) | toServer);
    this.setIdle(session, idleMs);
  }

  /** That silence alone. False: it is so already. */
  setIdle(session: number, idleMs: number): boolean {
    const at = session * ROW_WORDS + GENERATION_IDLE;
    const word = Atomics.load(this.words, at);
    const changed = (idleOf(idleMs) << 16) | (word & 0xffff);
    if (changed === word) return false;
    Atomics.store(this.words, at, changed);
    return true;
  }

  hopOf(session: number, direction: Direction): number {
    return (this.words[session * ROW_WORDS + HOPS]! >>> (16 * direction)) & 0xffff;
  }

  /** Whether `change` would change nothing. */
  isAs(session: number, [toServer, toClient]: HopPair, idleMs: number): boolean {
    const idle = this.words[session * ROW_WORDS + GENERATION_IDLE]! >>> 16;
    return (
      this.hopOf(session, INBOUND) === toServer &&
      this.hopOf(session, OUTBOUND) === toClient &&
      idle === idleOf(idleMs)
    );
  }

  familyOf(session: number): number {
    return this.words[session * ROW_WORDS + DIFFERENCE_FAMILY]! >>> 16;
  }

  /** The ends of its packets as they come. */
  readEnds(session: number, direction: Direction, ends: MutableEnds): void {
    const { words, words6 } = this;
    const { addresses } = ends;
    const at = session * ROW_WORDS;
    if (this.familyOf(session) === 6) {
      const from = session * ROW6_WORDS + direction * ADDRESSES6;
      for (let word = 0; word < 8; word++) addresses[word] = swap32(words6[from + word]!);
    } else {
      const from = at + ADDRESSES + 2 * direction;
      for (let end = 0; end < 2; end++) {
        addresses[4 * end] = 0;
        addresses[4 * end + 1] = 0;
        addresses[4 * end + 2] = V4_MAPPED;
        addresses[4 * end + 3] = swap32(words[from + end]!);
      }
    }
    const ports = words[at + PORTS + direction]!;
    ends.sport = swap16(ports & 0xffff);
    ends.dport = swap16(ports >>> 16);
  }

  #writeEnds(session: number, direction: Direction, { addresses, sport, dport }: Ends, family: number): void {
    const { words, words6 } = this;
    const at = session * ROW_WORDS;
    for (let end = 0; end < 2; end++)
      words[at + ADDRESSES + 2 * direction + end] = family === 4 ? swap32(addresses[4 * end + 3]!) : 0;
    if (family === 6) {
      const to = session * ROW6_WORDS + direction * ADDRESSES6;
      for (let word = 0; word < 8; word++) words6[to + word] = swap32(addresses[word]!);
    }
    words[at + PORTS + direction] = swap16(sport) | (swap16(dport) << 16);
  }

  #generationOf(session: number): number {
    return Atomics.load(this.words, session * ROW_WORDS + GENERATION_IDLE) & 0xffff;
  }

  /** Odd ones are at work. */
  #nextGeneration(session: number): void {
    const at = session * ROW_WORDS + GENERATION_IDLE;
    const word = Atomics.load(this.words, at);
    Atomics.store(this.words, at, (word & ~0xffff) | ((word + 1) & 0xffff));
  }
}

/** To the real server, to the client. */
export type HopPair = readonly [toServer: number, toClient: number];

/** RFC 1624: what is to be added to the sum of a client's packet. */
function differenceOf(fromClient: Ends, fromServer: Ends): number {
  const sumOf = ({ addresses, sport, dport }: Ends) => fold(addressPairSum(addresses) + sport + dport);
  return fold(sumOf(fromServer) + (0xffff - sumOf(fromClient)));
}

/** At least 1 where it is set: each packet then that comes more than a second behind the one before. */
const idleOf = (idleMs: number): number =>
  idleMs === 0 ? 0 : Math.min(IDLE_MAX, Math.max(1, Math.floor(idleMs / IDLE_MS)));

/** From a number to what stands in a packet, and back. */
const swap16 = (half: number): number => ((half & 0xff) << 8) | (half >>> 8);
const swap32 = (word: number): number =>
  (word << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24);
