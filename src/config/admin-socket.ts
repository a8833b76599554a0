// Where the admin socket of a proxy is, told from its config file alone: so `ctl --config` finds it without
// asking anybody.
import { createHash } from 'node:crypto';
import { basename, dirname, extname, join, resolve } from 'node:path';

export const SOCKET_FOLDER = '/run/uoa-proxy';
/** Configs here have names that differ; of others the folder is a part of the name. */
const CONFIG_FOLDER = '/etc/uoa-proxy';
const NAME_MAX = 60;

/** Of a config in `configPath` that says `socket`, or nothing: the paths that are tried, in this order. */
export function adminSockets(socket: string | undefined, configPath: string): readonly string[] {
  if (socket !== undefined) return [socket];
  const path = resolve(configPath);
  const folder = dirname(path);
  const name = basename(path, extname(path));
  const short = Buffer.byteLength(name) <= NAME_MAX ? name : digest(name);
  const whose = folder === CONFIG_FOLDER ? short : `${short}-${digest(folder)}`;
  return [join(SOCKET_FOLDER, `${whose}.sock`), join(folder, `${name}.sock`)];
}

const digest = (text: string): string => createHash('sha256').update(text).digest('hex').slice(0, 8);
