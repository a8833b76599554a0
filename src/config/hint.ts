// What was probably meant by a value that is not allowed: the mistakes that people make in a config. Each is
// a clause that goes into an error message; undefined where nothing is known.
import { nearestKey } from './problem.ts';

/** Of a whole number. */
export function numberHint(raw: unknown): string | undefined {
  if (typeof raw === 'number') return Number.isInteger(raw) ? undefined : 'it is no whole number';
  return typeof raw === 'string' && /^-?\d+$/.test(raw.trim()) ? 'a number stands without quotes' : undefined;
}

/** Of true or false. */
export function flagHint(raw: unknown): string | undefined {
  if (typeof raw !== 'string') return undefined;
  const word = raw.toLowerCase();
  if (word === 'true' || word === 'false')
    return raw === word ? `${word} stands without quotes` : `write ${word}`;
  if (['yes', 'on', 'y'].includes(word)) return 'write true';
  return ['no', 'off', 'n'].includes(word) ? 'write false' : undefined;
}

/** Of one of `words`. */
export function wordHint(raw: unknown, words: readonly (string | number)[]): string | undefined {
  if (typeof raw !== 'string') return undefined;
  if (words.some((word) => typeof word === 'number' && String(word) === raw)) return numberHint(raw);
  const near = nearestKey(raw, words.map(String));
  return near === undefined ? undefined : `did you mean ${near}?`;
}

const DURATION_UNITS: [unit: string, pattern: RegExp, factor: number][] = [
  ['ms', /^(ms|msecs?|milliseconds?|millis)$/i, 1],
  ['s', /^(s|secs?|seconds?)$/i, 1],
  ['m', /^(m|mins?|minutes?)$/i, 1],
  ['h', /^(h|hrs?|hours?)$/i, 1],
  ['h', /^(d|days?)$/i, 24],
];

/**
 * Of a duration: no unit, one that is spelled otherwise, or a space before it. `isAllowed` tells what is one.
 */
export function durationHint(raw: unknown, isAllowed: (text: string) => boolean): string | undefined {
  if (typeof raw === 'number' && !Number.isInteger(raw)) return 'only whole numbers, and a unit';
  const match = /^\s*(\d+)\s*([a-z]*)\s*$/i.exec(String(raw));
  if (match === null || (typeof raw !== 'number' && typeof raw !== 'string')) return undefined;
  const [, digits, word] = match;
  if (word === '') return `it has no unit, as ${digits}s or ${digits}ms`;
  const found = DURATION_UNITS.find(([, pattern]) => pattern.test(word));
  if (found === undefined) return undefined;
  const meant = `${Number(digits) * found[2]}${found[0]}`;
  return isAllowed(meant) ? `write ${meant}` : undefined;
}

/** Of a size: a unit that is spelled otherwise, or a space before it. */
export function sizeHint(raw: unknown): string | undefined {
  const match = typeof raw === 'string' ? /^\s*(\d+)\s*([kmg])(i?)b?\s*$/i.exec(raw) : null;
  if (match === null) return undefined;
  const [, digits, letter, i] = match;
  const upper = letter.toUpperCase();
  const meant = i === '' ? `${digits}${upper}B` : `${digits}${upper}iB`;
  return meant === raw ? undefined : `write ${meant}`;
}

/** Of a range of numbers. */
export function rangeHint(raw: unknown): string | undefined {
  const match = typeof raw === 'string' ? /^\s*(\d+)\s*(?:-|–|:|,|\.\.+|to)\s*(\d+)\s*$/.exec(raw) : null;
  return match === null || raw === `${match[1]}-${match[2]}` ? undefined : `write ${match[1]}-${match[2]}`;
}

/** Of a machine; a label has 63 characters at most. */
const NAME = /^(?=.*[a-z])[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?$/i;

/** Of an address: `isAddress` tells what is one. */
export function addressHint(raw: unknown, isAddress: (text: string) => boolean): string | undefined {
  if (typeof raw !== 'string') return undefined;
  const text = raw.trim();
  if (text !== raw && isAddress(text)) return 'it has a space';
  const [, host, length] = /^(.+)\/(\d+)$/.exec(text) ?? [];
  if (length !== undefined && isAddress(host)) return `an address, not a prefix: ${host} without /${length}`;
  const [, v6, v4, port] = /^(?:\[(.+)\]|([^:]+)):(\d+)$/.exec(text) ?? [];
  const bare = v6 ?? v4;
  if (bare !== undefined && isAddress(bare)) return `a port has a key of its own: ${bare} without ${port}`;
  return NAME.test(bare ?? text) ? NAMES_ARE_NOT_LOOKED_UP : undefined;
}

/** Of an address with a port. */
export function endpointHint(raw: unknown, isAddress: (text: string) => boolean): string | undefined {
  if (typeof raw === 'number') return 'the address is missing';
  if (typeof raw !== 'string') return undefined;
  const [, v6, host, port] = /^(?:\[(.*)\]|(.*?)):(\d+)$/.exec(raw) ?? [];
  if (isAddress(raw)) return `the port is missing, as ${raw.includes(':') ? `[${raw}]` : raw}:6000`;
  if ((v6 ?? host) === '') return 'the address is missing';
  if (host !== undefined && isAddress(host))
    return host.includes(':') ? `write [${host}]:${port}` : undefined;
  return NAME.test(host ?? raw) ? NAMES_ARE_NOT_LOOKED_UP : undefined;
}

const NAMES_ARE_NOT_LOOKED_UP = 'names are not looked up, because what they stand for can change';

/** Of a prefix. */
export function prefixHint(raw: unknown, isAddress: (text: string) => boolean): string | undefined {
  const [, host, mask] = typeof raw === 'string' ? (/^([^/]+)\/(.+)$/.exec(raw) ?? []) : [];
  if (host !== undefined && isAddress(host) && isAddress(mask)) return 'a length, as /24, not a mask';
  return typeof raw === 'string' && NAME.test(raw) ? NAMES_ARE_NOT_LOOKED_UP : undefined;
}
