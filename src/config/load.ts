// A config file -> Config, or every problem in it with its path and line. The only importer of yaml.
import { readFileSync } from 'node:fs';
import { type Document, isMap, isPair, isScalar, isSeq, LineCounter, type Node, parseDocument } from 'yaml';
import type * as z from 'zod';
import { knownKeys } from './key.ts';
import { ConfigError, type Finding, formatPath, type KeyPath, nearestKey, type Problem } from './problem.ts';
import { findConflicts, type IndexedService } from './rules.ts';
import { CONFIG_SCHEMA, type Config, readService } from './schema.ts';

/** Reads and checks a file. Throws ConfigError with all its problems. */
export function loadConfig(path: string): Config {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new ConfigError(path, [{ path: '', message: unreadable(error) }], { cause: error });
  }
  return parseConfig(text, path);
}

function unreadable(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === 'ENOENT') return 'no such file';
  if (code === 'EACCES') return 'cannot be read: permission denied';
  if (code === 'EISDIR') return 'is a directory, expected a YAML file';
  return `cannot be read: ${message}`;
}

/** Checks YAML text; `fileName` is for messages only. Throws ConfigError with all its problems. */
export function parseConfig(text: string, fileName: string): Config {
  const lines = new LineCounter();
  const document = parseDocument(text, {
    lineCounter: lines,
    prettyErrors: false,
    stringKeys: true,
    merge: true,
    logLevel: 'error',
  });
  const at = (offset: number) => {
    const { line, col } = lines.linePos(offset);
    return { line, column: col };
  };

  // A warning is a tag that nobody knows: its value would be taken for something else than what was meant.
  const yamlProblems = [...document.errors, ...document.warnings];
  if (yamlProblems.length > 0) {
    throw new ConfigError(
      fileName,
      yamlProblems.map((error) => ({ path: '', message: yamlMessage(error), ...at(error.pos[0]) })),
    );
  }

  const raw = toPlain(document, fileName);
  const result = CONFIG_SCHEMA.safeParse(raw);
  const findings = [
    ...(result.error?.issues.flatMap(explain) ?? []),
    ...findConflicts(result.success ? indexed(result.data.services) : readableServices(raw)),
  ];
  if (result.success && findings.length === 0) return result.data;
  const problems = findings.map(({ path, message }): Problem => {
    const offset = offsetOf(document, path);
    return { path: formatPath(path), message, ...(offset === undefined ? {} : at(offset)) };
  });
  problems.sort((a, b) => (a.line ?? 0) - (b.line ?? 0) || (a.column ?? 0) - (b.column ?? 0));
  throw new ConfigError(fileName, problems);
}

function yamlMessage({ code, message }: { code: string; message: string }): string {
  if (code === 'DUPLICATE_KEY') return 'the same key stands twice in this map';
  if (code === 'MULTIPLE_DOCS') return 'a second YAML document starts here, expected one';
  return `not valid YAML: ${message}`;
}

/** Plain objects; aliases are resolved here, and a file that would grow without bound by them is refused. */
function toPlain(document: Document, fileName: string): unknown {
  try {
    return document.toJS() ?? {}; // an empty file lacks what an empty map lacks
  } catch (error) {
    const message = `not valid YAML: ${error instanceof Error ? error.message : String(error)}`;
    throw new ConfigError(fileName, [{ path: '', message }], { cause: error });
  }
}

function explain(issue: z.core.$ZodIssue): Finding[] {
  const path = issue.path.map((step) => (typeof step === 'symbol' ? String(step) : step));
  if (issue.code !== 'unrecognized_keys') return [{ path, message: issue.message }];
  const known = knownKeys(CONFIG_SCHEMA, path);
  return issue.keys.map((key) => {
    const near = nearestKey(key, known);
    const hint = near === undefined ? `expected one of ${known.join(', ')}` : `did you mean ${near}?`;
    return { path: [...path, key], message: `unknown key ${JSON.stringify(key)}, ${hint}` };
  });
}

/** The services that are valid in themselves, so that one bad key does not hide what is wrong between the others. */
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
 * Where `path` starts in the text: its key, or its element in a list. The deepest part that is there counts, so that a missing key
 * is reported at the map that lacks it.
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

function startOf(node: unknown): number | undefined {
  return (node as Node | null | undefined)?.range?.[0];
}
