// Where maps and links of the fast path outlive their processes: in a bpffs, in a folder per proxy, which is
// called by its config file and network namespace, so that a successor finds its predecessor's and no
// other's. Who has a lock on the folder is the proxy that lives; its workers have it, too.
import { createHash } from 'node:crypto';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readlinkSync,
  rmdirSync,
  statfsSync,
  unlinkSync,
} from 'node:fs';
import { basename, dirname, extname, join, resolve } from 'node:path';
import { type FolderLock, lockFolder, openFolder } from '../sys/file-lock.ts';
import { LAYOUT_VERSION } from './layout.ts';

/** In a bpffs: a folder of all proxies. */
const ALL = 'uoa-proxy';

const PREFIX = 'layout-';
export const FOLDER = `${PREFIX}${LAYOUT_VERSION}`;

const BPF_FS_MAGIC = 0xcafe4a11;
const NAME_MAX = 40;
/** Each fails only where another proxy ends at that moment. */
const ATTEMPTS = 100;

/** Errors of who looks for a folder that is not there, or not for this process. */
const NONE = ['ENOENT', 'ENOTDIR', 'EACCES', 'EPERM'];

/** Whether there is such a folder, and things can be pinned in it. */
export function isBpffs(folder: string): boolean {
  try {
    return statfsSync(folder).type === BPF_FS_MAGIC;
  } catch (error) {
    if (NONE.includes((error as NodeJS.ErrnoException).code ?? '')) return false;
    throw error;
  }
}

/** A container may be shown the folder of all proxies only. */
const isPinnable = (bpffs: string): boolean => isBpffs(join(bpffs, ALL)) || isBpffs(bpffs);

/** Where a container has the host's, if it has: profiles of AppArmor forbid it to write below /sys. */
const IN_CONTAINER = '/bpf';

export const BPFFS = isPinnable(IN_CONTAINER) ? IN_CONTAINER : '/sys/fs/bpf';

/** What a proxy by this config file is called among those of the host. A bpffs takes no dots in names. */
export function proxyName(configPath: string): string {
  const path = resolve(configPath);
  const short = basename(path, extname(path))
    .replace(/[^A-Za-z0-9_-]/g, '-')
    .slice(0, NAME_MAX);
  const whole = `${path} ${readlinkSync('/proc/self/ns/net')}`;
  return `${short}-${createHash('sha256').update(whole).digest('hex').slice(0, 8)}`;
}

/** By it the filters of clsact of one proxy are told from those of another. */
export const filterHandleOf = (name: string): number =>
  (Number.parseInt(createHash('sha256').update(name).digest('hex').slice(0, 7), 16) & 0xfffffff) + 1;

export interface PinRoot {
  readonly path: string;
  /** Its `fd` is for child processes, too. */
  readonly lock: FolderLock;
}

/**
 * The folder of this proxy, locked; undefined: another process has it. Throws an error of the file system,
 * also where there is no bpffs.
 */
export function holdPinRoot(name: string, bpffs = BPFFS): PinRoot | undefined {
  if (!isPinnable(bpffs)) throw new Error(`no bpffs is mounted at ${bpffs}`);
  const path = pinRootOf(name, bpffs);
  for (let attempt = 1; ; attempt++) {
    try {
      mkdirSync(join(bpffs, ALL), { recursive: true, mode: 0o755 });
      mkdirSync(path, { recursive: true, mode: 0o700 });
      for (const folder of [join(bpffs, ALL), path]) checkOwner(folder);
      const lock = lockFolder(path);
      return lock && { path, lock };
    } catch (error) {
      // Another proxy that ends removes what is empty.
      if (!isGone(error) || attempt === ATTEMPTS) throw error;
    }
  }
}

/** The folder at `path` of a predecessor that lives and has the lock. Throws an error of the file system. */
export function openPinRoot(path: string): PinRoot {
  for (const folder of [dirname(path), path]) checkOwner(folder);
  return { path, lock: openFolder(path) };
}

/** What there was of the file system is there no more. */
export const isGone = (error: unknown): boolean => (error as NodeJS.ErrnoException).code === 'ENOENT';

/** Who owns a folder, or may write to it, could keep the lock, or put maps of his own there. */
function checkOwner(folder: string): void {
  const { uid, mode } = lstatSync(folder);
  if (uid !== 0 && uid !== process.getuid!())
    throw new Error(`${folder} belongs to user ${uid}, expected root or the user of the proxy`);
  if ((mode & 0o022) !== 0)
    throw new Error(`${folder} may be written by others (mode ${(mode & 0o777).toString(8)})`);
}

export const pinRootOf = (name: string, bpffs = BPFFS): string => join(bpffs, ALL, name);

/** A folder of a proxy, and whose it is. */
export interface OwnedRoot {
  readonly name: string;
  readonly path: string;
  readonly uid: number;
  readonly gid: number;
}

/** All folders of proxies, whoever runs them. */
export function pinRoots(bpffs = BPFFS): OwnedRoot[] {
  const all = join(bpffs, ALL);
  try {
    if (!isPinnable(bpffs)) return [];
    const above = lstatSync(all);
    return readdirSync(all).flatMap((name) => {
      const path = join(all, name);
      const found = lstatSync(path, { throwIfNoEntry: false });
      if (found?.isDirectory() !== true) return [];
      const { uid, gid } = above.uid === 0 ? found : above;
      return [{ name, path, uid, gid }];
    });
  } catch (error) {
    // Nobody pinned anything, or the last one removes it just now.
    if (isGone(error)) return [];
    throw error;
  }
}

/** Root acts as the owner of a folder there: so what he put into it leads root to nothing else. */
export function asOwner<T>({ uid, gid }: Pick<OwnedRoot, 'uid' | 'gid'>, act: () => T): T {
  if (process.geteuid!() !== 0 || uid === 0) return act();
  process.setegid!(gid);
  process.seteuid!(uid);
  try {
    return act();
  } finally {
    process.seteuid!(0);
    process.setegid!(0);
  }
}

/**
 * Removes all that is pinned in a proxy's folder, of every layout: the fast path ends when no process has it
 * open. The folder stays, which the lock is on. Returns what it removed, sorted. Throws an error of the file
 * system.
 */
export function removePinned(root: string): string[] {
  const folders = layoutsIn(root).map((name) => join(root, name));
  for (const folder of folders) removeFolder(folder);
  return folders.sort();
}

/** Removes the folder too, if nothing is in it any more; last, because the lock is on nothing then. */
export function removePinRoot(root: string): void {
  if (existsSync(root) && readdirSync(root).length === 0) rmdirSync(root);
  removeIfEmpty(dirname(root));
}

/** Others may make a folder there at the same time. */
function removeIfEmpty(all: string): void {
  try {
    if (basename(all) === ALL) rmdirSync(all);
  } catch {
    // It has others' folders, or is gone.
  }
}

export const layoutsIn = (root: string): string[] =>
  existsSync(root) ? readdirSync(root).filter((name) => name.startsWith(PREFIX)) : [];

/** With all that is pinned in it. */
export function removeFolder(folder: string): void {
  for (const name of readdirSync(folder)) unlinkSync(join(folder, name));
  rmdirSync(folder);
}
