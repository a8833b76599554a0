// The admin socket: a unix socket that only its owner and root can connect to (mode 0600), so whoever comes
// by it may change something. It has its mode before it has its name, and takes the place of one that a
// killed proxy left. Others must not be able to put one of their own there: the folder is looked at.
import { chmodSync, lstatSync, mkdirSync, mkdtempSync, renameSync, rmSync, statSync } from 'node:fs';
import type { Server } from 'node:http';
import { connect } from 'node:net';
import { dirname, join } from 'node:path';
import { SOCKET_FOLDER } from '../config/admin-socket.ts';

/** struct sockaddr_un (unix(7)), without the zero at the end of its path. */
const PATH_BYTES = 107;
const MODE = 0o600;
const WRITABLE_BY_OTHERS = 0o022;
const STICKY = 0o1000;

export interface LocalSocket {
  readonly path: string;
  /** Removes it, and ends its connections. */
  close(): void;
}

/** Another proxy has the socket. */
export class SocketInUse extends Error {
  override readonly name = 'SocketInUse';
}

/**
 * `server` listens at the first of `paths` where it can. Throws a SocketInUse, or an Error that says why at
 * none.
 */
export async function listenLocally(server: Server, paths: readonly string[]): Promise<LocalSocket> {
  const reasons: string[] = [];
  for (const path of paths) {
    try {
      return await listenAt(server, path);
    } catch (error) {
      if (error instanceof SocketInUse) throw error;
      reasons.push(`${path}: ${(error as Error).message}`);
    }
  }
  throw new Error(reasons.join('; '));
}

async function listenAt(server: Server, path: string): Promise<LocalSocket> {
  const folder = dirname(path);
  if (folder === SOCKET_FOLDER) mkdirSync(folder, { recursive: true, mode: 0o755 });
  checkFolder(folder);
  await checkPlace(path);
  // In a folder of its own nobody can reach it before it has its mode.
  const own = mkdtempSync(`${folder}/.`);
  try {
    const first = join(own, 's');
    if (Buffer.byteLength(path) > PATH_BYTES || Buffer.byteLength(first) > PATH_BYTES)
      throw new Error(`longer than ${PATH_BYTES} bytes`);
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(first, () => {
        server.off('error', reject);
        resolve();
      });
    });
    chmodSync(first, MODE);
    renameSync(first, path);
  } catch (error) {
    server.close();
    throw error;
  } finally {
    rmSync(own, { recursive: true, force: true });
  }
  const { dev, ino } = lstatSync(path);
  return {
    path,
    close() {
      const now = lstatSync(path, { throwIfNoEntry: false });
      if (now?.dev === dev && now.ino === ino) rmSync(path, { force: true });
      server.close();
      server.closeAllConnections();
    },
  };
}

const isTrusted = (uid: number): boolean => uid === 0 || uid === process.getuid?.();

/** Who can write to the folder can put his own socket in the place of ours, unless it is sticky (as /tmp). */
function checkFolder(folder: string): void {
  const { uid, mode } = statSync(folder);
  if (!isTrusted(uid))
    throw new Error(`the folder belongs to the user ${uid}, expected root or the proxy's user`);
  if ((mode & WRITABLE_BY_OTHERS) !== 0 && (mode & STICKY) === 0)
    throw new Error('others than its owner can write to the folder');
}

/** Nothing may be there but a socket at which nobody listens any more. */
async function checkPlace(path: string): Promise<void> {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isSocket()) throw new Error('something else than a socket is there');
  const code = await new Promise<string | undefined>((resolve) => {
    const asked = connect(path, () => {
      asked.destroy();
      resolve(undefined);
    });
    asked.once('error', ({ code }: NodeJS.ErrnoException) => resolve(code));
  });
  const isHeard = code === undefined || code === 'EAGAIN';
  // In a sticky folder anybody can have put it there first: no proxy, and no reason not to start.
  if (isHeard && !isTrusted(found.uid))
    throw new Error(
      `a socket of the user ${found.uid} is there, expected none or one of root or the proxy's user`,
    );
  if (isHeard) throw new SocketInUse(`another proxy has the admin socket ${path}`);
  if (code !== 'ECONNREFUSED' && code !== 'ENOENT') throw new Error(`a socket is there (${code})`);
}
