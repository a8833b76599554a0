// What is wrong with a file as YAML, in an operator's words and with its place.
import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  type LineCounter,
  type Node,
  visit,
  type YAMLError,
} from 'yaml';

/** A problem with its offset in the text. */
export interface YamlProblem {
  message: string;
  offset: number;
}

/**
 * Where the reader of YAML loses its way it reports one mistake many times: of those only the first is told.
 */
export function yamlProblems(document: Document, lines: LineCounter): YamlProblem[] {
  // A warning is a tag that nobody knows: its value would be taken for something else than what was meant.
  const errors: YAMLError[] = [...document.errors, ...document.warnings];
  errors.sort((a, b) => a.pos[0] - b.pos[0]);
  const lost = errors.find(({ code }) => code !== 'DUPLICATE_KEY' && code !== 'TAG_RESOLVE_FAILED');
  const told =
    lost === undefined ? errors : errors.filter((error) => error.pos[0] < lost.pos[0]).concat(lost);
  const problems = told.slice(0, TOLD_MAX).map((error) => ({
    message: messageOf(error, document, lines),
    offset: error.pos[0],
  }));
  if (told.length > TOLD_MAX) {
    const message = `${told.length - TOLD_MAX} more problems like those before`;
    problems.push({ message, offset: told[TOLD_MAX].pos[0] });
  }
  return problems.length > 0 ? problems : aliasProblems(document);
}

/** Each duplicate key is looked for in the whole file. */
const TOLD_MAX = 20;

function messageOf(error: YAMLError, document: Document, lines: LineCounter): string {
  const { code, message } = error;
  switch (code) {
    case 'DUPLICATE_KEY':
      return duplicateMessage(document, lines, error.pos[0]);
    case 'MULTIPLE_DOCS':
      return 'a second YAML document starts here, expected one';
    case 'TAB_AS_INDENT':
      return 'a tab stands in the indentation, expected spaces';
    case 'BAD_INDENT':
      if (!message.startsWith('All ')) break;
      return 'this line is not indented like those of its map or list before it';
    case 'BLOCK_AS_IMPLICIT_KEY':
      return `not valid YAML: ${message} (a second colon in this line, or the next line is indented too far)`;
    case 'MISSING_CHAR':
      return `not valid YAML: ${message}${message.startsWith('Sequence') ? ' (or this line is not indented like its map)' : ''}`;
  }
  return `not valid YAML: ${message}`;
}

/** Of the key at `offset`, which its map has before. */
function duplicateMessage(document: Document, lines: LineCounter, offset: number): string {
  let message = 'the same key stands twice in this map';
  visit(document, {
    Map(_, map) {
      const again = map.items.find(({ key }) => startOf(key) === offset);
      if (again === undefined || !isScalar(again.key)) return undefined;
      const { value } = again.key;
      const before = map.items.find(({ key }) => isScalar(key) && key.value === value);
      const { line } = lines.linePos(startOf(before?.key) ?? offset);
      message = `the key ${String(value)} stands twice in this map, first in line ${line}`;
      return visit.BREAK;
    },
  });
  return message;
}

/**
 * Aliases of nothing, and merge keys that name no map: the reader of YAML would tell of them without their
 * place.
 */
function aliasProblems(document: Document): YamlProblem[] {
  const problems: YamlProblem[] = [];
  const anchors = new Map<string, Node>();
  visit(document, {
    Node(_, node) {
      if (!isAlias(node)) {
        if (node.anchor !== undefined) anchors.set(node.anchor, node);
      } else if (!anchors.has(node.source)) {
        const message = `not valid YAML: the alias *${node.source} has no anchor &${node.source} before it`;
        problems.push({ message, offset: startOf(node) ?? 0 });
      }
    },
    Pair(_, { key, value }) {
      if (!isScalar(key) || key.value !== MERGE_KEY) return;
      const named = isAlias(value) ? (anchors.get(value.source) ?? value) : value;
      const sources = isSeq(named) ? named.items : [named];
      if (sources.every((source) => isMap(source) || isAlias(source))) return;
      problems.push({ message: `${MERGE_KEY} takes a map, or aliases of maps`, offset: startOf(key) ?? 0 });
    },
  });
  return problems;
}

const MERGE_KEY = '<<';

/** Of the first alias in the text. */
export function firstAlias(document: Document): number | undefined {
  let offset: number | undefined;
  visit(document, {
    Alias(_, alias) {
      offset = startOf(alias);
      return visit.BREAK;
    },
  });
  return offset;
}

/** Offset of a node in the text; undefined when it stands in none. */
export function startOf(node: unknown): number | undefined {
  return (node as Node | null | undefined)?.range?.[0];
}
