// bpf(2) as far as the bench needs it, by the bare system call: maps that are shared memory, XDP programs, their links to
// interfaces, test runs. Whatever is made here belongs to this process's descriptors and is gone with the process.
import { closeSync, openSync } from 'node:fs';
import koffi from 'koffi';
import { addressOf, check, lastErrno, SysError } from '../../src/sys/libc.ts';
import { mapSharedMemory } from '../../src/sys/shared-memory.ts';

const lib = koffi.load('libc.so.6');
const syscall = lib.func('long syscall(long number, int command, void *attributes, unsigned int size)');
const setns = lib.func('int setns(int fd, int kind)');

const SYS_BPF: Partial<Record<NodeJS.Architecture, number>> = { x64: 321, arm64: 280 };
const MAP_CREATE = 0;
const PROG_LOAD = 5;
const PROG_TEST_RUN = 10;
const LINK_CREATE = 28;
const MAP_TYPE_ARRAY = 2;
const MAP_FLAG_MMAPABLE = 1 << 10;
const PROG_TYPE_XDP = 6;
const ATTACH_TYPE_XDP = 37;
const XDP_FLAG_DRIVER_MODE = 1 << 2;
const TEST_LIVE_FRAMES = 1 << 1;
const CLONE_NEWNET = 0x4000_0000;
const ATTRIBUTES_LEN = 128;
const INSTRUCTION_LEN = 8;
const LOG_LEN = 1 << 20;
const PAGE_LEN = 4096;

/** Frames that the kernel makes before it hands them on. */
export const MAX_BATCH = 64;

/** Moves the calling thread, which must be the main one, into a namespace of `ip netns`. */
export function enterNamespace(name: string): void {
  const fd = openSync(`/run/netns/${name}`, 'r');
  try {
    check(setns(fd, CLONE_NEWNET), 'setns');
  } finally {
    closeSync(fd);
  }
}

/** An array map of one value, and that value as memory of this process. */
export function createSharedMap(byteLength: number): { fd: number; memory: ArrayBuffer } {
  const attributes = Buffer.alloc(ATTRIBUTES_LEN);
  attributes.writeUInt32LE(MAP_TYPE_ARRAY, 0);
  attributes.writeUInt32LE(4, 4); // key_size
  attributes.writeUInt32LE(byteLength, 8);
  attributes.writeUInt32LE(1, 12); // max_entries
  attributes.writeUInt32LE(MAP_FLAG_MMAPABLE, 16);
  const fd = bpf(MAP_CREATE, attributes, 'BPF_MAP_CREATE');
  return { fd, memory: mapSharedMemory(fd, Math.ceil(byteLength / PAGE_LEN) * PAGE_LEN) };
}

/** Loads an XDP program and returns its descriptor. Throws with the verifier's last words. */
export function loadXdp(program: Buffer): number {
  const license = Buffer.from('Dual MIT/GPL\0');
  const attributes = Buffer.alloc(ATTRIBUTES_LEN);
  attributes.writeUInt32LE(PROG_TYPE_XDP, 0);
  attributes.writeUInt32LE(program.length / INSTRUCTION_LEN, 4);
  attributes.writeBigUInt64LE(addressOf(program), 8);
  attributes.writeBigUInt64LE(addressOf(license), 16);
  try {
    return bpf(PROG_LOAD, attributes, 'BPF_PROG_LOAD');
  } catch (error) {
    const log = Buffer.alloc(LOG_LEN);
    attributes.writeUInt32LE(1, 24); // log_level
    attributes.writeUInt32LE(log.length, 28);
    attributes.writeBigUInt64LE(addressOf(log), 32);
    syscall(numberOfBpf(), PROG_LOAD, attributes, attributes.length);
    const words = log.toString('latin1', 0, log.indexOf(0)).slice(-2000);
    throw new Error(`${(error as Error).message}\n${words}`, { cause: error });
  }
}

/** Attaches a program to an interface of the current namespace, for as long as the returned link is open. */
export function attachXdp(program: number, interfaceIndex: number): number {
  const attributes = Buffer.alloc(ATTRIBUTES_LEN);
  attributes.writeUInt32LE(program, 0);
  attributes.writeUInt32LE(interfaceIndex, 4);
  attributes.writeUInt32LE(ATTACH_TYPE_XDP, 8);
  attributes.writeUInt32LE(XDP_FLAG_DRIVER_MODE, 12);
  return bpf(LINK_CREATE, attributes, 'BPF_LINK_CREATE');
}

/**
 * Runs a program `repeat` times over copies of `frame`, as if they had arrived at the interface, and does with them what it
 * says (BPF_F_TEST_XDP_LIVE_FRAMES, Linux 5.18). A copy is used again and again, as the last run left it. Blocks.
 */
export function runLive(
  program: number,
  {
    frame,
    interfaceIndex,
    repeat,
    batch,
  }: { frame: Buffer; interfaceIndex: number; repeat: number; batch: number },
): void {
  const context = Buffer.alloc(24); // struct xdp_md
  context.writeUInt32LE(frame.length, 4);
  context.writeUInt32LE(interfaceIndex, 12);
  const attributes = Buffer.alloc(ATTRIBUTES_LEN);
  attributes.writeUInt32LE(program, 0);
  attributes.writeUInt32LE(frame.length, 8);
  attributes.writeBigUInt64LE(addressOf(frame), 16);
  attributes.writeUInt32LE(repeat, 32);
  attributes.writeUInt32LE(context.length, 40);
  attributes.writeBigUInt64LE(addressOf(context), 48);
  attributes.writeUInt32LE(TEST_LIVE_FRAMES, 64);
  attributes.writeUInt32LE(batch, 72);
  bpf(PROG_TEST_RUN, attributes, 'BPF_PROG_TEST_RUN');
}

function bpf(command: number, attributes: Buffer, what: string): number {
  const result = Number(syscall(numberOfBpf(), command, attributes, attributes.length));
  if (result < 0) throw new SysError(what, lastErrno());
  return result;
}

function numberOfBpf(): number {
  const number = SYS_BPF[process.arch];
  if (number === undefined) throw new Error(`the bench does not know bpf(2) on ${process.arch}`);
  return number;
}
