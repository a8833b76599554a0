// The classic BPF program that the kernel runs on a socket's packets (socket(7), SO_ATTACH_FILTER), as bytes:
// 8 per instruction (struct sock_filter).
import { addressOf, check, close, getsockopt, SysError, setsockopt, socket } from './libc.ts';

const AF_UNIX = 1;
const SOCK_DGRAM_CLOEXEC = 0x80002;
const SOL_SOCKET = 1;
const SO_ATTACH_FILTER = 26;
const SO_DETACH_FILTER = 27;
const SO_GET_FILTER = 26;
const INSTRUCTION_LEN = 8;

/**
 * Operation, operand, and for a condition how many instructions to skip when it holds and when not (struct
 * sock_filter; Linux Documentation/networking/filter.rst).
 */
export type Instruction = readonly [code: number, k: number, yes?: number, no?: number];

/** The program as bytes, in this machine's order. */
export function encodeProgram(instructions: readonly Instruction[]): Uint8Array {
  const bytes = Buffer.from(new ArrayBuffer(instructions.length * INSTRUCTION_LEN));
  for (const [index, [code, k, yes = 0, no = 0]] of instructions.entries()) {
    const at = index * INSTRUCTION_LEN;
    bytes.writeUInt16LE(code, at);
    bytes[at + 2] = yes;
    bytes[at + 3] = no;
    bytes.writeInt32LE(k, at + 4);
  }
  return bytes;
}

/** Lets no packet pass: BPF_RET | BPF_K, 0. Packets that it stops are counted nowhere. */
export const DROP_ALL: Uint8Array = new Uint8Array(new ArrayBuffer(INSTRUCTION_LEN)).fill(0x06, 0, 1);

/** Lets everything pass: BPF_RET | BPF_K, any length. */
export const TAKE_ALL: Uint8Array = new Uint8Array(Buffer.from('06000000ffffffff', 'hex'));

/**
 * `program` for what the kernel takes as sent to this host (packet(7), PACKET_HOST), whatever the Ethernet
 * address.
 */
export const toThisHost = (program: Uint8Array): Uint8Array =>
  new Uint8Array(Buffer.concat([IF_TO_HOST, DROP_ALL, program]));

/** `program` for packets of at most `max` bytes, link header included. */
export const upTo = (max: number, program: Uint8Array): Uint8Array =>
  new Uint8Array(Buffer.concat([LOAD_LENGTH, ifGreater(max, 0, 1), DROP_ALL, program]));

/** `program` for longer ones, and none with the number of a VLAN, which are of another interface. */
export const longerThan = (max: number, program: Uint8Array): Uint8Array =>
  new Uint8Array(
    Buffer.concat([LOAD_LENGTH, ifGreater(max, 1, 0), DROP_ALL, UNLESS_VLAN, DROP_ALL, program]),
  );

/** If the packet's type (SKF_AD_PKTTYPE) is PACKET_HOST, over the next instruction. */
const IF_TO_HOST = Buffer.from('2000000004f0ffff' + '1500010000000000', 'hex');
/** A = the packet's length. */
const LOAD_LENGTH = Buffer.from('8000000000000000', 'hex');
/** If the number of the tag (SKF_AD_VLAN_TAG, 0 without one) is 0, over the next instruction. */
const UNLESS_VLAN = Buffer.from('200000002cf0ffff' + '54000000ff0f0000' + '1500010000000000', 'hex');

/** If A is greater than `value`, over so many instructions, else over so many. */
function ifGreater(value: number, yes: number, no: number): Buffer {
  const instruction = Buffer.from([0x25, 0, yes, no, 0, 0, 0, 0]);
  instruction.writeUInt32LE(value, 4);
  return instruction;
}

/** The program attached to the socket; empty when there is none. */
export function readFilter(fd: number): Uint8Array {
  const count = new Int32Array(1); // of instructions, in both directions
  check(getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, null, count), 'getsockopt SO_GET_FILTER');
  const program = new Uint8Array(new ArrayBuffer(count[0] * INSTRUCTION_LEN));
  if (program.length > 0) {
    check(getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, program, count), 'getsockopt SO_GET_FILTER');
  }
  return program;
}

/** Puts `program` in the place of the one attached, between two packets. */
export function attachFilter(fd: number, program: Uint8Array): void {
  const { option, length } = socketProgram(program);
  check(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, option, length), 'setsockopt SO_ATTACH_FILTER');
}

/** Lets everything pass. */
export function detachFilter(fd: number): void {
  check(setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, Int32Array.of(0), 4), 'setsockopt SO_DETACH_FILTER');
}

/**
 * Whether the kernel has room for `second` on a socket that runs `first` (net.core.optmem_max, of this
 * network namespace): it needs room for both until the one has taken the other's place. Tried on a socket of
 * its own. Throws a SysError.
 */
export function canAttachBeside(first: Uint8Array, second: Uint8Array): boolean {
  const fd = check(socket(AF_UNIX, SOCK_DGRAM_CLOEXEC, 0), 'socket');
  try {
    attachFilter(fd, first);
    attachFilter(fd, second);
    return true;
  } catch (error) {
    if (error instanceof SysError && error.code === 'ENOMEM') return false;
    throw error;
  } finally {
    close(fd);
  }
}

/** struct sock_fprog, which points to `program`: that must outlive it. */
function socketProgram(program: Uint8Array): { option: Buffer; length: number } {
  const option = Buffer.from(new ArrayBuffer(16)); // length (2), padding (6), pointer (8)
  option.writeUInt16LE(program.length / INSTRUCTION_LEN, 0);
  option.writeBigUInt64LE(addressOf(program), 8);
  return { option, length: option.length };
}
