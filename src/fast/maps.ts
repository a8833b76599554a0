// The maps of the fast path: made, or taken over where an earlier process pinned them in a bpffs, in a folder
// with the version of their layout in its name. Links are pinned beside them (attachment.ts).
import { existsSync, mkdirSync, readdirSync, rmdirSync, statfsSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { openPinned, pin } from '../sys/bpf-attachment.ts';
import { createMap, deleteFromMap, describeMap, readHashMap } from '../sys/libbpf.ts';
import { close } from '../sys/libc.ts';
import {
  type FastPathSizes,
  HOT4_LEN,
  HOT6_LEN,
  KEY4_LEN,
  KEY6_LEN,
  LAYOUT_VERSION,
  layoutOf,
  MAP_NAMES,
  type MapName,
} from './layout.ts';

const PREFIX = 'layout-';
const FOLDER = `${PREFIX}${LAYOUT_VERSION}`;

const BPF_FS_MAGIC = 0xcafe4a11;

/** Whether there is such a folder, and things can be pinned in it. */
export const isBpffs = (folder: string): boolean =>
  existsSync(folder) && statfsSync(folder).type === BPF_FS_MAGIC;

export interface FastPathMaps {
  readonly sizes: FastPathSizes;
  /** Descriptors; a worker is given copies of them. */
  readonly fds: Readonly<Record<MapName, number>>;
  /** Where they are pinned; undefined: they go with the last process that has them. */
  readonly folder: string | undefined;
  /** Whether they were there already, with what is in them. */
  readonly wereThere: boolean;
  /** What is pinned stays. */
  close(): void;
}

/**
 * Opens the maps. `root` is a folder of this proxy's own in a bpffs, which is made: maps of these sizes that
 * are pinned there are taken over, others, and those of another layout, are removed with their links, and
 * `onRemoved` is told what. Throws a BpfError, an IoError without libbpf, or an error of the file system.
 */
export function openMaps(
  sizes: FastPathSizes,
  root?: string,
  onRemoved: (what: string) => void = () => {},
): FastPathMaps {
  if (root === undefined) return { ...createMaps(sizes), folder: undefined, wereThere: false };
  for (const other of foldersOf(root).filter((name) => name !== FOLDER)) {
    removeFolder(join(root, other));
    onRemoved(`${join(root, other)}: of another version`);
  }
  const folder = join(root, FOLDER);
  if (existsSync(folder)) {
    const found = openThose(folder, sizes);
    if (typeof found !== 'string') return { ...found, folder, wereThere: true };
    removeFolder(folder);
    onRemoved(`${folder}: ${found}`);
  }
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const made = createMaps(sizes);
  try {
    for (const name of MAP_NAMES) pin(made.fds[name], join(folder, name));
  } catch (error) {
    made.close();
    removeFolder(folder);
    throw error;
  }
  return { ...made, folder, wereThere: false };
}

type Opened = Pick<FastPathMaps, 'sizes' | 'fds' | 'close'>;

function createMaps(sizes: FastPathSizes): Opened {
  const layout = layoutOf(sizes);
  return gather(sizes, (name) => createMap(layout[name].type, name, layout[name]));
}

/** The maps in the folder, or why they are not to be used. */
function openThose(folder: string, sizes: FastPathSizes): Opened | string {
  const layout = layoutOf(sizes);
  try {
    return gather(sizes, (name) => {
      const fd = openPinned(join(folder, name));
      if (fd === undefined) throw new Unusable(`${name} is missing`);
      const { type, keyLen, valueLen, entries } = layout[name];
      const wanted = { type, keyLen, valueLen, entries };
      const found = describeMap(fd);
      for (const field of ['type', 'keyLen', 'valueLen', 'entries'] as const) {
        if (found[field] === wanted[field]) continue;
        close(fd);
        throw new Unusable(`${name} has ${field} ${found[field]} instead of ${wanted[field]}`);
      }
      return fd;
    });
  } catch (error) {
    if (error instanceof Unusable) return error.message;
    throw error;
  }
}

class Unusable extends Error {}

/** All of them, or none is left open. */
function gather(sizes: FastPathSizes, open: (name: MapName) => number): Opened {
  const fds: Partial<Record<MapName, number>> = {};
  const closeAll = () => {
    for (const fd of Object.values(fds)) close(fd);
  };
  try {
    for (const name of MAP_NAMES) fds[name] = open(name);
  } catch (error) {
    closeAll();
    throw error;
  }
  return { sizes, fds: fds as Record<MapName, number>, close: closeAll };
}

/** Takes all entries out, so that nothing is hot. Throws a BpfError. */
export function clearHot({ fds }: FastPathMaps): void {
  for (const [fd, keyLen, valueLen] of [
    [fds.hot4, KEY4_LEN, HOT4_LEN],
    [fds.hot6, KEY6_LEN, HOT6_LEN],
  ] as const) {
    readHashMap(fd, keyLen, valueLen, (keys, _, count) => {
      for (let at = 0; at < count; at++) deleteFromMap(fd, keys.subarray(at * keyLen, (at + 1) * keyLen));
    });
  }
}

/**
 * Removes all that is pinned in a proxy's folder, of every layout: the fast path ends when no process has it
 * open. Returns the folders removed. Throws an error of the file system.
 */
export function removePinned(root: string): string[] {
  const folders = foldersOf(root).map((name) => join(root, name));
  for (const folder of folders) removeFolder(folder);
  if (existsSync(root) && readdirSync(root).length === 0) rmdirSync(root);
  return folders;
}

const foldersOf = (root: string): string[] =>
  existsSync(root) ? readdirSync(root).filter((name) => name.startsWith(PREFIX)) : [];

function removeFolder(folder: string): void {
  for (const name of readdirSync(folder)) unlinkSync(join(folder, name));
  rmdirSync(folder);
}
