// Which proxy `ctl` and `top` speak to: --admin and --token-file, or what a config file says, or the default address.
import { readFileSync } from 'node:fs';
import { loadConfig } from '../config/load.ts';
import { ControlError, type Target } from '../ctl/admin-client.ts';

export interface TargetOptions {
  admin: string | undefined;
  tokenFile: string | undefined;
  config: string | undefined;
}

export const DEFAULT_ADMIN = 'http://127.0.0.1:9464';

/** Throws a ControlError or a ConfigError. */
export function findTarget({ admin, tokenFile, config }: TargetOptions): Target {
  const said = config === undefined ? undefined : loadConfig(config).admin;
  const url = admin ?? (said === undefined ? DEFAULT_ADMIN : urlOf(said.listen));
  const path = tokenFile ?? said?.tokenFile;
  return { url: checkedUrl(url), token: path === undefined ? undefined : readToken(path) };
}

/** An unspecified address is no place to go to, but the loopback address of its family is one of those it stands for. */
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
      'expected http://ADDRESS:PORT or ADDRESS:PORT',
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
  const token = text.split('\n', 1)[0]!.trim();
  if (token === '') throw new ControlError(`the token file ${path} has no token in its first line`);
  return token;
}
