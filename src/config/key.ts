// How the schema is written down: a key is a reader with a help text and perhaps a default, a group is a map
// of keys, a list repeats one group or key. All are zod schemas; what people read about them is in the
// registry KEYS beside it, and `entries` walks both, so that the docs and full.yaml come from what is
// checked.
import * as z from 'zod';
import { formatValue, type KeyPath } from './problem.ts';
import type { Reader } from './reader.ts';

export interface KeyHelp {
  help: string;
  /** What is allowed, as a noun. */
  allowed: string;
  /** As an operator would write it. Absent: the key has no default. */
  default?: unknown;
  /** For keys without default. */
  example?: unknown;
  required: boolean;
  /** A checked value as an operator writes it. */
  format: (value: unknown) => string;
}

export const KEYS = z.registry<KeyHelp>();

/** A key that must be given. */
export function required<T>(text: string, reader: Reader<T>, example: unknown) {
  const schema = leaf(reader);
  KEYS.add(schema, { ...help(text, reader), example, required: true });
  return schema;
}

/** A key with a default, written as an operator would. */
export function defaulted<T>(text: string, reader: Reader<T>, fallback: unknown) {
  const schema = leaf(reader).prefault(fallback);
  KEYS.add(schema, { ...help(text, reader), default: fallback, required: false });
  return schema;
}

/** A key that may be left out, and then is found or computed as its help says. */
export function optional<T>(text: string, reader: Reader<T>, example: unknown) {
  const schema = leaf(reader).optional();
  KEYS.add(schema, { ...help(text, reader), example, required: false });
  return schema;
}

function help<T>(text: string, { allowed, format = plain }: Reader<T>) {
  return {
    help: text,
    allowed,
    format: (value: unknown) => (value === undefined ? UNSET : format(value as T)),
  };
}

const UNSET = 'not set';
const plain = (value: unknown): string => (Array.isArray(value) ? value.join(', ') : String(value));

function leaf<T>(reader: Reader<T>) {
  return z.unknown().transform((raw, context): T => {
    const value = reader.read(raw);
    if (value !== undefined) return value;
    context.addIssue({ code: 'custom', message: refusal(raw, reader.allowed, reader.reason?.(raw)) });
    return z.NEVER;
  });
}

/** A map of keys, all of which are known. */
export function group<S extends z.core.$ZodShape>(shape: S) {
  return z.strictObject(shape, { error: (issue) => refusal(issue.input, 'a map of keys') });
}

/** A group that may be left out as a whole. */
export function optionalGroup<S extends z.core.$ZodShape>(help: string, shape: S) {
  // Its keys all have defaults, so an absent group is an empty one. zod cannot know that from a generic
  // shape.
  const empty = {} as z.input<z.ZodObject<S, z.core.$strict>>;
  const schema = group(shape).prefault(empty as z.core.util.NoUndefined<typeof empty>);
  KEYS.add(schema, { help, allowed: 'map of keys', required: false, format: plain });
  return schema;
}

/** A list of 1 to `max` elements. */
export function list<E extends z.ZodType>(help: string, element: E, max: number) {
  const allowed = `a list of 1 to ${max} elements`;
  const schema = z
    .array(element, { error: (issue) => refusal(issue.input, allowed) })
    .min(1, { error: `is empty, expected ${allowed}` })
    .max(max, { error: (issue) => `has ${(issue.input as unknown[]).length} elements, expected ${allowed}` });
  KEYS.add(schema, { help, allowed: `list, 1 to ${max} elements`, required: true, format: plain });
  return schema;
}

/** A list of 0 to `max` elements, that may be left out. */
export function optionalList<E extends z.ZodType>(help: string, element: E, max: number) {
  const allowed = `a list of at most ${max} elements`;
  const schema = z
    .array(element, { error: (issue) => refusal(issue.input, allowed) })
    .max(max, { error: (issue) => `has ${(issue.input as unknown[]).length} elements, expected ${allowed}` })
    .prefault([]);
  const about = { help, allowed: `list, at most ${max} elements`, default: '[]', format: plain };
  KEYS.add(schema, { ...about, required: false });
  return schema;
}

function refusal(raw: unknown, allowed: string, reason?: string): string {
  if (raw === undefined) return `is missing, expected ${allowed}`;
  if (raw === null) return `is empty, expected ${allowed}`;
  return `${formatValue(raw)} is not allowed${reason === undefined ? '' : ` (${reason})`}, expected ${allowed}`;
}

export interface KeyEntry extends KeyHelp {
  /** `[]` stands for an index: ['services', '[]', 'vip']. */
  path: readonly string[];
  kind: 'key' | 'group' | 'list';
}

/** Every key below `schema`, depth first, in the order they are written in the schema. */
export function* entries(schema: z.ZodType, path: readonly string[] = []): Generator<KeyEntry> {
  const inner = unwrap(schema);
  const help = KEYS.get(schema);
  if (help) {
    const kind = inner instanceof z.ZodObject ? 'group' : inner instanceof z.ZodArray ? 'list' : 'key';
    yield { ...help, path, kind };
  }
  if (inner instanceof z.ZodArray) {
    const isRequired = help?.required ?? true;
    for (const entry of entries(inner.element as z.ZodType, [...path, '[]']))
      yield isRequired ? entry : { ...entry, required: false };
  }
  if (inner instanceof z.ZodObject) {
    for (const [name, child] of Object.entries(inner.shape))
      yield* entries(child as z.ZodType, [...path, name]);
  }
}

/** The names of the keys that may stand at `path`; none when it is no group. */
export function knownKeys(schema: z.ZodType, path: KeyPath): string[] {
  let at: z.ZodType | undefined = unwrap(schema);
  for (const step of path) {
    if (at instanceof z.ZodArray) at = unwrap(at.element as z.ZodType);
    else if (at instanceof z.ZodObject) {
      const child: unknown = at.shape[step];
      at = child instanceof z.ZodType ? unwrap(child) : undefined;
    }
  }
  return at instanceof z.ZodObject ? Object.keys(at.shape) : [];
}

/**
 * What stands inside defaults, optional marks and transforms of a group or list; a key's own reader is not
 * entered.
 */
function unwrap(schema: z.ZodType): z.ZodType {
  let at = schema;
  for (;;) {
    if (at instanceof z.ZodPrefault || at instanceof z.ZodOptional) at = at.unwrap() as z.ZodType;
    else if (at instanceof z.ZodPipe) at = at.in as z.ZodType;
    else return at;
  }
}
