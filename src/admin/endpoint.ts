// `ip` or `ip:port` as a person writes it, in any notation, for IPv6 with a port as `[ip]:port`.
import { isIP } from 'node:net';
import { canonicalAddress } from '../wire/address.ts';

/** The address as sessions and real servers show it; undefined when the text is no endpoint. */
export function readEndpoint(text: string): { ip: string; port?: number } | undefined {
  const whole = canonical(text);
  if (whole !== undefined) return { ip: whole };
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+)):(\d{1,5})$/.exec(text);
  const ip = canonical(match?.[1] ?? match?.[2] ?? '');
  const port = Number(match?.[3]);
  return ip === undefined || !(port <= 65_535) ? undefined : { ip, port };
}

/** Undefined when it is none. */
function canonical(text: string): string | undefined {
  if (isIP(text) === 0 || text.includes('%')) return undefined;
  return canonicalAddress(text);
}
