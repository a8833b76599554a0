// Memory without a name that two processes share: a memfd (memfd_create(2)) mapped by both. It lives as long
// as one of them has it open or mapped, so nothing is left behind however they end. Pages are taken from the
// system on first touch only: a mapping for a million sessions costs what the sessions in use cost.
import koffi from 'koffi';
import { check, ftruncate, lastErrno, memfd_create, mmap, SysError } from './libc.ts';

const MFD_CLOEXEC = 1;
const PROT_READ_WRITE = 3;
const MAP_SHARED = 1;

/**
 * Creates a memory file of `byteLength` zero bytes and maps it. `name` shows in /proc only. To share it, pass
 * `fd` to a child in its `stdio` list; there `mapSharedMemory` maps the same bytes.
 */
export function createSharedMemory(name: string, byteLength: number): { fd: number; buffer: ArrayBuffer } {
  const fd = check(memfd_create(name, MFD_CLOEXEC), 'memfd_create');
  check(ftruncate(fd, byteLength), 'ftruncate');
  return { fd, buffer: mapSharedMemory(fd, byteLength) };
}

/**
 * Maps the first `byteLength` bytes of a memory file, or of the values of a BPF array map made with
 * BPF_F_MMAPABLE, for the life of the process: an ArrayBuffer cannot be told that its memory went away, so
 * there is no unmap. Not a SharedArrayBuffer, but Atomics work on its views all the same. Throws a SysError.
 */
export function mapSharedMemory(fd: number, byteLength: number): ArrayBuffer {
  const address = mmap(null, byteLength, PROT_READ_WRITE, MAP_SHARED, fd, 0);
  if (BigInt(address) === -1n) throw new SysError('mmap', lastErrno());
  return koffi.view(BigInt(address), byteLength);
}
