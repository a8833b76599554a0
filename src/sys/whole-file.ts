// A file that is read and written as a whole. Who reads it sees what was there before or all of what was written, also when
// the machine stops meanwhile: it is written beside itself, put on the disk, and then takes its name.
import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';

/** Only who runs the proxy may read it. */
const MODE = 0o600;

export class WholeFile {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  /** Undefined when there is no file. Throws when it is no plain file, or longer than `maxBytes`. */
  read(maxBytes: number): Uint8Array | undefined {
    const fd = openExisting(this.path);
    if (fd === undefined) return undefined;
    try {
      const found = fstatSync(fd);
      if (!found.isFile()) throw new Error('it is not a file');
      if (found.size > maxBytes) throw new Error(`it has ${found.size} bytes, more than ${maxBytes}`);
      const bytes = new Uint8Array(found.size);
      let at = 0;
      while (at < bytes.length) {
        const length = readSync(fd, bytes, at, bytes.length - at, at);
        if (length === 0) break;
        at += length;
      }
      return bytes.subarray(0, at);
    } finally {
      closeSync(fd);
    }
  }

  /** Replaces the file. When this throws, the old one is still there. */
  write(parts: readonly Uint8Array[]): void {
    const path = `${this.path}.new`;
    rmSync(path, { force: true }); // what an earlier attempt left, or somebody put in our way
    const fd = openSync(path, 'wx', MODE);
    try {
      try {
        for (const part of parts) writeAll(fd, part);
        fsyncSync(fd);
      } finally {
        closeSync(fd);
      }
      renameSync(path, this.path);
    } catch (error) {
      rmSync(path, { force: true });
      throw error;
    }
    syncFolder(dirname(this.path));
  }

  /** Also when there is none. */
  remove(): void {
    rmSync(this.path, { force: true });
    syncFolder(dirname(this.path));
  }
}

function openExisting(path: string): number | undefined {
  try {
    // Not to wait for the writer of a pipe.
    return openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

function writeAll(fd: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
}

/** A name is on the disk when its folder is. */
function syncFolder(path: string): void {
  const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
