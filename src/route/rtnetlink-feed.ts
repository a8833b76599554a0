// Everything that the kernel has of a kind, and then each change of it, as messages in an order that ends in the kernel's
// own state. Two netlink sockets: one for changes, one for reading everything. What is read may be older than a change
// that arrived meanwhile; so changes are taken in at once, and again, in their order, after everything was read.
import { watchReadable } from '../sys/epoll.ts';
import { close, SysError } from '../sys/libc.ts';
import { NetlinkSocket, NOTHING, OVERRUN } from '../sys/netlink.ts';
import { dumpRequest, FLAG, GROUPS, HEADER_LEN, MESSAGE } from './rtnetlink.ts';

/** What can be read as a whole, in this order: what a later one refers to is known then. */
export const KIND = { links: 0, rules: 1, routes: 2, neighbors: 3 } as const;
const REQUESTS = [MESSAGE.getLink, MESSAGE.getRule, MESSAGE.getRoute, MESSAGE.getNeighbor] as const;

export interface Listener {
  /** A message's body is view[off, end). `isChange` is false while everything is read. */
  onMessage(type: number, flags: number, view: DataView, off: number, end: number, isChange: boolean): void;
  onReadingBegins(kind: number): void;
  /** Not `complete`: something that exists may not have been read; it is read again by itself. */
  onReadingEnds(kind: number, complete: boolean): void;
}

/** The kernel doubles it and counts about 800 bytes per message: it holds some 40,000. */
const CHANGES_BUFFER = 16 << 20;
const READING_BUFFER = 1 << 20;
/** Bounds the time that an update takes: a change takes about 5 us, a datagram of what is read holds 500 routes. */
const CHANGES_PER_UPDATE = 512;
const DATAGRAMS_PER_UPDATE = 8;
/** What is read again and again, for instance because an interface goes up and down, rests in between. */
const REST_MS = 250;
const REST_PER_DATAGRAM_MS = 10;
/** Changes during a reading that are kept for its end; with more it is read again. */
const KEPT_BYTES = 4 << 20;
const NOBODY = -1;

export class RtnetlinkFeed {
  /** For poll(2): readable when `update` has something to do. */
  readonly fd: number;
  readonly #changes: NetlinkSocket;
  readonly #reading: NetlinkSocket;
  readonly #listener: Listener;
  readonly #wanted = REQUESTS.map(() => true);
  /** Until when a kind rests; undefined: it does not. */
  readonly #restUntil: (number | undefined)[] = REQUESTS.map(() => undefined);
  #kind: number = NOBODY;
  #sequence = 0;
  #datagrams = 0;
  #isSound = true;
  #kept: Uint8Array[] = [];
  #keptBytes = 0;
  #nowMs = 0;

