// bpf(2), by the bare system call: array maps that are shared memory, and programs. What is made here belongs to
// descriptors, and is gone with the last process that holds one, or with the socket that a program was given to.
import { addressOf, check, close, SysError, syscall } from './libc.ts';
import { mapSharedMemory } from './shared-memory.ts';

const NUMBER: Partial<Record<NodeJS.Architecture, number>> = { x64: 321, arm64: 280 };
const BPF_COMMAND = { mapCreate: 0, progLoad: 5 } as const;
export const PROGRAM_TYPE = { socketFilter: 1 } as const;
const MAP_TYPE_ARRAY = 2;
const MAP_FLAG_MMAPABLE = 1 << 10;
/** union bpf_attr, more than is used of it. */
const ATTRIBUTES_LEN = 128;
const INSTRUCTION_LEN = 8;
const LOG_LEN = 1 << 20;
const PAGE_LEN = 4096;
const EAGAIN = 11;
/** More than libbpf makes (PROG_LOAD_ATTEMPTS). */
const LOAD_ATTEMPTS = 20;
const LICENSE = Buffer.from('Dual MIT/GPL\0');

/** Calls bpf(2) with a union bpf_attr; throws a SysError named `what`, with ENOSYS where its number is not known. */
function bpf(command: number, attributes: Buffer, what: string): number {
  return check(syscall(NUMBER[process.arch] ?? -1, command, attributes, attributes.length, 0), what);
}

const emptyAttributes = (): Buffer => Buffer.from(new ArrayBuffer(ATTRIBUTES_LEN));

/** Opens an array map of zero bytes, whose values follow one another. Throws a SysError: EPERM without CAP_BPF. */
export function createArrayMap(valueLen: number, entries: number): number {
  const attributes = emptyAttributes();
  attributes.writeUInt32LE(MAP_TYPE_ARRAY, 0);
  attributes.writeUInt32LE(4, 4); // key_size
  attributes.writeUInt32LE(valueLen, 8);
  attributes.writeUInt32LE(entries, 12);
  attributes.writeUInt32LE(MAP_FLAG_MMAPABLE, 16);
  return bpf(BPF_COMMAND.mapCreate, attributes, 'BPF_MAP_CREATE');
}

/** The values of such a map as memory of this process, at least `byteLength` bytes, for the life of the process. */
export function mapArrayMap(fd: number, byteLength: number): ArrayBuffer {
  return mapSharedMemory(fd, Math.ceil(byteLength / PAGE_LEN) * PAGE_LEN);
}

/** Loads a program of a PROGRAM_TYPE (8 bytes per instruction, RFC 9669) and returns its descriptor. Throws a SysError. */
export function loadProgram(type: number, program: Uint8Array): number {
  const attributes = programAttributes(type, program);
  for (let attempt = 1; ; attempt++) {
    try {
      return bpf(BPF_COMMAND.progLoad, attributes, 'BPF_PROG_LOAD');
    } catch (error) {
      // A signal, for instance of a child that ended, makes the verifier give up.
      const isInterrupted = error instanceof SysError && error.errno === EAGAIN;
      if (!isInterrupted || attempt === LOAD_ATTEMPTS) throw error;
    }
  }
}

/** Why the verifier refuses a program: its last words, for those who write programs. */
export function explainRefusal(type: number, program: Uint8Array): string {
  const log = Buffer.from(new ArrayBuffer(LOG_LEN));
  const attributes = programAttributes(type, program);
  attributes.writeUInt32LE(1, 24); // log_level
  attributes.writeUInt32LE(log.length, 28);
  attributes.writeBigUInt64LE(addressOf(log), 32);
  try {
    close(bpf(BPF_COMMAND.progLoad, attributes, 'BPF_PROG_LOAD'));
  } catch {
    // That is what the log is about.
  }
  return log.toString('latin1', 0, log.indexOf(0)).slice(-2000);
}

function programAttributes(type: number, program: Uint8Array): Buffer {
  const attributes = emptyAttributes();
  attributes.writeUInt32LE(type, 0);
  attributes.writeUInt32LE(program.length / INSTRUCTION_LEN, 4);
  attributes.writeBigUInt64LE(addressOf(program), 8);
  attributes.writeBigUInt64LE(addressOf(LICENSE), 16);
  return attributes;
}
