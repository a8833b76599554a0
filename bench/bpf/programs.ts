// Loads the programs of the load: those at the ends of its way (sinks.bpf.c), and for each kind of frame the
// one that makes it (source.bpf.c). Whatever is made here belongs to this process's descriptors and is gone
// with the process.
import { attachXdp } from '../../src/sys/bpf-attachment.ts';
import { loadObject, testRun } from '../../src/sys/libbpf.ts';
import { STAMP_LEN } from './control.ts';

const HEADERS_LEN = 14 + 20 + 8;
const XDP_FLAG_DRIVER_MODE = 1 << 2;
const TEST_LIVE_FRAMES = 1 << 1;

/** Verdicts. */
export const XDP = { drop: 1, pass: 2, tx: 3 } as const;

/** Frames that the kernel makes before it hands them on. */
export const MAX_BATCH = 64;

export interface FrameFields {
  srcMac: string;
  dstMac: string;
  dst: string;
  dport: number;
  /** At least STAMP_LEN. */
  payloadLen: number;
}

/** Programs by name, and the map that control.ts describes. */
export function loadSinks(port: number): { programFd: (name: string) => number; controlFd: number } {
  const readOnly = Buffer.alloc(2);
  readOnly.writeUInt16BE(port);
  const sinks = loadObject(new URL('./sinks.bpf.o', import.meta.url), { readOnly });
  return { programFd: sinks.programFd, controlFd: sinks.mapFd('.bss') };
}

/**
 * The program that makes such frames, and its map, which may be that of others. Each frame is sent from the
 * interface it was given to, or taken as received there.
 */
export function loadSource(
  fields: FrameFields,
  { verdict = XDP.tx, controlFd }: { verdict?: number; controlFd?: number } = {},
): { program: number; controlFd: number } {
  const readOnly = Buffer.alloc(28);
  Buffer.from(`${fields.dstMac}${fields.srcMac}`.replaceAll(':', ''), 'hex').copy(readOnly);
  Buffer.from(fields.dst.split('.').map(Number)).copy(readOnly, 12);
  readOnly.writeUInt16BE(fields.dport, 16);
  readOnly.writeUInt16LE(fields.payloadLen, 18);
  readOnly.writeUInt32LE(payloadSum(fields.payloadLen), 20);
  readOnly.writeUInt32LE(verdict, 24);
  const reuse: Record<string, number> = controlFd === undefined ? {} : { '.bss': controlFd };
  const source = loadObject(new URL('./source.bpf.o', import.meta.url), { readOnly, reuse });
  return { program: source.programFd('source'), controlFd: source.mapFd('.bss') };
}

/** The bytes of the frame that the program does not write: the payload behind the time counts up. */
export function emptyFrame(payloadLen: number): Buffer {
  const frame = Buffer.alloc(HEADERS_LEN + payloadLen);
  for (let i = STAMP_LEN; i < payloadLen; i++) frame[HEADERS_LEN + i] = i;
  return frame;
}

/** As 16-bit words with the lower byte first. */
function payloadSum(payloadLen: number): number {
  return emptyFrame(payloadLen).reduce((sum, byte, at) => sum + (at % 2 === 0 ? byte : byte << 8), 0);
}

/** Attaches a program to an interface of the current namespace, for the life of the process. */
export function attach(program: number, interfaceIndex: number): void {
  attachXdp(program, interfaceIndex, XDP_FLAG_DRIVER_MODE);
}

/**
 * Runs a program `repeat` times over copies of `frame`, as if they had arrived at the interface, and does
 * with them what it says (BPF_F_TEST_XDP_LIVE_FRAMES, Linux 5.18). A copy is used again and again, as the
 * last run left it. Blocks.
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
  testRun(program, { data: frame, context, repeat, batch, flags: TEST_LIVE_FRAMES });
}