  /** Nothing is read before the first update. Throws a SysError. */
  constructor(listener: Listener) {
    this.#listener = listener;
    this.#changes = new NetlinkSocket(GROUPS, CHANGES_BUFFER);
    try {
      this.#reading = new NetlinkSocket([], READING_BUFFER);
    } catch (error) {
      this.#changes.close();
      throw error;
    }
    try {
      this.fd = watchReadable([this.#changes.fd, this.#reading.fd]);
    } catch (error) {
      this.#changes.close();
      this.#reading.close();
      throw error;
    }
  }

  /** Reads everything of a kind again, at the next update that may. */
  want(kind: number): void {
    this.#wanted[kind] = true;
  }

  /** Whether everything is read that was to be. */
  get isIdle(): boolean {
    return this.#kind === NOBODY && !this.#wanted.includes(true);
  }

  /** Lets what was asked for be read now. */
  hurry(): void {
    this.#restUntil.fill(undefined);
  }

  /** Hands over what there is, as much as may be done at once. Throws a SysError. */
  update(nowMs: number): void {
    for (let kind = 0; kind < REQUESTS.length; kind++) {
      const until = this.#restUntil[kind];
      if (until !== undefined && ((nowMs - until) | 0) >= 0) this.#restUntil[kind] = undefined;
    }
    this.receiveChanges(nowMs);
    for (let budget = DATAGRAMS_PER_UPDATE; budget > 0; budget--) {
      if (this.#kind === NOBODY && !this.#begin()) return;
      const length = this.#reading.receive();
      if (length === NOTHING) return;
      this.#datagrams++;
      if (length === OVERRUN) this.#end(false);
      else this.#takeRead(length);
    }
  }

  close(): void {
    close(this.fd);
    this.#changes.close();
    this.#reading.close();
  }

  /** Hands over changes only, which costs little when there are none. Throws a SysError. */
  receiveChanges(nowMs: number): void {
    this.#nowMs = nowMs;
    for (let budget = CHANGES_PER_UPDATE; budget > 0; budget--) {
      const length = this.#changes.receive();
      if (length === NOTHING) return;
      if (length === OVERRUN) {
        this.#wanted.fill(true);
        if (this.#kind !== NOBODY) this.#isSound = false;
        continue;
      }
      const { view } = this.#changes;
      if (this.#kind !== NOBODY) this.#keep(view, length);
      this.#takeChanges(view, length);
    }
  }

  #keep(view: DataView, length: number): void {
    this.#keptBytes += length;
    if (this.#keptBytes > KEPT_BYTES) {
      this.#isSound = false;
      this.#kept = [];
      return;
    }
    this.#kept.push(new Uint8Array(view.buffer.slice(view.byteOffset, view.byteOffset + length)));
  }

  #takeChanges(view: DataView, length: number): void {
    for (let off = 0; off + HEADER_LEN <= length; ) {
      const messageLen = view.getUint32(off, true);
      if (messageLen < HEADER_LEN || off + messageLen > length) return;
      const type = view.getUint16(off + 4, true);
      const flags = view.getUint16(off + 6, true);
      this.#listener.onMessage(type, flags, view, off + HEADER_LEN, off + messageLen, true);
      off += (messageLen + 3) & ~3;
    }
  }

  /** Asks for the first kind that is wanted and rested; false when there is none. */
  #begin(): boolean {
    const kind = this.#wanted.findIndex((wanted, index) => wanted && this.#restUntil[index] === undefined);
    if (kind < 0) return false;
    try {
      this.#reading.send(dumpRequest(REQUESTS[kind]!, ++this.#sequence));
    } catch (error) {
      if (!(error instanceof SysError)) throw error;
      this.#rest(kind, REST_MS);
      return false;
    }
    this.#wanted[kind] = false;
    this.#kind = kind;
    this.#datagrams = 0;
    this.#isSound = true;
    this.#kept = [];
    this.#keptBytes = 0;
    this.#listener.onReadingBegins(kind);
    return true;
  }

  #takeRead(length: number): void {
    const { view } = this.#reading;
    for (let off = 0; off + HEADER_LEN <= length; ) {
      const messageLen = view.getUint32(off, true);
      if (messageLen < HEADER_LEN || off + messageLen > length) {
        this.#end(false);
        return;
      }
      const type = view.getUint16(off + 4, true);
      const flags = view.getUint16(off + 6, true);
      const isCurrent = view.getUint32(off + 8, true) === this.#sequence;
      if (isCurrent && this.#kind !== NOBODY) {
        if (flags & FLAG.interrupted) this.#isSound = false;
        if (type === MESSAGE.error) {
          this.#end(false);
          return;
        }
        if (type === MESSAGE.done) {
          const error = messageLen >= HEADER_LEN + 4 ? view.getInt32(off + HEADER_LEN, true) : 0;
          this.#end(error >= 0);
          return;
        }
        this.#listener.onMessage(type, flags, view, off + HEADER_LEN, off + messageLen, false);
      }
      off += (messageLen + 3) & ~3;
    }
  }

  #end(complete: boolean): void {
    const kind = this.#kind;
    if (kind === NOBODY) return;
    this.#kind = NOBODY;
    this.#rest(kind, REST_MS + REST_PER_DATAGRAM_MS * this.#datagrams);
    const isSound = complete && this.#isSound;
    if (!isSound) this.#wanted[kind] = true;
    const kept = this.#kept;
    this.#kept = [];
    this.#listener.onReadingEnds(kind, isSound);
    for (const bytes of kept) {
      this.#takeChanges(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), bytes.byteLength);
    }
  }

  #rest(kind: number, forMs: number): void {
    this.#restUntil[kind] = (this.#nowMs + forMs) | 0;
  }
}
