// The maps of one cgroup's programs: made anew, or those that are pinned.
import { existsSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { openPinned, pin } from '../sys/bpf-attachment.ts';
import {
  createMap,
  describeMap,
  entriesOfMap,
  insertInMap,
  lookUpInMap,
  type MapLayout,
  possibleCpus,
  updateMap,
} from '../sys/libbpf.ts';
import { close } from '../sys/libc.ts';
import {
  ABOUT_LEN,
  COUNTERS,
  layoutOf,
  PINNED,
  type PinnedMap,
  type ReceiverCounter,
  RING_LAYOUT,
} from './layout.ts';

export type PinnedFds = Readonly<Record<PinnedMap, number>>;

export interface ReceiverMaps {
  readonly fds: PinnedFds;
  /** Of this process only: what is to be acknowledged. */
  readonly ring: number;
  /** Whether an earlier process had made them. */
  readonly wereThere: boolean;
  /**
   * Copies what is known from maps of another size, which were there; what is known already stays. Again
   * where programs went on with those meanwhile. Throws a BpfError.
   */
  takeOver(): void;
  /** Pins those that are new. Throws a BpfError. */
  pin(): void;
  close(): void;
}

/** What is pinned, about it. */
export interface About {
  cgroup: string;
  /** The process that wrote it. */
  pid: number;
  version: string;
  startedAt: string;
}

const FIRST = new Uint8Array(4);
const KNOWN = ['by_lip', 'by_client'] as const;

/** Those of `folder`; without one nothing is pinned. Throws a BpfError. */
export function openMaps(folder: string | undefined, maxClients: number): ReceiverMaps {
  const layouts = layoutOf(maxClients);
  const opened: number[] = [];
  const keep = (fd: number): number => {
    opened.push(fd);
    return fd;
  };
  try {
    const found = new Map<PinnedMap, number>();
    for (const name of folder === undefined ? [] : PINNED) {
      const fd = openPinned(join(folder!, name));
      if (fd !== undefined) found.set(name, keep(fd));
    }
    const isUsable = (name: PinnedMap) => found.has(name) && isAs(found.get(name)!, layouts[name]);
    const fds = Object.fromEntries(
      PINNED.map((name) => [name, isUsable(name) ? found.get(name)! : keep(make(name, layouts[name]))]),
    ) as Record<PinnedMap, number>;
    const ring = keep(make('to_acknowledge', RING_LAYOUT));
    return {
      fds,
      ring,
      wereThere: found.has('by_lip'),
      takeOver: () => {
        for (const name of KNOWN) {
          const before = found.get(name);
          if (before !== undefined && before !== fds[name]) copyEntries(before, fds[name], layouts[name]);
        }
      },
      pin: () => {
        if (folder === undefined) return;
        for (const name of PINNED) {
          const path = join(folder, name);
          if (found.get(name) === fds[name]) continue;
          if (existsSync(path)) unlinkSync(path);
          pin(fds[name], path);
        }
      },
      close: () => {
        for (const fd of opened.splice(0)) close(fd);
      },
    };
  } catch (error) {
    for (const fd of opened) close(fd);
    throw error;
  }
}

/** What is pinned there, to be read; undefined: nothing, or not all. Throws a BpfError. */
export function openPinnedMaps(folder: string): { fds: PinnedFds; close(): void } | undefined {
  const found = PINNED.map((name) => [name, openPinned(join(folder, name))] as const);
  const closeAll = () => {
    for (const [, fd] of found) if (fd !== undefined) close(fd);
  };
  if (found.some(([, fd]) => fd === undefined)) {
    closeAll();
    return undefined;
  }
  return { fds: Object.fromEntries(found) as Record<PinnedMap, number>, close: closeAll };
}

const make = (name: string, layout: MapLayout): number => createMap(layout.type, name, layout);

function isAs(fd: number, { type, keyLen, valueLen, entries }: MapLayout): boolean {
  const found = describeMap(fd);
  return (
    found.type === type && found.keyLen === keyLen && found.valueLen === valueLen && found.entries === entries
  );
}

/** Those for which there is no room are left out. */
function copyEntries(from: number, to: number, layout: MapLayout): void {
  const { keyLen, valueLen } = layout;
  let room = layout.entries;
  for (const { keys, values, count } of entriesOfMap(from, layout))
    for (let index = 0; index < count && room > 0; index++, room--)
      insertInMap(
        to,
        Buffer.from(keys.subarray(index * keyLen, (index + 1) * keyLen)),
        Buffer.from(values.subarray(index * valueLen, (index + 1) * valueLen)),
      );
}

/** How often each thing was done, since the maps were made. Throws a BpfError. */
export function readCounters({ counted }: Pick<PinnedFds, 'counted'>): Record<ReceiverCounter, number> {
  const key = Buffer.from(new ArrayBuffer(4));
  const cpus = possibleCpus();
  return Object.fromEntries(
    COUNTERS.map((name, index) => {
      key.writeUInt32LE(index);
      const values = lookUpInMap(counted, key, 8 * cpus);
      let sum = 0;
      for (let cpu = 0; cpu < cpus; cpu++) sum += Number(values?.readBigUInt64LE(8 * cpu) ?? 0);
      return [name, sum];
    }),
  ) as Record<ReceiverCounter, number>;
}

export function writeAbout({ about }: Pick<PinnedFds, 'about'>, text: About): void {
  const bytes = Buffer.from(new ArrayBuffer(ABOUT_LEN));
  bytes.write(JSON.stringify(text));
  updateMap(about, FIRST, bytes);
}

/** Undefined: nothing was written yet. */
export function readAbout({ about }: Pick<PinnedFds, 'about'>): About | undefined {
  const bytes = lookUpInMap(about, FIRST, ABOUT_LEN)!;
  const text = bytes.toString('utf8', 0, bytes.indexOf(0));
  return text === '' ? undefined : (JSON.parse(text) as About);
}
