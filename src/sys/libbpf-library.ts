// libbpf (libbpf.so.1) as koffi binds it, loaded when it is asked for the first time, and what its calls have
// in common: structures, errors. Nothing here decides anything.
import koffi from 'koffi';
import { IoError } from './io-error.ts';
import { type Pointer, SysError } from './libc.ts';

/** Errors from here on are libbpf's own (enum libbpf_errno). */
const LIBBPF_ERRNO = 4000;

type Bytes = Uint8Array | null;

/** A failure of libbpf or of the kernel below it: `code` is EPERM where CAP_BPF is missing. */
export class BpfError extends SysError {
  constructor(call: string, errno: number, details: string) {
    super(call, errno);
    this.message += `${errno < LIBBPF_ERRNO ? '' : ` (${sayError(errno)})`}${details}`;
  }
}

/** A structure of libbpf's: its own length, by which libraries of other versions know it, then zero bytes. */
export function structOf(byteLength: number): Buffer {
  const bytes = memoryOf(byteLength);
  bytes.writeBigUInt64LE(BigInt(byteLength));
  return bytes;
}

/** Zero bytes that stay where they are. */
export const memoryOf = (byteLength: number): Buffer => Buffer.from(new ArrayBuffer(byteLength));

/** A negative result is the number of an error. */
export function check(result: number, call: string): number {
  if (result < 0) throw new BpfError(call, -result, '');
  return result;
}

export const isNull = (pointer: Pointer | null): boolean => pointer === null || BigInt(pointer) === 0n;

type Library = ReturnType<typeof bindAll>;
let loaded: Library | undefined;

/** Loads libbpf when it is asked for the first time. Throws an IoError. */
export function library(): Library {
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
    bpf_map_lookup_elem: bind<(fd: number, key: Bytes, value: Bytes) => number>(
      'int bpf_map_lookup_elem(int fd, const void *key, void *value)',
    ),
    bpf_map_lookup_batch: bind<
      (
        fd: number,
        from: Bytes,
        next: Bytes,
        keys: Bytes,
        values: Bytes,
        count: Bytes,
        options: null,
      ) => number
    >(
      'int bpf_map_lookup_batch(int fd, const void *from, void *next, void *keys, void *values, void *count, const void *options)',
    ),
    bpf_map_get_next_key: bind<(fd: number, key: Bytes, next: Bytes) => number>(
      'int bpf_map_get_next_key(int fd, const void *key, void *next)',
    ),
    bpf_map_delete_elem: bind<(fd: number, key: Bytes) => number>(
      'int bpf_map_delete_elem(int fd, const void *key)',
    ),
    libbpf_num_possible_cpus: bind<() => number>('int libbpf_num_possible_cpus()'),
    bpf_obj_pin: bind<(fd: number, path: string) => number>('int bpf_obj_pin(int fd, const char *path)'),
    bpf_obj_get: bind<(path: string) => number>('int bpf_obj_get(const char *path)'),
    bpf_obj_get_info_by_fd: bind<(fd: number, info: Bytes, length: Bytes) => number>(
      'int bpf_obj_get_info_by_fd(int fd, void *info, void *length)',
    ),
    bpf_link_update: bind<(link: number, program: number, options: null) => number>(
      'int bpf_link_update(int link, int program, const void *options)',
    ),
    bpf_link_detach: bind<(link: number) => number>('int bpf_link_detach(int link)'),
    bpf_xdp_query: bind<(interfaceIndex: number, flags: number, options: Bytes) => number>(
      'int bpf_xdp_query(int interfaceIndex, int flags, void *options)',
    ),
    bpf_tc_hook_create: bind<(hook: Bytes) => number>('int bpf_tc_hook_create(void *hook)'),
    bpf_tc_attach: bind<(hook: Bytes, options: Bytes) => number>(
      'int bpf_tc_attach(const void *hook, void *options)',
    ),
    bpf_tc_detach: bind<(hook: Bytes, options: Bytes) => number>(
      'int bpf_tc_detach(const void *hook, const void *options)',
    ),
    bpf_tc_query: bind<(hook: Bytes, options: Bytes) => number>(
      'int bpf_tc_query(const void *hook, void *options)',
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
