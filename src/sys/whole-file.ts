// A file that is read and written as a whole. Who reads it sees what was there before or all of what was
// written, also when the machine stops meanwhile: it is written beside itself, put on the disk, and then
// takes its name.
import { closeSync, constants, fsyncSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { readTrusted } from './trusted-file.ts';

/** Only who runs the proxy may read it. */
const MODE = 0o600;

export class WholeFile {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  /**
   * Undefined when there is no file. Throws when it is no plain file, longer than `maxBytes`, or may be
   * somebody else's work: its owner is neither root nor this user, others can write to it, or a symbolic link
   * leads to it.
   */
  read(maxBytes: number): Uint8Array | undefined {
    return readTrusted(this.path, { mayBeLink: false, isSecret: false, maxBytes });
  }

  /** Throws what `write` would throw, as far as can be told before. */
  tryToWrite(): void {
    const path = `${this.path}.new`;
    rmSync(path, { force: true });
    closeSync(openSync(path, 'wx', MODE));
    rmSync(path, { force: true });
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
