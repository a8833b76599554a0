// One reader per kind of value: what is allowed, and raw YAML value -> the value the program uses. `allowed`
// is the text of error messages and of docs/config.md, so that neither can differ from what is checked.

import { durationHint, flagHint, numberHint, rangeHint, sizeHint, wordHint } from './hint.ts';

export interface Reader<T> {
  /** What is allowed, as a noun: `integer 1..65535`. */
  readonly allowed: string;
  /** The value; undefined when `raw` is not allowed. */
  read(raw: unknown): T | undefined;
  /** Why `raw` is not allowed, where more can be said than `allowed`. */
  reason?(raw: unknown): string | undefined;
  /** The value as an operator writes it, where that is not its plain text. */
  format?(value: T): string;
}

/** One of a closed set of words or numbers. */
export function oneOf<const T extends string | number>(...values: T[]): Reader<T> {
  return {
    allowed: values.join(' | '),
    read: (raw) => values.find((value) => value === raw),
    reason: (raw) => wordHint(raw, values),
  };
}

export function flag(): Reader<boolean> {
  return {
    allowed: 'true | false',
    read: (raw) => (typeof raw === 'boolean' ? raw : undefined),
    reason: flagHint,
  };
}

export function integer(min: number, max: number): Reader<number> {
  return {
    allowed: `integer ${min}..${max}`,
    read: (raw) =>
      typeof raw === 'number' && Number.isInteger(raw) && raw >= min && raw <= max ? raw : undefined,
    reason: numberHint,
  };
}

/** The word `word`, or whatever `other` reads. */
export function wordOr<const W extends string, T>(word: W, other: Reader<T>): Reader<W | T> {
  return {
    allowed: `${word} | ${other.allowed}`,
    read: (raw) => (raw === word ? word : other.read(raw)),
    reason: (raw) => other.reason?.(raw) ?? wordHint(raw, [word]),
    format: (value) => (value === word ? word : (other.format?.(value as T) ?? String(value))),
  };
}

export function text(allowed: string, pattern: RegExp): Reader<string> {
  return { allowed, read: (raw) => (typeof raw === 'string' && pattern.test(raw) ? raw : undefined) };
}

const MS_BY_UNIT = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** `500ms`, `300s`, `5m`, `1h` -> milliseconds. Zero needs no unit. The bounds are durations too. */
export function duration(min: string, max: string): Reader<number> {
  const minMs = parseDuration(min)!;
  const maxMs = parseDuration(max)!;
  const read = (raw: unknown): number | undefined => {
    const ms = parseDuration(raw);
    return ms !== undefined && ms >= minMs && ms <= maxMs ? ms : undefined;
  };
  return {
    allowed: `duration ${min}..${max} (with unit: ms, s, m or h)`,
    read,
    reason: (raw) => durationHint(raw, (meant) => read(meant) !== undefined),
    format: formatDuration,
  };
}

/** Milliseconds in the largest unit that divides them: `90s`, `5m`. */
export function formatDuration(ms: number): string {
  if (ms === 0) return '0s';
  return inLargestUnit(ms, { h: MS_BY_UNIT.h, m: MS_BY_UNIT.m, s: MS_BY_UNIT.s, ms: 1 });
}

/** `units` from the largest to one of 1. */
function inLargestUnit(value: number, units: Record<string, number>): string {
  const [unit, factor] = Object.entries(units).find((entry) => value % entry[1] === 0)!;
  return `${value / factor}${unit}`;
}

function parseDuration(raw: unknown): number | undefined {
  if (raw === 0) return 0;
  const match = typeof raw === 'string' ? /^(\d{1,12})(ms|s|m|h)$/.exec(raw) : null;
  return match ? Number(match[1]) * MS_BY_UNIT[match[2] as keyof typeof MS_BY_UNIT] : undefined;
}

const BYTES_BY_UNIT = { B: 1, KB: 1e3, MB: 1e6, GB: 1e9, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 };

/** `64MiB`, `16MB` or a plain number -> bytes. The bounds are sizes too. */
export function size(min: string, max: string): Reader<number> {
  const minBytes = parseSize(min)!;
  const maxBytes = parseSize(max)!;
  return {
    allowed: `size ${min}..${max} (bytes, or with unit: KB, MB, GB, KiB, MiB or GiB)`,
    read: (raw) => {
      const bytes = parseSize(raw);
      return bytes !== undefined && bytes >= minBytes && bytes <= maxBytes ? bytes : undefined;
    },
    reason: sizeHint,
    format: (bytes) => {
      const { GiB, MiB, KiB, GB, MB, KB } = BYTES_BY_UNIT;
      return inLargestUnit(bytes, { GiB, MiB, KiB, GB, MB, KB, B: 1 });
    },
  };
}

function parseSize(raw: unknown): number | undefined {
  if (typeof raw === 'number') return Number.isInteger(raw) ? raw : undefined;
  const match = typeof raw === 'string' ? /^(\d{1,12})(B|[KMG]i?B)?$/.exec(raw) : null;
  return match
    ? Number(match[1]) * BYTES_BY_UNIT[(match[2] ?? 'B') as keyof typeof BYTES_BY_UNIT]
    : undefined;
}

export interface PortRange {
  /** Both inclusive, first <= last. */
  first: number;
  last: number;
}

/** `1024-65535`, or one port. */
export function portRange(): Reader<PortRange> {
  return range('port', 'port range first-last (or one port)', 1, 65535);
}

/** `200-399`, or one number. */
export function integerRange(min: number, max: number): Reader<PortRange> {
  return range('number', 'range first-last (or one number)', min, max);
}

function range(what: string, allowed: string, min: number, max: number): Reader<PortRange> {
  const parse = (raw: unknown): PortRange | undefined => {
    if (typeof raw !== 'string' && typeof raw !== 'number') return undefined;
    const match = /^(\d{1,9})(?:-(\d{1,9}))?$/.exec(String(raw));
    return match ? { first: Number(match[1]), last: Number(match[2] ?? match[1]) } : undefined;
  };
  return {
    allowed: `${allowed} within ${min}..${max}`,
    read: (raw) => {
      const parsed = parse(raw);
      if (parsed === undefined || parsed.first < min || parsed.last > max) return undefined;
      return parsed.first <= parsed.last ? parsed : undefined;
    },
    reason: (raw) => {
      const parsed = parse(raw);
      return parsed && parsed.first > parsed.last ? `the first ${what} is above the last` : rangeHint(raw);
    },
    format: formatRange,
  };
}

export function formatRange({ first, last }: PortRange): string {
  return first === last ? String(first) : `${first}-${last}`;
}
