// The bytes of a file of saved sessions: a header, an opaque key, the legs as lines of text, opaque notes,
// then SAVED_WORDS words per session. A file of version 2, which has no notes, is read too. Words are in the
// byte order of the machine, which the magic number shows.
import { crc32 } from 'node:zlib';

const MAGIC = 0x53414f55; // "UOAS"
const VERSION = 3;
const WITHOUT_NOTES = 2;

/** Header words; lengths are in bytes and without the zeros that fill up to a word. */
const HEADER = {
  magic: 0,
  version: 1,
  /** Of the whole file. */
  length: 2,
  /** Over everything behind this word. */
  crc: 3,
  workers: 4,
  keyLength: 5,
  legs: 6,
  legsLength: 7,
  sessions: 8,
  /** Two words: a float64 of milliseconds since 1970. */
  savedAt: 10,
  /** From version 3 on. */
  notesLength: 12,
} as const;
const HEADER_WORDS = 13;
const HEADER_WORDS_WITHOUT_NOTES = 12;
const CHECKED_FROM = HEADER.crc + 1;

/** A session: the client's four words, cport and lport, leg and flags, age. */
export const SAVED = { client: 0, ports: 4, legFlags: 5, ageMs: 6 } as const;
export const SAVED_WORDS = 7;
export const SAVED_NORMAL = 1;
/** Its real server has confirmed that it knows the client. */
export const SAVED_ACKED = 2;

/** More than any config allows; bounds what is read. */
const SESSIONS_MAX = 1 << 24;
const LEGS_MAX = 0x1_0000;
const KEY_MAX = 1 << 16;
const LEG_LENGTH_MAX = 512;
const NOTES_MAX = 1 << 26;
export const FILE_LENGTH_MAX =
  4 * (HEADER_WORDS + SAVED_WORDS * SESSIONS_MAX) + KEY_MAX + LEGS_MAX * LEG_LENGTH_MAX + NOTES_MAX;

export interface StateContent {
  workers: number;
  /** Opaque here. */
  key: Uint8Array;
  /** Wall clock, milliseconds since 1970. */
  savedAtMs: number;
  /** One line each, without line feeds; sessions name them by their place. */
  legs: readonly string[];
  /** Opaque here; none in a file of version 2. */
  notes: Uint8Array;
  /** SAVED_WORDS words each. */
  sessions: Int32Array;
}

/** The file in parts, to be written one behind the other; `sessions` is not copied. */
export function encodeState({ workers, key, savedAtMs, legs, notes, sessions }: StateContent): Uint8Array[] {
  const text = new TextEncoder().encode(legs.join('\n'));
  const header = new Int32Array(HEADER_WORDS);
  const parts = [header, wordsOf(key), wordsOf(text), wordsOf(notes), sessions];
  header[HEADER.magic] = MAGIC;
  header[HEADER.version] = VERSION;
  header[HEADER.length] = parts.reduce((sum, part) => sum + part.byteLength, 0);
  header[HEADER.workers] = workers;
  header[HEADER.keyLength] = key.length;
  header[HEADER.legs] = legs.length;
  header[HEADER.legsLength] = text.length;
  header[HEADER.sessions] = sessions.length / SAVED_WORDS;
  header[HEADER.notesLength] = notes.length;
  new Float64Array(header.buffer, 4 * HEADER.savedAt, 1)[0] = savedAtMs;
  // Of nothing at all zlib's checksum would be 0, whatever was before.
  header[HEADER.crc] = [header.subarray(CHECKED_FROM), ...parts.slice(1)]
    .filter(({ length }) => length > 0)
    .reduce((crc, part) => crc32(bytesOf(part), crc), 0);
  return parts.map(bytesOf);
}

const bytesOf = (part: Int32Array): Uint8Array =>
  new Uint8Array(part.buffer, part.byteOffset, part.byteLength);

/** What encodeState was given, or in words why `file` is not that; what the sessions say is not judged. */
export function decodeState(file: Uint8Array): StateContent | string {
  if (file.length < 4 * HEADER_WORDS_WITHOUT_NOTES || file.length % 4 !== 0)
    return `${file.length} bytes are no such file`;
  const words = wordsOf(file);
  if (words[HEADER.magic] !== MAGIC) return 'it holds something else';
  const hasNotes = words[HEADER.version] === VERSION;
  if (!hasNotes && words[HEADER.version] !== WITHOUT_NOTES)
    return `its version is ${words[HEADER.version]}, expected ${VERSION} or ${WITHOUT_NOTES}`;
  if (words[HEADER.length] !== file.length) return `it has ${file.length} of ${words[HEADER.length]} bytes`;
  if (words[HEADER.crc] !== (crc32(file.subarray(4 * CHECKED_FROM)) | 0)) return 'its checksum is wrong';
  const [workers, keyLength, legCount, legsLength, sessionCount] = [
    HEADER.workers,
    HEADER.keyLength,
    HEADER.legs,
    HEADER.legsLength,
    HEADER.sessions,
  ].map((word) => words[word] >>> 0) as [number, number, number, number, number];
  const keyFrom = hasNotes ? HEADER_WORDS : HEADER_WORDS_WITHOUT_NOTES;
  const notesLength = hasNotes ? words[HEADER.notesLength] >>> 0 : 0;
  const legsFrom = keyFrom + Math.ceil(keyLength / 4);
  const notesFrom = legsFrom + Math.ceil(legsLength / 4);
  const sessionsFrom = notesFrom + Math.ceil(notesLength / 4);
  if (sessionsFrom + sessionCount * SAVED_WORDS !== words.length)
    return 'its parts are longer than the whole';
  const legs = linesOf(file.subarray(4 * legsFrom, 4 * legsFrom + legsLength));
  if (legs === undefined || legs.length !== legCount) return 'its table of real servers is damaged';
  return {
    workers,
    key: file.slice(4 * keyFrom, 4 * keyFrom + keyLength),
    savedAtMs: new Float64Array(words.slice(HEADER.savedAt, HEADER.savedAt + 2).buffer)[0],
    legs,
    notes: file.slice(4 * notesFrom, 4 * notesFrom + notesLength),
    sessions: words.subarray(sessionsFrom),
  };
}

/** The bytes as words, zeros behind the last; copied where they do not lie on words. */
function wordsOf(bytes: Uint8Array): Int32Array {
  if (bytes.byteOffset % 4 === 0 && bytes.length % 4 === 0)
    return new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  const words = new Int32Array(Math.ceil(bytes.length / 4));
  new Uint8Array(words.buffer).set(bytes);
  return words;
}

function linesOf(bytes: Uint8Array): string[] | undefined {
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    return text === '' ? [] : text.split('\n');
  } catch {
    return undefined;
  }
}
