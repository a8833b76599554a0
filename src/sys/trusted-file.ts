// A file that nobody but root and the user of this process can have written. Judged is what was opened, not
// what the path leads to at another moment.
import { closeSync, constants, fstatSync, lstatSync, openSync, readSync, type Stats } from 'node:fs';

const WRITABLE_BY_OTHERS = 0o022;
const READABLE_BY_ALL = 0o004;

export interface Trust {
  /** A symbolic link may stand at the path, if root or this user made it: Kubernetes mounts files so. */
  mayBeLink: boolean;
  /** It holds a secret: not everybody may read it. */
  isSecret: boolean;
  maxBytes: number;
}

/**
 * Undefined when there is none. Throws an Error that says what is wrong with the file, or what the system
 * says.
 */
export function readTrusted(path: string, trust: Trust): Uint8Array | undefined {
  const fd = openFile(path, trust);
  if (fd === undefined) return undefined;
  try {
    const found = fstatSync(fd);
    judge(found, trust);
    return readAll(fd, found.size);
  } finally {
    closeSync(fd);
  }
}

function openFile(path: string, { mayBeLink }: Trust): number | undefined {
  const { O_RDONLY, O_NONBLOCK, O_NOFOLLOW } = constants;
  const link = lstatSync(path, { throwIfNoEntry: false });
  if (link?.isSymbolicLink()) {
    if (!mayBeLink) throw new Error('it is a symbolic link, expected a file');
    requireOwner(link);
  }
  try {
    // Not to wait for the writer of a pipe.
    return openSync(path, O_RDONLY | O_NONBLOCK | (mayBeLink ? 0 : O_NOFOLLOW));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

function judge(found: Stats, { isSecret, maxBytes }: Trust): void {
  if (!found.isFile()) throw new Error('it is not a file');
  requireOwner(found);
  const mode = (found.mode & 0o777).toString(8).padStart(4, '0');
  if ((found.mode & WRITABLE_BY_OTHERS) !== 0)
    throw new Error(`others than its owner can write to it (mode ${mode}), expected as chmod go-w makes it`);
  if (isSecret && (found.mode & READABLE_BY_ALL) !== 0)
    throw new Error(`everybody can read it (mode ${mode}), expected as chmod o-r makes it`);
  if (found.size > maxBytes) throw new Error(`it has ${found.size} bytes, more than ${maxBytes}`);
}

function requireOwner({ uid }: Stats): void {
  const self = process.getuid?.();
  if (uid !== 0 && uid !== self)
    throw new Error(`it belongs to the user ${uid}, expected root${self === 0 ? '' : ` or ${self}`}`);
}

function readAll(fd: number, size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  let at = 0;
  while (at < bytes.length) {
    const length = readSync(fd, bytes, at, bytes.length - at, at);
    if (length === 0) break;
    at += length;
  }
  return bytes.subarray(0, at);
}
