// Requests to the kernel's tables of interfaces and addresses (rtnetlink(7)), as messages, and what comes
// back: everything of a kind, or for each message of a batch whether it was done.
import { setImmediate as turnOfOthers } from 'node:timers/promises';
import { ATTRIBUTE_LEN, FLAG, HEADER_LEN, MESSAGE, TYPE_MASK } from '../route/rtnetlink.ts';
import { IoError } from '../sys/io-error.ts';
import { SysError } from '../sys/libc.ts';
import { explainNetlink, NetlinkSocket, NOTHING, OVERRUN } from '../sys/netlink.ts';
import { startHint } from './child-failure.ts';

/** NLM_F_ACK, and for what is to be made: NLM_F_CREATE and NLM_F_EXCL. */
export const ASK_FOR_ANSWER = 0x4;
export const MAKE_NEW = 0x600;

/** An answer takes about 1 KiB of it; without CAP_NET_ADMIN it has 208 KiB (net.core.rmem_max). */
const BUFFER_BYTES = 1 << 20;
const MESSAGES_PER_BATCH = 128;
/** Of 32 KiB; some milliseconds' worth. */
const DATAGRAMS_AT_ONCE = 8;
/**
 * Something changed while everything was read, again and again: then the last reading must do; the change has
 * a notice.
 */
const READINGS_MAX = 10;

/** NLMSGERR_ATTR_MSG: why, in the kernel's words. NLM_F_CAPPED, NLM_F_ACK_TLVS: what an answer holds. */
const WHY = 1;
const IS_CAPPED = 0x100;
const HAS_WORDS = 0x200;

export interface Attribute {
  type: number;
  value: Uint8Array;
}

/** A message but for its sequence number; `body` is the kernel's structure of it. */
export function message(
  type: number,
  flags: number,
  body: Uint8Array,
  attributes: readonly Attribute[] = [],
): Buffer {
  const length = attributes.reduce((sum, { value }) => sum + padded(ATTRIBUTE_LEN + value.length), 0);
  const bytes = Buffer.from(new ArrayBuffer(HEADER_LEN + padded(body.length) + length));
  bytes.writeUInt32LE(bytes.length, 0);
  bytes.writeUInt16LE(type, 4);
  bytes.writeUInt16LE(FLAG.request | flags, 6);
  bytes.set(body, HEADER_LEN);
  let at = HEADER_LEN + padded(body.length);
  for (const { type: attribute, value } of attributes) {
    bytes.writeUInt16LE(ATTRIBUTE_LEN + value.length, at);
    bytes.writeUInt16LE(attribute, at + 2);
    bytes.set(value, at + ATTRIBUTE_LEN);
    at += padded(ATTRIBUTE_LEN + value.length);
  }
  return bytes;
}

/**
 * The attributes at [off, end): type, where the value begins, and its length in bytes. What is not sound ends
 * them.
 */
export function* attributesIn(
  view: DataView,
  off: number,
  end: number,
): Generator<{ type: number; at: number; length: number }> {
  for (let at = off; at + ATTRIBUTE_LEN <= end; ) {
    const length = view.getUint16(at, true);
    if (length < ATTRIBUTE_LEN || at + length > end) return;
    yield {
      type: view.getUint16(at + 2, true) & TYPE_MASK,
      at: at + ATTRIBUTE_LEN,
      length: length - ATTRIBUTE_LEN,
    };
    at += padded(length);
  }
}

/** Messages and attributes begin at multiples of four bytes. */
const padded = (length: number): number => (length + 3) & ~3;

export class Rtnetlink {
  readonly #socket: NetlinkSocket;
  #sequence = 0;

  /** Throws an IoError. */
  constructor() {
    try {
      this.#socket = new NetlinkSocket([], BUFFER_BYTES);
    } catch (error) {
      const hint = error instanceof SysError ? startHint(error.code) : undefined;
      throw explainNetlink('the kernel cannot be asked for interfaces and addresses', error, hint);
    }
  }

