// docs/operations.md names every drop reason and every metric, so that an operator finds what a dashboard
// shows.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { DROP_REASONS } from '../src/datapath/verdict.ts';

const operations = readFileSync(new URL('../docs/operations.md', import.meta.url), 'utf8');

test('every drop reason is documented', () => {
  assert.deepEqual(
    DROP_REASONS.filter((reason) => !operations.includes(`| \`${reason}\` |`)),
    [],
  );
});

test('every metric is documented', () => {
  const source = ['families', 'metrics'].map((name) =>
    readFileSync(new URL(`../src/admin/${name}.ts`, import.meta.url), 'utf8'),
  );
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
