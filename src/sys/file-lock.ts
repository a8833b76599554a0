// A lock that one process at a time has and that goes with it, however it ends (flock(2)), on a file of its
// own beside what it stands for, because that is replaced when it is written.
import { closeSync, constants, fstatSync, lstatSync, openSync, rmSync } from 'node:fs';
import { flock, lastErrno, SysError } from './libc.ts';

const LOCK_EX_NB = 2 | 4;
const LOCK_UN = 8;
const EWOULDBLOCK = 11;
const MODE = 0o600;

export interface FileLock {
  /** Removes the file as well. */
  release(): void;
}

/**
 * Undefined when another process has it. Throws what the system says, also where a symbolic link stands
 * there.
 */
export function lockFile(path: string): FileLock | undefined {
  const { O_RDWR, O_CREAT, O_NOFOLLOW } = constants;
  for (;;) {
    const fd = openSync(path, O_RDWR | O_CREAT | O_NOFOLLOW, MODE);
    const locked = fstatSync(fd);
    // Who owns it could hold it, and keep others out as long as he likes.
    if (locked.uid !== 0 && locked.uid !== process.getuid!()) {
      closeSync(fd);
      throw new Error(`${path} belongs to user ${locked.uid}, expected root or the user of the proxy`);
    }
    if (flock(fd, LOCK_EX_NB) !== 0) {
      const errno = lastErrno();
      closeSync(fd);
      if (errno === EWOULDBLOCK) return undefined;
      throw new SysError('flock', errno);
    }
    const there = lstatSync(path, { throwIfNoEntry: false });
    // Who had it may have removed the file meanwhile: then the lock is on nothing.
    if (there?.ino !== locked.ino || there.dev !== locked.dev) {
      closeSync(fd);
      continue;
    }
    return {
      release() {
        rmSync(path, { force: true });
        closeSync(fd);
      },
    };
  }
}

/** Of a folder, which it is on itself. */
export interface FolderLock {
  /** May be passed to child processes: then the lock is theirs, too, until it is released here. */
  readonly fd: number;
  readonly isHeld: boolean;
  /** False when another process has it. Throws a SysError. */
  tryToLock(): boolean;
  release(): void;
}

/**
 * The same for a folder. Undefined when another process has it. Throws what the system says: ENOENT also
 * where the folder was removed meanwhile.
 */
export function lockFolder(path: string): FolderLock | undefined {
  for (;;) {
    const lock = openFolder(path);
    if (!lock.tryToLock()) {
      lock.release();
      return undefined;
    }
    const there = lstatSync(path, { throwIfNoEntry: false });
    if (there?.ino === fstatSync(lock.fd).ino) return lock;
    lock.release();
    if (there === undefined) throw Object.assign(new Error(`${path} was removed`), { code: 'ENOENT' });
  }
}

/** For a lock that another process has, and will release. Throws what the system says. */
export function openFolder(path: string): FolderLock {
  const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  let isHeld = false;
  return {
    fd,
    get isHeld() {
      return isHeld;
    },
    tryToLock: () => {
      isHeld ||= tryToLock(fd);
      return isHeld;
    },
    release: () => {
      // Child processes that end may have it a moment longer.
      if (isHeld) flock(fd, LOCK_UN);
      closeSync(fd);
    },
  };
}

function tryToLock(fd: number): boolean {
  if (flock(fd, LOCK_EX_NB) === 0) return true;
  const errno = lastErrno();
  if (errno === EWOULDBLOCK) return false;
  throw new SysError('flock', errno);
}
