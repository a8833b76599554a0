// Which proxy `ctl` and `top` speak to: --admin and --token-file; or what a config file says, its admin
// socket before its address; or without either the one admin socket of this host, and the default address
// where there is none.
import { readdirSync, readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { adminSockets, SOCKET_FOLDER } from '../config/admin-socket.ts';
import { ControlError, type Target } from '../ctl/admin-client.ts';

export interface TargetOptions {
  admin: string | undefined;
  tokenFile: string | undefined;
  config: string | undefined;
}

export const DEFAULT_ADMIN = 'http://127.0.0.1:9464';

/** Rejects with a ControlError or a ConfigError. */
export async function findTarget({ admin, tokenFile, config }: TargetOptions): Promise<Target> {
  if (admin !== undefined) {
    const path = /^(?:unix:)?(\/.*)$/.exec(admin)?.[1];
    if (path !== undefined) return atSocket(path);
  }
  // Loaded only where it is needed: it takes as long as all the rest of ctl.
  const said =
    config === undefined ? undefined : (await import('../config/load.ts')).loadConfig(config).admin;
  if (admin === undefined) {
    const socket = said ? await firstLive(adminSockets(said.socket, config!)) : await onlyLive();
    if (socket !== undefined) return atSocket(socket);
  }
  const url = admin ?? (said === undefined ? DEFAULT_ADMIN : urlOf(said.listen));
  const path = tokenFile ?? said?.tokenFile;
  return { url: checkedUrl(url), token: path === undefined ? undefined : readToken(path), socket: undefined };
}

/** Over which no token is needed, and none is sent. */
const atSocket = (socket: string): Target => ({ url: 'http://localhost', socket, token: undefined });

async function firstLive(paths: readonly string[]): Promise<string | undefined> {
  for (const path of paths) if (await isLive(path)) return path;
  return undefined;
}

/** Throws a ControlError where there are several. */
async function onlyLive(): Promise<string | undefined> {
  let names: string[] = [];
  try {
    names = readdirSync(SOCKET_FOLDER);
  } catch {
    // There is none, or it is not for this user.
  }
  const live: string[] = [];
  for (const name of names.sort()) {
    const path = join(SOCKET_FOLDER, name);
    if (name.endsWith('.sock') && (await isLive(path))) live.push(path);
  }
  if (live.length <= 1) return live[0];
  throw new ControlError(
    `several proxies run here: ${live.join(', ')}`,
    '--config FILE or --admin SOCKET says which one',
  );
}

/** Whether this user can connect to it. */
function isLive(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const asked = connect(path, () => {
      asked.destroy();
      resolve(true);
    });
    asked.once('error', () => resolve(false));
  });
}

/**
 * An unspecified address is no place to go to, but the loopback address of its family is one of those it
 * stands for.
 */
function urlOf({ host, port }: { host: string; port: number }): string {
  if (port === 0)
    throw new ControlError(
      'admin.listen has port 0, so any port may have been taken',
      'the log of the proxy says which (admin): give it with --admin',
    );
  if (!host.includes(':')) return `http://${host === '0.0.0.0' ? '127.0.0.1' : host}:${port}`;
  return `http://[${host === '::' ? '::1' : host}]:${port}`;
}

function checkedUrl(text: string): string {
  const full = /^https?:\/\//i.test(text) ? text : `http://${text}`;
  if (!URL.canParse(full))
    throw new ControlError(
      `--admin ${JSON.stringify(text)} is no URL`,
      'expected http://ADDRESS:PORT, ADDRESS:PORT or the path of a socket',
    );
  return full.replace(/\/+$/, '');
}

function readToken(path: string): string {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new ControlError(
      `the token file ${path} cannot be read: ${(error as Error).message}`,
      'run it as a user who may read it, or give another --token-file',
      { cause: error },
    );
  }
  const token = text.split('\n', 1)[0].trim();
  if (token === '') throw new ControlError(`the token file ${path} has no token in its first line`);
  return token;
}
