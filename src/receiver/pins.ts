// Where the receiver's programs outlive its process: in a bpffs, in a folder per cgroup, so that a later
// process finds those of an earlier one. Who has a lock on the folder is the process that serves the cgroup.
import { createHash } from 'node:crypto';
import { lstatSync, mkdirSync, readdirSync, rmdirSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { BPFFS, isBpffs, isGone, removeFolder } from '../fast/pins.ts';
import { type FolderLock, lockFolder } from '../sys/file-lock.ts';
import { cgroupName } from './cgroup.ts';
import { LAYOUT_VERSION } from './layout.ts';

/** In a bpffs: a folder of all receivers. */
const ALL = 'uoa-receiver';
const PREFIX = 'layout-';
const NAME_MAX = 40;
/** Each fails only where another receiver ends at that moment. */
const ATTEMPTS = 100;

export const isPinnable = (bpffs = BPFFS): boolean => isBpffs(join(bpffs, ALL)) || isBpffs(bpffs);

/** What the cgroup at a path is called there. A bpffs takes no dots. */
export function pinName(cgroup: string): string {
  const short = basename(cgroup)
    .replace(/[^A-Za-z0-9_-]/g, '-')
    .slice(0, NAME_MAX);
  return `${short}-${createHash('sha256').update(cgroupName(cgroup)).digest('hex').slice(0, 8)}`;
}

export interface ReceiverRoot {
  readonly path: string;
  /** Of this version's maps and links. */
  readonly folder: string;
  readonly lock: FolderLock;
}

/** Undefined: another process has it. Throws an error of the file system. */
export function holdRoot(name: string, bpffs = BPFFS): ReceiverRoot | undefined {
  const path = join(bpffs, ALL, name);
  const folder = join(path, `${PREFIX}${LAYOUT_VERSION}`);
  for (let attempt = 1; ; attempt++) {
    try {
      mkdirSync(join(bpffs, ALL), { recursive: true, mode: 0o755 });
      mkdirSync(path, { recursive: true, mode: 0o700 });
      for (const each of [join(bpffs, ALL), path]) checkOwner(each);
      const lock = lockFolder(path);
      if (lock !== undefined) mkdirSync(folder, { recursive: true, mode: 0o700 });
      return lock && { path, folder, lock };
    } catch (error) {
      if (!isGone(error) || attempt === ATTEMPTS) throw error;
    }
  }
}

/** Who owns it, or may write to it, could put maps of his own there. */
function checkOwner(folder: string): void {
  const { uid, mode } = lstatSync(folder);
  if (uid !== 0 && uid !== process.getuid!())
    throw new Error(`${folder} belongs to user ${uid}, expected root or the user of the receiver`);
  if ((mode & 0o022) !== 0)
    throw new Error(`${folder} may be written by others (mode ${(mode & 0o777).toString(8)})`);
}

/** Folders of all cgroups that were ever served here and not let go. */
export function allRoots(bpffs = BPFFS): { name: string; path: string; folder: string }[] {
  const all = join(bpffs, ALL);
  try {
    return readdirSync(all).map((name) => ({
      name,
      path: join(all, name),
      folder: join(all, name, `${PREFIX}${LAYOUT_VERSION}`),
    }));
  } catch (error) {
    if (isGone(error)) return [];
    throw error;
  }
}

/** Folders of other layouts in it. */
export const otherLayouts = (root: string): string[] =>
  readdirSync(root)
    .filter((name) => name.startsWith(PREFIX) && name !== `${PREFIX}${LAYOUT_VERSION}`)
    .map((name) => join(root, name));

/** With all that is pinned there; its programs are gone when nobody has them open. */
export function removeRoot(path: string): void {
  for (const name of readdirSync(path)) removeFolder(join(path, name));
  rmdirSync(path);
  try {
    rmdirSync(dirname(path));
  } catch {
    // It has folders of other cgroups.
  }
}
