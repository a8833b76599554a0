// docs/operations.md names every drop reason and every metric, so that an operator finds what a dashboard
// shows. What is written for people wraps where code does.
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { DROP_REASONS } from '../src/datapath/verdict.ts';
import { FAST_PATH_REASONS } from '../src/fast/layout.ts';

const COLUMNS = 110;
/** What a line may begin with. */
const MARK = /^\s*(?:[-#]+|\d+\.)\s/;
/** Kinds of files, and which of their lines are comments or have one. */
const COMMENTS: [string, RegExp, RegExp][] = [
  ['TypeScript and C', /\.(?:ts|mjs|c|h)$/, /^\s*(?:\/\*+|\*)\s|(?:^|\s)\/\/\s/],
  ['YAML, shell and the like', /\.(?:ya?ml|service|sh)$|\/[^./]+$/, /(?:^|\s)# /],
  ['Lua', /\.lua$/, /(?:^|\s)-- /],
];

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const read = (name: string): string => readFileSync(join(ROOT, name), 'utf8');
const operations = read('docs/operations.md');

test('every drop reason is documented', () => {
  assert.deepEqual(
    DROP_REASONS.filter((reason) => !operations.includes(`| \`${reason}\` |`)),
    [],
  );
});

test('every reason of the fast path is documented, in the order in which its program asks', () => {
  const table = read('docs/fast-path.md')
    .split('## ')
    .find((part) => part.startsWith('What passes'))!;
  assert.deepEqual(
    [...table.matchAll(/^\| `(\w+)` \|/gm)].map(([, reason]) => reason),
    FAST_PATH_REASONS,
  );
});

test('every metric is documented', () => {
  const source = ['families', 'metrics'].map((name) => read(`src/admin/${name}.ts`));
  const names = new Set(source.join('\n').match(/(?<=')(?:uoa_proxy_)?[a-z]+(?:_[a-z]+)+(?=')/g));
  assert.ok(names.size > 10);
  const metrics = [...names]
    .map((name) => name.replace(/^uoa_proxy_/, ''))
    .filter((name) => /_total$|^sessions|^lports/.test(name));
  assert.deepEqual(
    metrics.filter((name) => !operations.includes(`\`${name}\``)),
    [],
  );
});

test('files that the docs name are there', () => {
  const named = [
    'README.md',
    'docs/architecture.md',
    'docs/operations.md',
    'docs/deployment.md',
    'docs/fast-path.md',
  ].flatMap((doc) =>
    [...read(doc).matchAll(/`([\w-]+(?:\/[\w.-]+)*\.(?:ts|c|md))`/g)].map(([, name]) => name!),
  );
  assert.ok(named.length > 100);
  const isThere = (name: string) =>
    /NAME/.test(name) || ['', 'src/'].some((folder) => existsSync(join(ROOT, folder, name)));
  assert.deepEqual(
    named.filter((name) => !isThere(name)),
    [],
  );
});

describe('text wraps at 110 columns', () => {
  const filesIn = (folder: string, recursive: boolean) =>
    readdirSync(join(ROOT, folder), { recursive, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map(({ parentPath, name }) => relative(ROOT, join(parentPath, name)));
  const files = [
    ...filesIn('.', false),
    ...['.ci', 'bench', 'config', 'docker', 'docs', 'src', 'test'].flatMap((folder) => filesIn(folder, true)),
  ];

  for (const name of files.filter((file) => file.endsWith('.md'))) {
    test(`in ${name}, but for tables and code`, () => assert.deepEqual(tooLong(proseOf(read(name))), []));
  }

  for (const [kind, suffix, comment] of COMMENTS) {
    test(`in comments of ${kind}`, () => {
      const all = files.filter((file) => suffix.test(file));
      assert.ok(all.length > 0);
      const commentsOf = (name: string) =>
        read(name)
          .split('\n')
          .filter((line) => comment.test(line));
      const found = all.map((name) => [name, tooLong(commentsOf(name))] as const);
      assert.deepEqual(
        found.filter(([, lines]) => lines.length > 0),
        [],
      );
    });
  }
});

function proseOf(markdown: string): string[] {
  let isCode = false;
  return markdown.split('\n').filter((line) => {
    const isFence = /^ *```/.test(line);
    if (isFence) isCode = !isCode;
    return !isFence && !isCode && !line.startsWith('|');
  });
}

/** But for a word, such as a link, that no line would hold. */
const tooLong = (lines: readonly string[]): string[] =>
  lines.filter((line) => [...line].length > COLUMNS && /\S\s+\S/.test(line.replace(MARK, '')));
