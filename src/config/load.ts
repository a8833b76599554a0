// A config file -> Config, or every problem in it with its path and line. With yaml-problems.ts the only
// importer of yaml.
import { type Document, isMap, isPair, isScalar, isSeq, LineCounter, type Node, parseDocument } from 'yaml';
import type * as z from 'zod';
import { knownKeys } from './key.ts';
import { ConfigError, type Finding, formatPath, type KeyPath, nearestKey, type Problem } from './problem.ts';
import { findConflicts, type IndexedService } from './rules.ts';
import { CONFIG_SCHEMA, type Config, readService } from './schema.ts';
import { readText } from './text.ts';
import { firstAlias, startOf, yamlProblems } from './yaml-problems.ts';

/** Reads and checks a file. Throws ConfigError with all its problems. */
export function loadConfig(path: string): Config {
  return parseConfig(readText(path), path);
}

/** Checks YAML text; `fileName` is for messages only. Throws ConfigError with all its problems. */
export function parseConfig(text: string, fileName: string): Config {
  return readConfig(text, fileName).config;
}

/** What a text says, and where its services stand in it. */
export interface ReadConfig {
  config: Config;
  /** None where they do not stand in one list. */
  places: readonly Place[];
  /** Whether that list stands in brackets, in which indentation says nothing. */
  isFlow: boolean;
  /** What it says besides services, unchecked. */
  others: object;
}

/** Offsets in a text: the first character, and the one behind the last that is no space or line break. */
export interface Place {
  start: number;
  end: number;
}

/** As parseConfig. */
export function readConfig(text: string, fileName: string): ReadConfig {
  const read = readYaml(text, fileName);
  const { document, raw } = read;
  const result = CONFIG_SCHEMA.safeParse(raw);
  const conflicts = findConflicts(result.success ? indexed(result.data.services) : readableServices(raw));
  const findings = [
    ...(result.error?.issues.flatMap((issue) => explain(issue, CONFIG_SCHEMA)) ?? []),
    ...conflicts.map((finding) => withDefaults(finding, raw)),
  ];
  if (result.success && findings.length === 0)
    return { config: result.data, ...placesOfServices(document, text), others: othersIn(raw) };
  throw refusal(fileName, read, findings);
}

/**
 * Checks YAML text by another schema, and by what `conflictsOf` finds between its keys. Throws ConfigError
 * with all its problems.
 */
export function parseBy<S extends z.ZodType>(
  text: string,
  fileName: string,
  schema: S,
  conflictsOf: (config: z.output<S>) => Finding[],
): z.output<S> {
  const read = readYaml(text, fileName);
  const { findings, config } = checkBy(read.raw, schema, conflictsOf);
  if (config === undefined) throw refusal(fileName, read, findings);
  return config;
}

/** The same of values that stand in no file; the config, or why it is none. */
export function checkBy<S extends z.ZodType>(
  raw: unknown,
  schema: S,
  conflictsOf: (config: z.output<S>) => Finding[],
): { findings: Finding[]; config?: z.output<S> } {
  const result = schema.safeParse(raw);
  const findings = result.success
    ? conflictsOf(result.data)
    : result.error.issues.flatMap((issue) => explain(issue, schema));
  return result.success && findings.length === 0 ? { findings, config: result.data } : { findings };
}

interface ReadYaml {
  document: Document;
  raw: unknown;
  at: (offset: number) => { line: number; column: number };
}

/** Throws ConfigError. */
function readYaml(text: string, fileName: string): ReadYaml {
  const lines = new LineCounter();
  const document = documentOf(text, lines);
  const at = (offset: number) => {
    const { line, col } = lines.linePos(offset);
    return { line, column: col };
  };

  const misread = yamlProblems(document, lines);
  if (misread.length > 0) {
    const problems = misread.map(({ message, offset }) => ({ path: '', message, ...at(offset) }));
    throw new ConfigError(fileName, problems);
  }
  try {
    return { document, raw: document.toJS() ?? {}, at }; // an empty file lacks what an empty map lacks
  } catch (error) {
    // Aliases are resolved here, and a file that would grow without bound by them is refused.
    const message = `not valid YAML: ${error instanceof Error ? error.message : String(error)}`;
    throw new ConfigError(fileName, [{ path: '', message, ...at(firstAlias(document) ?? 0) }], {
      cause: error,
    });
  }
}

