// What receivers have at work on this host, also of processes that ended, by what is pinned: to be shown, or
// taken off.

import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { lockFolder } from '../sys/file-lock.ts';
import { countClients, ignoredSources, type KnownClient, knownClients, trustedPrefixes } from './clients.ts';
import { detachPinned, type Hook, pinnedHooks } from './hooks.ts';
import { nowTick, type ReceiverCounter } from './layout.ts';
import { openPinnedMaps, readAbout, readCounters } from './maps.ts';
import { allRoots, pinName, removeRoot } from './pins.ts';

/** So long programs may hold the address of a client that they are about to answer. */
const ANSWERS_MS = 1000;

export interface ReceiverStatus {
  /** Name of its folder of pins. */
  name: string;
  cgroup: string;
  /** Of the process that serves it; undefined: none does, and nothing is acknowledged or forgotten. */
  pid: number | undefined;
  version: string;
  startedAt: string;
  /** At which its programs are attached; none: the cgroup is gone. */
  hooks: Hook[];
  from: string[];
  clients: number;
  counters: Record<ReceiverCounter, number>;
  ignored: { ip: string; count: number }[];
  table: KnownClient[];
}

/** Of all cgroups, with so many clients each at most. Throws a BpfError or an error of the file system. */
export function receiverStatus(limit: number): ReceiverStatus[] {
  return allRoots().flatMap(({ name, path, folder }) => {
    const maps = existsSync(folder) ? openPinnedMaps(folder) : undefined;
    if (maps === undefined) return [];
    try {
      const { fds } = maps;
      const about = readAbout(fds);
      return {
        name,
        cgroup: about?.cgroup ?? '',
        pid: isServed(path) ? about?.pid : undefined,
        version: about?.version ?? '',
        startedAt: about?.startedAt ?? '',
        hooks: pinnedHooks(folder),
        from: trustedPrefixes(fds),
        clients: countClients(fds),
        counters: readCounters(fds),
        ignored: ignoredSources(fds),
        table: firstClients(fds, limit),
      };
    } finally {
      maps.close();
    }
  });
}

function firstClients(fds: Parameters<typeof knownClients>[0], limit: number): KnownClient[] {
  const table: KnownClient[] = [];
  for (const some of knownClients(fds, nowTick())) {
    table.push(...some.slice(0, limit - table.length));
    if (table.length >= limit) break;
  }
  return table;
}

/** Whether a process has the lock. */
function isServed(path: string): boolean {
  const lock = lockFolder(path);
  lock?.release();
  return lock === undefined;
}

export interface Detached {
  cgroup: string;
  hooks: Hook[];
  /** A process serves it, so that it stays. */
  pid: number | undefined;
}

/**
 * Takes the programs off the cgroup at `path`, or off all, and removes what is pinned. Rejects with a
 * BpfError or an error of the file system.
 */
export async function detach(path?: string): Promise<Detached[]> {
  const wanted = path && pinName(path);
  const detached: Detached[] = [];
  for (const root of allRoots()) {
    if (wanted !== undefined && root.name !== wanted) continue;
    const maps = existsSync(root.folder) ? openPinnedMaps(root.folder) : undefined;
    const about = maps && readAbout(maps.fds);
    maps?.close();
    const cgroup = about?.cgroup ?? root.name;
    const lock = lockFolder(root.path);
    if (lock === undefined) {
      detached.push({ cgroup, hooks: [], pid: about?.pid });
      continue;
    }
    try {
      const hooks = existsSync(root.folder) ? await detachPinned(root.folder, () => sleep(ANSWERS_MS)) : [];
      removeRoot(root.path);
      detached.push({ cgroup, hooks, pid: undefined });
    } finally {
      lock.release();
    }
  }
  return detached;
}
