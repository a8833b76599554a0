// A capture filter (io/filter.ts) as the program that the kernel runs.
import { loadFilterCompiler } from '../sys/filter-compiler.ts';
import { IoError } from './io-error.ts';

/** The kernel takes at most this many instructions (BPF_MAXINSNS). */
const INSTRUCTIONS_MAX = 4096;
const INSTRUCTION_LEN = 8;

/** `linkType` is a LINK_TYPE of sys/filter-compiler.ts. Throws an IoError. */
export function compileCapture(device: string, filter: string, linkType: number): Uint8Array {
  let program: Uint8Array;
  try {
    program = loadFilterCompiler().compile(filter, linkType);
  } catch (error) {
    throw new IoError(
      `the capture filter for ${device} cannot be compiled: ${(error as Error).message}`,
      'install the Debian package libpcap-dev',
      error,
    );
  }
  if (program.length / INSTRUCTION_LEN > INSTRUCTIONS_MAX) throw filterTooLong(device);
  return program;
}

export function filterTooLong(device: string): IoError {
  return new IoError(
    `the capture filter for ${device} is too long for the kernel (more than 4,096 instructions)`,
    'use fewer services per process, or give services the same VIP or the same vports',
  );
}
