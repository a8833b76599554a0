// Capture filters (io/filter.ts) as the programs that the kernel runs on a packet socket, behind a test for
// what it takes as sent to this host. Where there is no room for them they are refused: the kernel bounds
// their length, and their memory by net.core.optmem_max.
import { readFileSync } from 'node:fs';
import { LINK_TYPE, loadFilterCompiler } from '../sys/filter-compiler.ts';
import { IoError } from '../sys/io-error.ts';
import { SysError } from '../sys/libc.ts';
import { attachFilter, canAttachBeside, readFilter, TAKE_ALL, toThisHost } from '../sys/socket-filter.ts';
import { captureFilter } from './filter.ts';
import type { CaptureSpec } from './io-mode.ts';
import { NoRoomError } from './no-room.ts';
import type { IoPort } from './packet-io.ts';

/** What is put in front of a program later on (sys/socket-filter.ts). */
const SPARE_INSTRUCTIONS = 8;
/** The kernel takes 4,096 (BPF_MAXINSNS). */
const INSTRUCTIONS_MAX = 4096 - SPARE_INSTRUCTIONS;
const INSTRUCTION_LEN = 8;
/**
 * Longer filters are not compiled: libpcap's time grows with the square of the length and more (measured: 0.2
 * s at 16 KB, 0.7 s at 31 KB, 1.5 s at 50 KB, 15 s at 95 KB), and the control plane stands still meanwhile.
 */
const CHARS_MAX = 32 << 10;
/** The same for what is only tried. */
const SAMPLE_CHARS_MAX = 8 << 10;
const OPTMEM = 'net.core.optmem_max';
/** Room for any program (measured: 170,000 bytes for the longest). */
const AMPLE_OPTMEM = 262_144;
const MAKE_ROOM = `make room with sysctl -w ${OPTMEM}=${AMPLE_OPTMEM}`;

/** Why there is a filter, and what to do instead. */
export interface Remedy {
  /** What the message ends with, or ''. */
  readonly because: string;
  readonly instead: string;
  /** See NoRoomError. */
  readonly isForRights?: boolean;
}

/** One program per port. Throws a NoRoomError, and an IoError when libpcap does not compile. */
export function captureFilters(capture: CaptureSpec, remedy: Remedy): Uint8Array[] {
  return capture.ports.map((port) => {
    const { program, lack } = tryFilter(port, capture);
    if (lack === undefined) return program;
    const { services, vips, lips } = capture;
    const fit = servicesThatFit(port, capture);
    throw new NoRoomError(
      `${count(services, 'service')} with ${count(addresses(vips), 'VIP')} and ${count(addresses(lips), 'LIP')} ` +
        `are too many for a capture filter: ${lack.text}${fit === 0 ? '' : `; for some ${fit} such services there is room`}` +
        remedy.because,
      `${remedy.instead}, or ${lack.isMemory ? `${MAKE_ROOM}, or ` : ''}have fewer services, VIPs and LIPs`,
      remedy.isForRights,
    );
  });
}

/** The NoRoomError that `filtersOf` throws; undefined when it throws none. */
export function refusalBy(filtersOf: () => unknown): NoRoomError | undefined {
  try {
    filtersOf();
    return undefined;
  } catch (error) {
    if (error instanceof NoRoomError) return error;
    throw error;
  }
}

const addresses = (list: readonly { ip: string }[]): number => new Set(list.map(({ ip }) => ip)).size;
const count = (n: number, noun: string): string => `${n} ${noun}${n === 1 ? '' : 's'}`;

