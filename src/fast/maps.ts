// The maps of the fast path: made, or taken over where an earlier process pinned them (pins.ts), in a folder
// with the version of their layout in its name. Links are pinned beside them (attachment.ts).
import { existsSync, mkdirSync, readdirSync, rmdirSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { openPinned, pin } from '../sys/bpf-attachment.ts';
import { createMap, describeMap, lookUpInMap, MAP_TYPE, type MapLayout, updateMap } from '../sys/libbpf.ts';
import { close } from '../sys/libc.ts';
import { newHashing } from './hot-entries.ts';
import { ABOUT_LEN, ABOUT_WORDS, type FastPathSizes, layoutOf, MAP_NAMES, type MapName } from './layout.ts';
import { FOLDER, layoutsIn, removeFolder } from './pins.ts';

type Fds = Readonly<Record<MapName, number>>;

export interface FastPathMaps {
  readonly sizes: FastPathSizes;
  /** Descriptors; a worker is given copies of them. */
  readonly fds: Fds;
  /** Where they are, or will be, pinned; undefined: they go with the last process that has them. */
  readonly folder: string | undefined;
  /** Not yet where they take the place of a predecessor's, before `pin`. */
  readonly isPinned: boolean;
  /** Whether they were there already, with what is in them. */
  readonly wereThere: boolean;
  /** Those of other sizes that these took the place of; to be closed. */
  readonly before: MapsBefore | undefined;
  /** The steering key that was noted, by these workers or others. */
  readonly steeringKey: readonly number[] | undefined;
  noteSteeringKey(key: readonly number[]): void;
  /**
   * Puts those that are this process's own in the place of what is pinned, when its programs go by them:
   * until then another process finds what was there. Other layouts go. Throws a BpfError or an error of the
   * file system.
   */
  pin(): void;
  /** What is pinned stays. */
  close(): void;
}

/** What a predecessor knew of its sessions. */
export interface MapsBefore {
  readonly steeringKey: readonly number[] | undefined;
  readonly fds: { readonly hot: number; readonly hot6: number };
  readonly sessions: number;
  readonly sessions6: number;
  readonly workers: number;
  close(): void;
}

/** What a predecessor left hot. */
export interface FoundMaps extends Pick<MapsBefore, 'fds' | 'sessions' | 'sessions6' | 'workers'> {
  /** Its sessions are at work in the same places, where they are to stay. */
  readonly isAtWork: boolean;
}

/** Programs of before and of now go by the same ones while they take turns. */
const SHARED: readonly string[] = ['offered', 'passed'];
/** What programs of a process that lives, and only these, go by. */
const OWN: readonly string[] = ['control', 'offered'];
const ABOUT = 'about';
const ABOUT_LAYOUT = { type: MAP_TYPE.array, keyLen: 4, valueLen: ABOUT_LEN, entries: 1, flags: 0 };
const FIRST = Buffer.alloc(4);
/** Words of it. */
const WORKERS = 0;
const KEY_WORDS = 1;
const KEY = 2;

/**
 * Opens the maps. `root` is a folder of this proxy's own in a bpffs, which is made. Maps that are pinned
 * there are taken over; those of other sizes are handed over to be read, and replaced by `pin`. Other layouts
 * are removed with their links. `onRemoved` is told what was. Throws a BpfError, an IoError without libbpf,
 * or an error of the file system.
 */
export function openMaps(
  sizes: FastPathSizes,
  root?: string,
  onRemoved: (what: string) => void = () => {},
): FastPathMaps {
  const layouts = allLayouts(sizes);
  const create = creator(sizes);
  if (root === undefined) return mapsOf({ sizes, all: openAll(layouts, create) });
  removeOtherLayouts(root, onRemoved);
  const folder = join(root, FOLDER);
  const found = openFolder(folder, layouts);
  const isNew = Object.keys(found).length === 0;
  const problem = isNew ? undefined : whyOthers(found, layouts, sizes);
  if (!isNew && problem === undefined) return mapsOf({ sizes, all: found, folder, wereThere: true });
  if (problem !== undefined) onRemoved(`${folder}: ${problem}`);
  const before = readableOf(found);
  const kept = new Map(
    Object.entries(found).filter(
      ([name, fd]) => SHARED.includes(name) && difference(fd, layouts[name]!) === undefined,
    ),
  );
  let made: Record<string, number> = {};
  const pin = () =>
    pinAll(
      Object.entries(made).filter(([name]) => !kept.has(name)),
      folder,
    );
  try {
    made = openAll(layouts, (name, layout) => kept.get(name) ?? create(name, layout));
    if (isNew) pin();
  } catch (error) {
    for (const fd of new Set([...Object.values(made), ...Object.values(found)])) close(fd);
    if (isNew) removeFolder(folder);
    throw error;
  }
  const read = Object.values(before?.fds ?? {});
  for (const [name, fd] of Object.entries(found)) if (!kept.has(name) && !read.includes(fd)) close(fd);
  return mapsOf({ sizes, all: made, folder, before, pin: isNew ? undefined : pin });
}

/**
 * The same beside a predecessor that lives, whose pins and programs stay as they are until `pin`. With
 * `goesOn` its maps are this process's, too, where they fit: but for those that only its programs go by. Who
 * writes to them is for the two to say.
 */
export function openMapsBeside(
  sizes: FastPathSizes,
  root: string,
  goesOn: boolean,
  onRemoved: (what: string) => void = () => {},
): FastPathMaps {
  const layouts = allLayouts(sizes);
  const folder = join(root, FOLDER);
  const create = creator(sizes);
  const found = goesOn ? openAll(layouts, (name) => openPinned(join(folder, name))) : {};
  const problem = goesOn ? whyOthers(found, layouts, sizes) : undefined;
  if (problem !== undefined) onRemoved(`${folder}: ${problem}`);
  const wereThere = goesOn && problem === undefined;
  const isFound = (name: string) => wereThere && !OWN.includes(name);
  let all: Record<string, number>;
  try {
    all = openAll(layouts, (name, layout) => (isFound(name) ? found[name]! : create(name, layout)));
  } catch (error) {
    for (const fd of Object.values(found)) close(fd);
    throw error;
  }
  for (const [name, fd] of Object.entries(found)) if (!isFound(name)) close(fd);
  const own = Object.entries(all).filter(([name]) => !isFound(name));
  const pin = () => {
    removeOtherLayouts(root, onRemoved);
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    pinAll(own, folder);
  };
  return mapsOf({ sizes, all, folder, wereThere, pin });
}

const allLayouts = (sizes: FastPathSizes): Record<string, MapLayout> => ({
  ...layoutOf(sizes),
  [ABOUT]: ABOUT_LAYOUT,
});

function removeOtherLayouts(root: string, onRemoved: (what: string) => void): void {
  for (const other of layoutsIn(root).filter((name) => name !== FOLDER)) {
    removeFolder(join(root, other));
    onRemoved(`${join(root, other)}: of another version`);
  }
}

function pinAll(maps: readonly [name: string, fd: number][], folder: string): void {
  for (const [name, fd] of maps) {
    const path = join(folder, name);
    if (existsSync(path)) unlinkSync(path);
    pin(fd, path);
  }
}

/** What is pinned there. Where that cannot be known, an empty folder goes again. */
function openFolder(folder: string, layouts: Record<string, MapLayout>): Record<string, number> {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  try {
    return openAll(layouts, (name) => openPinned(join(folder, name)));
  } catch (error) {
    if (readdirSync(folder).length === 0) rmdirSync(folder);
    throw error;
  }
}

/** What is pinned in a folder of a proxy that makes no maps itself; undefined: nothing that it can read. */
export function openMapsBefore(root: string): MapsBefore | undefined {
  const found = openAll({}, (name) => openPinned(join(root, FOLDER, name)));
  const before = readableOf(found);
  const read = Object.values(before?.fds ?? {});
  for (const fd of Object.values(found)) if (!read.includes(fd)) close(fd);
  return before;
}

interface OpenedMaps extends Partial<Pick<FastPathMaps, 'folder' | 'wereThere' | 'before'>> {
  sizes: FastPathSizes;
  all: Record<string, number>;
  /** Where that is not done. */
  pin?: (() => void) | undefined;
}

function mapsOf({ sizes, all, folder, wereThere = false, before, pin }: OpenedMaps): FastPathMaps {
  const { [ABOUT]: about, ...rest } = all;
  let isPinned = folder !== undefined && pin === undefined;
  return {
    sizes,
    fds: rest as Fds,
    folder,
    get isPinned() {
      return isPinned;
    },
    wereThere,
    before,
    steeringKey: wereThere ? readAbout(about!).steeringKey : before?.steeringKey,
    noteSteeringKey: (key) => {
      const words = new Int32Array(ABOUT_WORDS);
      words[WORKERS] = sizes.workers ?? 1;
      words[KEY_WORDS] = key.length;
      words.set(key, KEY);
      updateMap(about!, FIRST, new Uint8Array(words.buffer));
    },
    pin: () => {
      if (!isPinned) pin?.();
      isPinned = folder !== undefined;
    },
    close: () => {
      before?.close();
      for (const fd of Object.values(all)) close(fd);
    },
  };
}

function readAbout(fd: number): Pick<MapsBefore, 'workers' | 'steeringKey'> {
  const bytes = lookUpInMap(fd, FIRST, ABOUT_LEN)!;
  const words = new Int32Array(bytes.buffer, bytes.byteOffset, ABOUT_WORDS);
  const count = words[KEY_WORDS]!;
  const steeringKey = count > 0 ? [...words.subarray(KEY, KEY + count)] : undefined;
  return { workers: words[WORKERS]!, steeringKey };
}

function creator({ sessions }: FastPathSizes): (name: string, layout: MapLayout) => number {
  return (name, layout) => {
    const fd = createMap(layout.type, name, layout);
    try {
      if (name === 'hashing') updateMap(fd, FIRST, newHashing(sessions));
    } catch (error) {
      close(fd);
      throw error;
    }
    return fd;
  };
}

/** Those that `open` opens; none is left open where it throws. */
function openAll(
  layouts: Record<string, MapLayout>,
  open: (name: string, layout: MapLayout) => number | undefined,
): Record<string, number> {
  const fds: Record<string, number> = {};
  try {
    for (const name of [...MAP_NAMES, ABOUT]) {
      const fd = open(name, layouts[name]!);
      if (fd !== undefined) fds[name] = fd;
    }
  } catch (error) {
    for (const fd of Object.values(fds)) close(fd);
    throw error;
  }
  return fds;
}

/** Why what is pinned is not to be used; undefined: it is. */
function whyOthers(
  found: Record<string, number>,
  layouts: Record<string, MapLayout>,
  { workers = 1 }: FastPathSizes,
): string | undefined {
  for (const [name, layout] of Object.entries(layouts)) {
    const fd = found[name];
    const problem = fd === undefined ? 'is missing' : difference(fd, layout);
    if (problem !== undefined) return `${name} ${problem}`;
  }
  const before = readAbout(found[ABOUT]!);
  return before.workers === workers || before.steeringKey === undefined
    ? undefined
    : `of ${before.workers} workers instead of ${workers}`;
}

function difference(fd: number, wanted: MapLayout): string | undefined {
  const found = describeMap(fd);
  for (const field of ['type', 'keyLen', 'valueLen', 'entries'] as const)
    if (found[field] !== wanted[field]) return `has ${field} ${found[field]} instead of ${wanted[field]}`;
  return undefined;
}

/** Of what is pinned, what sessions can be read from, however many they were; undefined: nothing. */
function readableOf(found: Record<string, number>): MapsBefore | undefined {
  const { hot, hot6, [ABOUT]: about } = found;
  if (hot === undefined || hot6 === undefined || about === undefined) return undefined;
  const sessions = describeMap(hot).entries;
  const sessions6 = describeMap(hot6).entries === sessions ? sessions : 0;
  const wanted: Record<string, MapLayout> = layoutOf({ sessions, sessions6, hops: 1, ports: 1 });
  const pairs = [
    [hot, wanted.hot!],
    [hot6, wanted.hot6!],
    [about, ABOUT_LAYOUT],
  ] as const;
  if (pairs.some(([fd, layout]) => difference(fd, layout) !== undefined)) return undefined;
  const fds = { hot, hot6 };
  let isClosed = false;
  return {
    fds,
    sessions,
    sessions6,
    ...readAbout(about),
    close: () => {
      if (!isClosed) for (const fd of Object.values(fds)) close(fd);
      isClosed = true;
    },
  };
}
