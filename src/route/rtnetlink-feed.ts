// What the kernel announces of routing, and dumps of what it has. A dump is read at once, by a socket of its
// own; changes that were announced meanwhile are taken in after it, in their order, and so end in the
// kernel's own state.
import { SysError } from '../sys/libc.ts';
import { NetlinkSocket, NOTHING, OVERRUN } from '../sys/netlink.ts';
import { dumpRequest, FLAG, GROUPS, HEADER_LEN, MESSAGE } from './rtnetlink.ts';

/** Takes a message, whose body is view[off, end). Of a dump: false ends it, as if it were complete. */
export type OnMessage = (type: number, view: DataView, off: number, end: number) => boolean;

/** The kernel doubles it and counts about 800 bytes per message: it holds some 40,000. */
const CHANGES_BUFFER = 16 << 20;
const DUMP_BUFFER = 1 << 20;
/** Bounds the time that an update takes: a change takes about 2 us. */
const CHANGES_PER_UPDATE = 1024;

export class RtnetlinkFeed {
  readonly #changes = new NetlinkSocket(GROUPS, CHANGES_BUFFER);
  readonly #onChange: OnMessage;
  readonly #onLoss: () => void;

  /** `onLoss` is told that changes were lost. Throws a SysError. */
  constructor(onChange: OnMessage, onLoss: () => void) {
    this.#onChange = onChange;
    this.#onLoss = onLoss;
  }

  /** Readable when there is a change. */
  get fd(): number {
    return this.#changes.fd;
  }

  /** Hands over changes, as many as may be done at once. Throws a SysError. */
  receive(): void {
    for (let budget = CHANGES_PER_UPDATE; budget > 0; budget--) {
      const length = this.#changes.receive();
      if (length === NOTHING) return;
      if (length === OVERRUN) this.#onLoss();
      else eachMessage(this.#changes.view, length, this.#onChange);
    }
  }

  close(): void {
    this.#changes.close();
  }
}

/**
 * Hands over all that the kernel has of one kind (getRoute, ...) and family, 0 for all. False: something may
 * be missing, because it changed meanwhile or the kernel is short of memory.
 */
export function dump(request: number, onMessage: OnMessage, family = 0): boolean {
  let socket: NetlinkSocket;
  try {
    socket = new NetlinkSocket([], DUMP_BUFFER);
  } catch (error) {
    if (!(error instanceof SysError)) throw error;
    return false;
  }
  let isSound = true;
  let isOver = false;
  const take = (type: number, view: DataView, off: number, end: number): boolean => {
    if (view.getUint16(off - HEADER_LEN + 6, true) & FLAG.interrupted) isSound = false;
    if (type === MESSAGE.error || (type === MESSAGE.done && end >= off + 4 && view.getInt32(off, true) < 0))
      isSound = false;
    isOver ||= type === MESSAGE.error || type === MESSAGE.done || !onMessage(type, view, off, end);
    return !isOver;
  };
  try {
    socket.send(dumpRequest(request, 1, family));
    while (!isOver) {
      // The kernel writes the next part before this call returns.
      const length = socket.receive();
      if (length === NOTHING || length === OVERRUN) return false;
      eachMessage(socket.view, length, take);
    }
  } catch (error) {
    if (!(error instanceof SysError)) throw error;
    return false;
  } finally {
    socket.close();
  }
  return isSound;
}

function eachMessage(view: DataView, length: number, onMessage: OnMessage): void {
  for (let off = 0; off + HEADER_LEN <= length; ) {
    const messageLen = view.getUint32(off, true);
    if (messageLen < HEADER_LEN || off + messageLen > length) return;
    if (!onMessage(view.getUint16(off + 4, true), view, off + HEADER_LEN, off + messageLen)) return;
    off += (messageLen + 3) & ~3;
  }
}
