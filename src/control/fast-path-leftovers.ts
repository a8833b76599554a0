// What proxies that do not live any more left of the fast path: pinned maps and links, which end with their
// pins, and filters of clsact, which stay until they are taken off.
import { existsSync } from 'node:fs';
import { connect } from 'node:net';
import { asOwner, filterHandleOf, type PinRoot, pinRoots, proxyName, removePinned } from '../fast/pins.ts';
import { listLinks } from '../host/interfaces.ts';
import { lockFolder } from '../sys/file-lock.ts';
import { removeFilters } from './fast-path-places.ts';
import { StartError } from './start-error.ts';

const BY_WHOM = 'run this as root; what is no fast path there is to be removed by hand';

interface ProxyToClear {
  configPath: string;
  sockets: readonly string[];
}

export interface Cleared {
  removed: string[];
  /** Names of proxies that live, whose fast path stays. */
  living: string[];
}

/**
 * Removes them, of all proxies of this host, or of that of one config file, whose admin `sockets` may tell
 * that it lives. Filters are looked for at the interfaces of this network namespace. Throws a StartError or
 * an IoError.
 */
export async function clearLeftovers(of: ProxyToClear | undefined): Promise<Cleared> {
  try {
    return await clear(of);
  } catch (error) {
    if (!(error instanceof Error && 'syscall' in error)) throw error;
    throw new StartError(`what is left of the fast path cannot be removed: ${error.message}`, BY_WHOM);
  }
}

async function clear(of: ProxyToClear | undefined): Promise<Cleared> {
  const wanted = of && proxyName(of.configPath);
  const all = pinRoots().filter(({ name }) => wanted === undefined || name === wanted);
  const cleared: Cleared = { removed: [], living: [] };
  const ports = await listLinks();
  for (const { name, path, ...owner } of all) {
    const lock: Pick<PinRoot, 'release'> | undefined = asOwner(owner, () => lockFolder(path));
    if (lock === undefined) {
      cleared.living.push(name);
      continue;
    }
    try {
      cleared.removed.push(
        ...asOwner(owner, () => removePinned(path)),
        ...removeFilters(ports, filterHandleOf(name)),
      );
      if (existsSync(path)) throw new StartError(`${path} holds what is no fast path`, BY_WHOM);
    } finally {
      lock.release();
    }
  }
  // Where there is no bpffs nothing but filters can be left.
  if (of === undefined || wanted === undefined || all.length > 0) return cleared;
  const answers = await Promise.all(of.sockets.map(isAnswered));
  if (answers.includes(true)) cleared.living.push(wanted);
  else cleared.removed.push(...removeFilters(ports, filterHandleOf(wanted)));
  return cleared;
}

async function isAnswered(path: string): Promise<boolean> {
  return await new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
