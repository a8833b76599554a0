// Entries of the maps hot4 and hot6: what becomes of packets with these ends. They are put and taken out in
// batches, in the order in which they were asked for.
import { deleteBatch, putBatch, readHashMap } from '../sys/libbpf.ts';
import { BpfError } from '../sys/libbpf-library.ts';
import { isV4 } from '../wire/address.ts';
import { addressPairSum, fold } from '../wire/checksum.ts';
import { HOT4_LEN, HOT6_LEN, KEY4_LEN, KEY6_LEN, TICK_MS } from './layout.ts';

/** Entries per system call. */
const BATCH = 256;
const IDLE_MS = TICK_MS * 8;
const IDLE_MAX = 0xffff;
const ENOENT = 2;
/** E2BIG, ENOMEM, and EBUSY, when an interrupt has the same part of the map. */
const NO_ROOM: readonly number[] = [7, 12, 16];

/** Ends of a packet: source and destination in eight words (wire/address.ts). */
export interface Ends {
  readonly addresses: Int32Array;
  readonly sport: number;
  readonly dport: number;
}

/** Clients' packets have the even row of a session's two, those of real servers the odd one. */
export interface HotTarget {
  readonly hop: number;
  readonly row: number;
  /** Of the session, 16 bits, see Activity. */
  readonly generation: number;
  /** A client's packet after such a silence is left to the slow path, up to a second early; 0: none is. */
  readonly idleMs: number;
}

/** Where what is in a family's map stands in its keys and values. */
interface Family {
  readonly fd: number;
  readonly keyLen: number;
  readonly valueLen: number;
  readonly addressLen: number;
  readonly keys: Buffer;
  readonly values: Buffer;
  /** Rows of what is to be put. */
  readonly rows: number[];
  count: number;
  isPutting: boolean;
}

export class HotEntries {
  readonly #families: Record<4 | 6, Family>;
  readonly #onRefused: (row: number) => void;

