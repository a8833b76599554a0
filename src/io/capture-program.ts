// Capture filters (io/filter.ts) as the programs that the kernel runs on a packet socket: the exact one where
// the kernel takes it, else the coarse one. How long a program may be depends on net.core.optmem_max, which
// must have room for two while one takes the other's place: so an exact one is tried beside the coarse one,
// on a socket that nothing comes to.
import { readFileSync } from 'node:fs';
import type { Logger } from 'pino';
import type { LipPorts, VipPort } from '../host/port-ranges.ts';
import { LINK_TYPE, loadFilterCompiler } from '../sys/filter-compiler.ts';
import { IoError } from '../sys/io-error.ts';
import { SysError } from '../sys/libc.ts';
import { attachFilter, canAttachBeside } from '../sys/socket-filter.ts';
import { captureFilter, coarseFilter } from './filter.ts';
import type { IoPort } from './packet-io.ts';

/** The kernel takes at most this many instructions (BPF_MAXINSNS). */
const INSTRUCTIONS_MAX = 4096;
const INSTRUCTION_LEN = 8;
/** What is put in front of a program later on (sys/socket-filter.ts). */
const SPARE_INSTRUCTIONS = 8;
/**
 * Longer exact filters are not compiled: libpcap's time grows with the square of the length and more
 * (measured: 0.4 s at 19 KB, 1.7 s at 38 KB, 15 s at 95 KB).
 */
const EXACT_MAX_CHARS = 16 << 10;
const OPTMEM = 'net.core.optmem_max';
/** What newer kernels begin with. */
const AMPLE_OPTMEM = 131_072;
/** What an operator can do. */
export const ROOM_FOR_FILTERS = `sysctl -w ${OPTMEM}=${AMPLE_OPTMEM}`;

/** Of one port. Plain data. */
export interface CaptureFilter {
  /** The coarse filter in libpcap's language. */
  readonly coarseText: string;
  readonly coarse: Uint8Array;
  /** What shall be at work: the exact one, or the coarse one. */
  readonly program: Uint8Array;
}

export interface CaptureFilters {
  /** One per port. */
  readonly filters: CaptureFilter[];
  /** Why they let in more than what is ours, in a sentence; undefined when they do not. */
  readonly complaint: string | undefined;
}

/** Throws an IoError when libpcap does not compile. */
export function captureFilters(
  ports: readonly IoPort[],
  vips: readonly VipPort[],
  lips: readonly LipPorts[],
): CaptureFilters {
  const reasons = new Set<string>();
  const filters = ports.map((port) => {
    const coarseText = coarseFilter(port, vips, lips);
    const coarse = compileFilter(port, coarseText);
    const tried = tryExact(port, captureFilter(port, vips, lips), coarse);
    if (typeof tried !== 'string') return { coarseText, coarse, program: tried };
    reasons.add(tried);
    return { coarseText, coarse, program: coarse };
  });
  const [reason] = reasons;
  if (reason === undefined) return { filters, complaint: undefined };
  const count = new Set([...vips, ...lips].map(({ ip }) => ip)).size;
  return {
    filters,
    complaint:
      `the exact capture filter for ${count} addresses ${reason}: so other UDP to networks with them ` +
      'is captured too and passed over, which costs only processor time',
  };
}

/** Logs what is to be said of the filters that are put to work one after the other: when it changes. */
export function sayComplaints(log: Logger): (filters: CaptureFilters) => void {
  let said: string | undefined;
  return ({ complaint }) => {
    if (complaint === said) return;
    said = complaint;
    if (complaint === undefined) log.info('the capture filter is exact again');
    else log.warn(complaint);
  };
}

/** For a link as this port has it. Throws an IoError. */
export function compileFilter({ name, mac, loopback }: IoPort, text: string): Uint8Array {
  const linkType = mac !== '' || loopback ? LINK_TYPE.ethernet : LINK_TYPE.ip;
  const key = `${linkType} ${text}`;
  let program = compiled.get(key);
  if (program === undefined) {
    try {
      program = loadFilterCompiler().compile(text, linkType);
    } catch (error) {
      throw new IoError(
        `the capture filter for ${name} cannot be compiled: ${(error as Error).message}`,
        'install the Debian package libpcap-dev',
        error,
      );
    }
    if (compiled.size === COMPILED_MAX) compiled.delete(compiled.keys().next().value!);
    compiled.set(key, program);
  }
  return program;
}

/**
 * Programs by link type and filter: those at work and those before, so that a change compiles only what is
 * new.
 */
const compiled = new Map<string, Uint8Array>();
const COMPILED_MAX = 16;

/** The program, or what is in its way. */
function tryExact(port: IoPort, text: string, coarse: Uint8Array): Uint8Array | string {
  if (text.length > EXACT_MAX_CHARS) return `is too long to be compiled (${text.length} characters)`;
  const program = compileFilter(port, text);
  const count = program.length / INSTRUCTION_LEN;
  if (count + SPARE_INSTRUCTIONS > INSTRUCTIONS_MAX)
    return `has ${count} instructions, and the kernel takes ${INSTRUCTIONS_MAX}`;
  const longer = new Uint8Array(program.length + SPARE_INSTRUCTIONS * INSTRUCTION_LEN);
  longer.set(program);
  for (let at = program.length; at < longer.length; at += INSTRUCTION_LEN)
    longer.set(program.subarray(-INSTRUCTION_LEN), at);
  if (canAttachBeside(coarse, longer)) return program;
  const limit = optmemMax();
  const advice = limit === undefined || limit < AMPLE_OPTMEM ? ` (${ROOM_FOR_FILTERS})` : '';
  return `has ${count} instructions, which ${OPTMEM}${limit === undefined ? '' : `, ${limit} bytes,`} has no room for${advice}`;
}

/** Undefined in a network namespace that does not show it (Linux before 6.8). */
function optmemMax(): number | undefined {
  try {
    return Number(readFileSync(`/proc/sys/${OPTMEM.replaceAll('.', '/')}`, 'utf8'));
  } catch {
    return undefined;
  }
}

/**
 * Puts `wanted` in the place of `before`, so that what both let in comes in all the time: where there is no
 * room for both programs at once, by way of the coarse ones. Where the limit was lowered meanwhile it may
 * stay with the coarse one. `prepend` makes each of the programs that of this socket. Throws an IoError when
 * not even that is possible.
 */
export function replaceFilter(
  fd: number,
  before: CaptureFilter,
  wanted: CaptureFilter,
  prepend: (program: Uint8Array) => Uint8Array = (program) => program,
): void {
  try {
    if (tryAttach(fd, prepend(wanted.program))) return;
    for (const coarse of [before.coarse, wanted.coarse]) attachFilter(fd, prepend(coarse));
  } catch (error) {
    throw new IoError(
      `the capture filter cannot be changed: ${(error as Error).message}`,
      `the kernel has no room for it: ${ROOM_FOR_FILTERS}`,
      error,
    );
  }
  tryAttach(fd, prepend(wanted.program));
}

/** False: there is no room for it. Throws a SysError. */
function tryAttach(fd: number, program: Uint8Array): boolean {
  try {
    attachFilter(fd, program);
    return true;
  } catch (error) {
    if (error instanceof SysError && error.code === 'ENOMEM') return false;
    throw error;
  }
}
