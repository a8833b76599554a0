// Messages of netlink(7) and their attributes: made, walked, and what the kernel answers to one. A body and
// an attribute's value are read where they stand in a DataView. Integers are in this machine's order, which
// is little-endian.
import { SysError } from './libc.ts';
import { NetlinkSocket, NOTHING, OVERRUN } from './netlink.ts';

/** struct nlmsghdr: length (4), type (2), flags (2), sequence (4), port (4). */
export const HEADER_LEN = 16;
/** NLM_F_ flags. `capped` and `words` are of an answer: it lacks the request, and has attributes. */
export const FLAG = {
  request: 0x1,
  acknowledge: 0x4,
  interrupted: 0x10,
  capped: 0x100,
  exclusive: 0x200,
  words: 0x200,
  dump: 0x300,
  create: 0x400,
} as const;
export const ATTRIBUTE_LEN = 4; // struct nlattr: length (2), type (2)
const TYPE_MASK = 0x3fff; // without NLA_F_NESTED and NLA_F_NET_BYTEORDER
const ERROR = 2;
const DONE = 3;
/** NLMSGERR_ATTR_MSG: why, in the kernel's words. */
const WHY = 1;
const ENOBUFS = 105;
/** An answer takes about 1 KiB of it; without CAP_NET_ADMIN it has 208 KiB (net.core.rmem_max). */
const BUFFER_BYTES = 1 << 20;

/** Takes a message, whose body is view[off, end). False: it wants no more of them. */
export type OnMessage = (type: number, view: DataView, off: number, end: number) => boolean;

export interface Attribute {
  type: number;
  value: Uint8Array;
}

/** `body` is the kernel's structure of it. */
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

const padded = (length: number): number => length + (-length & 3);

/** The messages of a datagram. What is not sound ends them. */
export function eachMessage(view: DataView, length: number, onMessage: OnMessage): void {
  for (let off = 0; off + HEADER_LEN <= length; ) {
    const messageLen = view.getUint32(off, true);
    if (messageLen < HEADER_LEN || off + messageLen > length) return;
    if (!onMessage(view.getUint16(off + 4, true), view, off + HEADER_LEN, off + messageLen)) return;
    off += padded(messageLen);
  }
}

const flagsOf = (view: DataView, body: number): number => view.getUint16(body - HEADER_LEN + 6, true);

/**
 * Where the value of the first attribute of a type begins among those at [off, end); -1: there is none of
 * `leastLen` bytes or more.
 */
export function findAttribute(view: DataView, off: number, end: number, type: number, leastLen = 4): number {
  for (let at = off; at + ATTRIBUTE_LEN <= end; ) {
    const attributeLen = view.getUint16(at, true);
    if (attributeLen < ATTRIBUTE_LEN || at + attributeLen > end) return -1;
    const isIt = (view.getUint16(at + 2, true) & TYPE_MASK) === type;
    if (isIt && attributeLen >= ATTRIBUTE_LEN + leastLen) return at + ATTRIBUTE_LEN;
    at += padded(attributeLen);
  }
  return -1;
}

/** The same among the attributes that are the value of another. */
export const findWithin = (view: DataView, value: number, type: number): number =>
  value < 0 ? -1 : findAttribute(view, value, value + lengthAt(view, value), type);

/** Of the value that findAttribute found, bytes. */
export const lengthAt = (view: DataView, value: number): number =>
  view.getUint16(value - ATTRIBUTE_LEN, true) - ATTRIBUTE_LEN;

/** The value that findAttribute found, up to its end or the first NUL; '' for none. */
export function textAt(view: DataView, value: number): string {
  if (value < 0) return '';
  const bytes = Buffer.from(view.buffer, view.byteOffset + value, lengthAt(view, value));
  const end = bytes.indexOf(0);
  return bytes.toString('utf8', 0, end < 0 ? bytes.length : end);
}

/** What the kernel refuses a request with. */
export class NetlinkError extends SysError {
  /** Why, in the kernel's words; '' where it has none. */
  readonly words: string;

  constructor(errno: number, words = '') {
    super('a netlink request', errno);
    this.words = words;
  }
}

/**
 * Whether a message is the last of what a request is answered with, and is no part of it: an error, an
 * acknowledgement or the end of a dump.
 */
export const isEnd = (type: number): boolean => type === ERROR || type === DONE;

/**
 * What such a message says; undefined: it was done. Of struct nlmsgerr: errno (4, negative), the header that
 * it answers, what was behind that if not capped, attributes. The end of a dump has an errno, too, and
 * nothing else.
 */
export function failureIn(type: number, view: DataView, off: number, end: number): NetlinkError | undefined {
  const errno = off + 4 <= end ? -view.getInt32(off, true) : 0;
  if (errno <= 0) return undefined;
  const flags = flagsOf(view, off);
  if (type !== ERROR || !(flags & FLAG.words) || off + 8 > end) return new NetlinkError(errno);
  const answered = flags & FLAG.capped ? HEADER_LEN : view.getUint32(off + 4, true);
  const why = findAttribute(view, off + 4 + padded(answered), end, WHY, 1);
  return new NetlinkError(errno, textAt(view, why));
}

/**
 * Hands over what the kernel answers to a request that is a dump or asks for acknowledgement, a datagram with
 * each step. The kernel writes it before a call returns, so nothing waits. The last step's value is false
 * when something changed meanwhile, so that something may be missing. Throws a SysError.
 */
export function* answers(request: Uint8Array, onMessage: OnMessage): Generator<void, boolean> {
  const socket = new NetlinkSocket([], BUFFER_BYTES);
  let isWhole = true;
  let isOver = false;
  let failure: NetlinkError | undefined;
  const take: OnMessage = (type, view, off, end) => {
    if (flagsOf(view, off) & FLAG.interrupted) isWhole = false;
    if (isEnd(type)) failure = failureIn(type, view, off, end);
    isOver = isEnd(type) || !onMessage(type, view, off, end);
    return !isOver;
  };
  try {
    socket.send(request);
    while (!isOver) {
      const length = socket.receive();
      if (length === NOTHING || length === OVERRUN) throw new NetlinkError(ENOBUFS);
      eachMessage(socket.view, length, take);
      if (failure !== undefined) throw failure;
      yield;
    }
    return isWhole;
  } finally {
    socket.close();
  }
}

/** The same in one go. */
export function answersAtOnce(request: Uint8Array, onMessage: OnMessage): boolean {
  const steps = answers(request, onMessage);
  let step = steps.next();
  while (!step.done) step = steps.next();
  return step.value;
}
