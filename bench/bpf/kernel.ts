// bpf(2) as only the bench needs it: XDP programs, their links to interfaces, test runs. Whatever is made here belongs to
// this process's descriptors and is gone with the process.
import { closeSync, openSync } from 'node:fs';
import koffi from 'koffi';
import {
  BPF_COMMAND,
  bpf,
  createArrayMap,
  emptyAttributes,
  explainRefusal,
  loadProgram,
  mapArrayMap,
  PROGRAM_TYPE,
} from '../../src/sys/bpf.ts';
import { addressOf, check } from '../../src/sys/libc.ts';

const lib = koffi.load('libc.so.6');
const setns = lib.func('int setns(int fd, int kind)');

const ATTACH_TYPE_XDP = 37;
const XDP_FLAG_DRIVER_MODE = 1 << 2;
const TEST_LIVE_FRAMES = 1 << 1;
const CLONE_NEWNET = 0x4000_0000;

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
  const fd = createArrayMap(byteLength, 1);
  return { fd, memory: mapArrayMap(fd, byteLength) };
}

/** Loads an XDP program and returns its descriptor. Throws with the verifier's last words. */
export function loadXdp(program: Buffer): number {
  try {
    return loadProgram(PROGRAM_TYPE.xdp, program);
  } catch (error) {
    const words = explainRefusal(PROGRAM_TYPE.xdp, program);
    throw new Error(`${(error as Error).message}\n${words}`, { cause: error });
  }
}

/** Attaches a program to an interface of the current namespace, for as long as the returned link is open. */
export function attachXdp(program: number, interfaceIndex: number): number {
  const attributes = emptyAttributes();
  attributes.writeUInt32LE(program, 0);
  attributes.writeUInt32LE(interfaceIndex, 4);
  attributes.writeUInt32LE(ATTACH_TYPE_XDP, 8);
  attributes.writeUInt32LE(XDP_FLAG_DRIVER_MODE, 12);
  return bpf(BPF_COMMAND.linkCreate, attributes, 'BPF_LINK_CREATE');
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
  const attributes = emptyAttributes();
  attributes.writeUInt32LE(program, 0);
  attributes.writeUInt32LE(frame.length, 8);
  attributes.writeBigUInt64LE(addressOf(frame), 16);
  attributes.writeUInt32LE(repeat, 32);
  attributes.writeUInt32LE(context.length, 40);
  attributes.writeBigUInt64LE(addressOf(context), 48);
  attributes.writeUInt32LE(TEST_LIVE_FRAMES, 64);
  attributes.writeUInt32LE(batch, 72);
  bpf(BPF_COMMAND.progTestRun, attributes, 'BPF_PROG_TEST_RUN');
}