  /**
   * Of these maps, whose descriptors stay the caller's. `onRefused` is told of each entry for which there was
   * no room, by its row: what else was put of its session is to be taken out.
   */
  constructor(fds: { hot4: number; hot6: number }, onRefused: (row: number) => void) {
    this.#families = {
      4: familyOf(fds.hot4, KEY4_LEN, HOT4_LEN, 4),
      6: familyOf(fds.hot6, KEY6_LEN, HOT6_LEN, 16),
    };
    this.#onRefused = onRefused;
  }

  /**
   * Packets with the ends `from` are to leave with the ends `to`, of the same family, soon. Throws a
   * BpfError.
   */
  put(from: Ends, to: Ends, target: HotTarget): void {
    const family = this.#next(from, true);
    const at = family.count * family.valueLen;
    const { values } = family;
    const portsAt = writeEnds(family, values, at, to);
    values.writeUInt16BE(differenceOf(from, to), portsAt + 4);
    values.writeUInt16LE(target.hop, portsAt + 6);
    values.writeUInt32LE(target.row, portsAt + 8);
    values.writeUInt16LE(target.generation & 0xffff, portsAt + 12);
    values.writeUInt16LE(idleOf(target.idleMs), portsAt + 14);
    family.rows[family.count] = target.row;
    this.#add(family, from);
  }

  /** Packets with these ends are to go the slow way, soon. Throws a BpfError. */
  remove(from: Ends): void {
    this.#add(this.#next(from, false), from);
  }

  /**
   * Now. Throws a BpfError, but not for want of room or of an entry that is to be taken out: then it is not
   * known which others were put or taken out.
   */
  flush(): void {
    flush(this.#families[4], this.#onRefused);
    flush(this.#families[6], this.#onRefused);
  }

  #next({ addresses }: Ends, isPutting: boolean): Family {
    const family = this.#families[isV4(addresses, 0) ? 4 : 6];
    if (family.isPutting !== isPutting) flush(family, this.#onRefused);
    family.isPutting = isPutting;
    return family;
  }

  #add(family: Family, from: Ends): void {
    writeEnds(family, family.keys, family.count * family.keyLen, from);
    if (++family.count === BATCH) flush(family, this.#onRefused);
  }

  /**
   * Hands over all entries that there are, also those of other processes; the objects are used again. What
   * changes meanwhile may be missed, or come twice. Throws a BpfError.
   */
  read(take: (from: Ends, to: Ends, target: HotTarget) => void): void {
    const from = { addresses: new Int32Array(8), sport: 0, dport: 0 };
    const to = { addresses: new Int32Array(8), sport: 0, dport: 0 };
    for (const family of [this.#families[4], this.#families[6]]) {
      const { fd, keyLen, valueLen } = family;
      readHashMap(fd, keyLen, valueLen, (keys, values, count) => {
        for (let n = 0; n < count; n++) {
          readEnds(family, keys, n * keyLen, from);
          take(from, to, readTarget(values, readEnds(family, values, n * valueLen, to)));
        }
      });
    }
  }
}

function familyOf(fd: number, keyLen: number, valueLen: number, addressLen: number): Family {
  const memory = (length: number) => Buffer.from(new ArrayBuffer(BATCH * length));
  const [keys, values] = [memory(keyLen), memory(valueLen)];
  return { fd, keyLen, valueLen, addressLen, keys, values, rows: [], count: 0, isPutting: true };
}

function flush(family: Family, onRefused: (row: number) => void): void {
  const { fd, keyLen, valueLen, keys, values, rows, count, isPutting } = family;
  family.count = 0;
  for (let at = 0; at < count; ) {
    const rest = count - at;
    const { done, errno } = isPutting
      ? putBatch(fd, keys.subarray(at * keyLen), values.subarray(at * valueLen), rest)
      : deleteBatch(fd, keys.subarray(at * keyLen), rest);
    at += done;
    if (errno === 0) return;
    // One that is not there is gone already, for instance with all others.
    if (isPutting && NO_ROOM.includes(errno)) onRefused(rows[at]!);
    else if (isPutting || errno !== ENOENT)
      throw new BpfError(isPutting ? 'bpf_map_update_batch' : 'bpf_map_delete_batch', errno, '');
    at++;
  }
}

/** Returns where what follows addresses and ports stands. */
function writeEnds({ addressLen }: Family, bytes: Buffer, at: number, ends: Ends): number {
  const { addresses, sport, dport } = ends;
  const portsAt = at + 2 * addressLen;
  if (addressLen === 4) {
    bytes.writeInt32BE(addresses[3], at);
    bytes.writeInt32BE(addresses[7], at + 4);
  } else for (let word = 0; word < 8; word++) bytes.writeInt32BE(addresses[word], at + 4 * word);
  bytes.writeUInt16BE(sport, portsAt);
  bytes.writeUInt16BE(dport, portsAt + 2);
  return portsAt;
}

/** Returns where the ports stand. */
function readEnds(
  { addressLen }: Family,
  bytes: Buffer,
  at: number,
  ends: { addresses: Int32Array; sport: number; dport: number },
): number {
  const { addresses } = ends;
  const portsAt = at + 2 * addressLen;
  if (addressLen === 4) {
    addresses.set([0, 0, 0xffff, bytes.readInt32BE(at), 0, 0, 0xffff, bytes.readInt32BE(at + 4)]);
  } else for (let word = 0; word < 8; word++) addresses[word] = bytes.readInt32BE(at + 4 * word);
  ends.sport = bytes.readUInt16BE(portsAt);
  ends.dport = bytes.readUInt16BE(portsAt + 2);
  return portsAt;
}

const readTarget = (values: Buffer, portsAt: number): HotTarget => ({
  hop: values.readUInt16LE(portsAt + 6),
  row: values.readUInt32LE(portsAt + 8),
  generation: values.readUInt16LE(portsAt + 12),
  idleMs: Math.ceil(values.readUInt16LE(portsAt + 14) * IDLE_MS),
});

/** RFC 1624: what is to be added to the sum. */
function differenceOf(from: Ends, to: Ends): number {
  const sumOf = ({ addresses, sport, dport }: Ends) => fold(addressPairSum(addresses) + sport + dport);
  return fold(sumOf(to) + (0xffff - sumOf(from)));
}

/** What an entry keeps of an idle time. */
export const keptIdleMs = (idleMs: number): number => Math.ceil(idleOf(idleMs) * IDLE_MS);

/** At least 1 where it is set: each packet then. */
const idleOf = (idleMs: number): number =>
  idleMs === 0 ? 0 : Math.min(IDLE_MAX, Math.max(1, Math.floor(idleMs / IDLE_MS)));
