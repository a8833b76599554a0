// BPF programs from the objects that src/bpf/build makes, their maps and test runs, by libbpf. What is made
// here belongs to descriptors, and is gone with the last process that holds one, or with the socket or link
// that it was given to.
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { BpfError, check, isNull, library, memoryOf, structOf } from './libbpf-library.ts';
import { addressOf, lastErrno, type Pointer } from './libc.ts';

const EAGAIN = 11;
const ENOENT = 2;
const EEXIST = 17;
/** libbpf itself tries five times in a row, which signals that come often outlast. */
const LOAD_ATTEMPTS = 20;
const LOG_LEN = 1 << 20;
/** The verifier says last why it refuses. */
const LAST_WORDS = 2000;

/** enum bpf_map_type. */
export const MAP_TYPE = {
  hash: 1,
  array: 2,
  perCpuArray: 6,
  lruHash: 9,
  prefixTrie: 11,
  deviceHash: 25,
  ringBuffer: 27,
} as const;
/** An array's values can be mapped as memory. */
export const BPF_F_MMAPABLE = 1 << 10;
/** Memory for an entry is taken when it is put in; prefix tries need it. */
export const BPF_F_NO_PREALLOC = 1;
/** Of bpf_map_update_elem: whether the key is there or not; only if it is not. */
const BPF_ANY = 0n;
const BPF_NOEXIST = 1n;

/** What is decided before an object is loaded, by the names of its maps. */
export interface LoadOptions {
  /** Values of all its `const volatile` variables (.rodata), exactly as many bytes as they have in memory. */
  readOnly?: Uint8Array;
  /** Maps that exist already, by descriptor, which stays the caller's. */
  reuse?: Readonly<Record<string, number>>;
}

/** An object that the kernel has taken. All descriptors are its own, and closed with it. */
export interface BpfObject {
  /** Throws an Error for a name that is not in it. */
  programFd(name: string): number;
  /** `.rodata`, `.bss` and `.data` are maps as well. */
  mapFd(name: string): number;
  close(): void;
}

/**
 * Loads the object in `file`: its maps and all of its programs. Throws a BpfError, with the verifier's last
 * words where it refused a program, and an IoError where libbpf is missing.
 */
export function loadObject(file: URL, options: LoadOptions = {}): BpfObject {
  for (let attempt = 1; ; attempt++) {
    try {
      return loadOnce(fileURLToPath(file), options);
    } catch (error) {
      // A signal, for instance of a child that ended, makes the verifier give up.
      const isInterrupted = error instanceof BpfError && error.errno === EAGAIN;
      if (!isInterrupted || attempt === LOAD_ATTEMPTS) throw error;
    }
  }
}

function loadOnce(path: string, { readOnly, reuse = {} }: LoadOptions): BpfObject {
  const libbpf = library();
  const log = Buffer.from(new ArrayBuffer(LOG_LEN));
  const object = libbpf.bpf_object__open_file(path, openOptions(log));
  if (isNull(object)) throw new BpfError('bpf_object__open_file', lastErrno(), `: ${path}`);
  const close = () => libbpf.bpf_object__close(object);
  const find = (what: string, found: Pointer, name: string): Pointer => {
    if (isNull(found)) throw new Error(`${basename(path)} has no ${what} ${name}`);
    return found;
  };
  const map = (name: string) => find('map', libbpf.bpf_object__find_map_by_name(object, name), name);
  const program = (name: string) =>
    find('program', libbpf.bpf_object__find_program_by_name(object, name), name);
  try {
    if (readOnly !== undefined) {
      const result = libbpf.bpf_map__set_initial_value(map('.rodata'), readOnly, readOnly.length);
      check(result, `bpf_map__set_initial_value of ${readOnly.length} bytes`);
    }
    for (const [name, fd] of Object.entries(reuse)) {
      check(libbpf.bpf_map__reuse_fd(map(name), fd), `bpf_map__reuse_fd of ${name}`);
    }
    const result = libbpf.bpf_object__load(object);
    if (result !== 0) throw refusal(basename(path), -result, log);
  } catch (error) {
    close();
    throw error;
  }
  return {
    programFd: (name) => libbpf.bpf_program__fd(program(name)),
    mapFd: (name) => libbpf.bpf_map__fd(map(name)),
    close,
  };
}

function refusal(name: string, errno: number, log: Buffer): BpfError {
  const words = log.toString('latin1', 0, log.indexOf(0)).trimEnd();
  return new BpfError('bpf_object__load', errno, `: ${name}${words && `\n${words.slice(-LAST_WORDS)}`}`);
}

/** What a map is made as: lengths in bytes, flags BPF_F_*. */
export interface MapLayout {
  type: number;
  keyLen: number;
  valueLen: number;
  entries: number;
  flags: number;
}

/** Opens a map of a MAP_TYPE. `name` shows in bpftool only. Throws a BpfError. */
export function createMap(
  type: number,
  name: string,
  {
    keyLen,
    valueLen,
    entries,
    flags = 0,
  }: { keyLen: number; valueLen: number; entries: number; flags?: number },
): number {
  // struct bpf_map_create_opts up to map_flags
  const options = structOf(32);
  options.writeUInt32LE(flags, 28);
  const fd = library().bpf_map_create(type, name, keyLen, valueLen, entries, options);
  return check(fd, `bpf_map_create of ${name}`);
}

/** Puts `value` in the place of what the key leads to, in one step. Throws a BpfError. */
export function updateMap(fd: number, key: Uint8Array, value: Uint8Array): void {
  check(library().bpf_map_update_elem(fd, key, value, BPF_ANY), 'bpf_map_update_elem');
}