function refusal(fileName: string, { document, at }: ReadYaml, findings: readonly Finding[]): ConfigError {
  const problems = findings.map(({ path, message }): Problem => {
    const offset = offsetOf(document, path);
    return { path: formatPath(path), message, ...(offset === undefined ? {} : at(offset)) };
  });
  problems.sort((a, b) => (a.line ?? 0) - (b.line ?? 0) || (a.column ?? 0) - (b.column ?? 0));
  return new ConfigError(fileName, problems);
}

const documentOf = (text: string, lines: LineCounter) =>
  parseDocument(text, {
    lineCounter: lines,
    prettyErrors: false,
    stringKeys: true,
    merge: true,
    logLevel: 'error',
  });

/**
 * What a text says, unchecked. Undefined where anything is wrong with it as YAML, or it says something twice
 * by an alias.
 */
export function readRaw(
  text: string,
): (Omit<ReadConfig, 'config'> & { services: readonly unknown[] }) | undefined {
  const lines = new LineCounter();
  const document = documentOf(text, lines);
  if (yamlProblems(document, lines).length > 0 || firstAlias(document) !== undefined) return undefined;
  const raw = document.toJS() as { services?: unknown } | null;
  const services = raw?.services;
  const { places, isFlow } = placesOfServices(document, text);
  if (!Array.isArray(services) || services.length !== places.length) return undefined;
  return { services, places, isFlow, others: othersIn(raw) };
}

const othersIn = (raw: unknown): object => ({ ...(raw as object), services: undefined });

function placesOfServices(document: Document, text: string): Pick<ReadConfig, 'places' | 'isFlow'> {
  const services = isMap(document.contents) ? document.contents.get('services', true) : undefined;
  if (!isSeq(services)) return { places: [], isFlow: false };
  const places = services.items.map((item) => {
    const [start, end] = (item as Node).range!;
    return { start, end: start + text.slice(start, end).trimEnd().length };
  });
  return { places, isFlow: services.flow === true };
}

function explain(issue: z.core.$ZodIssue, schema: z.ZodType): Finding[] {
  const path = issue.path.map((step) => (typeof step === 'symbol' ? String(step) : step));
  if (issue.code !== 'unrecognized_keys') return [{ path, message: issue.message }];
  const known = knownKeys(schema, path);
  return issue.keys.map((key) => {
    const near = nearestKey(key, known);
    const hint = near === undefined ? `expected one of ${known.join(', ')}` : `did you mean ${near}?`;
    return { path: [...path, key], message: `unknown key ${JSON.stringify(key)}, ${hint}` };
  });
}

/** Says which of the values that are to blame stand nowhere in the file, because they are defaults. */
function withDefaults(finding: Finding, raw: unknown): Finding {
  const unset = (finding.blamed ?? [finding.path]).filter((path) => !stands(raw, path));
  if (unset.length === 0) return finding;
  const names = unset.map(formatPath).join(' and ');
  const verb =
    unset.length === 1 ? 'is not set, that is its default' : 'are not set, those are their defaults';
  return { ...finding, message: `${finding.message} (${names} ${verb})` };
}

function stands(raw: unknown, path: KeyPath): boolean {
  let at = raw;
  for (const step of path) {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, step)) return false;
    at = (at as Record<string | number, unknown>)[step];
  }
  return true;
}

/**
 * The services that are valid in themselves, so that one bad key does not hide what is wrong between the
 * others.
 */
function readableServices(raw: unknown): IndexedService[] {
  const services = (raw as { services?: unknown } | undefined)?.services;
  if (!Array.isArray(services)) return [];
  return services.flatMap((one: unknown, index) => {
    const service = readService(one);
    return service === undefined ? [] : [{ index, service }];
  });
}

function indexed(services: Config['services']): IndexedService[] {
  return services.map((service, index) => ({ index, service }));
}

/**
 * Where `path` starts in the text: its key, or its element in a list. The deepest part that is there counts,
 * so that a missing key is reported at the map that lacks it.
 */
function offsetOf(document: Document, path: KeyPath): number | undefined {
  let node: unknown = document.contents;
  let offset = startOf(node);
  for (const step of path) {
    if (isMap(node)) {
      const pair = node.items.find((item) => isPair(item) && isScalar(item.key) && item.key.value === step);
      if (!pair) break;
      offset = startOf(pair.key) ?? offset;
      node = pair.value;
    } else if (isSeq(node)) {
      node = node.items[Number(step)];
      offset = startOf(node) ?? offset;
    } else break;
  }
  return offset;
}
