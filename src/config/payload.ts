// What a health check sends and expects: text, bytes in hex, or a regular expression.
import type { Reader } from './reader.ts';

export type Expectation = { kind: 'bytes'; bytes: Uint8Array } | { kind: 'pattern'; source: string };

const LENGTH_MAX = 1400;

/** `ping` or `hex:00ff10` -> its bytes. */
export function payload(): Reader<Uint8Array> {
  return {
    allowed: `text, or hex: and pairs of digits, at most ${LENGTH_MAX} bytes`,
    read: (raw) => {
      const bytes = typeof raw === 'string' ? bytesOf(raw) : undefined;
      return bytes !== undefined && bytes.length <= LENGTH_MAX ? bytes : undefined;
    },
    reason: (raw) => {
      if (typeof raw !== 'string') return undefined;
      const bytes = bytesOf(raw);
      if (bytes === undefined) return 'what follows hex: is not pairs of hexadecimal digits';
      return bytes.length > LENGTH_MAX ? `${bytes.length} bytes` : undefined;
    },
    format: formatBytes,
  };
}

/** As payload, or `/^pong/`. */
export function expectation(): Reader<Expectation> {
  const exact = payload();
  return {
    allowed: `${exact.allowed}; or a regular expression between slashes, for the reply read as Latin-1`,
    read: (raw) => {
      if (hasFlags(raw)) return undefined;
      const source = sourceOf(raw);
      if (source !== undefined) return isPattern(source) ? { kind: 'pattern', source } : undefined;
      const bytes = exact.read(raw);
      return bytes === undefined ? undefined : { kind: 'bytes', bytes };
    },
    reason: (raw) => {
      if (hasFlags(raw))
        return 'a regular expression has no flags here; text that looks like one goes in hex';
      const source = sourceOf(raw);
      if (source === undefined) return exact.reason?.(raw);
      return isPattern(source) ? undefined : 'no regular expression';
    },
    format: (value) => (value.kind === 'pattern' ? `/${value.source}/` : formatBytes(value.bytes)),
  };
}

/** As text where it reads the same, else in hex. */
function formatBytes(bytes: Uint8Array): string {
  const text = Buffer.from(bytes).toString('latin1');
  const isPlain = /^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/.test(text) && !/^(hex:|\/)/.test(text);
  return isPlain ? text : `hex:${Buffer.from(bytes).toString('hex')}`;
}

function bytesOf(text: string): Uint8Array | undefined {
  if (!text.startsWith('hex:')) return Buffer.from(text, 'utf8');
  const digits = text.slice('hex:'.length);
  return /^([0-9a-fA-F]{2})*$/.test(digits) ? Buffer.from(digits, 'hex') : undefined;
}

const sourceOf = (raw: unknown): string | undefined =>
  typeof raw === 'string' ? /^\/(.+)\/$/s.exec(raw)?.[1] : undefined;

const hasFlags = (raw: unknown): boolean => typeof raw === 'string' && /^\/.+\/[dgimsuvy]+$/s.test(raw);

function isPattern(source: string): boolean {
  try {
    new RegExp(source, 's');
    return true;
  } catch {
    return false;
  }
}
