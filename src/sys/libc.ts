// The C library as far as this program calls it, typed, through koffi. Nothing here decides anything: each
// binding is the C function of the same name, and `check` turns -1 into a SysError.
import os from 'node:os';
import koffi from 'koffi';

const lib = koffi.load('libc.so.6');

/** Memory that a system call reads or writes; it is passed by address and must not be resized meanwhile. */
export type Memory = Uint8Array | Int32Array | BigUint64Array | null;

/** A pointer as koffi gives it. */
export type Pointer = bigint;

function bind<T extends (...args: never[]) => number | Pointer>(definition: string): T {
  return lib.func(definition) as unknown as T;
}

export const memfd_create = bind<(name: string, flags: number) => number>(
  'int memfd_create(const char *name, unsigned int flags)',
);
export const ftruncate = bind<(fd: number, length: number) => number>(
  'int ftruncate(int fd, int64_t length)',
);
export const mmap = bind<
  (addr: null, length: number, prot: number, flags: number, fd: number, offset: number) => Pointer
>('intptr_t mmap(void *addr, size_t length, int prot, int flags, int fd, int64_t offset)');
export const getpagesize = bind<() => number>('int getpagesize()');
export const dup = bind<(fd: number) => number>('int dup(int fd)');
export const dup3 = bind<(from: number, to: number, flags: number) => number>(
  'int dup3(int from, int to, int flags)',
);
export const flock = bind<(fd: number, operation: number) => number>('int flock(int fd, int operation)');
export const close = bind<(fd: number) => number>('int close(int fd)');
export const prctl = bind<(option: number, argument: number) => number>(
  'int prctl(int option, unsigned long argument)',
);
const signal = bind<(number: number, handler: number) => Pointer>(
  'intptr_t signal(int number, intptr_t handler)',
);
export const if_nametoindex = bind<(name: string) => number>('unsigned int if_nametoindex(const char *name)');
export const epoll_create1 = bind<(flags: number) => number>('int epoll_create1(int flags)');
export const epoll_ctl = bind<(epoll: number, op: number, fd: number, event: Memory) => number>(
  'int epoll_ctl(int epoll, int op, int fd, void *event)',
);
export const socket = bind<(domain: number, type: number, protocol: number) => number>(
  'int socket(int domain, int type, int protocol)',
);
export const bindSocket = bind<(fd: number, address: Memory, length: number) => number>(
  'int bind(int fd, const void *address, unsigned int length)',
);
export const getsockname = bind<(fd: number, address: Memory, length: Memory) => number>(
  'int getsockname(int fd, void *address, void *length)',
);
export const getsockopt = bind<
  (fd: number, level: number, option: number, value: Memory, length: Memory) => number
>('int getsockopt(int fd, int level, int option, void *value, void *length)');
export const setsockopt = bind<
  (fd: number, level: number, option: number, value: Memory, length: number) => number
>('int setsockopt(int fd, int level, int option, const void *value, unsigned int length)');
export const recvmsg = bind<(fd: number, message: Memory, flags: number) => number>(
  'intptr_t recvmsg(int fd, void *message, int flags)',
);
export const sendmsg = bind<(fd: number, message: Memory, flags: number) => number>(
  'intptr_t sendmsg(int fd, const void *message, int flags)',
);
export const inet_pton = bind<(family: number, text: string, address: Memory) => number>(
  'int inet_pton(int family, const char *text, void *address)',
);
export const sendmmsg = bind<(fd: number, messages: Memory, count: number, flags: number) => number>(
  'int sendmmsg(int fd, void *messages, unsigned int count, int flags)',
);

export const recv = bind<(fd: number, buffer: Memory, length: number, flags: number) => number>(
  'intptr_t recv(int fd, void *buffer, size_t length, int flags)',
);
export const send = bind<(fd: number, buffer: Memory, length: number, flags: number) => number>(
  'intptr_t send(int fd, const void *buffer, size_t length, int flags)',
);
export const socketpair = bind<(domain: number, type: number, protocol: number, fds: Memory) => number>(
  'int socketpair(int domain, int type, int protocol, void *fds)',
);
export const poll = bind<(fds: Memory, count: number, timeoutMs: number) => number>(
  'int poll(void *fds, unsigned long count, int timeoutMs)',
);

/** Of those that take a number, a structure, and two numbers more. */
export const syscall = bind<
  (number: number, first: number, attributes: Memory, length: number, flags: number) => number
>('int64_t syscall(int64_t number, int64_t first, void *attributes, int64_t length, int64_t flags)');

const SIG_IGN = 1;

/** signal(2) with SIG_IGN. Nothing happens for a number that cannot be ignored. */
export function ignoreSignal(number: number): void {
  signal(number, SIG_IGN);
}

const errnoNames = new Map(Object.entries(os.constants.errno).map(([name, value]) => [value, name]));

/** A system call that failed: `code` is the errno name (EPERM), `syscall` the function that was called. */
export class SysError extends Error {
  override readonly name = 'SysError';
  readonly code: string;
  readonly errno: number;
  readonly syscall: string;

  constructor(syscall: string, errno: number) {
    const code = errnoNames.get(errno) ?? `errno ${errno}`;
    super(`${syscall} failed: ${code}`);
    this.code = code;
    this.errno = errno;
    this.syscall = syscall;
  }
}

/** errno of the last call; to be read before anything else runs. */
export function lastErrno(): number {
  return koffi.errno();
}

/** Returns `result`, or throws a SysError when it is -1. */
export function check(result: number, syscall: string): number {
  if (result === -1) throw new SysError(syscall, koffi.errno());
  return result;
}

/** The address of a buffer, for structures that contain pointers. The buffer must outlive the structure. */
export function addressOf(bytes: Uint8Array): bigint {
  return BigInt(koffi.address(bytes));
}