/** For a link as this port has it. Throws an IoError. */
export function compileFilter({ name, mac, loopback }: IoPort, text: string): Uint8Array {
  const linkType = mac !== '' || loopback ? LINK_TYPE.ethernet : LINK_TYPE.ip;
  const key = `${linkType} ${text}`;
  let program = compiled.get(key);
  if (program === undefined) {
    try {
      program = toThisHost(loadFilterCompiler().compile(text, linkType));
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
const COMPILED_MAX = 32;

type Tried =
  | { program: Uint8Array; lack: undefined }
  | { program: undefined; lack: { text: string; isMemory: boolean } };

/** The program, or what there is no room in. */
function tryFilter(
  port: IoPort,
  { vips, lips }: Pick<CaptureSpec, 'vips' | 'lips'>,
  charsMax = CHARS_MAX,
): Tried {
  const lacks = (text: string, isMemory: boolean): Tried => ({
    program: undefined,
    lack: { text, isMemory },
  });
  const text = captureFilter(vips, lips);
  if (text.length > charsMax)
    return lacks(`it is ${text.length} characters long, and at most ${charsMax} can be compiled`, false);
  const program = compileFilter(port, text);
  const length = lengthOf(program);
  if (length > INSTRUCTIONS_MAX)
    return lacks(`it has ${length} instructions, and the kernel takes ${INSTRUCTIONS_MAX}`, false);
  if (hasMemoryFor(program)) return { program, lack: undefined };
  const limit = optmemMax();
  const bytes = limit === undefined ? '' : `, ${limit} bytes,`;
  return lacks(`its ${length} instructions take more than ${OPTMEM}${bytes} leaves`, true);
}

const lengthOf = (program: Uint8Array): number => program.length / INSTRUCTION_LEN;

/** Whether the program can be put to work, also in the place of any other: see replaceFilter. */
const hasMemoryFor = (program: Uint8Array): boolean => canAttachBeside(spacious(BETWEEN), spacious(program));

/** As long as the program can become. */
function spacious(program: Uint8Array): Uint8Array {
  const longest = new Uint8Array(program.length + SPARE_INSTRUCTIONS * INSTRUCTION_LEN);
  longest.set(program);
  for (let at = program.length; at < longest.length; at += INSTRUCTION_LEN)
    longest.set(program.subarray(-INSTRUCTION_LEN), at);
  return longest;
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
 * How many of the services there is room for, when all of them are alike: those whose filter is soon
 * compiled, to within a tenth, times how often there is room for that.
 */
function servicesThatFit(port: IoPort, { services, vips, lips }: CaptureSpec): number {
  const part = <T>(list: readonly T[], wanted: number) =>
    list.slice(0, Math.ceil((list.length * wanted) / services));
  let [sample, tooMany] = [0, services];
  let program: Uint8Array = new Uint8Array();
  while (tooMany - sample > Math.max(1, sample / 10)) {
    const wanted = (sample + tooMany) >> 1;
    const capture = { vips: part(vips, wanted), lips: part(lips, wanted) };
    const tried = tryFilter(port, capture, SAMPLE_CHARS_MAX);
    if (tried.lack === undefined) [sample, program] = [wanted, tried.program];
    else tooMany = wanted;
  }
  if (sample === 0) return 0;
  const times = (n: number) => new Uint8Array(Buffer.concat(Array.from({ length: n }, () => program)));
  let fit = 1;
  while (lengthOf(program) * (fit + 1) <= INSTRUCTIONS_MAX && hasMemoryFor(times(fit + 1))) fit++;
  return Math.min(sample * fit, services - 1);
}

/** At work for microseconds while one program takes another's place and there is no room for both. */
const BETWEEN = toThisHost(TAKE_ALL);

/**
 * Puts `program` in the place of the one at work: in one step, or where there is no room for both by way of a
 * short one that takes in all that this host is sent, which the datapath passes over. So what both let in
 * comes in all the time. `limit` makes each of the programs that of this socket. Throws an IoError, with the
 * one before at work, when that is not possible any more.
 */
export function replaceFilter(
  fd: number,
  program: Uint8Array,
  limit: (program: Uint8Array) => Uint8Array = (any) => any,
): void {
  const wanted = limit(program);
  const before = readFilter(fd);
  if (Buffer.compare(before, wanted) === 0) return;
  try {
    if (tryAttach(fd, wanted)) return;
    attachFilter(fd, limit(BETWEEN));
    if (tryAttach(fd, wanted)) return;
    attachFilter(fd, before);
  } catch (error) {
    throw cannotChange(error);
  }
  throw cannotChange(new Error(`${OPTMEM} has no room for it`));
}

const cannotChange = (error: unknown): IoError =>
  new IoError(`the capture filter cannot be changed: ${(error as Error).message}`, MAKE_ROOM, error);

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
