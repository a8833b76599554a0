// Reads pcapng files (draft-ietf-opsawg-pcapng): sections of either byte order, interfaces with their link
// type, name and resolution of time, and the three kinds of packet blocks. Other blocks are skipped.
import type { ByteStream } from './byte-stream.ts';
import { cutAt, damagedAt } from './capture-error.ts';
import { type FileRecord, RECORD_MAX, word } from './file-record.ts';

/** Type of a section header block, the same in both byte orders; the file begins with it. */
export const PCAPNG_MAGIC = 0x0a0d0d0a;

const BYTE_ORDER_MAGIC = 0x1a2b3c4d;
const BLOCK = { interface: 1, packet: 2, simplePacket: 3, enhancedPacket: 6 } as const;
const OPTION = { end: 0, name: 2, resolution: 9, offset: 14 } as const;
/** Type and length before a block's body, the length again behind it. */
const BLOCK_HEAD_LEN = 8;
const BLOCK_TAIL_LEN = 4;
const BLOCK_MAX = RECORD_MAX + (1 << 16);
/** The last moment that a Date can name; what is damaged may say a later one. */
const TIME_MAX_US = 8.64e18;

interface Interface {
  linkType: number;
  name: string;
  snapLen: number;
  unitsPerSecond: number;
  offsetSeconds: number;
}

/** Behind the four bytes of PCAPNG_MAGIC. */
export async function* readPcapng(stream: ByteStream, name: string): AsyncGenerator<FileRecord> {
  let isLittle = false;
  let interfaces: Interface[] = [];
  let type = PCAPNG_MAGIC;
  for (let start = 0; ; start = stream.position) {
    if (start > 0) {
      const head = await stream.take(4);
      if (head.length === 0) return;
      if (head.length < 4) throw cutAt(name, start);
      type = word(head, 0, isLittle);
    }
    const lengthBytes = await stream.take(4);
    if (lengthBytes.length < 4) throw cutAt(name, start);
    let before: Buffer = Buffer.alloc(0);
    if (type === PCAPNG_MAGIC) {
      before = await stream.take(4);
      if (before.length < 4) throw cutAt(name, start);
      isLittle = before.readUInt32LE(0) === BYTE_ORDER_MAGIC;
      if (!isLittle && before.readUInt32BE(0) !== BYTE_ORDER_MAGIC)
        throw damagedAt(name, start, 'no byte order');
      interfaces = [];
    }
    const length = word(lengthBytes, 0, isLittle);
    const bodyLen = length - BLOCK_HEAD_LEN - BLOCK_TAIL_LEN - before.length;
    if (bodyLen < 0 || length > BLOCK_MAX || length % 4 !== 0)
      throw damagedAt(name, start, `a block of ${length} bytes`);
    const body = await stream.take(bodyLen + BLOCK_TAIL_LEN);
    if (body.length < bodyLen + BLOCK_TAIL_LEN) throw cutAt(name, start);
    const block = new Block(body.subarray(0, bodyLen), isLittle);
    if (type === BLOCK.interface) interfaces.push(readInterface(block));
    const record = readPacket(type, block, interfaces);
    if (record === 'damaged') throw damagedAt(name, start, 'a packet block that contradicts itself');
    if (record !== undefined) yield record;
  }
}

function readPacket(
  type: number,
  block: Block,
  interfaces: readonly Interface[],
): FileRecord | 'damaged' | undefined {
  let index = 0;
  let dataOff = 20;
  let units = 0;
  let length: number;
  let wireLen: number;
  if (type === BLOCK.enhancedPacket || type === BLOCK.packet) {
    if (block.length < dataOff) return 'damaged';
    index = type === BLOCK.packet ? block.half(0) : block.word(0);
    units = block.word(4) * 0x1_0000_0000 + block.word(8);
    length = block.word(12);
    wireLen = block.word(16);
  } else if (type === BLOCK.simplePacket) {
    dataOff = 4;
    if (block.length < dataOff) return 'damaged';
    wireLen = block.word(0);
    length = Math.min(wireLen, interfaces[0]?.snapLen || wireLen, block.length - dataOff);
  } else {
    return undefined;
  }
  const from = interfaces[index];
  if (from === undefined || dataOff + length > block.length) return 'damaged';
  const { linkType, name, unitsPerSecond, offsetSeconds } = from;
  return {
    linkType,
    device: name,
    timeUs: Math.min(TIME_MAX_US, Math.floor(offsetSeconds * 1e6 + units / (unitsPerSecond / 1e6))),
    wireLen: Math.max(wireLen, length),
    frame: block.bytes(dataOff, length),
  };
}

function readInterface(block: Block): Interface {
  const found: Interface = { linkType: -1, name: '', snapLen: 0, unitsPerSecond: 1e6, offsetSeconds: 0 };
  if (block.length < 8) return found;
  found.linkType = block.half(0);
  found.snapLen = block.word(4);
  for (let at = 8; at + 4 <= block.length; ) {
    const option = block.half(at);
    const length = block.half(at + 2);
    if (option === OPTION.end || at + 4 + length > block.length) break;
    const value = block.bytes(at + 4, length);
    if (option === OPTION.name) found.name = value.toString('utf8').replace(/\0+$/, '');
    // The highest bit says whether the others are the exponent of 2 or of 10.
    if (option === OPTION.resolution && length >= 1)
      found.unitsPerSecond = (value[0] & 0x80 ? 2 : 10) ** (value[0] & 0x7f);
    if (option === OPTION.offset && length >= 8)
      found.offsetSeconds = block.word(at + (block.isLittle ? 4 : 8));
    at += 4 + ((length + 3) & ~3);
  }
  return found;
}

/** The body of a block, in its section's byte order. */
class Block {
  readonly #body: Buffer;
  readonly isLittle: boolean;

  constructor(body: Buffer, isLittle: boolean) {
    this.#body = body;
    this.isLittle = isLittle;
  }

  get length(): number {
    return this.#body.length;
  }

  half(at: number): number {
    return this.isLittle ? this.#body.readUInt16LE(at) : this.#body.readUInt16BE(at);
  }

  word(at: number): number {
    return word(this.#body, at, this.isLittle);
  }

  bytes(at: number, length: number): Buffer {
    return this.#body.subarray(at, at + length);
  }
}
