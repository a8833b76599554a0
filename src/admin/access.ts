// Who may ask the admin server, and who may change something through it. By the admin socket: whoever can
// connect to it, for all. Over TCP: with a token, whoever brings it, for all; without one everybody, to read.
// A web page in a browser that can reach the port is not everybody: it comes by the name of its own site.
import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { isIP } from 'node:net';

/** A request is refused; `status` is the HTTP code. */
export class AccessError extends Error {
  override readonly name = 'AccessError';
  readonly status: 401 | 403;

  constructor(status: 401 | 403, message: string) {
    super(message);
    this.status = status;
  }
}

export interface AccessRules {
  /** What has to be brought over TCP; undefined: nothing. Asked for with each request. */
  token?: { readonly current: string } | undefined;
  /** Names that may be asked for over TCP, besides localhost and IP addresses. */
  hosts?: readonly string[] | undefined;
}

export interface Asked {
  headers: IncomingHttpHeaders;
  /** It came by the admin socket. */
  isLocal: boolean;
  /** Its answer is no secret. */
  isOpen: boolean;
  isChange: boolean;
}

/** Throws an AccessError unless what was asked may be done. */
export type Access = (asked: Asked) => void;

export function createAccess({ token, hosts = [] }: AccessRules): Access {
  const names = new Set(['localhost', ...hosts.map((name) => name.toLowerCase())]);
  return ({ headers, isLocal, isOpen, isChange }) => {
    if (isLocal) return;
    if (token !== undefined && !(isOpen && headers.authorization === undefined)) {
      requireToken(headers, token.current);
      return; // no browser brings it by itself
    }
    requireHost(headers, names);
    if (isChange)
      throw new AccessError(
        403,
        'changes are taken by the admin socket, as uoa-proxy ctl sends them, or with the token of admin.tokenFile, which is not configured here',
      );
  };
}

/**
 * Digests are compared, because they are of one length, and in a time that says nothing of where they differ.
 */
function requireToken({ authorization }: IncomingHttpHeaders, token: string): void {
  const digest = (text: string) => createHash('sha256').update(text).digest();
  if (authorization === undefined)
    throw new AccessError(401, 'a token is needed: Authorization: Bearer TOKEN');
  const given = /^Bearer +(.+)$/i.exec(authorization)?.[1] ?? '';
  if (!timingSafeEqual(digest(given), digest(token)))
    throw new AccessError(401, 'the token is not the one in admin.tokenFile');
}

/**
 * A page whose own name was made to point to an address of this server (DNS rebinding) is of the same site
 * for the browser and may read the answers, but `Host`, which browsers always send, still has its name.
 */
function requireHost({ host }: IncomingHttpHeaders, names: ReadonlySet<string>): void {
  if (host === undefined || host === '') return;
  const name = hostWithoutPort(host);
  if (isIP(name) === 0 && !names.has(name))
    throw new AccessError(
      403,
      `Host ${JSON.stringify(host)}: without a token an IP address, localhost or a name of admin.hosts is expected`,
    );
}

function hostWithoutPort(host: string): string {
  const match = /^(?:\[([^\]]*)\]|([^:]*))(?::\d*)?$/.exec(host);
  return (match?.[1] ?? match?.[2] ?? '').toLowerCase();
}
