// The text of a config file. Only of a regular file, and of one that can be read in seconds: parsing takes
// some 30 bytes of memory for each of its bytes.
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { ConfigError } from './problem.ts';

const BYTES_MAX = 16 << 20;

/** Throws ConfigError. */
export function readText(path: string): string {
  try {
    return readRegular(path);
  } catch (error) {
    throw new ConfigError(path, [{ path: '', message: unreadable(error) }], { cause: error });
  }
}

/**
 * By what one tells that a file says something else: its text, or why it is refused. Undefined while it
 * cannot be opened.
 */
export function contentOf(path: string): string | undefined {
  try {
    return readRegular(path);
  } catch (error) {
    return error instanceof Refusal ? error.message : undefined;
  }
}

class Refusal extends Error {}

function readRegular(path: string): string {
  // Not to wait for the writer of a pipe.
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const found = fstatSync(fd);
    if (found.isDirectory()) throw new Refusal('is a directory, expected a YAML file');
    if (!found.isFile()) throw new Refusal('is not a regular file, expected a YAML file');
    if (found.size > BYTES_MAX)
      throw new Refusal(`has ${found.size} bytes, expected at most ${BYTES_MAX} (16 MiB)`);
    // One byte more than allowed, because it may be written to meanwhile.
    const bytes = Buffer.allocUnsafe(Math.max(found.size, 4096) + 1);
    let length = 0;
    for (;;) {
      const read = readSync(fd, bytes, length, bytes.length - length, null);
      if (read === 0) return bytes.toString('utf8', 0, length);
      length += read;
      if (length === bytes.length)
        throw new Refusal('grew while it was read: it is read again when it is whole');
    }
  } finally {
    closeSync(fd);
  }
}

function unreadable(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  if (error instanceof Refusal) return message;
  if (code === 'ENOENT') return 'no such file';
  if (code === 'EACCES') return 'cannot be read: permission denied';
  return `cannot be read: ${message}`;
}
