// Notices that the config file changed, however it was written: in place, renamed over, behind a symbolic
// link that was swapped (a Kubernetes ConfigMap), in several writes. It asks instead of being told: what the
// kernel tells about a file (inotify) is about one inode in one directory, and nothing at all on network file
// systems and in some containers.
import { stat } from 'node:fs/promises';
import { contentOf } from './text.ts';

/** Between two looks at the file; one takes 0.02 ms of a processor. */
const LOOK_MS = 250;
/**
 * A file that was written to is read once it stayed the same for so long: an editor writes more than once.
 */
const SETTLE_MS = 300;

/**
 * Calls `onChange` after each change of what the file at `path` says, compared with `known`, or else with
 * what it said when this was called, and from then on at each call. While there is no file, or it cannot be
 * read, nothing changed. Returns what ends it. It does not keep the process running.
 */
export function watchConfig(path: string, onChange: () => void, known?: string): () => void {
  let content = known ?? contentOf(path);
  let seen: string | undefined;
  let settledAt = 0;
  /** What was there when the file was read last. */
  let readVersion: string | undefined;
  let timer: NodeJS.Timeout | undefined;
  let isStopped = false;

  const look = async (): Promise<void> => {
    const version = await versionOf(path);
    if (version !== seen) {
      seen = version;
      settledAt = performance.now() + SETTLE_MS;
    }
    if (version === undefined || version === readVersion || performance.now() < settledAt) return;
    const read = contentOf(path);
    // Written to meanwhile: what was read may be a part of it.
    if (read === undefined || (await versionOf(path)) !== version) return;
    readVersion = version;
    if (isStopped || content === read) return;
    content = read;
    onChange();
  };
  const next = (): void => {
    if (isStopped) return;
    timer = setTimeout(() => void look().finally(next), LOOK_MS).unref();
  };
  next();
  return () => {
    isStopped = true;
    clearTimeout(timer);
  };
}

/** Differs after every change of the file that the path leads to; undefined when there is none. */
async function versionOf(path: string): Promise<string | undefined> {
  const found = await stat(path, { bigint: true }).catch(() => undefined);
  return found && `${found.dev} ${found.ino} ${found.size} ${found.mtimeNs} ${found.ctimeNs}`;
}