/** The same where the key is not there yet. False: it is. Throws a BpfError. */
export function insertInMap(fd: number, key: Uint8Array, value: Uint8Array): boolean {
  const result = library().bpf_map_update_elem(fd, key, value, BPF_NOEXIST);
  if (result === -EEXIST) return false;
  check(result, 'bpf_map_update_elem');
  return true;
}

/**
 * The same for `count` keys and values, which follow one another. Throws a BpfError, when some may have been
 * put already.
 */
export function updateMapBatch(fd: number, keys: Uint8Array, values: Uint8Array, count: number): void {
  if (count === 0) return;
  const counter = memoryOf(4);
  counter.writeUInt32LE(count);
  check(library().bpf_map_update_batch(fd, keys, values, counter, null), 'bpf_map_update_batch');
}

/** False: it was not there. Throws a BpfError. */
export function deleteFromMap(fd: number, key: Uint8Array): boolean {
  const result = library().bpf_map_delete_elem(fd, key);
  if (result === -ENOENT) return false;
  check(result, 'bpf_map_delete_elem');
  return true;
}

/**
 * What the key leads to, of a map per CPU that of each possible one; undefined: nothing. Throws a BpfError.
 */
export function lookUpInMap(fd: number, key: Uint8Array, valueLen: number): Buffer | undefined {
  const value = memoryOf(valueLen);
  const result = library().bpf_map_lookup_elem(fd, key, value);
  if (result === -ENOENT) return undefined;
  check(result, 'bpf_map_lookup_elem');
  return value;
}

/** Some entries of a map: keys and values follow one another. */
export interface MapEntries {
  keys: Buffer;
  values: Buffer;
  count: number;
}

const BATCH = 4096;

/**
 * All entries of a hash map, some thousands at a time, in memory that the next step uses again. One that is
 * put in or taken out meanwhile may be missing, or come twice. Throws a BpfError.
 */
export function* entriesOfMap(
  fd: number,
  { keyLen, valueLen }: { keyLen: number; valueLen: number },
): Generator<MapEntries, void> {
  const keys = memoryOf(BATCH * keyLen);
  const values = memoryOf(BATCH * valueLen);
  const counter = memoryOf(4);
  const next = memoryOf(Math.max(4, keyLen));
  let from: Buffer | null = null;
  for (;;) {
    counter.writeUInt32LE(BATCH);
    const result = library().bpf_map_lookup_batch(fd, from, next, keys, values, counter, null);
    const isLast = result === -ENOENT;
    if (!isLast) check(result, 'bpf_map_lookup_batch');
    const count = counter.readUInt32LE();
    if (count > 0) yield { keys, values, count };
    if (isLast) return;
    from ??= memoryOf(next.length);
    next.copy(from);
  }
}

/** All keys of a map of any type, one call each. Throws a BpfError. */
export function keysOfMap(fd: number, keyLen: number): Buffer[] {
  const keys: Buffer[] = [];
  for (;;) {
    const next = memoryOf(keyLen);
    const result = library().bpf_map_get_next_key(fd, keys.at(-1) ?? null, next);
    if (result === -ENOENT) return keys;
    check(result, 'bpf_map_get_next_key');
    keys.push(next);
  }
}

/** Values of a map per CPU follow one another, so many. */
export const possibleCpus = (): number =>
  check(library().libbpf_num_possible_cpus(), 'libbpf_num_possible_cpus');

/** What a map was made with. Throws a BpfError. */
export function describeMap(fd: number): { type: number; keyLen: number; valueLen: number; entries: number } {
  const info = memoryOf(24); // struct bpf_map_info up to map_flags
  const length = memoryOf(4);
  length.writeUInt32LE(info.length);
  check(library().bpf_obj_get_info_by_fd(fd, info, length), 'bpf_obj_get_info_by_fd');
  const [type, keyLen, valueLen, entries] = [0, 8, 12, 16].map((at) => info.readUInt32LE(at));
  return { type, keyLen, valueLen, entries };
}

export interface TestRun {
  /** An Ethernet frame. */
  data: Uint8Array;
  /** The program's context (struct __sk_buff, xdp_md), as far as the kernel lets it be given. */
  context?: Uint8Array;
  repeat?: number;
  flags?: number;
  /** Of live frames (BPF_F_TEST_XDP_LIVE_FRAMES): so many at a time; 0: as the kernel does. */
  batch?: number;
  /** At most so many bytes are wanted of what the program makes of the frame. */
  room?: number;
}

/**
 * Runs a program over a frame. Says what it returned and what it left of the frame. Blocks. Throws a
 * BpfError.
 */
export function testRun(program: number, run: TestRun): { result: number; data: Buffer } {
  const { data, context, repeat = 1, flags = 0, batch = 0, room = 0 } = run;
  const out = memoryOf(room);
  const options = structOf(80); // struct bpf_test_run_opts
  options.writeBigUInt64LE(addressOf(data), 8);
  if (room > 0) options.writeBigUInt64LE(addressOf(out), 16);
  options.writeUInt32LE(data.length, 24);
  options.writeUInt32LE(room, 28);
  if (context !== undefined) {
    options.writeBigUInt64LE(addressOf(context), 32);
    options.writeUInt32LE(context.length, 48);
  }
  options.writeInt32LE(repeat, 60);
  options.writeUInt32LE(flags, 68);
  options.writeUInt32LE(batch, 76);
  check(library().bpf_prog_test_run_opts(program, options), 'bpf_prog_test_run_opts');
  return { result: options.readUInt32LE(56), data: out.subarray(0, options.readUInt32LE(28)) };
}

/** struct bpf_object_open_opts: the log is for when a program is refused. */
function openOptions(log: Buffer): Buffer {
  const options = structOf(80);
  options.writeBigUInt64LE(addressOf(log), 56);
  options.writeBigUInt64LE(BigInt(log.length), 64);
  return options;
}
