// What proxies that do not live any more left of the fast path: pinned maps and links, which end with their
// pins, and filters of clsact, which stay until they are taken off.
import { existsSync } from 'node:fs';
import {
  asOwner,
  filterHandleOf,
  isGone,
  type OwnedRoot,
  pinRoots,
  proxyName,
  removePinned,
  removePinRoot,
} from '../fast/pins.ts';
import { isGuarded } from '../host/guard.ts';
import { listLinks } from '../host/interfaces.ts';
import { type FolderLock, lockFolder } from '../sys/file-lock.ts';
import { removeFilters } from './fast-path-places.ts';
import { StartError } from './start-error.ts';

const BY_WHOM = 'run this as root; what is no fast path there is to be removed by hand';

export interface Cleared {
  removed: string[];
  /** Names of proxies that live, whose fast path stays. */
  living: string[];
}

/**
 * Removes them, of all proxies of this host, or of that of one config file. Filters are looked for at the
 * interfaces of this network namespace. Throws a StartError or an IoError.
 */
export async function clearLeftovers(configPath: string | undefined): Promise<Cleared> {
  try {
    return await clear(configPath);
  } catch (error) {
    if (!(error instanceof Error && 'syscall' in error)) throw error;
    throw new StartError(`what is left of the fast path cannot be removed: ${error.message}`, BY_WHOM);
  }
}

async function clear(configPath: string | undefined): Promise<Cleared> {
  const wanted = configPath && proxyName(configPath);
  const all = pinRoots().filter(({ name }) => wanted === undefined || name === wanted);
  const cleared: Cleared = { removed: [], living: [] };
  const ports = await listLinks();
  for (const root of all) {
    const { name, path } = root;
    const lock = lockIfThere(root);
    if (lock === 'gone') continue;
    try {
      // One that could pin nothing when it started has no lock.
      if (lock === undefined || (await isGuarded(name))) {
        cleared.living.push(name);
        continue;
      }
      cleared.removed.push(
        ...asOwner(root, () => removePinned(path)),
        ...removeFilters(ports, filterHandleOf(name)),
      );
      asOwner(root, () => removePinRoot(path));
      if (existsSync(path)) throw new StartError(`${path} holds what is no fast path`, BY_WHOM);
    } finally {
      lock?.release();
    }
  }
  // Where there is no bpffs nothing but filters can be left.
  if (wanted === undefined || all.length > 0) return cleared;
  if (await isGuarded(wanted)) cleared.living.push(wanted);
  else cleared.removed.push(...removeFilters(ports, filterHandleOf(wanted)));
  return cleared;
}

/** Undefined: a proxy has it; 'gone': one that ended removed it. */
function lockIfThere(root: OwnedRoot): FolderLock | 'gone' | undefined {
  try {
    return asOwner(root, () => lockFolder(root.path));
  } catch (error) {
    if (isGone(error)) return 'gone';
    throw error;
  }
}
