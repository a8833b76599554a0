// Reads capture files: pcap (both byte orders, micro- and nanoseconds) here, pcapng in pcapng.ts. A file that
// ends in the middle of a packet is read up to there, and then that is said (CutShort).
import { createReadStream } from 'node:fs';
import { ByteStream } from './byte-stream.ts';
import { CaptureError, CutShort, cutAt, damagedAt } from './capture-error.ts';
import type { CapturedPacket } from './captured-packet.ts';
import { type FileRecord, RECORD_MAX, word } from './file-record.ts';
import { ipOffset, isKnownLinkType, LINK_TYPES } from './link-layer.ts';
import { PCAPNG_MAGIC, readPcapng } from './pcapng.ts';

const MAGIC_LEN = 4;
const FILE_HEADER_LEN = 24;
const RECORD_HEADER_LEN = 16;
/** Units per second of a record's second time field. */
const MAGICS = new Map([
  [0xa1b2c3d4, 1e6],
  [0xa1b23c4d, 1e9],
]);

/**
 * The IP packets of a file, `-` for standard input; `onFrame` is called for each frame, whatever it carries.
 * Ends at `signal`. Throws a CaptureError for what cannot be read, a CutShort at the end of a file whose last
 * packet is not all there.
 */
export async function* readCapture(
  path: string,
  onFrame: () => void,
  signal: AbortSignal,
): AsyncGenerator<CapturedPacket> {
  const name = path === '-' ? 'standard input' : path;
  const source = path === '-' ? process.stdin : createReadStream(path, { highWaterMark: 1 << 18 });
  const stop = () => source.destroy();
  signal.addEventListener('abort', stop);
  try {
    for await (const { linkType, device, timeUs, wireLen, frame } of readRecords(
      new ByteStream(source),
      name,
    )) {
      onFrame();
      if (!isKnownLinkType(linkType)) {
        throw new CaptureError(`${name} has packets of link type ${linkType}`, `readable are ${LINK_TYPES}`);
      }
      const off = ipOffset(linkType, frame);
      if (off >= 0) yield { device, timeUs, wireLen: wireLen - off, bytes: frame.subarray(off) };
    }
  } catch (error) {
    if (signal.aborted) return;
    throw explain(name, error);
  } finally {
    signal.removeEventListener('abort', stop);
    stop();
  }
}

async function* readRecords(stream: ByteStream, name: string): AsyncGenerator<FileRecord> {
  const magic = await stream.take(MAGIC_LEN);
  if (magic.length === 0) throw new CutShort(`${name} is empty`);
  if (magic.length === MAGIC_LEN && magic.readUInt32BE(0) === PCAPNG_MAGIC) {
    yield* readPcapng(stream, name);
    return;
  }
  const isLittle = magic.length === MAGIC_LEN && MAGICS.has(magic.readUInt32LE(0));
  const unitsPerSecond = magic.length < MAGIC_LEN ? undefined : MAGICS.get(word(magic, 0, isLittle));
  if (unitsPerSecond === undefined) {
    throw new CaptureError(
      `${name} is no capture file`,
      'readable are pcap and pcapng, as tcpdump -w writes them',
    );
  }
  const header = await stream.take(FILE_HEADER_LEN - MAGIC_LEN);
  if (header.length < FILE_HEADER_LEN - MAGIC_LEN) throw new CutShort(`${name} ends in its file header`);
  const linkType = word(header, 16, isLittle) & 0xffff; // above: whether frames end with a checksum
  for (;;) {
    const start = stream.position;
    const record = await stream.take(RECORD_HEADER_LEN);
    if (record.length === 0) return;
    if (record.length < RECORD_HEADER_LEN) throw cutAt(name, start);
    const [seconds, fraction, length, wireLen] = [0, 4, 8, 12].map((at) =>
      word(record, at, isLittle),
    ) as Four;
    if (length > RECORD_MAX) throw damagedAt(name, start, `a packet of ${length} bytes`);
    const frame = await stream.take(length);
    if (frame.length < length) throw cutAt(name, start);
    const timeUs = seconds * 1e6 + Math.floor((fraction * 1e6) / unitsPerSecond);
    yield { linkType, device: '', timeUs, wireLen: Math.max(wireLen, length), frame };
  }
}

type Four = [number, number, number, number];

function explain(name: string, error: unknown): unknown {
  const { code, syscall } = error as NodeJS.ErrnoException;
  if (code === undefined || syscall === undefined) return error;
  const why: Record<string, string> = {
    ENOENT: 'no such file',
    EACCES: 'permission denied',
    EISDIR: 'a directory',
  };
  return new CaptureError(
    `${name} cannot be read: ${why[code] ?? code}`,
    'readable are pcap and pcapng files',
  );
}
