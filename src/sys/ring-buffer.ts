// What BPF programs say, in order (BPF_MAP_TYPE_RINGBUF, Documentation/bpf/ringbuf.rst): a page with the
// reader's position, one with the writers', then the data, which is mapped twice, so that no record is cut.
// One reader at a time.
import koffi from 'koffi';
import { getpagesize, lastErrno, mmap, SysError } from './libc.ts';
import { type Waitable, waiting } from './waitable.ts';

const PROT_READ = 1;
const PROT_READ_WRITE = 3;
const MAP_SHARED = 1;
const HEADER_LEN = 8;
const BUSY = 1 << 31;
const DISCARDED = 1 << 30;

export interface RingBuffer extends Pick<Waitable, 'wait' | 'close'> {
  /**
   * Hands over records that are whole, `max` at most; each is valid during the call. Returns how many there
   * were.
   */
  read(max: number, take: (record: DataView) => void): number;
}

/** For a map of `byteLength` bytes, whose descriptor becomes its own. Throws a SysError. */
export function openRingBuffer(fd: number, byteLength: number): RingBuffer {
  const page = getpagesize();
  const reader = new BigUint64Array(map(fd, page, PROT_READ_WRITE, 0), 0, 1);
  const writers = map(fd, page + 2 * byteLength, PROT_READ, page);
  const written = new BigUint64Array(writers, 0, 1);
  const headers = new Int32Array(writers, page);
  const mask = BigInt(byteLength - 1);
  return {
    read(max, take) {
      let position = Atomics.load(reader, 0);
      let count = 0;
      let taken = 0;
      while (taken < max && position < Atomics.load(written, 0)) {
        const at = Number(position & mask);
        const header = Atomics.load(headers, at >>> 2);
        if ((header & BUSY) !== 0) break;
        const length = header & ~(BUSY | DISCARDED);
        if ((header & DISCARDED) === 0) {
          take(new DataView(writers, page + at + HEADER_LEN, length));
          count++;
        }
        taken++;
        position += BigInt((length + HEADER_LEN + 7) & ~7);
        Atomics.store(reader, 0, position);
      }
      return count;
    },
    ...waiting(fd),
  };
}

/** For the life of the process: an ArrayBuffer cannot be told that its memory went away. */
function map(fd: number, byteLength: number, protection: number, off: number): ArrayBuffer {
  const address = mmap(null, byteLength, protection, MAP_SHARED, fd, off);
  if (BigInt(address) === -1n) throw new SysError('mmap', lastErrno());
  return koffi.view(BigInt(address), byteLength);
}
