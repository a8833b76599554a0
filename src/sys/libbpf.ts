// libbpf (libbpf.so.1) through koffi: BPF programs from the objects that src/bpf/build makes, their maps,
// links and test runs. What is made here belongs to descriptors, and is gone with the last process that holds
// one, or with the socket or link that it was given to.
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import koffi from 'koffi';
import { IoError } from './io-error.ts';
import { addressOf, lastErrno, type Pointer, SysError } from './libc.ts';

const EAGAIN = 11;
/** libbpf itself tries five times in a row, which signals that come often outlast. */
const LOAD_ATTEMPTS = 20;
const LOG_LEN = 1 << 20;
/** The verifier says last why it refuses. */
const LAST_WORDS = 2000;
/** Errors from here on are libbpf's own (enum libbpf_errno). */
const LIBBPF_ERRNO = 4000;

/** enum bpf_map_type. */
export const MAP_TYPE = { hash: 1, array: 2 } as const;
/** An array's values can be mapped as memory. */
export const BPF_F_MMAPABLE = 1 << 10;
/** Of bpf_map_update_elem: whether the key is there or not. */
const BPF_ANY = 0n;
const ATTACH_TYPE_XDP = 37;

type Bytes = Uint8Array | null;

/** A failure of libbpf or of the kernel below it: `code` is EPERM where CAP_BPF is missing. */
export class BpfError extends SysError {
  constructor(call: string, errno: number, details: string) {
    super(call, errno);
    this.message += `${errno < LIBBPF_ERRNO ? '' : ` (${sayError(errno)})`}${details}`;
  }
}

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

/**
 * Attaches an XDP program to an interface of the current namespace, for as long as the returned link is open.
 */
export function attachXdp(program: number, interfaceIndex: number, flags: number): number {
  // struct bpf_link_create_opts up to flags
  const options = structOf(16);
  options.writeUInt32LE(flags, 8);
  return check(
    library().bpf_link_create(program, interfaceIndex, ATTACH_TYPE_XDP, options),
    'bpf_link_create',
  );
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

/** A structure of libbpf's: its own length, by which libraries of other versions know it, then zero bytes. */
function structOf(byteLength: number): Buffer {
  const bytes = memoryOf(byteLength);
  bytes.writeBigUInt64LE(BigInt(byteLength));
  return bytes;
}

/** Zero bytes that stay where they are. */
const memoryOf = (byteLength: number): Buffer => Buffer.from(new ArrayBuffer(byteLength));

/** A negative result is the number of an error. */
function check(result: number, call: string): number {
  if (result < 0) throw new BpfError(call, -result, '');
  return result;
}

const isNull = (pointer: Pointer | null): boolean => pointer === null || BigInt(pointer) === 0n;

type Library = ReturnType<typeof bindAll>;
let loaded: Library | undefined;

/** Loads libbpf when it is asked for the first time. Throws an IoError. */
function library(): Library {
  if (loaded !== undefined) return loaded;
  try {
    loaded = bindAll(koffi.load('libbpf.so.1'));
  } catch (error) {
    throw new IoError(
      `libbpf cannot be loaded: ${error instanceof Error ? error.message : String(error)}`,
      'install the Debian package libbpf1',
      error,
    );
  }
  // What it would print to stderr says less than the verifier's words.
  loaded.libbpf_set_print(null);
  return loaded;
}

function bindAll(lib: ReturnType<typeof koffi.load>) {
  const bind = <T extends (...args: never[]) => number | Pointer>(definition: string): T =>
    lib.func(definition) as unknown as T;
  return {
    libbpf_set_print: bind<(print: null) => Pointer>('intptr_t libbpf_set_print(void *print)'),
    libbpf_strerror: bind<(errno: number, text: Bytes, length: number) => number>(
      'int libbpf_strerror(int errno, void *text, size_t length)',
    ),
    bpf_object__open_file: bind<(path: string, options: Bytes) => Pointer>(
      'intptr_t bpf_object__open_file(const char *path, const void *options)',
    ),
    bpf_object__load: bind<(object: Pointer) => number>('int bpf_object__load(intptr_t object)'),
    bpf_object__close: bind<(object: Pointer) => number>('void bpf_object__close(intptr_t object)'),
    bpf_object__find_map_by_name: bind<(object: Pointer, name: string) => Pointer>(
      'intptr_t bpf_object__find_map_by_name(intptr_t object, const char *name)',
    ),
    bpf_object__find_program_by_name: bind<(object: Pointer, name: string) => Pointer>(
      'intptr_t bpf_object__find_program_by_name(intptr_t object, const char *name)',
    ),
    bpf_program__fd: bind<(program: Pointer) => number>('int bpf_program__fd(intptr_t program)'),
    bpf_map__fd: bind<(map: Pointer) => number>('int bpf_map__fd(intptr_t map)'),
    bpf_map__set_initial_value: bind<(map: Pointer, value: Bytes, length: number) => number>(
      'int bpf_map__set_initial_value(intptr_t map, const void *value, size_t length)',
    ),
    bpf_map__reuse_fd: bind<(map: Pointer, fd: number) => number>(
      'int bpf_map__reuse_fd(intptr_t map, int fd)',
    ),
    bpf_map_create: bind<
      (
        type: number,
        name: string,
        keyLen: number,
        valueLen: number,
        entries: number,
        options: Bytes,
      ) => number
    >(
      'int bpf_map_create(int type, const char *name, uint32_t keyLen, uint32_t valueLen, uint32_t entries, const void *options)',
    ),
    bpf_map_update_elem: bind<(fd: number, key: Bytes, value: Bytes, flags: bigint) => number>(
      'int bpf_map_update_elem(int fd, const void *key, const void *value, uint64_t flags)',
    ),
    bpf_map_update_batch: bind<
      (fd: number, keys: Bytes, values: Bytes, count: Bytes, options: null) => number
    >(
      'int bpf_map_update_batch(int fd, const void *keys, const void *values, void *count, const void *options)',
    ),
    bpf_link_create: bind<(program: number, target: number, type: number, options: Bytes) => number>(
      'int bpf_link_create(int program, int target, int type, const void *options)',
    ),
    bpf_prog_test_run_opts: bind<(program: number, options: Bytes) => number>(
      'int bpf_prog_test_run_opts(int program, void *options)',
    ),
  };
}

function sayError(errno: number): string {
  const text = memoryOf(128);
  library().libbpf_strerror(errno, text, text.length);
  return text.toString('latin1', 0, text.indexOf(0));
}
