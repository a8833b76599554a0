// Who may ask the admin server, and who may change something through it. With a token: whoever brings it. Without: anybody
// who reaches it may read; only programs on this host may change something, and no web page in a browser on this host.
import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { isIP } from 'node:net';
import { ADDRESS_WORDS, isLoopback, parseAddressInto } from '../wire/address.ts';

/** A request is refused; `status` is the HTTP code. */
export class AccessError extends Error {
  override readonly name = 'AccessError';
  readonly status: 401 | 403;

  constructor(status: 401 | 403, message: string) {
    super(message);
    this.status = status;
  }
}

export interface Access {
  /** Throws an AccessError unless the request may read, or change what it was let in for. */
  requireToken(headers: IncomingHttpHeaders): void;
  /** Throws an AccessError unless the request, which passed requireToken, may change something. */
  requireChange(headers: IncomingHttpHeaders): void;
}

/** `token` is undefined where none is asked for; `host` is the address that the server listens on. */
export function createAccess(token: string | undefined, host: string): Access {
  if (token !== undefined) return { requireToken: tokenCheck(token), requireChange: () => {} };
  return {
    requireToken: () => {},
    requireChange: isLoopbackAddress(host)
      ? requireProgram
      : () => {
          throw new AccessError(
            403,
            'changes need a token here, because admin.listen is no loopback address: set admin.tokenFile',
          );
        },
  };
}

/** Digests are compared, because they are of one length, and in a time that says nothing of where they differ. */
function tokenCheck(token: string): Access['requireToken'] {
  const digest = (text: string) => createHash('sha256').update(text).digest();
  const expected = digest(token);
  return ({ authorization }) => {
    if (authorization === undefined)
      throw new AccessError(401, 'a token is needed: Authorization: Bearer TOKEN');
    const given = /^Bearer +(.+)$/i.exec(authorization)?.[1] ?? '';
    if (!timingSafeEqual(digest(given), expected))
      throw new AccessError(401, 'the token is not the one in admin.tokenFile');
  };
}

/**
 * A web page that somebody on this host looks at can make his browser send requests here. A browser brings no bearer
 * token by itself, so with a token no more is needed. Without one:
 * - a page of another site cannot set either of these headers without asking first (a CORS preflight), which is never
 *   answered with a yes;
 * - `Origin`, which browsers add to every POST, must not be there: no page is served from here that could be the origin;
 * - a page whose own name was made to point to a loopback address (DNS rebinding) is of the same site for the browser,
 *   but `Host` still has its name.
 */
function requireProgram(headers: IncomingHttpHeaders): void {
  if (headers.origin !== undefined)
    throw new AccessError(
      403,
      `changes are not taken from web pages (Origin ${JSON.stringify(headers.origin)})`,
    );
  const host = hostWithoutPort(headers.host ?? '');
  if (host !== 'localhost' && isIP(host) === 0)
    throw new AccessError(
      403,
      `Host ${JSON.stringify(headers.host ?? '')}: changes without a token are taken for an IP address or localhost only`,
    );
  const isJson = /^application\/json *(;|$)/i.test(headers['content-type'] ?? '');
  if (!isJson && headers['x-uoa-proxy'] !== '1')
    throw new AccessError(403, 'changes need the header X-UOA-Proxy: 1, or Content-Type: application/json');
}

function hostWithoutPort(host: string): string {
  const match = /^(?:\[([^\]]*)\]|([^:]*))(?::\d*)?$/.exec(host);
  return (match?.[1] ?? match?.[2] ?? '').toLowerCase();
}

function isLoopbackAddress(host: string): boolean {
  const words = new Int32Array(ADDRESS_WORDS);
  parseAddressInto(words, 0, host);
  return isLoopback(words, 0);
}