  /**
   * What `read` makes of the body at [off, end) of each message that answers `request`, a dump. Throws an
   * IoError.
   */
  async readAll<T>(
    request: Buffer,
    read: (view: DataView, off: number, end: number) => T | undefined,
  ): Promise<T[]> {
    for (let readings = 1; ; readings++) {
      const found: T[] = [];
      const isWhole = await this.#read(request, (view, off, end) => {
        const one = read(view, off, end);
        if (one !== undefined) found.push(one);
      });
      if (isWhole || readings === READINGS_MAX) return found;
    }
  }

  /** False: something changed meanwhile, so something may be missing. */
  async #read(request: Buffer, take: (view: DataView, off: number, end: number) => void): Promise<boolean> {
    try {
      this.#send([request]);
    } catch (error) {
      throw asIoError(error);
    }
    let isWhole = true;
    let isOver = false;
    for (let datagrams = 1; !isOver; datagrams++) {
      const length = this.#receive();
      for (const one of messagesIn(this.#socket.view, length)) {
        if (one.sequence !== this.#sequence) continue;
        if (one.flags & FLAG.interrupted) isWhole = false;
        if (one.type === MESSAGE.error || one.type === MESSAGE.done) {
          const failure = failureOf(this.#socket.view, one);
          if (failure !== undefined) throw refused(failure);
          isOver = true;
        } else take(this.#socket.view, one.off, one.end);
      }
      if (datagrams % DATAGRAMS_AT_ONCE === 0) await turnOfOthers();
    }
    return isWhole;
  }

  /**
   * Sends messages that ask for an answer. Resolves with one failure for each, undefined where it was done;
   * after a batch with a failure no more are sent if `stopsAtFailure`, so there are fewer then. Throws an
   * IoError when the kernel cannot be asked.
   */
  async doAll(messages: readonly Buffer[]): Promise<(Failure | undefined)[]> {
    const outcomes: (Failure | undefined)[] = [];
    for (let at = 0; at < messages.length; at += MESSAGES_PER_BATCH) {
      if (at > 0) await turnOfOthers();
      outcomes.push(...this.#doBatch(messages.slice(at, at + MESSAGES_PER_BATCH)));
    }
    return outcomes;
  }

  #doBatch(messages: readonly Buffer[]): (Failure | undefined)[] {
    const first = this.#sequence + 1;
    const outcomes: (Failure | undefined)[] = new Array(messages.length).fill(undefined);
    try {
      this.#send(messages);
    } catch (error) {
      if (!(error instanceof SysError)) throw error;
      return outcomes.fill({ code: error.code, words: '' });
    }
    for (let answers = 0; answers < messages.length; ) {
      const length = this.#receive();
      for (const one of messagesIn(this.#socket.view, length)) {
        const index = one.sequence - first;
        if (one.type !== MESSAGE.error || index < 0 || index >= messages.length) continue;
        outcomes[index] = failureOf(this.#socket.view, one);
        answers++;
      }
    }
    return outcomes;
  }

  /**
   * With the next sequence numbers, in one datagram: the kernel has done all when the call returns. Throws a
   * SysError.
   */
  #send(messages: readonly Buffer[]): void {
    for (const one of messages) one.writeUInt32LE(++this.#sequence, 8);
    this.#socket.send(messages.length === 1 ? messages[0] : Buffer.concat(messages));
  }

  #receive(): number {
    let length: number;
    try {
      length = this.#socket.receive();
    } catch (error) {
      throw asIoError(error);
    }
    // It answers before a call returns, and no more at once than there is room for.
    if (length === NOTHING || length === OVERRUN) throw refused({ code: 'ENOBUFS', words: '' });
    return length;
  }

  close(): void {
    this.#socket.close();
  }
}

export interface Failure {
  /** The errno's name. */
  code: string;
  /** Why, in the kernel's words; '' where it has none. */
  words: string;
}

export const sayFailure = ({ code, words }: Failure): string => (words === '' ? code : `${code}, ${words}`);

const refused = (failure: Failure): IoError =>
  new IoError(
    `the kernel does not tell its interfaces and addresses: ${sayFailure(failure)}`,
    'the kernel may have no memory left',
  );

function asIoError(error: unknown): unknown {
  return error instanceof SysError ? refused({ code: error.code, words: '' }) : error;
}

interface Message {
  type: number;
  flags: number;
  sequence: number;
  off: number;
  end: number;
}

function* messagesIn(view: DataView, length: number): Generator<Message> {
  for (let at = 0; at + HEADER_LEN <= length; ) {
    const messageLen = view.getUint32(at, true);
    if (messageLen < HEADER_LEN || at + messageLen > length) return;
    yield {
      type: view.getUint16(at + 4, true),
      flags: view.getUint16(at + 6, true),
      sequence: view.getUint32(at + 8, true),
      off: at + HEADER_LEN,
      end: at + messageLen,
    };
    at += padded(messageLen);
  }
}

/**
 * Of struct nlmsgerr: errno (4, negative), the header that it answers, what was behind that if not capped,
 * attributes. The end of a dump has an errno, too, and nothing else.
 */
function failureOf(view: DataView, { type, flags, off, end }: Message): Failure | undefined {
  const errno = off + 4 <= end ? -view.getInt32(off, true) : 0;
  if (errno <= 0) return undefined;
  let words = '';
  if (type === MESSAGE.error && flags & HAS_WORDS) {
    const answered = flags & IS_CAPPED ? HEADER_LEN : view.getUint32(off + 4, true);
    for (const { type: attribute, at, length } of attributesIn(view, off + 4 + padded(answered), end))
      if (attribute === WHY) words = textAt(view, at, length);
  }
  return { code: new SysError('', errno).code, words };
}

/** Up to its end or the first NUL. */
export function textAt(view: DataView, at: number, length: number): string {
  const bytes = Buffer.from(view.buffer, view.byteOffset + at, length);
  const end = bytes.indexOf(0);
  return bytes.toString('utf8', 0, end < 0 ? length : end);
}
